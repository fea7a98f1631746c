"""
Teacher stores of any size: how long opening takes, what a process needs of memory, how many records it reads a second.

    python -m benchmarks.store_scale [--quick] [--sentences N ...] [--directory FOLDER] [--output FOLDER]

Each store is written by the store's own writer, with keys as hashes of numbers and emissions of one table of random
numbers, under the folder (by default the system's temporary one), and deleted at the end: ten million sentences are
2 GB. A process of its own opens it and reads random batches of 32, twice over; the records a second are those of the
second time, when all that fits is in the system's page cache. Memory is what belongs to this process alone (RssAnon),
apart from what it had before it opened the store. One store more, whatever the others, has records of the size that the
required speed is about.

Before anything is measured the tests of the store are run. The last lines say whether what is required holds.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch

from benchmarks import measure
from structkd_plugin.teacher.capture import shard_sizes
from structkd_plugin.teacher.format import KEY_BYTES, Teacher
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter

BATCH_SIZE = 32
MEGABYTE = 1e6
# What is required: of every store, and of the one with records of the usual size.
MOST_SECONDS_TO_OPEN = 1.0
# Between the smallest and the largest store.
MOST_MEGABYTES_OF_GROWTH = 16.0
LEAST_RECORDS_A_SECOND = 100_000


class Shape(NamedTuple):
    """Of the records of a store: sentences of `words` - 2 to `words` + 2 words."""

    words: int
    labels: int


SMALL, USUAL = Shape(5, 9), Shape(20, 17)
USUAL_SENTENCES = 100_000


class Settings(NamedTuple):
    """Of one store."""

    sentences: int
    words: int
    labels: int
    per_shard: Optional[int]  # as in a capture, where none is given
    batches: int  # read in each round

    @property
    def shape(self) -> Shape:
        """Of the records."""
        return Shape(self.words, self.labels)


def key(number: int) -> str:
    """Of sentence `number`."""
    return blake2b(number.to_bytes(8, "little"), digest_size=KEY_BYTES).hexdigest()


def length(number: int, shape: Shape) -> int:
    """How many words sentence `number` has."""
    return shape.words - 2 + number % 5


def write(path: Path, settings: Settings) -> None:
    """A store whose record of sentence i is that row of a table which i says."""
    shape = settings.shape
    labels = tuple(f"label {i}" for i in range(shape.labels))
    teacher = Teacher("0" * 64, labels, "potentials", None, None, "float16", 0, None)
    tables = {
        "transitions": torch.zeros(shape.labels, shape.labels),
        "start_transitions": torch.zeros(shape.labels),
        "end_transitions": torch.zeros(shape.labels),
    }
    emissions, words = random_emissions(shape), [("word",) * n for n in range(shape.words + 3)]
    with TeacherStoreWriter(str(path), teacher, tables, {}) as store:
        start = 0
        for size in shard_sizes(settings.per_shard):
            numbers = range(start, min(start + size, settings.sentences))
            if not numbers:
                break
            start += size
            store.commit(
                [
                    Record(key(n), "en", words[length(n, shape)], emissions[n % 1000, : length(n, shape)])
                    for n in numbers
                ]
            )
        store.finish()


def random_emissions(shape: Shape) -> np.ndarray:
    """(1000, words + 2, labels), float32, as float16 can hold it"""
    drawn = np.random.default_rng(0).normal(size=(1000, shape.words + 2, shape.labels))
    return drawn.astype(np.float16).astype(np.float32)


def own_memory() -> float:
    """Megabytes that belong to this process alone, without files that the system may drop from memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 / MEGABYTE


def measure_store(path: Path, settings: Settings) -> Dict[str, Any]:
    """Open, read, compare."""
    shape, draw = settings.shape, Random(1)
    expected = random_emissions(shape)
    rounds = [[draw.randrange(settings.sentences) for _ in range(BATCH_SIZE)] for _ in range(settings.batches)]
    batches = [([key(n) for n in numbers], [length(n, shape) for n in numbers]) for numbers in rounds]
    before = own_memory()
    start = time.perf_counter()
    store = TeacherStore.open(str(path))
    opening = time.perf_counter() - start
    opened = own_memory() - before
    speeds = []
    for _ in range(2):
        start, cpu = time.perf_counter(), time.process_time()
        for keys, lengths in batches:
            store.get_batch(keys, lengths)
        records = len(batches) * BATCH_SIZE
        speeds.append((records / (time.perf_counter() - start), records / (time.process_time() - cpu)))
    read = own_memory() - before
    start = time.perf_counter()
    asked = [one for keys, _ in batches for one in keys]
    assert store.contains(asked).all()
    looked_up = len(asked) / (time.perf_counter() - start)
    for numbers, (keys, lengths) in zip(rounds[:100], batches[:100], strict=True):
        for number, record in zip(numbers, store.get_batch(keys, lengths), strict=True):
            assert record is not None
            assert np.array_equal(record.emissions, expected[number % 1000, : length(number, shape)])
    return {
        "opening": opening,
        "opened": opened,
        "read": read,
        "first": speeds[0][0],
        "records": speeds[1][0],
        "records_cpu": speeds[1][1],
        "looked_up": looked_up,
    }


