"""A real Redis on a port of its own, and what can be done to it."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

from tests.processes import Program, Scope, free_port
from tests.requirements import missing, require

_CONF = """\
bind 127.0.0.1
port {port}
dir {folder}
save ""
appendonly {appendonly}
appendfsync always
"""


class Redis:
    """A ``redis-server``; `lines` are more of its configuration. It ends with `scope`."""

    def __init__(self, scope: Scope, *lines: str, appendonly: bool = False, port: int | None = None) -> None:
        require("redis-server")
        if importlib.util.find_spec("txredisapi") is None:
            missing("there is no client of Redis here: pip install 'protosuite[redis]'")
        self.port = free_port() if port is None else port
        self.folder = Path(scope.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self._scope = scope
        self._conf = self.folder / "redis.conf"
        text = _CONF.format(port=self.port, folder=self.folder, appendonly="yes" if appendonly else "no")
        self._conf.write_text(text + "".join(f"{line}\n" for line in lines), "utf-8")
        self.program: Program | None = None

    @property
    def url(self) -> str:
        """As a setting has it."""
        return f"redis://127.0.0.1:{self.port}"

    async def start(self, *options: str) -> Redis:
        """Start it, again after a stop, and wait until it answers."""
        self.program = Program(self._scope, "redis-server", self._conf, *options, folder=self.folder)
        await self.program.says("Ready to accept connections")
        return self

    async def kill(self) -> None:
        """SIGKILL."""
        assert self.program is not None
        await self.program.kill()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay, and nothing comes."""
        assert self.program is not None
        self.program.signal("STOP")

    def thaw(self) -> None:
        """SIGCONT."""
        assert self.program is not None
        self.program.signal("CONT")

    def ask(self, *words: str) -> str:
        """The first line that answers a command. Blocks."""
        return self._ask([words])

    def ask_as(self, password: str, *words: str) -> str:
        """The same, where a password is needed."""
        return self._ask([("AUTH", password), words])

    def _ask(self, commands: list[tuple[str, ...]]) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            answers = connection.makefile("r", newline="\r\n")
            for words in commands:
                parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{parts}".encode())
                answer = answers.readline().strip()
        return answer
