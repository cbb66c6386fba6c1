"""bus/1: echo and add, answered at once, and an event bus beside them on the same connection.

``wire`` has the stream; ``topics`` what matches what, ``delivery``, ``durable`` and ``broker`` the rules
of publishing and subscribing; ``store`` what durable subscriptions are owed, ``exchange`` broker and
store together; ``server`` and ``client`` (with ``requests`` and ``subscription``) the two ends; ``load``
a load on any bus/1 server, ``cli`` the program ``protosuite-bus``.
"""

from typing import TYPE_CHECKING

from protosuite.ondemand import on_demand

if TYPE_CHECKING:
    from protosuite.bus.client import BusClientFactory
    from protosuite.bus.subscription import Subscription
else:
    __getattr__ = on_demand(__name__, {"BusClientFactory": "client", "Subscription": "subscription"})

__all__ = ["BusClientFactory", "Subscription"]
