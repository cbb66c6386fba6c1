"""The service manager's side: tell systemd when the suite is ready, stopping and alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping


class Notifier:
    """Sends states as sd_notify(3) describes. Does nothing where no service manager asked for it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        # Taken out, so that no child process speaks for this one.
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self.watchdog_interval = _watchdog_interval(environment)

    def send(self, state: str) -> None:
        """Send one state, such as ``READY=1``. A manager that is gone is no reason to stop."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(state.encode(), address)
        except OSError:
            pass


def _watchdog_interval(environment: Mapping[str, str]) -> float | None:
    """Seconds between signs of life: half of what the manager waits, as sd_watchdog_enabled(3) advises."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and int(microseconds) else None
