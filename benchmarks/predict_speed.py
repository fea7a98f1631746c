"""
Sentences a second of whole commands: `allennlp tag` against `allennlp predict` with the stock CRF tagger.

    python -m benchmarks.predict_speed [--quick] [--sizes student usual] [--rounds N] [--output FOLDER]

Archives of the same size with the same weights tag the same raw text: stock `crf_tagger` with its predictor
`sentence_tagger`, and `structkd_tagger`. Every command is a process of its own with one thread (two processes of one
thread where it says so), and reads and writes files. Its start-up is how long it takes for one sentence; sentences a
second are those of the rest of the file, over what it takes longer than that. Commands take turns, and numbers are
medians of the rounds. Wall time counts what else the machine does; processor time, of the command and its processes,
does not, and is what to look at on a machine that is not idle.

The stock predictor wants a spaCy model of English with a tagger and a parser; here it gets spaCy's rules alone, which
is all that it uses of it, and faster. It writes the emissions of every word besides its tags; `structkd_tagger` writes
the probabilities of tags and entities.

Before anything is timed the tests of prediction are run, and the tags that all commands write are compared.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import allennlp_models.tagging  # noqa: F401 (registers crf_tagger)
import spacy
import torch
from allennlp.common import Params
from allennlp.models import Model

import structkd_plugin  # noqa: F401
from benchmarks import measure, taggers

SIZES = {"student": taggers.STUDENT, "usual": taggers.USUAL}
LABELS = taggers.LABELS[9]
# How many times faster tagging has to be than the stock command, both in batches of the same size.
TARGET = 10.0
BATCH = ["--batch-size", "64"]
# Added to the emissions of O, that the untrained weights find few entities.
OUTSIDE_BIAS = 1.0


class Contestant(NamedTuple):
    """A command, from archives, the input and the output; and how much of the sentences it gets."""

    command: Callable[[Path, Path, Path], List[str]]
    share: float


def _predict_stock(*more: str) -> Callable[[Path, Path, Path], List[str]]:
    def command(folder: Path, source: Path, target: Path) -> List[str]:
        predictor = [
            "--predictor",
            "sentence_tagger",
            "--predictor-args",
            json.dumps({"language": str(folder / "spacy")}),
        ]
        files = [str(folder / "stock"), str(source.with_suffix(".stock.jsonl")), "--output-file", str(target)]
        return ["predict", *files, "--silent", *predictor, *more]

    return command


def _predict(folder: Path, source: Path, target: Path) -> List[str]:
    return ["predict", str(folder / "ours"), str(source), "--output-file", str(target), "--silent", *BATCH]


def _tag(*more: str) -> Callable[[Path, Path, Path], List[str]]:
    def command(folder: Path, source: Path, target: Path) -> List[str]:
        return ["tag", str(folder / "ours"), str(source), "--output", str(target), "--quiet", *BATCH, *more]

    return command


STOCK = "allennlp predict, crf_tagger"
CONTESTANTS = {
    f"{STOCK}, batches of 1 (its default)": Contestant(_predict_stock(), 0.1),
    f"{STOCK}, batches of 64": Contestant(_predict_stock(*BATCH), 0.1),
    "allennlp predict, structkd_tagger, batches of 64": Contestant(_predict, 0.5),
    "allennlp tag": Contestant(_tag("--output-format", "jsonl"), 1.0),
    "allennlp tag, 2 processes": Contestant(_tag("--output-format", "jsonl", "--processes", "2"), 1.0),
    "allennlp tag, text to columns": Contestant(_tag("--output-format", "conll"), 1.0),
    "allennlp tag, words to columns": Contestant(_tag("--input-format", "words", "--output-format", "conll"), 1.0),
}
BASELINE = f"{STOCK}, batches of 64"


class Timing(NamedTuple):
    """Seconds of a command and all of its processes."""

    wall: float
    cpu: float


def make_archives(folder: Path, size: taggers.Size) -> None:
    """`stock` and `ours` with the same weights, and spaCy's rules for English."""
    vocab = taggers.vocabulary(LABELS)
    shared = {
        "label_encoding": "BIO",
        "text_field_embedder": {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": size.embedding}}},
        "encoder": {
            "type": "lstm",
            "input_size": size.embedding,
            "hidden_size": size.hidden,
            "bidirectional": True,
        },
    }
    reader = {"type": "structkd_column", "scheme": "BIO", "language": "en"}
    configs = {
        "ours": {"dataset_reader": reader, "model": {"type": "structkd_tagger", **shared}},
        "stock": {
            "dataset_reader": {"type": "sequence_tagging"},
            "model": {"type": "crf_tagger", "constrain_crf_decoding": True, **shared},
        },
    }
    weights: Dict[str, torch.Tensor] = {}
    for name, config in configs.items():
        archive = folder / name
        archive.mkdir()
        (archive / "config.json").write_text(json.dumps(config), encoding="utf-8")
        vocab.save_to_files(str(archive / "vocabulary"))
        torch.manual_seed(0)
        model = Model.from_params(Params(json.loads(json.dumps(config["model"]))), vocab=vocab)
        if name == "ours":
            model.emission_layer._module.bias.data[0] += OUTSIDE_BIAS  # type: ignore[union-attr,operator]
            weights = model.state_dict()
        else:
            same = {key.replace("emission_layer.", "tag_projection_layer."): value for key, value in weights.items()}
            model.load_state_dict({**model.state_dict(), **same})
        torch.save(model.state_dict(), archive / "best.th")
    spacy.blank("en").to_disk(folder / "spacy")


def make_text(file: Path, sentences: int) -> None:
    """Sentences of words between blanks, a sentence a line; beside it the same for the stock predictor."""
    draw = Random(0)
    lines = [
        " ".join(f"w{draw.randrange(taggers.WORDS)}" for _ in range(draw.randint(taggers.SHORTEST, taggers.LONGEST)))
        for _ in range(sentences)
    ]
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    stock = "".join(json.dumps({"sentence": line}) + "\n" for line in lines)
    file.with_suffix(".stock.jsonl").write_text(stock, encoding="utf-8")


def timed(arguments: Sequence[str], folder: Path) -> Timing:
    """Run a command of `allennlp` with one thread."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": str(measure.ROOT),
        "ALLENNLP_LOG_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
    }
    (folder / ".allennlp_plugins").write_text("structkd_plugin\n", encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "allennlp", *arguments], cwd=folder, env=environment, capture_output=True, check=False
    )
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stderr.decode(errors='replace')[-3000:]}")
    return Timing(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def tags_in(file: Path) -> List[List[str]]:
    """The tags of the sentences in an output."""
    text = file.read_text(encoding="utf-8")
    if text.startswith("{"):
        return [json.loads(line)["tags"] for line in text.splitlines()]
    return [[row.rsplit("\t", 1)[1] for row in block.split("\n")] for block in text.strip("\n").split("\n\n")]


def measure_size(size_name: str, sentences: int, rounds: int) -> List[Dict[str, Any]]:
    """Start-up and sentences a second of every contestant."""
    found: Dict[str, List[Any]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_archives(folder, SIZES[size_name])
        make_text(folder / "one.txt", 1)
        counts = {name: max(64, int(sentences * contestant.share)) for name, contestant in CONTESTANTS.items()}
        for count in set(counts.values()):
            make_text(folder / f"{count}.txt", count)
        for number in range(rounds):
            names = list(CONTESTANTS) if number % 2 == 0 else list(CONTESTANTS)[::-1]
            tags: Dict[str, List[List[str]]] = {}
            for name in names:
                target = folder / "out"
                command = CONTESTANTS[name].command
                start = timed(command(folder, folder / "one.txt", target), folder)
                whole = timed(command(folder, folder / f"{counts[name]}.txt", target), folder)
                found[name].append((start, whole))
                tags[name] = tags_in(target)[: min(counts.values())]
                print(f"{size_name}, {name}: {start}, {whole}", file=sys.stderr, flush=True)
            _check_same(tags)
    rows = []
    for name, runs in found.items():
        seconds = {
            kind: statistics.median(getattr(whole, kind) - getattr(start, kind) for start, whole in runs)
            for kind in Timing._fields
        }
        rows.append(
            {
                "size": size_name,
                "contestant": name,
                "sentences": counts[name],
                "rounds": rounds,
                "start_up_seconds": statistics.median(start.wall for start, _ in runs),
                "start_up_cpu_seconds": statistics.median(start.cpu for start, _ in runs),
                "sentences_per_second": counts[name] / seconds["wall"],
                "sentences_per_cpu_second": counts[name] / seconds["cpu"],
            }
        )
    stock = next(row for row in rows if row["contestant"] == BASELINE)
    for row in rows:
        row["ratio"] = row["sentences_per_second"] / stock["sentences_per_second"]
        row["cpu_ratio"] = row["sentences_per_cpu_second"] / stock["sentences_per_cpu_second"]
    return rows


def _check_same(tags: Dict[str, List[List[str]]]) -> None:
    """Raise if commands wrote different tags: equally good taggings may be told apart by rounding, no more."""
    first = next(iter(tags.values()))
    for name, others in tags.items():
        different = sum(one != other for one, other in zip(first, others, strict=True))
        if different > len(first) // 500:
            raise RuntimeError(
                f"{name}: the tags of {different} of {len(first)} sentences differ from the stock command's"
            )


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """As Markdown."""
    cells = [
        [
            f"{row['size']}: {row['contestant']}",
            f"{row['start_up_cpu_seconds']:.1f}",
            f"{row['sentences_per_second']:.0f}",
            f"{row['sentences_per_cpu_second']:.0f}",
            f"{row['ratio']:.1f}×",
            f"{row['cpu_ratio']:.1f}×",
        ]
        for row in rows
    ]
    header = ["", "start-up (CPU s)", "sentences/s", "sentences/CPU s", "ratio", "ratio, CPU"]
    return measure.markdown_table(header, cells)


def tests_pass() -> bool:
    """Whether tests/prediction passes."""
    print("running the tests of prediction", file=sys.stderr, flush=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/prediction",
        "-q",
        "-x",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
    ]
    return subprocess.run(command, cwd=measure.ROOT, stdout=sys.stderr, check=False).returncode == 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the tests, then the commands; print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few sentences, one round")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=60_000, help="of `allennlp tag`; slower commands get a tenth")
    parser.add_argument(
        "--no-tests", action="store_true", help="do not run the tests first; no results are written then"
    )
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(argv)
    # Before the tests, which are a load themselves.
    found, warning = measure.environment(("spacy",)), measure.warn_of_load()
    if not options.no_tests and not tests_pass():
        print("the tests of prediction fail: nothing is measured", file=sys.stderr)
        return 1
    rows: List[Dict[str, Any]] = []
    for size in options.sizes:
        rows += measure_size(size, 640 if options.quick else options.sentences, 1 if options.quick else options.rounds)
    print(f"{measure.environment_line(found)}.\n{taggers.describe(*(SIZES[size] for size in options.sizes))}.\n")
    print(f"Ratios are over {BASELINE}; the target of `allennlp tag` is {TARGET:g}×.\n\n{table(rows)}")
    if options.no_tests:
        print("no results are written, as the tests were not run", file=sys.stderr)
    elif options.output:
        result = {"environment": found, "warning": warning, "target": TARGET, "baseline": BASELINE, "rows": rows}
        measure.write_json(measure.result_path("predict_speed", ".json", options.output), result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
