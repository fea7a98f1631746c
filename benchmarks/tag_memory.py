"""
Memory of `allennlp tag` on a large file: it must not grow with the file.

    python -m benchmarks.tag_memory [--lines N] [--processes N ...] [--output FOLDER]

A file of N lines, each a short sentence, is tagged from text to columns by a command of its own with the student of
training_configs, untrained. While it runs, the memory of its process and of all processes below is looked at: what is
not in files, the share of each in what they have together (Pss_Anon), added up. Files, as those of torch, may be
shared with whatever else runs, and come and go with it. Nothing is timed: other work may go on.

Exits with 1 if memory at the end is more than `GROWTH` MiB above what it was after a tenth of the time.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import structkd_plugin  # noqa: F401
from benchmarks import measure, taggers
from benchmarks.predict_speed import make_archives

# MiB that memory may grow by over nine tenths of the file.
GROWTH = 32.0
SECONDS_BETWEEN = 2.0
SHORTEST, LONGEST = 3, 6


class Sample(NamedTuple):
    """Memory at a moment."""

    seconds: float
    mebibytes: float
    processes: int


def make_lines(file: Path, lines: int) -> None:
    """Sentences of words between blanks, a sentence a line."""
    draw = Random(0)
    block = 10_000
    with file.open("w", encoding="utf-8") as stream:
        for start in range(0, lines, block):
            for _ in range(min(block, lines - start)):
                words = (f"w{draw.randrange(taggers.WORDS)}" for _ in range(draw.randint(SHORTEST, LONGEST)))
                stream.write(" ".join(words) + "\n")


def processes_below(root: int) -> List[int]:
    """A process and all that it has started, and these have."""
    found = [root]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        except OSError:
            continue
        found.extend(map(int, children))
    return found


def memory_of(root: int) -> Optional[Sample]:
    """What a process and those below have in memory; `None` if it has ended."""
    total, number = 0, 0
    for process in processes_below(root):
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        pss = next((line.split()[1] for line in rollup.splitlines() if line.startswith("Pss_Anon:")), None)
        if pss is not None:
            total += int(pss)
            number += 1
    return Sample(0.0, total / 1024, number) if number else None


def watch(command: Sequence[str], folder: Path) -> List[Sample]:
    """Run a command to its end, and look at its memory again and again."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": str(measure.ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    (folder / ".allennlp_plugins").write_text("structkd_plugin\n", encoding="utf-8")
    samples: List[Sample] = []
    with (folder / "errors").open("wb") as errors:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )
        try:
            while process.poll() is None:
                sample = memory_of(process.pid)
                if sample is not None:
                    samples.append(sample._replace(seconds=time.monotonic() - begun))
                time.sleep(SECONDS_BETWEEN)
        finally:
            process.terminate()
            process.wait()
    if process.returncode:
        raise RuntimeError((folder / "errors").read_text(encoding="utf-8", errors="replace")[-3000:])
    return samples


def grown(samples: Sequence[Sample]) -> Dict[str, float]:
    """MiB after a tenth of the time, at the end, and at most: medians of a twentieth of the samples around each."""
    part = max(1, len(samples) // 20)
    tenth = len(samples) // 10
    early = statistics.median(sample.mebibytes for sample in samples[tenth : tenth + part])
    # The last moments are those of processes that end.
    late = statistics.median(sample.mebibytes for sample in samples[-2 * part : -part] or samples[-1:])
    return {
        "early": round(early, 1),
        "late": round(late, 1),
        "most": round(max(sample.mebibytes for sample in samples), 1),
        "growth": round(late - early, 1),
    }


def tag(lines: int, processes: int) -> Dict[str, Any]:
    """One run: what was tagged, and the memory while it was."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_archives(folder, taggers.STUDENT)
        make_lines(folder / "lines.txt", lines)
        command = [sys.executable, "-m", "allennlp", "tag", str(folder / "ours"), str(folder / "lines.txt")]
        command += ["--output", str(folder / "out"), "--output-format", "conll", "--quiet"]
        samples = watch([*command, "--processes", str(processes)], folder)
        with (folder / "out").open("rb") as output:
            tagged = sum(line == b"\n" for line in output)
        if tagged != lines:
            raise RuntimeError(f"{tagged} sentences of {lines} were written")
        sizes = {name: (folder / name).stat().st_size for name in ("lines.txt", "out")}
    return {
        "lines": lines,
        "processes": processes,
        "seconds": round(samples[-1].seconds),
        "input_bytes": sizes["lines.txt"],
        "output_bytes": sizes["out"],
        "mebibytes": grown(samples),
        # Some hundred are enough to see it.
        "samples": [
            [round(sample.seconds), round(sample.mebibytes, 1)] for sample in samples[:: max(1, len(samples) // 100)]
        ],
    }


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Tag with every number of processes; print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(argv)
    found = measure.environment()
    rows = []
    for processes in options.processes:
        rows.append(tag(options.lines, processes))
        print(f"{processes} processes: {rows[-1]['mebibytes']}", file=sys.stderr, flush=True)
    cells = [
        [f"{row['lines']:,} lines, {row['processes']} processes", str(row["seconds"])]
        + [f"{row['mebibytes'][name]:.1f}" for name in ("early", "late", "growth", "most")]
        for row in rows
    ]
    header = ["", "seconds", "MiB after a tenth", "MiB at the end", "growth", "most"]
    print(f"{measure.environment_line(found)}.\n\n{measure.markdown_table(header, cells)}")
    if options.output:
        result = {"environment": found, "growth_limit": GROWTH, "rows": rows}
        measure.write_json(measure.result_path("tag_memory", ".json", options.output), result)
    return int(any(row["mebibytes"]["growth"] > GROWTH for row in rows))


if __name__ == "__main__":
    sys.exit(main())
