"""
What teachers cost: the wall time of an epoch of distilled training over that of the same student without teachers.

    python -m benchmarks.distillation_cost --corpus FOLDER [--languages en fr] [--quick] [--output FOLDER]

FOLDER has LANGUAGE/train.conllu, of a real treebank for figures that mean something; default is fixtures/upos. All
students are trained by AllenNLP's trainer as `allennlp train` makes it from training_configs/, epoch by epoch in turns,
the baseline twice, so that the table shows how much is noise. The teachers are captured before; how good they are makes
no difference to the time.
"""

import argparse
import itertools
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

import _jsonnet
from allennlp.commands.train import TrainModel
from allennlp.common import Params
from allennlp.common.logging import AllenNlpLogger
from allennlp.common.util import prepare_environment
from allennlp.data import Vocabulary
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.models import Archive, Model

import structkd_plugin  # noqa: F401 (its repairs of AllenNLP, its components)
from benchmarks import measure
from structkd_plugin.teacher.capture import Source, capture
from structkd_plugin.teacher.sources.structkd_archive import StructkdArchiveTeacher

ROOT = Path(__file__).resolve().parents[1]
K = 10
OBJECTIVES: Dict[str, Optional[Dict[str, Any]]] = {
    "baseline": None,
    "baseline again": None,
    "emission": {"type": "emission"},
    "posterior": {"type": "posterior"},
    f"Top-K, K = {K}": {"type": "k_best", "k": K},
    f"weighted Top-K, K = {K}": {"type": "k_best", "k": K, "weighted": True},
    f"weighted Top-K, K = {K}, from the store": {"type": "k_best", "k": K, "weighted": True, "labellings": "legal"},
    "cross_entropy": {"type": "cross_entropy"},
}
# Each direction of the students' BiLSTM: that of training_configs/, and the usual one.
HIDDEN_SIZES = (48, 256)


class Epoch(NamedTuple):
    """Seconds of one epoch, and how many of them went where teachers can be seen at work."""

    all: float
    look_up: float  # what the loader of teachers adds: finding, checking, padding
    loss: float  # the forward pass of the loss: CRF, teachers' side of the objective, the objective


class Student:
    """A training that is run epoch by epoch, with clocks in it."""

    def __init__(self, params: Params, folder: str) -> None:
        prepare_environment(params)
        self._trainer: Any = TrainModel.from_params(
            params=params, serialization_dir=folder, local_rank=0, batch_weight_key=""
        ).trainer
        for callback in self._trainer._callbacks:
            callback.on_start(self._trainer, is_primary=True)
        self._seconds = {"look_up": 0.0, "loss": 0.0}
        model = self._trainer.model
        model._loss = self._timed("loss", model._loss)
        for loader in _chain_of(self._trainer.data_loader):
            if hasattr(loader, "_potentials"):
                loader._potentials = self._timed("look_up", loader._potentials)

    def run_epoch(self, number: int) -> Epoch:
        """Train one epoch; validation is left out."""
        self._seconds.update(look_up=0.0, loss=0.0)
        start = time.perf_counter()
        self._trainer._train_epoch(number)
        return Epoch(time.perf_counter() - start, **self._seconds)

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self._seconds[name] += time.perf_counter() - start

        return timed


def _chain_of(loader: Any) -> Iterator[Any]:
    while loader is not None:
        yield loader
        loader = getattr(loader, "inner", None)


def configuration(
    corpus: Path, languages: Sequence[str], sentences: int, hidden_size: int, objective: Any, stores: Optional[Path]
) -> Params:
    """The configuration of a student, made from training_configs/ as a user would."""
    source = f"""
        (import 'training_configs/baseline.jsonnet') {{
          task:: (import 'training_configs/upos.libsonnet') {{
            corpus:: {json.dumps(str(corpus))},
            languages:: {json.dumps(list(languages))},
            reader+:: {{ sampling: {{ max_per_language: {sentences} }} }},
          }},
          hidden_size:: {hidden_size},
          objective:: {json.dumps(objective)},
          stores:: {json.dumps(stores and str(stores))},
          trainer+: {{ checkpointer: null }},
        }}"""
    evaluated = _jsonnet.evaluate_snippet("student", source, import_callback=_import_from_root)
    params = json.loads(evaluated)
    # Only training is timed.
    for unused in ("validation_data_path", "test_data_path", "evaluate_on_test"):
        params.pop(unused)
    params["trainer"].pop("validation_metric")
    return Params(params)


def _import_from_root(folder: str, path: str) -> Any:
    for place in (Path(folder) / path, ROOT / path):
        if place.is_file():
            return str(place), place.read_bytes()
    raise RuntimeError(f"{path} is not found")


