import gc

# Looking again and again through all that fifteen hundred tests have imported took a tenth of their time.
gc.set_threshold(100_000, 20, 100)
