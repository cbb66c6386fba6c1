"""bus/1: echo and add, answered at once, and an event bus beside them on the same connection.

``wire`` has the stream, ``topics`` what matches what, ``broker`` the rules of publishing and
subscribing, ``store`` what durable subscriptions are owed, ``server`` and ``client`` the two ends,
``cli`` the program ``protosuite-bus``.
"""

from protosuite.bus.client import BusClientFactory

__all__ = ["BusClientFactory"]
