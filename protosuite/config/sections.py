"""All sections of a configuration, together."""

from __future__ import annotations

from typing import Any

from attrs import Factory, frozen

from protosuite.config.admin import AdminConfig
from protosuite.config.bus import BusConfig
from protosuite.config.chatlog import ChatLogConfig
from protosuite.config.counter import CounterConfig
from protosuite.config.mediachat import MediaChatConfig
from protosuite.config.numbers import NumbersConfig
from protosuite.config.suite import AuthConfig, SuiteConfig
from protosuite.extensions import Extended
from protosuite.settings import written

SECTIONS: dict[str, type] = {
    "suite": SuiteConfig,
    "auth": AuthConfig,
    "numbers": NumbersConfig,
    "counter": CounterConfig,
    "bus": BusConfig,
    "chatlog": ChatLogConfig,
    "mediachat": MediaChatConfig,
    "admin": AdminConfig,
}


@frozen
class Config:
    """A whole configuration, checked: one attribute a section."""

    suite: SuiteConfig = Factory(SuiteConfig)
    numbers: NumbersConfig = Factory(NumbersConfig)
    counter: CounterConfig = Factory(CounterConfig)
    bus: BusConfig = Factory(BusConfig)
    chatlog: ChatLogConfig = Factory(ChatLogConfig)
    admin: AdminConfig = Factory(AdminConfig)
    mediachat: MediaChatConfig = Factory(MediaChatConfig)
    auth: AuthConfig = Factory(AuthConfig)
    extensions: tuple[Extended, ...] = ()  # those that it names

    def section(self, name: str) -> Any:
        """A section by its name."""
        extended = self.extended(name)
        return getattr(self, name) if extended is None else extended.config

    def extended(self, name: str) -> Extended | None:
        """A service that does not come with the suite, by its name; None if it does."""
        return next((each for each in self.extensions if each.name == name), None)

    def sections(self) -> dict[str, Any]:
        """All of them by name."""
        own = {name: getattr(self, name) for name in SECTIONS}
        return own | {each.name: each.config for each in self.extensions}

    def written(self) -> str:
        """The text of a ``suite.ini`` that says all of this, comments included."""
        lines = [
            "# Every setting of protosuite. What is left out keeps its default.",
            "# PROTOSUITE_<SECTION>_<KEY> in the environment overrides a value: PROTOSUITE_NUMBERS_WINDOW=8",
            "# `twistd protosuite --check --config FILE` checks a file, `--print-config` prints it all.",
            "",
        ]
        for name, section in self.sections().items():
            lines.extend(written(name, section))
        return "\n".join(lines)
