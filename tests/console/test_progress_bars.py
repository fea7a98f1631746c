"""Bars fit a line."""

import io
from typing import Any

import pytest
from allennlp.common.tqdm import Tqdm

from structkd_plugin.console import progress_bars
from structkd_plugin.console.progress_bars import short_description


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("nll: 2.1, batch_loss: 3.0, loss: 2.5 ||", "nll: 2.1, loss: 2.5 ||"),
        (
            "accuracy/de: 0.95, accuracy/en: 0.93, accuracy/macro: 0.94, accuracy/micro: 0.94, nll: 1.5, loss: 1.5 ||",
            "accuracy/macro: 0.94, nll: 1.5, loss: 1.5 ||",
        ),
        (
            "f1/de: 0.5, f1/macro: 0.5, f1/micro: 0.6, precision/micro: 0.7, recall/micro: 0.5, loss: nan ||",
            "f1/macro: 0.5, loss: nan ||",
        ),
        (
            "nll: 1, objective/posterior: 0.2, objective/k_best: 0.3, objective: 0.25, batch_loss: 1 ||",
            "nll: 1, objective: 0.25 ||",
        ),
        # Other models' metrics, and other bars, are theirs.
        ("precision-overall: 0.5, f1-measure-overall: 0.5 ||", "precision-overall: 0.5, f1-measure-overall: 0.5 ||"),
        ("building vocab", "building vocab"),
        ("a, b ||", "a, b ||"),
        ("", ""),
    ],
)
def test_the_whole_stands_for_its_parts(description: str, shown: str) -> None:
    assert short_description(description) == shown


def test_bars_of_allennlp_count_batches_or_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tqdm, "tqdm", staticmethod(progress_bars._bar))

    def shown(**options: Any) -> str:
        output = io.StringIO()
        bar = Tqdm.tqdm(range(3), file=output, mininterval=0, **options)
        for number in bar:
            bar.set_description(f"accuracy/de: {number}, accuracy/macro: {number} ||", refresh=False)
        return output.getvalue().split("\r")[-1]

    assert "batches/s" in shown()
    assert shown().startswith("accuracy/macro: 2 ||: 100%")
    assert "sentences/s" in shown(desc="loading instances")
    assert "characters/s" in shown(unit=" characters")
