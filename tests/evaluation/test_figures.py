"""Figures from counts against the metrics of training, and by hand."""

from typing import List

import numpy as np
import pytest

from structkd_plugin.evaluation.figures import Figures, totals_by_language
from structkd_plugin.metrics import AccuracyByLanguage, SpanF1ByLanguage
from structkd_plugin.metrics.strict_spans import StrictSpans

from .sentences import counts_of

LANGUAGES = ["en", "de", "en", "nl", "de"]
GOLD = ["B-PER I-PER O", "O B-LOC", "B-LOC O B-PER", "O O", "B-PER B-PER I-PER"]
PREDICTED = ["B-PER I-PER O", "B-LOC B-LOC", "B-LOC O B-LOC", "B-PER O", "B-PER I-PER O"]


def test_accuracy_is_that_of_training() -> None:
    gold, predicted = ([tags.split() for tags in sentences] for sentences in (GOLD, PREDICTED))
    metric = AccuracyByLanguage()
    metric(predicted, gold, LANGUAGES)
    right = [sum(map(str.__eq__, g, p)) for g, p in zip(gold, predicted, strict=True)]
    counts = counts_of(
        "accuracy", [(code, (r, len(tags))) for code, r, tags in zip(LANGUAGES, right, gold, strict=True)]
    )
    figures = Figures.of(counts)
    found = dict(zip(figures.names, figures(totals_by_language(counts)), strict=True))
    assert {f"accuracy/{name}": value for name, value in found.items()} == pytest.approx(metric.get_metric())


def test_f1_is_that_of_training_but_for_what_is_not_defined() -> None:
    gold, predicted = ([tags.split() for tags in sentences] for sentences in (GOLD, PREDICTED))
    metric = SpanF1ByLanguage("BIO")
    metric(predicted, gold, LANGUAGES)
    spans = StrictSpans("BIO")
    rows: List = []
    for code, g, p in zip(LANGUAGES, gold, predicted, strict=True):
        found_gold, found = set(spans(g)), set(spans(p))
        rows.append((code, (len(found_gold & found), len(found), len(found_gold))))
    counts = counts_of("f1", rows)
    figures = Figures.of(counts)
    found = dict(zip(figures.names, figures(totals_by_language(counts)), strict=True))
    assert np.isnan(found.pop("nl"))
    expected = metric.get_metric()
    assert expected["f1/nl"] == 0
    assert found == pytest.approx({name: expected[f"f1/{name}"] for name in found})


def test_nothing_at_all_to_find() -> None:
    figures = Figures("f1", ("de", "en"), (("macro_trained", ("en",)),))
    assert figures.names == ("de", "en", "macro", "macro_trained", "micro")
    # Of two samples, the second has gold spans in English only.
    found = figures(np.array([[[0, 3, 0], [0, 0, 0]], [[0, 1, 0], [1, 1, 1]]]))
    np.testing.assert_allclose(found, [[np.nan] * 5, [np.nan, 1, 1, 1, 2 / 3]])
