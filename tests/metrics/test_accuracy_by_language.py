"""AccuracyByLanguage, and what all metrics by language refuse."""

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.metrics import AccuracyByLanguage


def test_accuracy_counts_words():
    metric = AccuracyByLanguage()
    metric([["DET", "NOUN"], ["VERB"]], [["DET", "VERB"], ["VERB"]], ["de", "en"])
    metric([["ADJ", "ADJ"]], [["ADJ", "ADJ"]], ["de"])
    assert metric.get_metric(reset=True) == {
        "accuracy/de": 0.75,
        "accuracy/en": 1.0,
        "accuracy/macro": 0.875,
        "accuracy/micro": 0.8,
    }
    assert metric.get_metric() == {}


def test_sentences_whose_tags_are_numbers_count_the_same():
    metric = AccuracyByLanguage()
    metric.count(np.array([0, 1, 2]), np.array([0, 2, 2]), np.array([2, 0, 1]), ["de", "fr", "en"])
    metric([["ADJ", "ADJ"]], [["ADJ", "ADJ"]], ["de"])
    assert metric.get_metric() == {
        "accuracy/de": 0.75,
        "accuracy/en": 1.0,
        "accuracy/macro": 0.875,
        "accuracy/micro": 0.8,
    }


def test_a_language_without_words_has_no_accuracy():
    metric = AccuracyByLanguage()
    metric([[], ["X"]], [[], ["Y"]], ["de", "en"])
    assert metric.get_metric() == {"accuracy/en": 0.0, "accuracy/macro": 0.0, "accuracy/micro": 0.0}


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (([["X"]], [["X"]], []), "1 sentences were predicted, 1 have gold tags and 0 have a language"),
        (([["X"]], [["X", "Y"]], ["de"]), "a sentence in language 'de' has 2 gold tags but 1 predicted ones"),
        (([["X"]], [["X"]], ["macro"]), "a language cannot be called 'macro'"),
    ],
    ids=["no language", "lengths differ", "name of an average"],
)
def test_what_does_not_fit_is_an_error(batch, message):
    with pytest.raises(ConfigurationError, match=message):
        AccuracyByLanguage()(*batch)
