"""
Speed of linear-chain CRFs: ours against what else there is, in one process, in turns, on the same inputs.

    python -m benchmarks.crf_speed            # everything, with 1 thread and then with 2; some 15 minutes each
    python -m benchmarks.crf_speed --quick    # whether it works
    python -m benchmarks.crf_speed --operations likelihood viterbi --shapes 32x32x9

Before anything is timed the tests of the CRF are run, and every contestant is compared in values and gradients with our
plain recursions in float64. A contestant that is wrong is listed as wrong with its error, and is no "best peer"; one
that is merely inexact is listed too, but may be the best.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

import torch

from benchmarks import measure
from benchmarks.measure import milliseconds
from benchmarks.peers import (
    OPERATIONS,
    OURS,
    PEERS,
    WITH_GRADIENT,
    AllenNLP,
    Contestant,
    Declined,
    K,
    Ours,
    OursPlain,
    Problem,
    load,
    random_problem,
)

Shape = Tuple[int, int, int]

# B, T, L; in the order of their work, so that the time of a slow peer can be foreseen from the shape before.
SHAPES: Tuple[Shape, ...] = ((32, 32, 9), (32, 128, 9), (64, 64, 20), (32, 64, 50), (256, 128, 20))
QUICK_SHAPES: Tuple[Shape, ...] = ((8, 12, 5),)

# How many times faster we want to be: than AllenNLP, and than the best of all others (AllenNLP among them).
TARGETS: Dict[Tuple[str, str], Tuple[Optional[float], Optional[float]]] = {
    ("ours", "likelihood"): (35, 20),
    ("ours", "marginals"): (30, 20),
    ("ours", "viterbi"): (100, 10),
    ("ours", "k_best"): (25, 8),
    ("ours", "cross_entropy"): (None, 30),
    ("ours", "kl"): (None, 30),
    ("ours", "posterior"): (None, None),
    ("ours", "sample"): (None, 60),
    ("ours, torch", "likelihood"): (5, None),
    ("ours, torch", "marginals"): (5, None),
}

# Relative to the largest number of the right answer: beyond the first, float32 has lost more than it must; beyond the
# second, something else is computed.
INEXACT = 1e-4
WRONG = 1e-2
# Of samples: how many standard errors their mean log-probability may be from the entropy.
STANDARD_ERRORS = 6.0
# Seconds: a peer whose single call takes longer is left out, and said to be.
LONGEST_CALL = 10.0
# The same when the time for everything has run out.
LONGEST_LATE_CALL = 1.0
# Medians of less than so many are marked in the tables.
FEW_REPETITIONS = 5


class Settings(NamedTuple):
    """How long and how often."""

    repetitions: int = 25
    seconds: float = 1.5  # of each contestant for each operation and shape, at most
    minutes: float = 15.0  # of everything


# ------------------------------------------------------------------------------------------------ right or wrong


class Reference:
    """The right answers to a problem: the plain recursions in float64."""

    def __init__(self, problem: Problem) -> None:
        self._plain = OursPlain(problem.to(torch.float64))
        self.crf = self._plain.student
        self._known: Dict[str, Any] = {}

    def error(self, operation: str, contestant: Contestant, answer: Any) -> float:
        """How wrong an answer is: relative, or in standard errors of the mean of samples."""
        if operation in WITH_GRADIENT:
            value, gradients = self._of(operation)
            errors = [_relative(answer, value)]
            errors += [_relative(g, r) for g, r in zip(contestant.gradients(), gradients, strict=True)]
            return _largest(errors)
        mask = contestant.mask
        with torch.no_grad():
            if operation == "marginals":
                return _relative(answer[mask], self._of(operation)[mask])
            if operation == "sample":
                log_probs = self.crf.log_prob(contestant.paths(answer))
                standard_error = float(log_probs.std()) / math.sqrt(len(log_probs))
                return abs(float((log_probs + self._of("entropy")).mean())) / max(standard_error, 1e-12)
            if operation == "viterbi":
                return _relative(self.crf.score(contestant.paths(answer)), self.crf.score(self._of("viterbi")))
            # (B, K, T), (B, K); fewer exist where sentences are short and labels few
            paths, best = contestant.k_paths(answer), self._of("k_best_scores")
            exists = best.isfinite()
            repeated = ~self._distinct(paths * mask.unsqueeze(1))
            return (
                math.inf if bool((repeated & exists).any()) else _relative(self.crf.score(paths)[exists], best[exists])
            )

    def _of(self, operation: str) -> Any:
        if operation not in self._known:
            if operation == "entropy":
                self._known[operation] = self.crf.entropy.detach()
            elif operation == "k_best_scores":
                self._known[operation] = self.crf.k_best(K)[1]
            else:
                answer = getattr(self._plain, operation)()
                if operation in WITH_GRADIENT:
                    answer = (answer, tuple(g.clone() for g in self._plain.gradients()))
                self._known[operation] = answer
        return self._known[operation]

    @staticmethod
    def _distinct(paths: torch.Tensor) -> torch.Tensor:
        """(B, K): no labelling before is the same."""
        same = (paths.unsqueeze(2) == paths.unsqueeze(1)).all(dim=3)
        return ~same.tril(-1).any(dim=2)


def verdict(operation: str, error: float) -> str:
    """`right`, `inexact` or `wrong`; not a number is wrong."""
    if operation == "sample":
        return "right" if error <= STANDARD_ERRORS else "wrong"
    return "right" if error <= INEXACT else "inexact" if error <= WRONG else "wrong"


def _relative(value: torch.Tensor, right: torch.Tensor) -> float:
    scale = max(1.0, float(right.abs().max())) if right.numel() else 1.0
    return float((value.detach().to(right.dtype) - right).abs().max()) / scale if right.numel() else 0.0


def _largest(errors: Sequence[float]) -> float:
    return math.nan if any(math.isnan(e) for e in errors) else max(errors)


# ------------------------------------------------------------------------------------------------ measuring


def measure_all(
    contestants: Sequence[Type[Contestant]],
    shapes: Sequence[Shape],
    operations: Sequence[str],
    settings: Settings,
) -> List[Dict[str, Any]]:
    """
    All operations at all shapes.

    # Returns

    `List[Dict[str, Any]]` : one for each operation and shape: `operation`, `shape` and `contestants`, which has for
        each that can do it either `wall`, `cpu`, `fastest` (seconds), `repetitions`, `calls`, `error`, `verdict`, or
        `failed` and why.
    """
    start = time.monotonic()
    cells: List[Dict[str, Any]] = []
    rates: Dict[Tuple[str, str], float] = {}
    for shape in shapes:
        problem = random_problem(*shape)
        reference = Reference(problem)
        made = {kind.name: kind(problem) for kind in contestants}
        for operation in operations:
            able = {name: contestant for name, contestant in made.items() if contestant.can(operation)}
            left = settings.minutes * 60 - (time.monotonic() - start)
            remaining = len(shapes) * len(operations) - len(cells)
            seconds = min(settings.seconds, max(0.0, left) / remaining / max(1, len(able)))
            found = _measure_cell(operation, able, reference, rates, settings.repetitions, seconds)
            cells.append({"operation": operation, "shape": list(shape), "contestants": found})
            _show_progress(cells[-1])
    return cells


def _measure_cell(
    operation: str,
    contestants: Mapping[str, Contestant],
    reference: Reference,
    rates: Dict[Tuple[str, str], float],
    repetitions: int,
    seconds: float,
) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    calls, estimates = {}, {}
    for name, contestant in contestants.items():
        # what all others are compared with is measured however long it takes
        indispensable = type(contestant) in (*OURS, AllenNLP)
        expected = 0.0 if indispensable else rates.get((name, operation), 0.0) * contestant.work()
        try:
            contestant.check_size(operation)
            if expected > (LONGEST_CALL if seconds > 0 else LONGEST_LATE_CALL):
                raise Declined(f"one call would take some {expected:.0f} s")
            call = getattr(contestant, operation)
            torch.manual_seed(0)
            begin = time.perf_counter()
            answer = call()
            took = time.perf_counter() - begin
            error = reference.error(operation, contestant, answer)
            del answer
            # the first call may build or load something, unless it is the work that takes so long
            estimates[name] = took if took > 1.0 else measure.estimate(call)
        except Declined as reason:
            found[name] = {"failed": str(reason)}
        except Exception as raised:
            message = str(raised).strip().splitlines()
            found[name] = {"failed": f"{type(raised).__name__}: {message[0][:160] if message else ''}"}
        else:
            calls[name] = call
            rates[name, operation] = estimates[name] / contestant.work()
            # JSON knows no infinity
            found[name] = {"error": error if math.isfinite(error) else None, "verdict": verdict(operation, error)}
    for name, timing in measure.round_robin(calls, estimates, seconds, repetitions).items():
        found[name] = {**timing._asdict(), **found[name]}
    return found


def _show_progress(cell: Mapping[str, Any]) -> None:
    times = []
    for name, found in cell["contestants"].items():
        if "wall" in found:
            mark = "" if found["verdict"] == "right" else f" ({found['verdict']})"
            times.append(f"{name} {milliseconds(found['wall'])}{mark}")
    print(f"{cell['operation']} {shape_name(cell['shape'])}: {', '.join(times)}", file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------ tables


def shape_name(shape: Sequence[int]) -> str:
    """32×128×9."""
    return "×".join(str(size) for size in shape)


def ratios(cell: Mapping[str, Any], name: str) -> Tuple[Optional[float], Optional[float], Optional[str]]:
    """How many times faster `name` is than AllenNLP and than the best other that is right, and which that is."""
    found = cell["contestants"]
    own = found.get(name, {}).get("wall")
    if own is None:
        return None, None, None
    ours = {contestant.name for contestant in OURS}
    others = {n: f["wall"] for n, f in found.items() if n not in ours and f.get("verdict") in ("right", "inexact")}
    allennlp = others.get(AllenNLP.name)
    best = min(others, key=lambda n: others[n]) if others else None
    return allennlp and allennlp / own, others[best] / own if best else None, best


def tables(result: Mapping[str, Any]) -> str:
    """A results file as Markdown."""
    parts = [f"# Speed of linear-chain CRFs\n\n{measure.environment_line(result['environment'])}."]
    parts.append(
        "Milliseconds of wall time of one call, in brackets of processor time: medians over repetitions in which all "
        "contestants take turns. B×T×L, lengths uniform between T/4 and T; a call builds the distribution or calls the "
        "module, and with gradient calls backward, to emissions and all tables."
    )
    for threads, cells in result["threads"].items():
        parts.append(f"## {threads} thread{'s' if int(threads) > 1 else ''}")
        parts.append(_targets_table(cells))
        for operation in dict.fromkeys(cell["operation"] for cell in cells):
            parts.append(f"### {OPERATIONS[operation]}\n\n{_times_table(cells, operation)}")
    parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in _notes(result)))
    return "\n\n".join(parts) + "\n"


def _times_table(cells: Sequence[Mapping[str, Any]], operation: str) -> str:
    cells = [cell for cell in cells if cell["operation"] == operation]
    names = list(dict.fromkeys(name for cell in cells for name in cell["contestants"]))
    rows = []
    for name in names:
        row = [name]
        for cell in cells:
            found = cell["contestants"].get(name, {"failed": ""})
            if "failed" in found:
                row.append("–")
            else:
                marks = ", wrong" if found["verdict"] == "wrong" else ""
                marks += f", n = {found['repetitions']}" if found["repetitions"] < FEW_REPETITIONS else ""
                row.append(f"{milliseconds(found['wall'])} ({milliseconds(found['cpu'])}){marks}")
        rows.append(row)
    return measure.markdown_table(["", *(shape_name(cell["shape"]) for cell in cells)], rows)


def _targets_table(cells: Sequence[Mapping[str, Any]]) -> str:
    shapes = list(dict.fromkeys(shape_name(cell["shape"]) for cell in cells))
    rows = []
    for (name, operation), targets in TARGETS.items():
        by_shape = {shape_name(c["shape"]): ratios(c, name) for c in cells if c["operation"] == operation}
        if not any(own is not None for found in by_shape.values() for own in found[:2]):
            continue
        for i, over in enumerate(("AllenNLP", "the best peer")):
            target, found = targets[i], [by_shape.get(shape, (None, None, None)) for shape in shapes]
            values = [ratio[i] for ratio in found]
            if all(v is None for v in values):
                continue
            row = [f"{OPERATIONS[operation]}: {name} over {over}"]
            for value, (_, _, best) in zip(values, found, strict=True):
                mark = "" if target is None or value is None else " ✓" if value >= target else " ✗"
                which = f" {best}" if i == 1 and best else ""
                row.append("–" if value is None else f"{_times(value)}{which}{mark}")
            known = [v for v in values if v is not None]
            reached = sum(v >= target for v in known) if target is not None else 0
            row += ["–", ""] if target is None else [f"{target:g}×", f"{reached} of {len(known)}"]
            rows.append(row)
    return measure.markdown_table(["times faster", *shapes, "target", "reached"], rows) if rows else ""


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 100 else f"{ratio:.1f}×"


def _error(cell: Mapping[str, Any], name: str) -> str:
    """What is wrong with an answer, and what that means for the comparison."""
    found = cell["contestants"][name]
    if found["error"] is None:
        text = "wrong (repeats a labelling, or is not a number)"
    elif cell["operation"] == "sample":
        text = f"wrong by {found['error']:.1f} standard errors"
    else:
        text = f"{found['verdict']} by {found['error']:.1e}"
    own, (_, over_best, _) = cell["contestants"].get(Ours.name, {}).get("wall"), ratios(cell, Ours.name)
    if own and over_best and found["verdict"] == "wrong" and found["wall"] / own < over_best:
        text += f"; faster than the best peer, ours over it: {_times(found['wall'] / own)}"
    return text


def _notes(result: Mapping[str, Any]) -> List[str]:
    versions = result["environment"]["versions"]
    kinds = {kind.name: kind for kind in (*OURS, *PEERS)}
    notes = [
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
        f"Medians are of up to {result['settings']['repetitions']} repetitions; n says how many, if less than "
        f"{FEW_REPETITIONS}. Every thread count is a process of its own. The best peer is the fastest of all others "
        f"that are not wrong. Wrong is an error above {WRONG:g} of the largest number, inexact one above {INEXACT:g}.",
    ]
    if result.get("warning"):
        notes.append(f"**{result['warning']}**")
    for name, reason in result["not_loaded"].items():
        notes.append(f"{name}: not measured. {reason}")
    for name in dict.fromkeys(n for cells in result["threads"].values() for c in cells for n in c["contestants"]):
        if kinds[name].note:
            notes.append(f"{name}: {kinds[name].note}.")
    missing: Dict[str, Dict[str, List[str]]] = {}
    errors: Dict[Tuple[str, str], List[str]] = {}
    for cell in (cell for cells in result["threads"].values() for cell in cells):
        where, operation = shape_name(cell["shape"]), OPERATIONS[cell["operation"]]
        for name, found in cell["contestants"].items():
            if "failed" in found:
                missing.setdefault(name, {}).setdefault(f"{operation} ({found['failed']})", []).append(where)
                continue
            if found["verdict"] != "right":
                errors.setdefault((name, operation), []).append(f"{where} {_error(cell, name)}")
    for name, cases in missing.items():
        listed = (f"{what}, {', '.join(dict.fromkeys(places))}" for what, places in cases.items())
        notes.append(f"{name}: not measured: {'; '.join(listed)}.")
    for (name, operation), found in errors.items():
        notes.append(f"{name}, {operation}: {', '.join(dict.fromkeys(found))}.")
    return notes


# ------------------------------------------------------------------------------------------------ command line


def parse_shape(text: str) -> Shape:
    """32x128x9."""
    sizes = [int(size) for size in text.lower().replace("×", "x").split("x")]
    if len(sizes) != 3 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not BxTxL, for instance 32x128x9")
    return sizes[0], sizes[1], sizes[2]


def arguments(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small shape, few repetitions, no results written")
    parser.add_argument("--operations", nargs="+", choices=list(OPERATIONS), default=list(OPERATIONS), metavar="NAME")
    parser.add_argument("--shapes", nargs="+", type=parse_shape, metavar="BxTxL")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--minutes", type=float, default=Settings().minutes, help="for each number of threads")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument(
        "--no-tests", action="store_true", help="do not run the tests first; no results are written then"
    )
    parser.add_argument("--output", type=Path, help="folder for the results (default: benchmarks/results, if complete)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def tests_pass() -> bool:
    """Whether tests/crf passes."""
    print("running the tests of the CRF", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pytest", "tests/crf", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=measure.ROOT, stdout=sys.stderr).returncode == 0


def run_worker(options: argparse.Namespace) -> Dict[str, Any]:
    """Measure with one number of threads in this process."""
    (threads,) = options.threads
    measure.set_threads(threads)
    loaded, failed = load(OURS if options.no_peers else (*OURS, *PEERS))
    shapes = options.shapes or (QUICK_SHAPES if options.quick else SHAPES)
    settings = Settings(3, 0.1, 1.0) if options.quick else Settings(minutes=options.minutes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = measure_all(loaded, shapes, options.operations, settings)
    return {"cells": cells, "not_loaded": failed, "settings": settings._asdict()}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the tests, then a process for each number of threads; print the tables, write the results."""
    options = arguments(argv)
    if options.worker:
        options.worker.write_text(json.dumps(run_worker(options)), encoding="utf-8")
        return 0
    peers = [kind.distribution for kind in PEERS if kind.distribution] + ["torchrua"]
    result: Dict[str, Any] = {"environment": measure.environment(peers), "warning": measure.warn_of_load()}
    if not options.no_tests and not tests_pass():
        print("the tests of the CRF fail: nothing is measured", file=sys.stderr)
        return 1
    result.update(threads={}, not_loaded={}, settings={})
    given = list(sys.argv[1:] if argv is None else argv)
    for threads in options.threads:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.json"
            command = [sys.executable, "-m", "benchmarks.crf_speed", *given, "--worker", str(path)]
            # the last one counts
            command += ["--threads", str(threads)]
            variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
            if subprocess.run(command, cwd=measure.ROOT, env=variables).returncode != 0:
                print(f"the measurement with {threads} threads failed", file=sys.stderr)
                return 1
            found = json.loads(path.read_text(encoding="utf-8"))
        result["threads"][str(threads)] = found["cells"]
        result["not_loaded"], result["settings"] = found["not_loaded"], found["settings"]
    text = tables(result)
    print(text)
    complete = not (options.quick or options.no_peers or options.shapes) and len(options.operations) == len(OPERATIONS)
    if options.no_tests:
        print("no results are written, as the tests were not run", file=sys.stderr)
    elif complete or options.output:
        folder = options.output or measure.RESULTS
        measure.write_json(measure.result_path("crf_speed", ".json", folder), result)
        measure.result_path("crf_speed", ".md", folder).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