def measure_all(cells: Sequence[Settings], directory: Optional[Path]) -> List[Dict[str, Any]]:
    """One row for each store, made, read by a process of its own, and deleted."""
    rows = []
    for settings in cells:
        folder = Path(tempfile.mkdtemp(prefix="structkd_store_scale.", dir=directory))
        try:
            start = time.perf_counter()
            write(folder / "store", settings)
            writing = time.perf_counter() - start
            size = sum(file.stat().st_size for file in (folder / "store").iterdir())
            command = [sys.executable, "-m", "benchmarks.store_scale", "--worker", str(folder / "store")]
            given = json.dumps(settings._asdict())
            done = subprocess.run([*command, given], cwd=measure.ROOT, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
        finally:
            shutil.rmtree(folder)
        rows.append({**settings._asdict(), "bytes": size, "writing": writing, **found})
        print(f"{settings.sentences:,} sentences: {json.dumps(found)}", file=sys.stderr, flush=True)
    return rows


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """As Markdown."""
    header = [
        "sentences",
        "T × L",
        "GB",
        "written, s",
        "opened, s",
        "memory opened, MB",
        "after reading, MB",
        "records/s first",
        "again",
        "again, of CPU",
        "keys looked up/s",
    ]
    cells = [
        [
            f"{row['sentences']:,}",
            f"{row['words']} × {row['labels']}",
            f"{row['bytes'] / 1e9:.2f}",
            f"{row['writing']:.0f}",
            f"{row['opening']:.3f}",
            f"{row['opened']:.1f}",
            f"{row['read']:.1f}",
            *(f"{row[name]:,.0f}" for name in ("first", "records", "records_cpu", "looked_up")),
        ]
        for row in rows
    ]
    return measure.markdown_table(header, cells)


def failures(rows: Sequence[Dict[str, Any]]) -> List[str]:
    """What of the required does not hold, a sentence each."""
    found = []
    for row in rows:
        if row["opening"] > MOST_SECONDS_TO_OPEN:
            found.append(f"opening {row['sentences']:,} sentences took {row['opening']:.2f} s")
        if Shape(row["words"], row["labels"]) == USUAL and row["records_cpu"] < LEAST_RECORDS_A_SECOND:
            found.append(f"a second of a core read {row['records_cpu']:,.0f} records of the usual size")
    memory = [row["read"] for row in rows]
    if max(memory) - min(memory) > MOST_MEGABYTES_OF_GROWTH:
        found.append(f"memory grew from {min(memory):.1f} to {max(memory):.1f} MB")
    return found


def tests_pass() -> bool:
    """Whether the tests of the store pass."""
    print("running the tests of the store", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pytest", "tests/teacher/test_store.py", "-q", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=measure.ROOT, stdout=sys.stderr).returncode == 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the table and whether it is what is required; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small stores and few batches")
    parser.add_argument("--sentences", nargs="+", type=int, help="sizes of the stores")
    parser.add_argument("--per-shard", type=int, help="sentences a shard (as a capture has it by default)")
    parser.add_argument("--directory", type=Path, help="where the stores are made")
    parser.add_argument(
        "--no-tests", action="store_true", help="do not run the tests first; no results are written then"
    )
    parser.add_argument("--output", type=Path, help="folder for the results")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        path, given = options.worker
        print(json.dumps(measure_store(Path(path), Settings(**json.loads(given)))))
        return 0
    measure.set_threads(1)
    result: Dict[str, Any] = {"environment": measure.environment(), "warning": measure.warn_of_load()}
    if not options.no_tests and not tests_pass():
        print("the tests of the store fail: nothing is measured", file=sys.stderr)
        return 1
    sizes = options.sentences or ([1_000, 10_000] if options.quick else [10**5, 10**6, 10**7])
    batches = 200 if options.quick else 10_000
    shapes = [*((size, SMALL) for size in sizes), (min(USUAL_SENTENCES, max(sizes)), USUAL)]
    cells = [Settings(size, *shape, options.per_shard, batches) for size, shape in shapes]
    result["rows"] = measure_all(cells, options.directory)
    result["failures"] = failures(result["rows"])
    print(f"{measure.environment_line(result['environment'])}.\n\n{table(result['rows'])}\n")
    print("\n".join(result["failures"]) or "All that is required holds.")
    if options.no_tests and options.output:
        print("no results are written, as the tests were not run", file=sys.stderr)
    elif options.output:
        measure.write_json(measure.result_path("store_scale", ".json", options.output), result)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
