"""
How the cost of a CRF grows with the sentence, the labels, the batch and K, and how far it is from the machine's limits.

    python -m benchmarks.crf_scaling [--quick] [--threads 1] [--output FOLDER]

Time: ours and AllenNLP, in turns. Memory: each point is a fresh process, and the number is by how much its resident set
grew at most during one negative log-likelihood with gradient. Floor: forward, backward and counts are 3 · Σ length · L²
multiply-adds (float32), divided by the rate of a large matrix product on this machine; and every number is read and
written at least 4 · Σ length · L times (emissions, messages there and back, gradients), divided by its rate of copying.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import torch

from benchmarks import measure, peers
from benchmarks.peers import AllenNLP, Contestant, Ours, random_problem

# B, T, L, K; one of them is changed at a time.
BASE = {"B": 32, "T": 64, "L": 20, "K": 10}
SWEEPS: Dict[str, Sequence[int]] = {
    "T": (8, 16, 32, 64, 128, 256, 512, 1024, 2048),
    "L": (2, 4, 8, 9, 16, 17, 20, 32, 33, 50, 64, 100),
    "B": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "K": (1, 2, 5, 10, 20, 50),
}
QUICK_SWEEPS: Dict[str, Sequence[int]] = {"T": (8, 32), "L": (4, 9), "B": (1, 8), "K": (1, 10)}
OPERATIONS = ("likelihood", "marginals", "viterbi")
MEMORY_AT = (64, 256, 1024, 2048)
KINDS: Tuple[Type[Contestant], ...] = (Ours, AllenNLP)
# One call of AllenNLP that would take longer is left out.
LONGEST_CALL = 5.0


class Machine(NamedTuple):
    """What this machine can do with so many threads."""

    multiply_adds: float  # a second, float32
    copied: float  # bytes read and written a second


def machine(quick: bool = False) -> Machine:
    """Measure it: the best of several, as nothing else is the machine's limit."""
    size, numbers, times = (512, 2**22, 3) if quick else (2048, 2**26, 7)
    a, b, c = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    x, y = torch.randn(numbers), torch.empty(numbers)
    product, copy = [], []
    for _ in range(times):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        product.append(time.perf_counter() - start)
        start = time.perf_counter()
        y.copy_(x)
        copy.append(time.perf_counter() - start)
    return Machine(size**3 / min(product), 2 * 4 * numbers / min(copy))


def floor(lengths: torch.Tensor, labels: int, limits: Machine) -> Dict[str, float]:
    """Seconds that a negative log-likelihood with gradient takes at least, by arithmetic and by memory."""
    words = int(lengths.sum())
    return {
        "arithmetic": 3 * words * labels**2 / limits.multiply_adds,
        "memory": 4 * words * labels * 4 / limits.copied,
    }


def measure_sweep(
    variable: str, values: Sequence[int], limits: Machine, seconds: float, repetitions: int
) -> List[Dict[str, Any]]:
    """One point for each value and operation."""
    points = []
    too_slow = set()
    for value in values:
        sizes = {**BASE, variable: value}
        problem = random_problem(sizes["B"], sizes["T"], sizes["L"])
        contestants = {kind.name: kind(problem) for kind in KINDS}
        operations = ("k_best",) if variable == "K" else OPERATIONS
        for operation in operations:
            before, peers.K = peers.K, sizes["K"]
            try:
                calls, estimates = {}, {}
                for name, contestant in contestants.items():
                    if (name, operation) in too_slow:
                        continue
                    call = getattr(contestant, operation)
                    estimates[name] = measure.estimate(call)
                    if estimates[name] > LONGEST_CALL / 2:
                        too_slow.add((name, operation))
                    calls[name] = call
                timings = measure.round_robin(calls, estimates, seconds, repetitions)
            finally:
                peers.K = before
            point: Dict[str, Any] = {"variable": variable, "value": value, "operation": operation}
            point["seconds"] = {name: timing.wall for name, timing in timings.items()}
            if operation == "likelihood":
                point["floor"] = floor(problem.lengths, sizes["L"], limits)
            points.append(point)
    return points


