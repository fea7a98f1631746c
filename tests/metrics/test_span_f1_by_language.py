"""SpanF1ByLanguage against seqeval, language by language, and what it says where F1 is not defined."""

import logging

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.metrics import SpanF1ByLanguage, SpanScores
from tests.metrics.sentences import PREFIXES, scored_sentences, seqeval_scores


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_scores_are_exactly_those_of_seqeval(scheme, data):
    predicted, gold, languages = data.draw(scored_sentences(scheme))
    metric = SpanF1ByLanguage(scheme)
    # In two batches, as a trainer would.
    metric(predicted[:2], gold[:2], languages[:2])
    metric(predicted[2:], gold[2:], languages[2:])
    scores = metric.get_metric()
    for language in set(languages):
        kept = [i for i, other in enumerate(languages) if other == language]
        expected = seqeval_scores([predicted[i] for i in kept], [gold[i] for i in kept], scheme)
        assert scores[f"f1/{language}"] == expected["f1"]
    assert {name: scores[f"{name}/micro"] for name in ("f1", "precision", "recall")} == seqeval_scores(
        predicted, gold, scheme
    )


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_sentences_whose_tags_are_numbers_count_the_same(scheme, data):
    predicted, gold, languages = data.draw(scored_sentences(scheme))
    known = data.draw(st.permutations(sorted({tag for tags in predicted + gold for tag in tags})))
    by_number, by_tag = SpanF1ByLanguage(scheme, known), SpanF1ByLanguage(scheme)
    by_tag(predicted, gold, languages)
    by_number.count(
        *(np.array([known.index(tag) for tags in side for tag in tags], np.int64) for side in (predicted, gold)),
        np.array([len(tags) for tags in gold]),
        languages,
    )
    assert by_number.scores_by_label() == by_tag.scores_by_label()
    # Sentences that are given as strings count on.
    for metric in (by_number, by_tag):
        metric(gold, predicted, languages)
    assert by_number.get_metric(reset=True) == by_tag.get_metric(reset=True)


def test_macro_is_the_mean_over_languages_whatever_their_size():
    metric = SpanF1ByLanguage("BIO")
    metric([["B-PER", "O"]], [["B-PER", "O"]], ["de"])
    metric([["O", "B-LOC"]] * 3, [["B-LOC", "O"]] * 3, ["en"] * 3)
    assert metric.get_metric() == {
        "f1/de": 1.0,
        "f1/en": 0.0,
        "f1/macro": 0.5,
        "f1/micro": 0.25,
        "precision/micro": 0.25,
        "recall/micro": 0.25,
    }


def test_a_language_without_gold_spans_is_left_out_of_the_macro_average_and_explained_once(caplog):
    metric = SpanF1ByLanguage("BIO")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            metric([["B-PER"], ["O"], ["B-PER"]], [["B-PER"], ["O"], ["O"]], ["de", "en", "fr"])
            scores = metric.get_metric(reset=True)
    assert scores == {
        "f1/de": 1.0,
        "f1/en": 0.0,
        "f1/fr": 0.0,
        "f1/macro": 1.0,
        "f1/micro": pytest.approx(2 / 3),
        "precision/micro": 0.5,
        "recall/micro": 1.0,
    }
    assert [record.getMessage() for record in caplog.records] == [
        f"language '{code}' has no spans in its gold tags: f1/{code} is 0 whatever is predicted, "
        "and f1/macro leaves the language out"
        for code in ("en", "fr")
    ]


def test_a_running_score_is_not_explained(caplog):
    metric = SpanF1ByLanguage("BIO")
    metric([["O"]], [["O"]], ["en"])
    assert metric.get_metric()["f1/macro"] == 0.0
    assert not caplog.records


def test_only_a_reset_forgets():
    metric = SpanF1ByLanguage("BIO")
    assert metric.get_metric() == {}
    metric([["B-PER"]], [["B-PER"]], ["de"])
    assert metric.get_metric() == metric.get_metric(reset=True) != {}
    assert metric.get_metric() == metric.get_metric(reset=True) == {}


def test_scores_by_label():
    metric = SpanF1ByLanguage("BIOUL")
    metric([["U-PER", "O", "U-LOC"]], [["U-PER", "U-ORG", "O"]], ["de"])
    metric([["O"]], [["O"]], ["en"])
    table = metric.scores_by_label()
    assert table == {"de": {"LOC": SpanScores(0, 1, 0), "ORG": SpanScores(0, 0, 1), "PER": SpanScores(1, 1, 1)}}
    assert (table["de"]["PER"].f1, table["de"]["LOC"].precision, table["de"]["ORG"].recall) == (1.0, 0.0, 0.0)


def test_an_unknown_scheme_is_an_error():
    with pytest.raises(ConfigurationError, match="unknown scheme 'BIOX'; choose one of BIO"):
        SpanF1ByLanguage("BIOX")


def test_a_tag_outside_the_scheme_names_the_language():
    with pytest.raises(ConfigurationError, match="language 'de' cannot be scored: tag 'NOUN' is not of the scheme BIO"):
        SpanF1ByLanguage("BIO")([["O"]], [["NOUN"]], ["de"])
