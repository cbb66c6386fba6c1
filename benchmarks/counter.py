"""counter: requests a second with the load of the client program, by durability and depth."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.server import running

MAIN = "import sys; from protosuite.counter.cli import main; main()"


def measure(durability: str, depth: int, seconds: float) -> dict[str, float]:
    """One run of ``protosuite-counter load``, which checks every answer."""
    with running(suite={"services": "counter"}, counter={"durability": durability}) as suite:
        command = [sys.executable, "-c", MAIN, "--port", str(suite.ports["counter"]), "--json", "load"]
        command += ["--depth", str(depth), "--seconds", str(seconds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        report: dict[str, float] = json.loads(done.stdout)
        return report | {"server_cpu": suite.cpu_seconds() / report["seconds"]}


def main(quick: bool) -> None:
    """Print a line for each setting."""
    for durability in ("everysec", "always"):
        for depth in (1, 16, 256):
            report = measure(durability, depth, 1 if quick else 5)
            print(
                f"counter {durability:8} 40 connections, {depth:3} in flight: "
                f"{report['requests_per_second']:>9,.0f} requests/s, p50 {report['p50_ms']:.2f} ms, "
                f"p99 {report['p99_ms']:.2f} ms, server CPU {report['server_cpu']:.0%}",
                flush=True,
            )
