"""What is in ``deploy/``: it names only metrics that there are, and does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import TestCase

from protosuite.figures import Kind
from tests.mediachat_peers import OPEN
from tests.processes import LIMIT, Program, Suite
from tests.requirements import require
from tests.test_admin import get, until
from tests.test_documentation import of_docs

DEPLOY = Path(__file__).parent.parent / "deploy"
ALERTS, DASHBOARD = DEPLOY / "prometheus-alerts.yaml", DEPLOY / "grafana-dashboard.json"
NAME = re.compile(r"\b(?:protosuite|process|python)_[a-z0-9_]+")
# With nothing wrong for long, and then everything: what is said of the second.
FIRING = """\
rule_files: [{rules}]
evaluation_interval: 30s
tests:
  - interval: 30s
    input_series:
      - {{series: 'protosuite_ready{{instance="a", check="disk"}}', values: '1x10 0x10'}}
      - {{series: 'protosuite_ready{{instance="a", check="writes"}}', values: '1x20'}}
      - {{series: 'protosuite_connections{{instance="a", service="bus"}}', values: '10x5 90x30'}}
      - {{series: 'protosuite_connections_limit{{instance="a", service="bus"}}', values: '100x40'}}
    alert_rule_test:
      - {{eval_time: 5m, alertname: ProtosuiteNotReady, exp_alerts: []}}
      - eval_time: 8m
        alertname: ProtosuiteNotReady
        exp_alerts:
          - exp_labels: {{severity: critical, instance: a, check: disk}}
            exp_annotations:
              summary: "a cannot do its work: disk"
              description: "/readyz of the admin port says what is wrong."
      - eval_time: 12m
        alertname: ProtosuiteConnectionsNearLimit
        exp_alerts:
          - exp_labels: {{severity: warning, instance: a, service: bus}}
            exp_annotations: {{summary: "bus on a has 90% of its connections"}}
"""


class DeployTests(TestCase):
    """Held against a suite that runs."""

    timeout = LIMIT

    async def metrics(self) -> str:
        """What a suite answers that has something to tell everywhere."""
        suite = Suite(self, mediachat=OPEN)
        await suite.start()
        await until(self, suite)
        text = ""
        while "\nprotosuite_mediachat_chats_awaiting " not in text:  # the first asks for it
            text = (await get(self, suite, "/metrics")).body.decode()
        return text

    async def promtool(self, *arguments: str | Path, code: int = 0, input: bytes = b"") -> Program:
        """Run it to its end."""
        require("promtool")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        program = Program(self, "promtool", *arguments, folder=folder, input=input)
        self.assertEqual(await program.exit(), code, program.story())
        return program

    async def test_names(self) -> None:
        """Every metric that an alert or a panel asks for is one of those that a suite, or a node, tells."""
        known: set[str] = set()
        for family in text_string_to_metric_families(await self.metrics()):
            known |= {sample.name for sample in family.samples}
            known |= {f"{family.name}_total"} if family.type == "counter" else set()
        metrics = of_docs("metrics")
        for figure in (*metrics.told(), *metrics.of_nodes()):  # not all of it goes on in one suite
            ends = ("_bucket", "_sum", "_count") if figure.kind is Kind.HISTOGRAM else ("",)
            known |= {f"protosuite_{figure.name}{end}" for end in ends}
        for file in (ALERTS, DASHBOARD):
            named = set(NAME.findall(file.read_text("utf-8")))
            self.assertGreater(len(named), 10)
            self.assertEqual(named - known, set(), file.name)

    async def test_metrics_are_as_they_should_be(self) -> None:
        """Prometheus' own tool complains of nothing in the metrics but that a service is called counter."""
        text = await self.metrics()
        program = await self.promtool("check", "metrics", code=3, input=text.encode())
        complaints = [line for line in program.errors if not line.startswith("protosuite_counter_")]
        self.assertEqual((program.output, complaints), ([], []))

    async def test_alerts(self) -> None:
        """The alerts are rules, and fire when they should."""
        await self.promtool("check", "rules", ALERTS)
        test = Path(self.mktemp()).absolute()
        test.write_text(FIRING.format(rules=ALERTS), "utf-8")
        await self.promtool("test", "rules", test)

    async def test_panels(self) -> None:
        """Each question of the dashboard is one that Prometheus understands."""
        board: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
        asked = [
            target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            for panel in board["panels"]
            for target in panel.get("targets", ())
        ]
        self.assertGreater(len(asked), 20)
        rules = [
            f'  - {{record: "question:number{number}", expr: {json.dumps(expression)}}}'
            for number, expression in enumerate(asked)
        ]
        file = Path(self.mktemp()).absolute()
        file.write_text("\n".join(["groups:", "- name: dashboard", "  rules:", *rules]), "utf-8")
        await self.promtool("check", "rules", file)
        places = [tuple(sorted(panel["gridPos"].items())) for panel in board["panels"]]
        self.assertEqual(len(places), len(set(places)))
