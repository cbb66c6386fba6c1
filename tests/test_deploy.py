"""What is in ``deploy/``: it names only metrics that there are, and does what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
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

# What makes each alert fire, minute by minute: all is well for half an hour, and then it is not, for as long
# as the slowest of them has to see it.
GROWS, STOPS, BEGINS = "0+10x180", "0+10x30 300x150", "0x30 0+10x150"
FALLS, RISES = "1x30 0x150", "0x30 1x150"
ON = 'instance="a"'


def slow(histogram: str, most: float) -> dict[str, str]:
    """A histogram none of whose values is at most this any more."""
    bucket = f"protosuite_{histogram}_bucket{{{ON}, le="
    return {f'{bucket}"{most}"}}': STOPS, f'{bucket}"10.0"}}': GROWS, f'{bucket}"+Inf"}}': GROWS}


FIRES: dict[str, dict[str, str]] = {
    "ProtosuiteDown": {f'up{{job="protosuite", {ON}}}': FALLS},
    "ProtosuiteNotWatched": {f'up{{job="protosuite", {ON}}}': "1x30"},
    "ProtosuiteNotReady": {f'protosuite_ready{{check="disk", {ON}}}': FALLS},
    "ProtosuiteRestarts": {f'process_start_time_seconds{{job="protosuite", {ON}}}': "1x30 2+1x150"},
    "ProtosuiteRefusesWrites": {f"protosuite_counter_storing_fails{{{ON}}}": RISES},
    "ProtosuiteCounterAway": {f"protosuite_counter_engine_reachable{{{ON}}}": FALLS},
    "ProtosuiteCounterSlow": slow("counter_engine_seconds", 0.25),
    "ProtosuiteDiskFillsUp": {f"protosuite_disk_free_bytes{{{ON}}}": "1000000000000x30 1000000000x150"},
    "ProtosuiteMediaFolderFillsUp": {
        f"protosuite_mediachat_folder_free_bytes{{{ON}}}": "1000000000000x30 1000000000x150"
    },
    "ProtosuiteReactorLate": slow("reactor_lag_seconds", 0.1),
    "ProtosuiteCommitsSlow": slow("database_commit_seconds", 0.5),
    "ProtosuiteStorageOverloaded": {f"protosuite_database_refused_total{{{ON}}}": BEGINS},
    "ProtosuiteThreadsBusy": {
        f'protosuite_threads_waiting{{pool="media", {ON}}}': RISES,
        f'protosuite_threads_busy{{pool="media", {ON}}}': "1x30 4x150",
        f'protosuite_threads{{pool="media", {ON}}}': "4x180",
    },
    "ProtosuiteConnectionsNearLimit": {
        f'protosuite_connections{{service="bus", {ON}}}': "10x30 90x150",
        f'protosuite_connections_limit{{service="bus", {ON}}}': "100x180",
    },
    "ProtosuiteDescriptorsNearLimit": {
        f'process_open_fds{{job="protosuite", {ON}}}': "10x30 90x150",
        f'process_max_fds{{job="protosuite", {ON}}}': "100x180",
    },
    "ProtosuiteMemoryGrows": {
        f'process_resident_memory_bytes{{job="protosuite", {ON}}}': "100000000x30 600000000+1000000x150"
    },
    "ProtosuiteFabricUnreachable": {f"protosuite_fabric_reachable{{{ON}}}": FALLS},
    "ProtosuiteMediaStoreUnreachable": {f"protosuite_mediachat_s3_reachable{{{ON}}}": FALLS},
    "ProtosuiteMediaStoreFails": {
        f'protosuite_mediachat_s3_errors_total{{reason="timeout", {ON}}}': BEGINS,
        f"protosuite_mediachat_s3_requests_total{{{ON}}}": GROWS,
    },
    "ProtosuiteEventsMissed": {f"protosuite_bus_gaps_total{{{ON}}}": BEGINS},
    "ProtosuitePublishersWait": {f"protosuite_bus_publishers_waiting{{{ON}}}": RISES},
    "ProtosuiteBacklogNearLimit": {f"protosuite_bus_durable_fill_ratio{{{ON}}}": RISES},
    "ProtosuiteEventsDropped": {
        f"protosuite_bus_dropped_total{{{ON}}}": "0x30 0+100x150",
        f"protosuite_bus_internal_dropped_total{{{ON}}}": "0x180",
    },
    "ProtosuiteStrangers": {
        f'protosuite_refusals_total{{service="bus", code="forbidden", {ON}}}': "0x30 0+100x150"
    },
    "ProtosuiteVersionsDiffer": {
        f'protosuite_build_info{{version="1", {ON}}}': "1x180",
        'protosuite_build_info{version="2", instance="b"}': "_x30 1x150",
    },
    "ProtosuiteChatsAwait": {f"protosuite_mediachat_chats_awaiting{{{ON}}}": RISES},
}
# What no operator needs at hand: it is in /metrics for whoever looks for something.
LEFT_OUT = {"fabric_present", "fabric_topics", "reactor_delayed_calls"}


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

    async def test_every_alert(self) -> None:
        """Each alert fires when what it is about goes wrong, and not before."""
        rules = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"]
        self.assertEqual({rule["alert"] for rule in rules}, FIRES.keys())
        tests = [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
                        "eval_time": at,
                        "exp_samples": [{"labels": "{}", "value": value}],
                    }
                    for at, value in (("29m", 0), ("170m", 1))
                ],
            }
            for alert, series in FIRES.items()
        ]
        file = Path(self.mktemp()).absolute()
        whole = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}
        file.write_text(yaml.safe_dump(whole), "utf-8")
        await self.promtool("test", "rules", file)

    def test_nothing_is_left_out(self) -> None:
        """What a suite, or a node, tells is in an alert or on the dashboard, or known not to be."""
        metrics = of_docs("metrics")
        named = set(NAME.findall(ALERTS.read_text("utf-8") + DASHBOARD.read_text("utf-8")))
        named |= {re.sub("_(bucket|sum|count)$", "", name) for name in named}
        told = {figure.name for figure in (*metrics.told(), *metrics.of_nodes())}
        self.assertEqual({name for name in told if f"protosuite_{name}" not in named}, LEFT_OUT)

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
