"""A machine elsewhere, which can fall silent: a network namespace of its own at the end of a cable."""

from __future__ import annotations

import ctypes
import os
import random
import socket
import subprocess
import threading
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from tests.processes import LIMIT, reactor
from tests.requirements import missing, require, require_root

_NEW_NETWORK = 0x4000_0000  # CLONE_NEWNET
_ESTABLISHED = "01"
_FIRST = int(ip_address("198.18.0.0"))  # of 131,072


class Elsewhere:
    """A namespace with the address `own`, at one end of a cable; at the other this machine has `address`.

    It goes with the test. The `network` of the two is one that is set aside for measurements.
    """

    def __init__(self, case: TestCase) -> None:
        require_root()
        require("ip")
        number = random.randrange(1 << 15)
        block = ip_network((_FIRST + 4 * number, 30))
        self.name = f"protosuite-{os.getpid()}-{number}"
        self.network, (self.address, self.own) = str(block), map(str, block.hosts())
        device = f"protosuite{number}"
        done = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            missing(f"no network namespace can be made here: {done.stderr.strip()}")
        case.addCleanup(self._ip, "netns", "del", self.name)  # and with it the devices
        self._ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self._ip("address", "add", f"{self.address}/30", "dev", device)
        self._ip("link", "set", device, "up")
        self._ip("-n", self.name, "address", "add", f"{self.own}/30", "dev", "eth0")
        self._ip("-n", self.name, "link", "set", "eth0", "up")

    def falls_silent(self) -> None:
        """Nothing leaves it any more, no answer, no reset: it is as good as dead."""
        self._ip("-n", self.name, "route", "add", "blackhole", f"{self.address}/32")

    def connect(self, port: int, protocol: Any) -> None:
        """Connect a protocol from there to a port of this machine."""
        made = self._socket()
        try:
            made.settimeout(LIMIT)
            made.connect((self.address, port))
            made.setblocking(False)
            factory = Factory.forProtocol(lambda: protocol)
            factory.noisy = False
            reactor.adoptStreamConnection(made.fileno(), socket.AF_INET, factory)
        finally:
            made.close()  # the reactor has its own descriptor

    def _socket(self) -> socket.socket:
        """A socket there. It stays there, whoever uses it; the thread that went for it ends."""
        made: list[socket.socket] = []

        def go() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/run/netns/{self.name}").open("rb") as namespace:
                if libc.setns(namespace.fileno(), _NEW_NETWORK) == 0:
                    made.append(socket.socket())

        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        if not made:
            missing("a network namespace cannot be entered here")
        return made[0]

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


def connections(pid: int, port: int, peer: str) -> int:
    """How many connections a process has, from `peer` to its port, as the system counts them."""
    host = int.from_bytes(socket.inet_aton(peer), "little")
    count = 0
    for line in Path(f"/proc/{pid}/net/tcp").read_text("ascii").splitlines()[1:]:
        _, local, remote, state, *rest = line.split()
        if state == _ESTABLISHED and local.endswith(f":{port:04X}") and remote.startswith(f"{host:08X}:"):
            count += rest[5] != "0"  # the inode, if a process has it
    return count