def peak_memory(name: str, words: int) -> int:
    """Bytes of resident memory that one likelihood with gradient adds, in this process."""
    (kind,) = (k for k in KINDS if k.name == name)
    kind.load()
    torch.set_num_threads(1)
    warm: Any = kind(random_problem(2, 8, BASE["L"]))
    warm.likelihood()
    contestant: Any = kind(random_problem(BASE["B"], words, BASE["L"]))
    before = _resident(reset=True)
    contestant.likelihood()
    return _resident() - before


def _resident(reset: bool = False) -> int:
    """The largest resident set of this process in bytes, since the last reset where the system can reset it."""
    try:
        if reset:
            # sets VmHWM to what is resident now
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    except OSError:
        # since the start of the process; macOS counts in bytes
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def measure_memory(values: Sequence[int]) -> List[Dict[str, Any]]:
    """A process for each point."""
    points = []
    for words in values:
        point: Dict[str, Any] = {"T": words, "bytes": {}}
        for kind in KINDS:
            command = [sys.executable, "-m", "benchmarks.crf_scaling", "--memory-of", kind.name, str(words)]
            done = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True)
            if done.returncode == 0:
                point["bytes"][kind.name] = int(done.stdout.split()[-1])
            else:
                print(f"memory of {kind.name} at T = {words} failed: {done.stderr[-300:]}", file=sys.stderr)
        points.append(point)
    return points


def tables(result: Dict[str, Any]) -> str:
    """As Markdown."""
    parts = [
        f"{measure.environment_line(result['environment'])}; {result['threads']} thread(s). Where not varied, "
        + ", ".join(f"{name} = {value}" for name, value in BASE.items())
        + f". {result['machine']['multiply_adds'] / 1e9:.1f} billion multiply-adds and "
        f"{result['machine']['copied'] / 2**30:.1f} GiB copied a second."
    ]
    header = ["", "ours, ms", "AllenNLP, ms", "ratio", "floor, ms", "ours over the floor"]
    for variable in SWEEPS:
        rows = []
        for point in (p for p in result["time"] if p["variable"] == variable):
            ours, theirs = point["seconds"].get(Ours.name), point["seconds"].get(AllenNLP.name)
            least = max(point["floor"].values()) if "floor" in point else None
            rows.append(
                [
                    f"{point['operation']}, {variable} = {point['value']}",
                    "–" if ours is None else measure.milliseconds(ours),
                    "–" if theirs is None else measure.milliseconds(theirs),
                    "–" if ours is None or theirs is None else f"{theirs / ours:.1f}×",
                    "" if least is None else measure.milliseconds(least),
                    "" if least is None or ours is None else f"{ours / least:.1f}×",
                ]
            )
        parts.append(measure.markdown_table(header, rows))
    rows = [
        [f"T = {point['T']}", *(f"{point['bytes'].get(kind.name, 0) / 2**20:.1f}" for kind in KINDS)]
        for point in result["memory"]
    ]
    parts.append(measure.markdown_table(["memory of a likelihood with gradient, MiB", *(k.name for k in KINDS)], rows))
    return "\n\n".join(parts)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the tables; write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few small sizes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for the results")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory_of:
        print(peak_memory(options.memory_of[0], int(options.memory_of[1])))
        return 0
    result: Dict[str, Any] = {"environment": measure.environment(), "warning": measure.warn_of_load()}
    measure.set_threads(options.threads)
    for kind in KINDS:
        kind.load()
    limits = machine(options.quick)
    result.update(threads=options.threads, base=BASE, machine=limits._asdict(), time=[])
    for variable, values in (QUICK_SWEEPS if options.quick else SWEEPS).items():
        print(f"varying {variable}", file=sys.stderr, flush=True)
        result["time"] += measure_sweep(variable, values, limits, *((0.1, 3) if options.quick else (1.0, 15)))
    print("memory", file=sys.stderr, flush=True)
    result["memory"] = measure_memory(MEMORY_AT[:2] if options.quick else MEMORY_AT)
    print(tables(result))
    if options.output:
        path = measure.result_path("crf_scaling", ".json", options.output)
        measure.write_json(path, json.loads(json.dumps(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
