"""``twistd protosuite``: where twistd finds the suite. Nothing is imported until it is asked for."""

from twisted.application.service import ServiceMaker

protosuite = ServiceMaker(
    "protosuite",
    "protosuite.tap",
    "Numbers, counter and their fellow services in one reactor.",
    "protosuite",
)
