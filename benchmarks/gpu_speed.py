"""
The negative log-likelihood with gradient on a GPU: ours against AllenNLP's and pytorch-crf's.

    python -m benchmarks.gpu_speed [--output FOLDER]

One call builds the distribution, computes, and goes back to emissions, transitions, start and end. Calls are timed in
turns, each between two synchronisations of the device, and the number is the median; what kernels alone take, without
what Python does around them, is the device's own time over many calls in a row. Before, values and gradients are
compared with the plain recursions in float64 on the CPU.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Type

import torch

from benchmarks import measure
from benchmarks.peers import AllenNLP, Contestant, Ours, OursTorch, Problem, PytorchCrf, load, random_problem

SHAPES = ((256, 128, 20), (32, 32, 9), (64, 64, 50))
CONTESTANTS: Tuple[Type[Contestant], ...] = (Ours, OursTorch, AllenNLP, PytorchCrf)
# Of the first shape, in seconds a call and as a ratio to each peer.
TARGET_SECONDS, TARGET_RATIO = 150e-6, 100.0
REPETITIONS, IN_A_ROW = 15, 50


def moved(problem: Problem, device: str) -> Problem:
    """The problem's tensors on a device."""
    tensors = [x.to(device) for x in problem[:7]]
    return Problem(*tensors, problem.teacher and moved(problem.teacher, device))


def made(kind: Type[Contestant], problem: Problem, device: str) -> Contestant:
    """A contestant with its parameters on a device."""
    with torch.device(device):
        return kind(moved(problem, device))


def error(contestant: Contestant, truth: Contestant) -> float:
    """The largest difference of value and gradients from those of `truth`, relative to the largest number."""
    pairs = [(contestant.likelihood(), truth.likelihood())]  # type: ignore[attr-defined]
    pairs += list(zip(contestant.gradients(), truth.gradients(), strict=True))
    return max(
        float((mine.cpu().double() - right.cpu()).abs().max() / right.abs().max().clamp(min=1.0).cpu())
        for mine, right in pairs
    )


def seconds_of(call: Callable[[], Any], synchronize: Callable[[], None], calls: int) -> float:
    """Wall seconds of one of several calls in a row."""
    synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    synchronize()
    return (time.perf_counter() - start) / calls


def measure_shape(shape: Tuple[int, int, int], device: str, repetitions: int, in_a_row: int) -> List[Dict[str, Any]]:
    """One row for each contestant."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    problem = random_problem(*shape)
    kinds, failed = load(CONTESTANTS)
    truth = Ours(problem.to(torch.float64))
    contestants = {kind.name: made(kind, problem, device) for kind in kinds}
    rows = {name: {"shape": shape, "name": name, "error": error(c, truth)} for name, c in contestants.items()}
    alone: Dict[str, List[float]] = {name: [] for name in contestants}
    row: Dict[str, List[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, contestant in contestants.items():
            call = contestant.likelihood  # type: ignore[attr-defined]
            alone[name].append(seconds_of(call, synchronize, 1))
            row[name].append(seconds_of(call, synchronize, in_a_row if name == Ours.name else 1))
    for name in contestants:
        rows[name].update(seconds=statistics.median(alone[name]), in_a_row=statistics.median(row[name]))
        rows[name]["ratio"] = rows[name]["seconds"] / statistics.median(alone[Ours.name])
    return [*rows.values(), *({"shape": shape, "name": name, "failed": why} for name, why in failed.items())]


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """As Markdown."""
    cells = []
    for row in rows:
        place = f"{'×'.join(map(str, row['shape']))}, {row['name']}"
        if "failed" in row:
            cells.append([place, row["failed"], "", "", ""])
            continue
        times = (f"{row[key] * 1e6:.0f}" for key in ("seconds", "in_a_row"))
        cells.append([place, *times, f"{row['ratio']:.1f}×", f"{row['error']:.1e}"])
    return measure.markdown_table(["B×T×L", "µs a call", "µs in a row", "over ours", "error"], cells)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for the results")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: only to see whether it works")
    options = parser.parse_args(argv)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("torch finds no GPU here: run this where there is one", file=sys.stderr)
        return 1
    found = measure.environment(["pytorch-crf", "allennlp", "triton"])
    on_cpu = options.device == "cpu"
    found["gpu"] = None if on_cpu else torch.cuda.get_device_name()
    repetitions, in_a_row = (1, 1) if on_cpu else (REPETITIONS, IN_A_ROW)
    rows = [
        row
        for shape in ([(3, 5, 4)] if on_cpu else SHAPES)
        for row in measure_shape(shape, options.device, repetitions, in_a_row)
    ]
    print(f"{found['gpu'] or 'no GPU'}; {measure.environment_line(found)}.\n\n{table(rows)}")
    print(f"\nTargets at 256×128×20: {TARGET_SECONDS * 1e6:.0f} µs a call, {TARGET_RATIO:.0f}× over each peer.")
    if options.output:
        measure.write_json(
            measure.result_path("gpu_speed", ".json", options.output), {"environment": found, "rows": rows}
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
