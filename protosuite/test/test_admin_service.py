"""The admin service over other services in memory: metrics, state, charts, and who may see them."""

from __future__ import annotations

import gzip
import json
import os
import platform
from typing import Any

from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from protosuite.admin.overseen import configuration
from protosuite.auth.guard import TokenGuard
from protosuite.auth.tokens import Identity, Keys
from protosuite.config import Config
from protosuite.counter.wire import encode_request
from protosuite.fabric.interface import Away
from protosuite.test.admin_peers import EPOCH, Overview

KEYS = Keys({"k": b"s" * 32})
# All that there may ever be: none of it is anything that a client says.
LABELS = {"service", "code", "check", "pool", "le", "version", "sender", "generation"}
LABELS |= {"implementation", "major", "minor", "patchlevel"}  # of Python


class Fixture(SynchronousTestCase):
    def setUp(self) -> None:
        self.suite = Overview(self)

    def metrics(self, *headers: str) -> dict[str, Any]:
        """The metrics by name."""
        answer = self.suite.get("/metrics", *headers)
        self.assertEqual(answer.status, 200)
        return {family.name: family for family in text_string_to_metric_families(answer.body.decode())}

    def value(self, name: str, **labels: str) -> float:
        """One sample."""
        for family in self.metrics().values():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        raise LookupError(f"{name} {labels}")


