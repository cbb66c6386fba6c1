"""Configuration to one service: what is shared is made here and handed in.

``shared`` is what every service is handed, ``making`` makes each of that and its settings, ``running`` starts
and stops them all. ``checking`` says before a start what is wrong with a configuration.
"""

from protosuite.suite.checking import check, warnings
from protosuite.suite.making import SERVICES
from protosuite.suite.running import Suite
from protosuite.suite.shared import Shared

__all__ = ["SERVICES", "Shared", "Suite", "check", "warnings"]
