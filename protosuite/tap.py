"""``twistd protosuite``: options, signals and the service manager, around a :class:`~.suite.Suite`.

Wiring only. With :mod:`protosuite.program` and the programs, the one place that uses the global reactor.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TextIO

from twisted.application.service import IService, MultiService
from twisted.internet.task import LoopingCall
from twisted.logger import FilteringLogObserver, ILogObserver, Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

import protosuite
import twisted
from protosuite import config as configuration
from protosuite.config import ConfigurationError
from protosuite.errors import StartError
from protosuite.logs import OBSERVERS, unless_said_twice
from protosuite.net.systemd import Notifier

log = Logger(namespace="protosuite.suite")

# Seconds that a thread may keep the interpreter. With the default of 5 ms the reactor waits as long after a
# system call while a database thread computes: 10,000 streams were 380 ms late at p99, 170 with this.
_SWITCH_INTERVAL = 0.0005
_SPARE_DESCRIPTORS = 256  # listeners, the database, logs


class Options(usage.Options):
    """The command line of ``twistd protosuite``."""

    synopsis = "[options]"
    longdesc = "Runs the suite. Example: twistd -n protosuite --config suite.ini"
    optParameters = [  # noqa: RUF012 - twisted.python.usage reads it so
        ["config", "c", None, "Configuration file; without it everything has its default."],
        ["log-format", None, "text", "How to log, one event a line: text or json."],
    ]
    optFlags = [  # noqa: RUF012
        ["check", None, "Check the configuration, report every error, and exit (1 if there are any)."],
        ["print-config", None, "Print the whole configuration in force, ready to be saved, and exit."],
    ]
    configuration: configuration.Config
    parsed: ClassVar[Options]  # the one command line of this process, for `log_observer`

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        print(f"protosuite {protosuite.__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        if self.parent is not None:
            gc.disable()  # until it runs: what a start makes stays, and to look it through took a fifth
        if self["log-format"] not in OBSERVERS:
            raise usage.UsageError(f"--log-format is one of {', '.join(OBSERVERS)}, not {self['log-format']}")
        try:
            self.configuration = configuration.load(self["config"], os.environ, _check)
        except ConfigurationError as error:
            for problem in error.problems:
                print(problem, file=sys.stderr)
            raise SystemExit(1) from None
        if self["print-config"]:
            print(self.configuration.written(), end="")
            raise SystemExit(0)
        if self["check"]:
            for warning in _warnings(self.configuration):
                print(f"warning: {warning}", file=sys.stderr)
            print(f"{self['config'] or 'the default configuration'} is right")
            raise SystemExit(0)
        if self.parent is not None and not (self.parent.get("logger") or self.parent.get("syslog")):
            # twistd imports what it is given by name, after this and before it makes the service.
            self.parent["logger"] = "protosuite.tap.log_observer"
            Options.parsed = self


def _check(config: configuration.Config) -> list[tuple[str, str, str]]:
    from twisted.internet import reactor

    from protosuite.suite import check

    return check(config, reactor)


def _warnings(config: configuration.Config) -> list[str]:
    """What others say who are asked; the reactor runs as long as that takes."""
    if config.suite.fabric == "local":
        return []
    from twisted.internet import reactor as _reactor
    from twisted.internet.defer import Deferred

    from protosuite.suite import warnings

    reactor: Any = _reactor
    found: list[str] = []

    def ask() -> None:
        asking = Deferred.fromCoroutine(warnings(config, reactor)).addCallback(found.extend)
        asking.addErrback(lambda failure: found.append(failure.getErrorMessage()))
        asking.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(ask)
    reactor.run()
    return found


def log_observer() -> ILogObserver:
    """A log observer in the format that was asked for, writing where twistd's own options say."""
    twistd: Any = Options.parsed.parent
    name = twistd.get("logfile") or ("-" if twistd.get("nodaemon") else "twistd.log")
    out: TextIO = sys.stdout
    if name != "-":
        out = LogFile.fromFullPath(name, rotateLength=None)
    elif not twistd.get("nodaemon"):
        raise SystemExit("a daemon cannot log to standard output: give twistd --logfile, or -n")
    return FilteringLogObserver(OBSERVERS[Options.parsed["log-format"]](out), [unless_said_twice])


def makeService(options: Options) -> IService:
    """The suite, as twistd asks for it."""
    from twisted.internet import reactor

    from protosuite.net.turns import make_brief
    from protosuite.suite import Suite

    log.info(
        "protosuite {version} with Python {python}, Twisted {twisted} and its {reactor}",
        version=protosuite.__version__,
        python=platform.python_version(),
        twisted=twisted.__version__,
        reactor=type(reactor).__name__,
    )
    _raise_descriptor_limit(options.configuration)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    make_brief(reactor)
    return _Process(Suite(options.configuration, reactor), reactor, options.parent or {})


class _Process(MultiService):
    """The suite as a process: its start that fails in one line, its signals, its service manager."""

    def __init__(self, suite: IService, reactor: Any, twistd: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._twistd = twistd
        self._notifier = Notifier(os.environ)
        self._stopping = False
        suite.setServiceParent(self)

    def privilegedStartService(self) -> None:
        self._or_exit(super().privilegedStartService)

    def startService(self) -> None:
        self._reactor.callWhenRunning(self._running)  # before the suite says that it is ready
        self._or_exit(super().startService)

    def stopService(self) -> Any:
        self._notifier.send("STOPPING=1")
        return super().stopService()

    def _or_exit(self, start: Callable[[], None]) -> None:
        try:
            start()
        except StartError as error:
            if not self._twistd.get("nodaemon"):
                raise  # twistd's parent process prints it as one line
            print(f"protosuite: {error}", file=sys.__stderr__, flush=True)  # sys.stderr is the log
            _remove_own_pidfile(self._twistd.get("pidfile"))
            raise SystemExit(1) from None

    def _running(self) -> None:
        # What is there now stays, and is never looked through again: that would stop the reactor for 40 ms.
        gc.freeze()
        gc.enable()
        # The reactor's own handlers make twistd end by the signal; a clean stop is exit code 0 here.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        self._notifier.send("READY=1")
        if self._notifier.watchdog_interval is not None:
            alive = LoopingCall(self._notifier.send, "WATCHDOG=1")
            alive.clock = self._reactor
            alive.start(self._notifier.watchdog_interval)

    def _signalled(self, number: int, frame: object) -> None:
        if self._stopping:
            os._exit(128 + number)
        self._stopping = True
        self._reactor.callFromThread(self._reactor.stop)


def _remove_own_pidfile(name: str | None) -> None:
    """twistd leaves its pid file when a start ends with SystemExit."""
    if name and os.path.exists(name):
        with open(name, encoding="ascii") as file:
            own = file.read().strip() == str(os.getpid())
        if own:
            os.unlink(name)


def _raise_descriptor_limit(config: configuration.Config) -> None:
    """Ask for as many open files as the connections that are allowed need, as far as the system lets us."""
    services = [config.section(name) for name in config.suite.services]
    needed = _SPARE_DESCRIPTORS + sum(service.max_connections for service in services)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        log.warn(
            "{needed} open files are needed for max_connections, and the system allows {hard}: "
            "raise the limit (LimitNOFILE= in systemd), or lower max_connections",
            needed=needed,
            hard=hard,
        )
        needed = hard
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