class MetricsTests(Fixture):
    """``/metrics``."""

    def test_what_goes_through_a_service(self) -> None:
        """Connections, messages and bytes are counted where they belong."""
        self.suite.add(1, 10, 100)
        self.suite.add(1)
        own = {"service": "counter"}
        self.assertEqual(self.value("protosuite_connections", **own), 2)
        self.assertEqual(self.value("protosuite_connections_accepted_total", **own), 2)
        self.assertEqual(self.value("protosuite_messages_total", **own), 4)
        self.assertEqual(self.value("protosuite_received_bytes_total", **own), 4 * len(encode_request(1)))
        self.assertEqual(self.value("protosuite_sent_bytes_total", **own), 4 * 8)
        self.assertEqual(self.value("protosuite_counter_value"), 112)
        self.assertEqual(self.value("protosuite_messages_total", service="numbers"), 0)

    def test_refusals(self) -> None:
        """What is refused is counted by its code."""
        self.suite.connect(self.suite.numbers).arrive(b"garbage\n")
        self.suite.connect(self.suite.numbers).arrive(b"garbage\n")
        found = self.value("protosuite_refusals_total", service="numbers", code="bad-json")
        self.assertEqual(found, 2)

    def test_the_storage(self) -> None:
        """Commits are counted with how many writes share them, and services with how long they wait."""
        before = self.value("protosuite_database_commit_requests_count")
        self.suite.writer.at_once = False
        for client in ("ana", "boris", "clara"):
            start = json.dumps({"type": "start", "client": client}).encode()
            self.suite.connect(self.suite.numbers).arrive(start + b"\n")
        self.suite.clock.advance(0.25)
        self.assertEqual(self.value("protosuite_database_writes_waiting"), 3)
        self.suite.writer.run()
        self.assertEqual(self.value("protosuite_database_commit_requests_count"), before + 1)
        self.assertEqual(self.value("protosuite_storage_answer_seconds_sum", service="numbers"), 0.75)
        self.assertEqual(self.value("protosuite_numbers_streams"), 3)

    def test_the_reactor(self) -> None:
        """A reactor that was busy for a second was late by that."""
        self.suite.advance(1)
        self.suite.clock.rightNow += 1.0  # nothing was called meanwhile
        self.suite.clock.advance(0.1)
        self.assertGreaterEqual(self.value("protosuite_reactor_lag_seconds_sum"), 1.0)

    def test_names_and_labels(self) -> None:
        """Names and units are as Prometheus has them, each has a meaning, and no label is a client's."""
        self.suite.connect(self.suite.numbers).arrive(b"garbage\n")
        self.suite.add(1)
        for family in self.metrics().values():
            self.assertRegex(family.name, "^(protosuite|process|python)_[a-z0-9_]+$")
            self.assertNotEqual(family.documentation, "", family.name)
            for sample in family.samples:
                self.assertLessEqual(set(sample.labels), LABELS, sample)
                if family.type == "counter":
                    self.assertTrue(sample.name.endswith("_total"), sample)
            for unit in ("milliseconds", "kib", "mib", "percent", "_ms"):
                self.assertNotIn(unit, family.name)

    def test_histograms(self) -> None:
        """The buckets of a histogram grow up to its count."""
        self.suite.add(1)
        self.suite.advance(2)
        for family in self.metrics().values():
            if family.type == "histogram" and family.name == "protosuite_database_commit_seconds":
                counts = [s.value for s in family.samples if s.name.endswith("_bucket")]
                self.assertEqual(counts, sorted(counts))
                [total] = [s.value for s in family.samples if s.name.endswith("_count")]
                self.assertEqual((counts[-1], total > 0), (total, True))
                return
        self.fail("no such histogram")

    def test_forms(self) -> None:
        """It is text for whoever asks, OpenMetrics for who wants that, and compressed for who can."""
        self.assertIn("text/plain; version=", self.suite.get("/metrics").headers["content-type"])
        modern = self.suite.get("/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        self.assertIn("application/openmetrics-text", modern.headers["content-type"])
        self.assertTrue(modern.body.endswith(b"# EOF\n"))
        small = self.suite.get("/metrics", "Accept-Encoding: gzip")
        self.assertEqual(small.headers["content-encoding"], "gzip")
        self.assertIn(b"protosuite_connections", gzip.decompress(small.body))


class StatusTests(Fixture):
    """``/status``."""

    def test_nodes(self) -> None:
        """All nodes that are there are named, with the machine and the process; none if nobody can tell."""
        here = f"{platform.node()} {os.getpid()}"
        other = self.suite.hub.node("two")
        other.enter("nodes", "elsewhere 7")
        found = self.suite.get("/status").fields
        self.assertEqual((found["node"], found["nodes"]), ("one", {"one": here, "two": "elsewhere 7"}))
        self.successResultOf(other.stop())
        self.assertEqual(self.suite.get("/status").fields["nodes"], {"one": here})
        self.suite.hub.nodes[0].present = lambda group: fail(Away())  # type: ignore[method-assign]
        self.assertIsNone(self.suite.get("/status").fields["nodes"])

    def test_status(self) -> None:
        """It has the version, each service with its overview, the checks and the configuration."""
        self.suite.add(2**64 - 1)
        self.suite.advance(3)
        found = self.suite.get("/status").fields
        self.assertEqual((found["uptime_seconds"], found["now"]), (3, (EPOCH + 103) * 1000))
        self.assertEqual(found["services"]["counter"]["overview"]["value"], str(2**64 - 1))
        self.assertEqual(found["services"]["counter"]["connections"], 1)
        self.assertTrue(found["ready"], found["checks"])
        self.assertEqual(found["configuration"]["numbers"]["interval"], "1")

    def test_streams(self) -> None:
        """Streams are there with how far they are; of many, some and how many there are."""
        for number in range(30):
            start = json.dumps({"type": "start", "client": f"c{number}"}).encode()
            self.suite.connect(self.suite.numbers).arrive(start + b"\n")
        overview = self.suite.get("/status").fields["services"]["numbers"]["overview"]
        self.assertEqual((overview["streams"], len(overview["shown"])), (30, 20))
        self.assertEqual(set(overview["shown"][0]), {"client", "next", "acknowledged", "count"})

    def test_refusals(self) -> None:
        """The last refusals are there with their time, latest first."""
        self.suite.connect(self.suite.numbers).arrive(b"garbage\n")
        self.suite.advance(5)
        self.suite.connect(self.suite.bus).arrive(b"\xff" * 20)
        found = self.suite.get("/status").fields["recent_refusals"]
        self.assertEqual([each["service"] for each in found], ["bus", "numbers"])
        self.assertEqual([each["at"] for each in found], [(EPOCH + 105) * 1000, (EPOCH + 100) * 1000])
        self.assertEqual(found[1]["code"], "bad-json")

    def test_no_secret(self) -> None:
        """R29: a password in a setting is not shown."""
        config = Config()
        url = "postgresql+psycopg://suite:hunter2@db.example.org/suite"
        strange = "redis://cache?password=hunter2"  # where nobody expects one
        auth = evolve(config.auth, secret_file=strange)
        shown = configuration(evolve(config, suite=evolve(config.suite, database=url), auth=auth))
        self.assertEqual(shown["suite"]["database"], "postgresql+psycopg://suite:***@db.example.org/suite")
        self.assertNotIn("hunter2", json.dumps(shown))


class LiveTests(Fixture):
    """``/live``: what the charts are made of."""

    def test_once_and_then_what_is_new(self) -> None:
        """The first answer has all points, a later one those since; of another process again all."""
        self.suite.add(1, 1)
        self.suite.advance(12)
        first = self.suite.get("/live").fields
        self.assertEqual((first["count"], first["is_whole"]), (12, True))
        self.assertEqual(first["fine"]["counter.rate"], [2.0] + [0.0] * 11)
        self.assertEqual(len(first["coarse"]["counter.rate"]), 1)
        self.assertEqual(first["coarse"]["counter.rate"], [0.2])
        self.suite.advance(2)
        query = f"/live?started={first['started']}&after={first['count']}"
        second = self.suite.get(query).fields
        self.assertEqual((second["count"], second["is_whole"]), (14, False))
        self.assertEqual(len(second["fine"]["counter.rate"]), 2)
        self.assertEqual(second["coarse"], {})
        other = self.suite.get(f"/live?started={first['started'] - 1}&after=12").fields
        self.assertEqual((other["is_whole"], len(other["fine"]["counter.rate"])), (True, 14))

    def test_what_is_drawn(self) -> None:
        """Connections, refusals, the slowest answer of the storage, and the process."""
        self.suite.connect(self.suite.numbers).arrive(b"garbage\n")
        self.suite.connect(self.suite.numbers)
        self.suite.writer.at_once = False
        start = json.dumps({"type": "start", "client": "ana"}).encode()
        self.suite.connect(self.suite.numbers).arrive(start + b"\n")
        self.suite.clock.advance(0.25)
        self.suite.writer.run()
        self.suite.clock.advance(0.75)
        fine = self.suite.get("/live").fields["fine"]
        self.assertEqual(fine["numbers.slowest"], [0.25])
        self.assertEqual(fine["numbers.refusals"], [1.0])
        self.assertEqual(fine["numbers.connections"], [3])
        self.assertEqual(fine["counter.slowest"], [None])
        self.assertGreater(fine["suite.memory"][0], 1 << 20)
        self.assertEqual(len(fine["suite.lag"]), 1)

    def test_a_defect_does_not_end_it(self) -> None:
        """A sample that fails is logged, and the next one is taken."""
        sampling = self.suite.admin.sampling
        taken = sampling.sample
        sampling.sample = lambda: 1 / 0  # type: ignore[method-assign,assignment]
        self.suite.advance(2)
        sampling.sample = taken  # type: ignore[method-assign]
        self.suite.advance(2)
        self.assertEqual(sampling.series.count, 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class AccessTests(SynchronousTestCase):
    """Who may see what, with tokens."""

    PRIVATE = ("/metrics", "/status", "/live")

    def setUp(self) -> None:
        self.suite = Overview(self)
        guard = TokenGuard(KEYS, self.suite.database, 1.0, self.suite.clock, self.suite.wall)
        self.guarded = Overview(self, guard=guard)

    def bearer(self, role: str) -> str:
        """The header of somebody in a role."""
        identity = Identity(f"t-{role}", role, "ana", EPOCH + 10_000, "k")
        return f"Authorization: Bearer {KEYS.sign(identity, EPOCH)}"

    def test_health_is_for_everybody(self) -> None:
        """Health and readiness are answered to whoever asks, by whatever name the suite was called."""
        for path in ("/healthz", "/readyz"):
            self.assertEqual(self.guarded.get(path, "Host: suite.example.org").status, 200)

    def test_roles(self) -> None:
        """All the rest is for operators and services."""
        for path in self.PRIVATE:
            self.assertEqual(self.guarded.get(path).status, 401)
            self.assertEqual(self.guarded.get(path, self.bearer("client")).status, 403)
            for role in ("operator", "service"):
                self.assertEqual(self.guarded.get(path, self.bearer(role)).status, 200)

    def test_the_page(self) -> None:
        """The dashboard is for the same, and a person without a token is sent to get one."""
        self.assertEqual(self.guarded.get("/", self.bearer("operator")).status, 200)
        answer = self.guarded.get("/", "Accept: text/html")
        self.assertEqual((answer.status, answer.headers["location"]), (303, "/login?next=%2F"))

    def test_without_tokens(self) -> None:
        """Where nobody needs a token all is shown; to pages of others and under foreign names nothing."""
        for path in ("/", *self.PRIVATE):
            self.assertEqual(self.suite.get(path).status, 200)
        for path in self.PRIVATE:
            self.assertEqual(self.suite.get(path, "Host: evil.example.org").status, 421)
            self.assertEqual(self.suite.get(path, "Origin: https://evil.example.org").status, 403)

    def test_nothing_can_be_changed(self) -> None:
        """It takes nothing but GET."""
        for path in self.PRIVATE:
            self.assertEqual(self.suite.get(path, "Content-Length: 0", method="POST").status, 405)
