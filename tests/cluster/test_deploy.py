"""What is in ``deploy/`` for several nodes, in the eyes of those who read it; and ``make cluster``."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import TestCase

from protosuite.mediachat.media.address import parse
from tests.cluster.nodes import DEFAULTS, DEPLOY
from tests.processes import BIN, LIMIT, Program, poll
from tests.requirements import require

ROOT = DEPLOY.parent


class DeployTests(TestCase):
    """The files."""

    timeout = LIMIT

    def folder(self) -> Path:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        return folder

    async def test_haproxy(self) -> None:
        """HAProxy takes its configuration, and says nothing of it but that the nodes are unknown here."""
        require("haproxy")
        run = Program(self, "haproxy", "-c", "-f", DEPLOY / "haproxy.cfg", folder=self.folder())
        self.assertEqual(await run.exit(), 0, run.story())
        warnings = [line for line in run.errors if "[WARNING]" in line or "[ALERT]" in line]
        self.assertEqual([line for line in warnings if "could not resolve address" not in line], [])

    async def test_node(self) -> None:
        """The configuration of the nodes is right, and listens where HAProxy looks for them."""
        run = Program(
            self,
            BIN / "twistd",
            "protosuite",
            "--config",
            DEPLOY / "node.ini",
            "--print-config",
            folder=self.folder(),
        )
        self.assertEqual(await run.exit(), 0, run.story())
        text = "\n".join(run.output)
        self.assertIn("\nservices = all\n", text)
        proxy = (DEPLOY / "haproxy.cfg").read_text("utf-8")
        for name, port in DEFAULTS.items():
            how = "tcp" if name == "admin" else "haproxy:tcp"
            self.assertIn(f"\nlisten = {how}:{port}\n", text)
            self.assertIn(f"check port {port}" if name == "admin" else f"node3:{port}", proxy)

    def test_draining(self) -> None:
        """A node that stops goes on for longer than HAProxy takes to see it."""
        proxy = (DEPLOY / "haproxy.cfg").read_text("utf-8")
        [(inter, fall)] = re.findall(r"inter (\d+)s fall (\d+)", proxy)
        [delay] = re.findall(r"^drain_delay = (\d+)", (DEPLOY / "node.ini").read_text("utf-8"), re.MULTILINE)
        self.assertGreater(int(delay), int(inter) * int(fall))

    def test_compose(self) -> None:
        """The compose file has what the other files speak of, and its nodes are alike."""
        compose: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
        services = compose["services"]
        self.assertEqual(set(services), {"node1", "node2", "node3", "haproxy", "postgres", "redis", "s3"})
        own = ("hostname", "volumes")
        nodes = [{k: v for k, v in services[f"node{n}"].items() if k not in own} for n in (1, 2, 3)]
        self.assertEqual(nodes, nodes[:1] * 3)
        ports = {int(each.rpartition(":")[2]) for each in services["haproxy"]["ports"]}
        proxy = (DEPLOY / "haproxy.cfg").read_text("utf-8")
        self.assertEqual(ports, {int(port) for port in re.findall(r"bind :(\d+)", proxy)})
        self.assertTrue((DEPLOY / services["haproxy"]["volumes"][0].split(":")[0]).is_file())
        build = nodes[0]["build"]
        file = (DEPLOY / build["context"] / build["dockerfile"]).read_text("utf-8")
        exposed = re.findall(r"^EXPOSE (.*)$", file, re.MULTILINE)[0].split()
        self.assertEqual({int(port) for port in exposed}, set(DEFAULTS.values()))
        for source, _ in re.findall(r"^COPY (deploy/\S+) (\S+)$", file, re.MULTILINE):
            self.assertTrue((ROOT / source).is_file(), source)
        setup = (ROOT / "setup.cfg").read_text("utf-8")
        for extra in re.findall(r"/source\[([a-z0-9,]+)\]", file)[0].split(","):
            self.assertIn(f"\n{extra} =\n", setup)

    def test_media_of_compose(self) -> None:
        """Media that the compose file speaks of are where its S3 server, and its volume, have them."""
        text = (DEPLOY / "compose.yaml").read_text("utf-8")
        compose: Any = yaml.safe_load(text)
        [media] = re.findall(r"MEDIA='(\S+)'", text)
        address = parse(media)
        command = compose["services"]["s3"]["command"][-1]
        self.assertEqual(address.endpoint, f"http://s3:{re.findall(r'--port (.*?) ', command)[0]}")
        self.assertIn(
            f"mkdir -p {compose['services']['s3']['volumes'][0].split(':')[1]}/{address.bucket} ", command
        )
        [folder] = re.findall(r"MEDIA:-(\S+)}", text)
        for number in (1, 2, 3):
            self.assertIn(f"media:{folder}", compose["services"][f"node{number}"]["volumes"])

    async def test_unit(self) -> None:
        """R35: the unit of a node is right in the eyes of systemd, and below 2.0 of 10."""
        require("systemd-analyze")
        folder = self.folder()
        text = (DEPLOY / "protosuite@.service").read_text("utf-8").replace("/opt/protosuite/bin", str(BIN))
        (folder / "protosuite@.service").write_text(text, "utf-8")
        instance = folder / "protosuite@node1.service"
        instance.write_text(text, "utf-8")
        run = Program(self, "systemd-analyze", "verify", instance, folder=folder)
        self.assertEqual((await run.exit(), run.output, run.errors), (0, [], []))
        command = ("systemd-analyze", "security", "--offline=true", "--no-pager", instance)
        run = Program(self, *command, folder=folder)
        await run.exit()
        [level] = re.findall(r"exposure level for protosuite@node1.service: ([\d.]+)", run.story())
        self.assertLess(float(level), 2.0)

    async def test_make_cluster(self) -> None:
        """``make cluster`` says where everything is, and leaves nothing behind after Ctrl-C."""
        for program in ("haproxy", "redis-server"):
            require(program)
        command = (sys.executable, "-m", "tests.cluster")
        environment = {"PYTHONPATH": str(ROOT)}
        run = Program(self, *command, folder=ROOT, environment=environment)
        await run.says("Ctrl-C stops")
        pids = [int(pid) for line in run.output for pid in re.findall(r"process (\d+)", line)]
        self.assertEqual(len(pids), 3)
        os.kill(run.pid, signal.SIGINT)
        self.assertEqual(await run.exit(), 0, run.story())
        await poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they are gone")
