"""What all benchmarks share: timing in round robin, and a record of the machine and the versions."""

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# The packages whose version may explain a number.
PACKAGES = ("torch", "numpy", "triton", "numba", "allennlp", "allennlp-models")
# A turn lasts at least so long: what is fast is called several times in a row.
TURN_SECONDS = 0.002
MOST_CALLS = 20


class Timing(NamedTuple):
    """Seconds of one call: medians over the repetitions."""

    wall: float
    cpu: float  # of all threads of the process
    fastest: float  # wall
    repetitions: int
    calls: int  # in a row, in each repetition


def set_threads(threads: int) -> None:
    """Let torch compute with so many threads, and what it calls too, if it is not loaded yet."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch.set_num_threads(threads)


def round_robin(
    calls: Mapping[str, Callable[[], Any]],
    estimates: Mapping[str, float],
    seconds: float,
    repetitions: int,
) -> Dict[str, Timing]:
    """
    Time several contestants in turns, so that what else the machine does hits all of them alike.

    Each repetition gives every contestant one turn; the order is reversed every other time. A contestant whose
    calls are slow takes part in fewer repetitions, spread evenly over all of them.

    # Parameters

    calls : `Mapping[str, Callable[[], Any]]`
        Each is one call of what is measured; called once before, so that nothing is built or loaded here.
    estimates : `Mapping[str, float]`
        Seconds that one call takes, roughly.
    seconds : `float`
        What each contestant may take in all; at least three repetitions are made, or one where a call takes
        two seconds or more.
    repetitions : `int`

    # Returns

    `Dict[str, Timing]`
    """
    in_a_row = {name: max(1, min(MOST_CALLS, round(TURN_SECONDS / max(estimates[name], 1e-6)))) for name in calls}
    turns: Dict[str, int] = {}
    for name in calls:
        least = 3 if estimates[name] < 2.0 else 1
        affordable = int(seconds / max(estimates[name] * in_a_row[name], 1e-6))
        turns[name] = min(repetitions, max(least, affordable))
    walls: Dict[str, List[float]] = {name: [] for name in calls}
    cpus: Dict[str, List[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    # What is there already (all of torch and AllenNLP) need not be looked at again and again.
    gc.freeze()
    gc.disable()
    try:
        for repetition in range(repetitions):
            gc.collect()
            for name in list(calls) if repetition % 2 == 0 else list(calls)[::-1]:
                # so many of the turns are due by now
                if len(walls[name]) * repetitions > repetition * turns[name]:
                    continue
                call, number = calls[name], in_a_row[name]
                cpu, wall = time.process_time(), time.perf_counter()
                for _ in range(number):
                    call()
                walls[name].append((time.perf_counter() - wall) / number)
                cpus[name].append((time.process_time() - cpu) / number)
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    return {
        name: Timing(
            wall=statistics.median(walls[name]),
            cpu=statistics.median(cpus[name]),
            fastest=min(walls[name]),
            repetitions=len(walls[name]),
            calls=in_a_row[name],
        )
        for name in calls
    }


def estimate(call: Callable[[], Any]) -> float:
    """Wall seconds of one call, after another if that is quick."""
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        if seconds > 1.0:
            break
    return seconds


def version_of(distribution: str) -> Optional[str]:
    """The installed version of a distribution, or none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def environment(packages: Sequence[str] = ()) -> Dict[str, Any]:
    """Machine, versions, commit and load, as they are now: what is stored beside every result."""
    versions = {name: version_of(name) for name in (*PACKAGES, *packages)}
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version is not None},
        "commit": commit(),
        "dirty": dirty(),
    }


def commit() -> str:
    """The short name of the commit that is checked out, "unknown" outside a repository."""
    return _git("rev-parse", "--short", "HEAD") or "unknown"


def dirty() -> bool:
    """Whether files differ from that commit, results of benchmarks apart."""
    return bool(_git("status", "--porcelain", "--", ".", ":!benchmarks/results"))


def warn_of_load(limit: float = 0.5) -> Optional[str]:
    """Say so on the error output if the machine has other work to do, which makes timings worthless."""
    load = os.getloadavg()[0]
    if load <= limit:
        return None
    warning = f"the load average was {load:.2f} at the start: other work was going on, these timings are no results"
    print(f"warning: {warning}", file=sys.stderr)
    return warning


def result_path(name: str, suffix: str, folder: Path = RESULTS) -> Path:
    """`name`.DATE.COMMIT`suffix` in the folder of results."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.{datetime.now(timezone.utc):%Y-%m-%d}.{commit()}{suffix}"


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """`result` as indented JSON."""
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {os.path.relpath(path)}", file=sys.stderr)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that is aligned as text too; all columns but the first to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    value = seconds * 1000
    return (
        f"{value:.3f}"
        if value < 1
        else f"{value:.2f}"
        if value < 10
        else f"{value:.1f}"
        if value < 100
        else f"{value:.0f}"
    )


def environment_line(found: Mapping[str, Any]) -> str:
    """What `environment` found as one line for a reader."""
    state = " with changes" if found["dirty"] else ""
    return (
        f"{found['processor']}, {found['cores']} cores, {found['instructions']}; Python {found['python']}, "
        f"torch {found['versions'].get('torch')}; commit {found['commit']}{state}; "
        f"load average at the start {found['load_average'][0]:.2f}"
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
