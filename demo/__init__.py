"""``make demo``: a suite in a folder of its own for a while, with somebody at each of its services.

``actors`` are those who use it, through the clients that everybody has; ``__main__`` starts and ends all.
"""