def capture_teachers(corpus: Path, languages: Sequence[str], sentences: int, stores: Path, k_best: int) -> None:
    """A store for each language, by a teacher that was made and not trained."""
    params = configuration(corpus, languages, sentences, HIDDEN_SIZES[0], None, None)
    reader = DatasetReader.from_params(params["dataset_reader"].duplicate())
    instances = list(reader.read({language: f"{corpus}/{language}/train.conllu" for language in languages}))
    vocabulary = Vocabulary.from_params(params["vocabulary"].duplicate(), instances=instances)
    prepare_environment(params)
    model = Model.from_params(params["model"].duplicate(), vocab=vocabulary)
    archive = Archive(model, params, reader, reader, None)
    for language in languages:
        teacher = StructkdArchiveTeacher(archive)
        source = Source(f"{corpus}/{language}/train.conllu", language)
        capture(teacher, [source], str(stores / language), k_best=k_best, quiet=True)


def measure_costs(
    corpus: Path, languages: Sequence[str], sentences: int, rounds: int, hidden_sizes: Sequence[int], threads: int
) -> List[Dict[str, Any]]:
    """Medians over the rounds, and the excess over the mean of the two baselines of each round."""
    measure.set_threads(threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        # Who does not learn from stored labellings has no reason to store them.
        stores = {k_best: Path(folder) / f"stores-{k_best}" for k_best in (0, K)}
        for k_best, path in stores.items():
            capture_teachers(corpus, languages, sentences, path, k_best)
        for hidden_size in hidden_sizes:
            students = {
                name: Student(
                    configuration(corpus, languages, sentences, hidden_size, objective, _store_for(objective, stores)),
                    str(Path(folder) / f"{hidden_size}-{number}"),
                )
                for number, (name, objective) in enumerate(OBJECTIVES.items())
            }
            epochs: Dict[str, List[Epoch]] = {name: [] for name in students}
            # The first round is for warming up. Turns begin with another student each time.
            for number in range(rounds + 1):
                order = list(students)[number % len(students) :] + list(students)[: number % len(students)]
                for name in order:
                    epoch = students[name].run_epoch(number)
                    if number > 0:
                        epochs[name].append(epoch)
                print(f"{hidden_size} units, {threads} thread(s): round {number} of {rounds}", file=sys.stderr)
            rows += list(_rows(epochs, hidden_size, threads))
    return rows


def _store_for(objective: Optional[Dict[str, Any]], stores: Dict[int, Path]) -> Optional[Path]:
    return None if objective is None else stores[K if objective.get("labellings") == "legal" else 0]


def _rows(epochs: Dict[str, List[Epoch]], hidden_size: int, threads: int) -> Iterator[Dict[str, Any]]:
    pairs = zip(epochs["baseline"], epochs["baseline again"], strict=True)
    baselines = [Epoch(*(statistics.mean(values) for values in zip(*pair, strict=True))) for pair in pairs]
    for name, of_student in epochs.items():
        excess = [epoch.all / baseline.all - 1 for epoch, baseline in zip(of_student, baselines, strict=True)]
        more_loss = [epoch.loss - baseline.loss for epoch, baseline in zip(of_student, baselines, strict=True)]
        seconds = statistics.median(epoch.all for epoch in of_student)
        yield {
            "hidden_size": hidden_size,
            "threads": threads,
            "student": name,
            "epoch": seconds,
            "excess": statistics.median(excess),
            "look_up": statistics.median(epoch.look_up for epoch in of_student) / seconds,
            "loss": statistics.median(more_loss) / seconds,
            "excesses": excess,
        }


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """As Markdown."""
    header = ["student", "epoch, s", "more than the baseline", "of it look-up", "of it the loss, forward"]
    cells = [
        [
            f"{row['student']}, {row['hidden_size']} units, {row['threads']} thread{'s' if row['threads'] > 1 else ''}",
            f"{row['epoch']:.2f}",
            *(f"{100 * row[column]:+.1f} %" for column in ("excess", "look_up", "loss")),
        ]
        for row in rows
    ]
    return measure.markdown_table(header, cells)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=ROOT / "fixtures" / "upos", help="LANGUAGE/train.conllu in it")
    parser.add_argument("--languages", nargs="+", default=["en"])
    parser.add_argument("--sentences", type=int, default=1200, help="of each language, at most")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--hidden-sizes", nargs="+", type=int, default=HIDDEN_SIZES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--quick", action="store_true", help="few sentences and rounds")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(argv)
    logging.getLogger("allennlp").setLevel(logging.ERROR)
    AllenNlpLogger.propagate = False  # type: ignore[attr-defined]
    found, warning = measure.environment(), measure.warn_of_load()
    sentences, rounds = (64, 1) if options.quick else (options.sentences, options.rounds)
    rows = list(
        itertools.chain.from_iterable(
            measure_costs(options.corpus.resolve(), options.languages, sentences, rounds, options.hidden_sizes, threads)
            for threads in options.threads
        )
    )
    print(
        f"{measure.environment_line(found)}.\n{options.corpus.name}, {', '.join(options.languages)}: "
        f"{sentences} training sentences of each language at most.\n\n{table(rows)}"
    )
    if options.output:
        result = {
            "environment": found,
            "warning": warning,
            "corpus": options.corpus.name,
            "languages": options.languages,
            "sentences": sentences,
            "rows": rows,
        }
        measure.write_json(measure.result_path("distillation_cost", ".json", options.output), result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
