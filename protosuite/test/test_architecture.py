"""The shape of the code itself: what may import what, and that the tests are found at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

import protosuite

ROOT = Path(protosuite.__file__).parent
SERVICES = ("numbers", "counter", "bus", "chatlog", "mediachat", "admin")
PURE = (
    "messages",
    "figures",
    "series",
    "wire",
    "sequence",
    "ledger",
    "topics",
    "delivery",
    "durable",
    "leased",
    "opening",
    "fanout",
    "broker",
    "requests",
    "chain",
    "sequencer",
    "view",
    "conversation",
    "rules",
    "archive",
    "outgoing",
    "combining",
    "holding",
    "heads",
)
# What a pure module may not know: I/O, time, threads, chance, and whoever brings them.
IMPURE = {
    "twisted",
    "socket",
    "time",
    "datetime",
    "threading",
    "random",
    "secrets",
    "asyncio",
    "os",
    "sqlalchemy",
}
# From the top down. A module imports only from its own layer or from those below. One in a folder of
# a service's folder has that folder's name before its own.
LAYERS = [
    {"tap"},
    {"extending"},
    {"suite", "cli", "testing", "backup", "moving"},
    {"piping", "terminal"},
    {"session", "commands"},
    {"reading", "history"},
    {"server", "nodes", "client", "load", "worker"},
    {"api"},
    {"overseen", "health", "metrics", "sampling"},
    {"checks", "pulse"},
    {"readiness", "series"},
    {
        "subscription",
        "member",
        "client_talk",
        "desk_talk",
        "media.download",
        "receiving",
        "posting",
        "telling",
    },
    {"shared_exchange"},
    {"turns", "catching_up", "others", "local_exchange", "upkeep"},
    {"following", "hearing", "whereabouts", "batching"},
    {"exchange", "room", "media.uploads", "sending", "overview", "connection", "crew", "redis_total"},
    {"media.upload"},
    {"shared_store"},
    {"agreeing", "marking", "promised"},
    {"media.making", "media.sweep"},
    {"media.s3", "media.shared"},
    {"media.s3_part"},
    {"store", "media.folder", "media.bucket", "saving", "cuts", "published"},
    {"leasing"},
    {"media.asking"},
    {"media.interface"},
    {"media.address"},
    {"adding", "placing", "layout"},
    {"places", "filing"},
    {"tables"},
    {"pane"},
    {"sequence", "ledger", "shared", "engine", "broker", "sequencer", "view", "conversation"},
    {"leased", "opening"},
    {"durable", "fanout", "combining", "holding"},
    {"delivery"},
    {"topics", "requests"},
    {"heads"},
    {"chain", "lines", "alarms"},
    {"wire"},
    {"cert"},
    {"reaching"},
    {"program"},
    {"net"},
    {"auth"},
    {"storage", "fabric"},
    {"config"},
    {"logs", "lull", "settings", "errors", "hours", "messages", "files", "figures", "extensions", "ondemand"},
]


@cache
def modules() -> tuple[tuple[str, set[str]], ...]:
    """Each module of the package outside its tests, with the names that it imports."""
    return tuple(_modules())


def _modules() -> Iterator[tuple[str, set[str]]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] == "test" or parts[-1].endswith("_pb2") or "versions" in parts or parts[-1] == "env":
            continue
        imported: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= names if all(map(is_module, names)) else names | {str(node.module)}
        yield ".".join(("protosuite", *parts)), imported


def is_module(name: str) -> bool:
    """Whether a name is one of our modules, or of our packages, and not something in one."""
    path = ROOT.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def layer(module: str) -> int | None:
    """Which layer a module of ours is in; None for what is outside of all of them."""
    parts = module.split(".")[1:]
    if parts and parts[-1] == "cli":  # a program may know everything, whichever folder it is in
        parts = ["cli"]
    in_service = (".".join(parts[1:3]), *parts[1:2])
    for name in (parts[0], parts[-1]) if parts and parts[0] not in SERVICES else in_service:
        for number, names in enumerate(LAYERS):
            if name in names:
                return number
    return None


class ArchitectureTests(SynchronousTestCase):
    """Dependencies point one way."""

    def test_pure_modules_know_no_io(self) -> None:
        """The wire modules and the cores import no I/O, clock, thread or random source."""
        for name, imported in modules():
            if name.split(".")[-1] in PURE:
                impure = {i for i in imported if i.split(".")[0] in IMPURE}
                self.assertEqual(impure, set(), name)

    def test_services_do_not_know_each_other(self) -> None:
        """No service imports another one."""
        for name, imported in modules():
            for service in SERVICES:
                others = {
                    i for i in imported for s in SERVICES if s != service and i.startswith(f"protosuite.{s}")
                }
                if name.startswith(f"protosuite.{service}."):
                    self.assertEqual(others, set(), name)

    def test_nothing_imports_upwards(self) -> None:
        """A module imports from its own layer or from one below."""
        for name, imported in modules():
            own = layer(name)
            if own is None or name.endswith("__init__"):
                continue
            for other in imported:
                theirs = layer(other) if other.startswith("protosuite.") else None
                if theirs is not None:
                    self.assertGreaterEqual(theirs, own, f"{name} imports {other}")

    def test_every_module_has_a_layer(self) -> None:
        """No module escapes the check above by a name that it does not know."""
        for name, _ in modules():
            if not name.endswith("__init__"):
                self.assertIsNotNone(layer(name), name)

    def test_no_import_cycle(self) -> None:
        """No module comes back to itself by what it imports, be it from a package that has it from there."""
        known = {name.removesuffix(".__init__"): imported for name, imported in modules()}
        graph = {name: {i for i in imported if i in known and i != name} for name, imported in known.items()}
        while leaves := [name for name, targets in graph.items() if not targets & graph.keys()]:
            for leaf in leaves:
                del graph[leaf]
        self.assertEqual(graph, {})

    def test_only_the_entries_use_the_global_reactor(self) -> None:
        """Time and the reactor are handed in: only ``tap``, programs and workers take the global one."""
        found = {name for name, imported in modules() if "twisted.internet.reactor" in imported}
        self.assertEqual(found, {"protosuite.tap", "protosuite.program", "protosuite.counter.worker"})


class DiscoveryTests(SynchronousTestCase):
    """What has to be found is found."""

    def test_the_tests_are_found(self) -> None:
        """``trial protosuite`` runs the tests; where it finds none it would print PASSED."""
        self.assertGreater(TestLoader().loadPackage(protosuite, recurse=True).countTestCases(), 100)

    def test_the_plugin_is_visible(self) -> None:
        """twistd sees the suite, and there is no package of ours where Twisted's plugins are."""
        self.assertIn("protosuite", [maker.tapname for maker in getPlugins(IServiceMaker)])
        self.assertFalse((ROOT.parent / "twisted" / "plugins" / "__init__.py").exists())
