"""A summary of a torture as a picture: what the suite took and how long clients waited, over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COLOURS = {"kill": "tab:red", "restart": "tab:orange", "freeze": "tab:blue"}


def plot(summary: dict[str, Any], path: Path) -> None:
    """Draw it, if there is anything to be seen; without matplotlib say what is missing."""
    try:
        from matplotlib.figure import Figure  # slow to import, and only needed here
    except ImportError:
        print("no plot: matplotlib is missing (pip install 'protosuite[bench]')")
        return
    samples = summary["samples"]
    if not samples:
        return
    figure = Figure(figsize=(12, 14), layout="constrained")
    memory, open_files, median, tail = figure.subplots(4, 1, sharex=True)
    times = [sample["time"] for sample in samples]

    def used(name: str, by: float = 1.0) -> list[float]:
        return [sample["use"][name] / by if sample["use"] else float("nan") for sample in samples]

    memory.plot(times, used("memory", 1024), label="suite")
    memory.plot(
        times, [sample["own_memory"] / 1024 for sample in samples], label="the torture itself", alpha=0.4
    )
    memory.set_ylabel("memory in MiB")
    open_files.plot(times, used("descriptors"), label="open descriptors")
    open_files.plot(times, used("threads"), label="threads")
    for axes, share in ((median, "p50"), (tail, "p99")):
        for service in samples[0]["waits"]:
            waits = [sample["waits"][service] for sample in samples]
            values = [1000 * wait[share] if wait["count"] else float("nan") for wait in waits]
            axes.plot(times, values, label=service, linewidth=0.8)
        axes.set_yscale("log")
        axes.set_ylabel(f"{share} in ms, while it is there")
    for axes in (memory, open_files, median, tail):
        for time, name in summary["events"]:
            if name in COLOURS:
                axes.axvline(time, color=COLOURS[name], alpha=0.25, linewidth=0.8)
        axes.legend(loc="upper left", fontsize="small")
        axes.grid(alpha=0.3)
    tail.set_xlabel("seconds; red: kill -9, orange: restart, blue: frozen")
    figure.suptitle(f"seed {summary['seed']}: {summary['violation'] or 'nothing violated'}")
    figure.savefig(path, dpi=100)
