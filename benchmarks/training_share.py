"""
The share of a training step that goes into the CRF and the objectives.

    python -m benchmarks.training_share [--quick] [--threads 1] [--output FOLDER]

The step is cut at the emissions: the loss is computed from a copy that asks for gradients, its backward pass runs at
once down to that copy, and the network's backward pass starts from the gradient found there. The result is the
same step; forward and backward of CRF, objective and loss (teacher's side, averages for the log) lie within one
interval, which is timed. What remains is embedding, encoder, emission layer and optimizer.
"""

import statistics
import sys
import time
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import torch
from allennlp.models import Model

import structkd_plugin.tagger  # noqa: F401
from benchmarks import measure, taggers
from structkd_plugin.objectives import CrossEntropy, KBest, Objective, Posterior
from structkd_plugin.teacher_batch import TeacherBatch, TeacherPotentials

OBJECTIVES: Dict[str, Optional[Objective]] = {
    "none (gold tags alone)": None,
    "posterior": Posterior(),
    "weighted Top-K, K = 10": KBest(10, weighted=True),
    "cross_entropy": CrossEntropy(),
}


class Step(NamedTuple):
    """Seconds of one training step."""

    all: float
    crf: float


class _CutAtEmissions:
    """A model's loss, its backward pass made at once and timed with it."""

    def __init__(self, model: Model) -> None:
        self._loss: Any = model._loss
        self.seconds = 0.0

    def __call__(self, emissions: torch.Tensor, *arguments: Any) -> torch.Tensor:
        start = time.perf_counter()
        cut = emissions.detach().requires_grad_()
        loss = self._loss(cut, *arguments)
        # the tables of the CRF get their gradients here
        loss.backward()
        self.seconds += time.perf_counter() - start
        assert cut.grad is not None
        # the same gradient for the emissions, and nothing else
        return (emissions * cut.grad).sum()


def random_teacher(batch: Dict[str, Any], labels: int, seed: int) -> TeacherBatch:
    """A teacher with potentials from N(0, 1), as a store gives them."""
    draw = torch.Generator().manual_seed(seed)
    sentences, words = batch["tags"].shape
    sizes = ((sentences, words, labels), (labels, labels), (labels,), (labels,))
    emissions, *tables = (torch.randn(*size, generator=draw) for size in sizes)
    expanded = [table.expand(sentences, *table.shape).contiguous() for table in tables]
    return TeacherBatch([TeacherPotentials(emissions, *expanded, torch.ones(sentences))], torch.tensor(0.5))


def measure_steps(model: Model, batches: Sequence[Dict[str, Any]], repetitions: int) -> List[Step]:
    """Steps over all batches; for each batch the one of median length."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    cut = _CutAtEmissions(model)
    model._loss = cut  # type: ignore[assignment]
    model.train()
    medians = []
    for batch in batches:
        steps = []
        for _ in range(repetitions + 1):
            cut.seconds = 0.0
            start = time.perf_counter()
            optimizer.zero_grad()
            model(**batch)["loss"].backward()
            optimizer.step()
            steps.append(Step(time.perf_counter() - start, cut.seconds))
        # the first one is for warming up
        everything = statistics.median(step.all for step in steps[1:])
        medians.append(Step(everything, statistics.median(step.crf for step in steps[1:])))
    return medians


def measure_shares(threads: int, sentences: int, repetitions: int) -> List[Dict[str, Any]]:
    """The share for each objective and number of labels."""
    measure.set_threads(threads)
    rows = []
    for labels, names in taggers.LABELS.items():
        made = taggers.instances(sentences, names)
        vocab = taggers.vocabulary(names)
        batches = taggers.batches(made, vocab)
        for name, objective in OBJECTIVES.items():
            encoding = taggers.ENCODING[labels]
            model = taggers.tagger("structkd_tagger", vocab, label_encoding=encoding, objective=objective)
            given = [
                batch if objective is None else {**batch, "teacher": random_teacher(batch, labels, seed)}
                for seed, batch in enumerate(batches)
            ]
            steps = measure_steps(model, given, repetitions)
            everything, crf = (sum(x) / len(steps) for x in zip(*steps, strict=True))
            rows.append({"threads": threads, "labels": labels, "objective": name, "step": everything, "crf": crf})
    return rows


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """As Markdown."""
    cells = [
        [
            f"{row['objective']}, L = {row['labels']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}",
            measure.milliseconds(row["step"]),
            measure.milliseconds(row["crf"]),
            f"{100 * row['crf'] / row['step']:.1f} %",
        ]
        for row in rows
    ]
    return measure.markdown_table(["objective", "step, ms", "CRF and objective, ms", "share"], cells)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the table; write it where asked."""
    return taggers.run("training_share", __doc__, measure_shares, table, [taggers.USUAL], argv)


if __name__ == "__main__":
    sys.exit(main())
