"""Every setting of the suite. The one place to look, and where ``suite.ini`` and the reference come from.

``suite`` has what all services share (``[suite]``, ``[auth]``), ``service`` what their own sections have in
common. Those are in modules of their names: ``numbers``, ``counter``, ``bus``, ``chatlog``, ``mediachat``,
``admin``. ``sections`` is all of them together; ``loading`` makes that of a file and the environment, with
``reading`` for their form. How a setting is declared is in :mod:`protosuite.settings`.
"""

from protosuite.config.admin import AdminConfig
from protosuite.config.bus import BusConfig
from protosuite.config.chatlog import ChatLogConfig
from protosuite.config.counter import CounterConfig
from protosuite.config.loading import load
from protosuite.config.mediachat import MediaChatConfig
from protosuite.config.numbers import NumbersConfig
from protosuite.config.reading import ConfigurationError, Problem
from protosuite.config.sections import SECTIONS, Config
from protosuite.config.service import HttpConfig, ServiceConfig, WebConfig, listening_on
from protosuite.config.suite import SERVICES, AuthConfig, SuiteConfig

__all__ = [
    "SECTIONS",
    "SERVICES",
    "AdminConfig",
    "AuthConfig",
    "BusConfig",
    "ChatLogConfig",
    "Config",
    "ConfigurationError",
    "CounterConfig",
    "HttpConfig",
    "MediaChatConfig",
    "NumbersConfig",
    "Problem",
    "ServiceConfig",
    "SuiteConfig",
    "WebConfig",
    "listening_on",
    "load",
]
