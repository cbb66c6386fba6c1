"""A file and the environment to a configuration, or to every problem that there is with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve

from protosuite.config.reading import (
    ConfigurationError,
    Entries,
    Entry,
    Problem,
    fill,
    nearest,
    read_environment,
    read_file,
)
from protosuite.config.sections import SECTIONS, Config
from protosuite.config.service import ServiceConfig
from protosuite.config.suite import SERVICES, SuiteConfig
from protosuite.extensions import BadExtension, Extended, Extension, find
from protosuite.settings import fields_of

Check = Callable[[Config], Iterable[tuple[str, str, str]]]


def load(file: str | None, environment: Mapping[str, str], check: Check | None = None) -> Config:
    """The configuration from `file` (None: defaults alone) with the environment over it.

    `check` finds what cannot be seen from one value alone: (section, key, sentence) for each problem.
    Raises :exc:`ConfigurationError` with every problem of every sort.
    """
    problems: list[Problem] = []
    known = _Sections()
    entries = read_file(file, known, problems) if file else {}
    first = fill("suite", SuiteConfig, entries | read_environment(environment, SECTIONS, []), [])
    missing = [name for name in first.services if not known.look_for(name)]
    entries |= read_environment(environment, known, problems)
    values: dict[str, Any] = {name: fill(name, cls, entries, problems) for name, cls in known.items()}
    services = tuple(name for name in first.services if name in values)
    values["suite"] = evolve(values["suite"], services=services)
    extended = tuple(Extended(name, each, values.pop(name)) for name, each in known.extensions.items())
    config = Config(**values, extensions=extended)
    problems += _unusable(entries, known, missing, file or "the environment")
    for section, key, what in check(config) if check else ():
        entry = entries.get((section, key), Entry("", "the defaults", 0))
        problems.append(Problem(entry.source, entry.line, what))
    if problems:
        raise ConfigurationError(sorted(problems, key=lambda p: (p.source, p.line)))
    return config


class _Sections(dict[str, type]):
    """The sections that there are, by name. What is not among those of the suite is looked for elsewhere."""

    def __init__(self) -> None:
        super().__init__(SECTIONS)
        self.extensions: dict[str, Extension] = {}
        self.bad: dict[str, str] = {}  # what is wrong with a service that was named

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self.look_for(name))

    def look_for(self, name: str) -> bool:
        """Whether there is a section of that name, be it one that cannot be used."""
        if super().__contains__(name) or name in self.bad:
            return True
        try:
            extension = find(name)
        except BadExtension as error:
            self.bad[name] = str(error)
            return True
        if extension is None:
            return False
        if not (isinstance(extension.config, type) and issubclass(extension.config, ServiceConfig)):
            self.bad[name] = f"the service {name} cannot be used: its section is no ServiceConfig"
            return True
        self.extensions[name] = extension
        self[name] = extension.config
        return True


def _unusable(entries: Entries, known: _Sections, missing: Sequence[str], source: str) -> Iterator[Problem]:
    """What is wrong with the services that were named, and are not among those of the suite."""
    named = entries.get(("suite", "services"), Entry("", source, 0))
    for name, why in known.bad.items():
        at = next((entry for (section, _), entry in entries.items() if section == name), named)
        yield Problem(at.source, at.line, why)
    for name in missing:
        allowed = fields_of(SuiteConfig)["services"][1].allowed
        what = f"[suite] services = {named.value!r}: must be {allowed}; no service {name} is installed"
        close = nearest(name, dict.fromkeys((*SERVICES, *known.extensions)))
        yield Problem(named.source, named.line, what + (close if "did you" in close else ""))
