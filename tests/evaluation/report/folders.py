"""Folders of runs, as trainings and `allennlp score` write them, without a training."""

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch

from structkd_plugin.metrics.reliability import ReliabilityBins

LABELS = ("ADJ", "NOUN", "VERB")


def evaluation(
    shares: Mapping[str, float], trained: Optional[Sequence[str]] = None, seed: int = 0, sentences: int = 40
) -> Dict[str, Any]:
    """
    The JSON of an evaluation by accuracy, all of whose figures follow from the same random words.

    # Parameters

    shares : `Mapping[str, float]`
        By language about how many words are right.
    trained : `Sequence[str]`, optional
        The languages trained on.
    """
    draw = np.random.default_rng(seed)
    languages = sorted(shares)
    counts: List[List[int]] = []
    language_of: List[int] = []
    confusion: Dict[str, Dict[str, int]] = {}
    bins = ReliabilityBins()
    for number, language in enumerate(languages):
        for length in np.random.default_rng(sum(map(ord, language))).integers(1, 25, sentences).tolist():
            right = draw.uniform(size=length) < shares[language]
            counts.append([int(right.sum()), length])
            language_of.append(number)
            bins.add(draw.uniform(0.5, 1, length), right)
            for one in right.tolist():
                gold, other = draw.choice(LABELS, 2, replace=False)
                row = confusion.setdefault(gold, {})
                guess = gold if one else other
                row[guess] = row.get(guess, 0) + 1
    table = np.array(counts)

    def row(which: Any) -> Dict[str, Any]:
        correct, words = table[which].sum(0).tolist()
        return {
            "sentences": int(np.sum(which)),
            "correct": correct,
            "words": words,
            "accuracy": correct / words if words else None,
        }

    of = np.array(language_of)
    by_language = {language: row(of == number) for number, language in enumerate(languages)}
    everything = row(of >= 0)
    macro = sum(found["accuracy"] for found in by_language.values()) / len(by_language)
    lengths = table[:, 1]
    return {
        "system": "x",
        "files": [f"{language}.conllu" for language in languages],
        "metric": "accuracy",
        "convention": None,
        "label_encoding": None,
        "scores": {
            **{f"accuracy/{language}": found["accuracy"] for language, found in by_language.items()},
            "accuracy/macro": macro,
            "accuracy/micro": everything["accuracy"],
        },
        "overall": {**everything, "macro": macro},
        "languages": {
            language: {**found, "zero_shot": None if trained is None else language not in trained, "note": None}
            for language, found in by_language.items()
        },
        "types": {
            gold: {"correct": found.get(gold, 0), "predicted": 9, "gold": sum(found.values()), "f1": 0.5}
            for gold, found in confusion.items()
        },
        "seen": {"by": "words", "seen": row(lengths < 12), "unseen": row(lengths >= 12)},
        "lengths": [
            {"from": 1, "to": 9, **row(lengths < 10)},
            {"from": 10, "to": 19, **row((lengths >= 10) & (lengths < 20))},
            {"from": 20, "to": None, **row(lengths >= 20)},
        ],
        "confusion": [[gold, guess, words] for gold, row in confusion.items() for guess, words in row.items()],
        "calibration": {"token": {"ece": bins.ece, "rows": bins.rows()}, "entity": None},
        "per_sentence": {"languages": languages, "language_of": language_of, "counts": counts},
    }


def write_run(
    path: Path,
    languages: Sequence[str] = ("de", "en"),
    epochs: int = 3,
    evaluated: Optional[Dict[str, Any]] = None,
    test: Optional[Mapping[str, float]] = None,
    **config: Any,
) -> Path:
    """
    A run's folder: configuration, metrics by epoch, parameters, an archive, and an evaluation or test figures if given.
    """
    path.mkdir(parents=True)
    settings = {
        "train_data_path": {language: f"{language}/train.conllu" for language in languages},
        "random_seed": 1,
        "model": {"type": "structkd_tagger", "dropout": 0.3},
        "trainer": {"validation_metric": "+accuracy/macro", "num_epochs": epochs},
        **config,
    }
    (path / "config.json").write_text(json.dumps(settings))
    best = max(epochs - 2, 0)
    for epoch in range(epochs):
        figures = {
            "best_epoch": min(epoch, best),
            "training_duration": f"0:00:{10 * (epoch + 1):02d}.25",
            "training_nll": 20.0 / (epoch + 1),
            "training_objective": 5.0 / (epoch + 1),
            "training_objective/posterior": 3.0 / (epoch + 1),
            "validation_nll": 21.0 / (epoch + 1),
            "validation_accuracy/macro": 0.5 + 0.1 * min(epoch, best),
        }
        (path / f"metrics_epoch_{epoch}.json").write_text(json.dumps(figures))
    metrics: Dict[str, Any] = {
        "best_epoch": best,
        "training_duration": "0:01:02.5",
        "best_validation_accuracy/macro": 0.6,
        **{f"best_validation_accuracy/{language}": 0.6 for language in languages},
        **{f"test_accuracy/{name}": value for name, value in (test or {}).items()},
    }
    (path / "metrics.json").write_text(json.dumps(metrics))
    (path / "model.tar.gz").write_bytes(b"x" * 1_234_567)
    shared = torch.zeros(3, 4)
    torch.save(
        {"a": shared, "b": shared, "c": torch.zeros(5), "steps": torch.zeros(7, dtype=torch.int64)}, path / "best.th"
    )
    if evaluated is not None:
        (path / "evaluation.json").write_text(json.dumps(evaluated))
    return path
