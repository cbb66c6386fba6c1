import gc

from hypothesis import HealthCheck, settings

# Looking again and again through all that fifteen hundred tests have imported took a tenth of their time.
gc.set_threshold(100_000, 20, 100)

# How long an example takes tells of the machine, and of what else runs there, and nothing of the code.
settings.register_profile("protosuite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("protosuite")
