"""
Speed of whole taggers: `structkd_tagger` without teachers against the `crf_tagger` of allennlp-models.

    python -m benchmarks.tagger_speed [--quick] [--threads 1 2] [--output FOLDER]

Both have the same embeddings, encoder and batches, and take turns batch by batch in one process. Training is forward,
backward and a step of the optimizer; validation is what AllenNLP's evaluator does with a batch: forward without
gradient, which decodes and counts, and the metrics.

Two sizes: the student of the training configurations (without its characters), and a tagger of the usual size, nearly
all of whose time is the LSTM's.

The network alone, with the sum of the emissions as its loss, shows what no CRF however fast can go beyond: the limit of
the ratio.
"""

import sys
from itertools import product
from typing import Any, Callable, Dict, List, Optional, Sequence

import allennlp_models.tagging  # noqa: F401 (registers crf_tagger)
import torch
from allennlp.data import TextFieldTensors
from allennlp.nn.util import get_text_field_mask

import structkd_plugin.tagger  # noqa: F401
from benchmarks import measure, taggers

TARGETS = {"training": 1.5, "validation": 5.0}
SIZES = {"student": taggers.STUDENT, "usual": taggers.USUAL}
OURS, STOCK, NETWORK = "structkd_tagger", "crf_tagger", "network alone"


class Network(torch.nn.Module):
    """Embedding, encoder and emission layer of a tagger."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.embedder, self.encoder, self.layer = model.text_field_embedder, model.encoder, model.emission_layer

    def forward(self, tokens: TextFieldTensors, **others: Any) -> Dict[str, torch.Tensor]:
        """A loss."""
        return {"loss": self.layer(self.encoder(self.embedder(tokens), get_text_field_mask(tokens))).sum()}

    def get_metrics(self, reset: bool = False) -> Dict[str, float]:
        """None."""
        return {}


def training_step(model: Any, batch: Dict[str, Any]) -> Callable[[], None]:
    """A call that makes one step on the batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()

    return step


def validation_step(model: Any, batch: Dict[str, Any]) -> Callable[[], None]:
    """A call that evaluates one batch."""

    def step() -> None:
        model.eval()
        with torch.no_grad():
            output = model(**batch)
            float(output["loss"])
            model.get_metrics()

    return step


def measure_taggers(threads: int, sentences: int, repetitions: int) -> List[Dict[str, Any]]:
    """Sentences a second of both taggers, in training and validation, for each size and number of labels."""
    measure.set_threads(threads)
    rows = []
    for (size_name, size), (labels, names) in product(SIZES.items(), taggers.LABELS.items()):
        made = taggers.instances(sentences, names)
        vocab = taggers.vocabulary(names)
        models: Dict[str, Any] = {
            kind: taggers.tagger(kind, vocab, size, label_encoding=taggers.ENCODING[labels]) for kind in (OURS, STOCK)
        }
        models[NETWORK] = Network(taggers.tagger(OURS, vocab, size))
        for phase, step in (("training", training_step), ("validation", validation_step)):
            seconds = dict.fromkeys(models, 0.0)
            cpu = dict.fromkeys(models, 0.0)
            for batch in taggers.batches(made, vocab):
                calls = {kind: step(model, batch) for kind, model in models.items()}
                estimates = {kind: measure.estimate(call) for kind, call in calls.items()}
                for kind, timing in measure.round_robin(calls, estimates, 600.0, repetitions).items():
                    seconds[kind] += timing.wall
                    cpu[kind] += timing.cpu
            for model in models.values():
                model.get_metrics(reset=True)
            speed = {kind: sentences / seconds[kind] for kind in models}
            rows.append(
                {
                    "threads": threads,
                    "size": size_name,
                    "hidden_size": size.hidden,
                    "embedding_size": size.embedding,
                    "labels": labels,
                    "phase": phase,
                    "sentences_per_second": speed,
                    "sentences_per_cpu_second": {kind: sentences / cpu[kind] for kind in models},
                    "ratio": speed[OURS] / speed[STOCK],
                    "limit": speed[NETWORK] / speed[STOCK],
                    "target": TARGETS[phase],
                }
            )
    return rows


def table(rows: Sequence[Dict[str, Any]]) -> str:
    """As Markdown."""
    cells = []
    for row in rows:
        speed = row["sentences_per_second"]
        cells.append(
            [
                f"{row['phase']}, {row['size']} ({row['hidden_size']} units), L = {row['labels']}, "
                f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}",
                f"{speed[OURS]:.0f}",
                f"{speed[STOCK]:.0f}",
                f"{speed[NETWORK]:.0f}",
                f"{row['ratio']:.2f}×",
                f"{row['limit']:.2f}×",
                f"{row['target']:g}×",
                "reached" if row["ratio"] >= row["target"] else "not reached",
            ]
        )
    return measure.markdown_table(["sentences a second", OURS, STOCK, NETWORK, "ratio", "limit", "target", ""], cells)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the table; write it where asked."""
    return taggers.run("tagger_speed", __doc__, measure_taggers, table, list(SIZES.values()), argv)


if __name__ == "__main__":
    sys.exit(main())
