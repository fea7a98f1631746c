"""Every figure of an evaluation against seqeval, the metrics of a training, or plain counting."""

import json
import time
import tracemalloc
import warnings
from collections import Counter
from typing import List

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score

import structkd_plugin.evaluation.evaluation as module
from structkd_plugin.evaluation.evaluation import evaluate
from structkd_plugin.evaluation.sentence_counts import metric_of
from structkd_plugin.evaluation.tagged_sentence import TaggedSentence
from structkd_plugin.metrics import AccuracyByLanguage, SpanF1ByLanguage
from structkd_plugin.metrics.conlleval_spans import ConllevalSpans
from structkd_plugin.metrics.strict_spans import StrictSpans
from structkd_plugin.prediction.tagging import PredictedEntity
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.tag_schemes import first_violation
from tests.evaluation.tagged import UPOS, many, tagged, tagged_sentences
from tests.metrics.sentences import PREFIXES, SEQEVAL_SCHEMES

FINDERS = {"strict": StrictSpans, "conlleval": ConllevalSpans}


def columns(sentences: List[TaggedSentence]):
    return (
        [list(one.tags) for one in sentences],
        [list(one.gold.tags or ()) for one in sentences],
        [one.gold.language for one in sentences],
    )


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_strict_is_what_allennlp_evaluate_and_seqeval_say(scheme, data):
    sentences = data.draw(tagged_sentences(scheme))
    metric = SpanF1ByLanguage(scheme)
    metric(*columns(sentences))
    evaluation = evaluate(sentences, scheme)
    assert evaluation.scores == metric.get_metric()
    predicted, gold, _ = columns(sentences)
    if scheme == "BMES":
        predicted, gold = (
            [["I" + tag[1:] if tag[0] == "M" else tag for tag in tags] for tags in side] for side in (predicted, gold)
        )
    options = {"mode": "strict", "scheme": SEQEVAL_SCHEMES[scheme], "zero_division": 0}
    report = quietly(classification_report, gold, predicted, output_dict=True, **options) if evaluation.types else {}
    for label, score in evaluation.types.items():
        assert (score.precision or 0, score.recall or 0, score.value or 0) == pytest.approx(
            tuple(report[label][name] for name in ("precision", "recall", "f1-score"))
        )
        assert score.counts[2] == report[label]["support"]


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_conlleval_is_what_seqeval_says_without_strict(scheme, data):
    sentences = data.draw(tagged_sentences(scheme))
    predicted, gold, _ = columns(sentences)
    scores = evaluate(sentences, scheme, convention="conlleval").scores
    for name, function in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert scores[f"{name}/micro"] == pytest.approx(quietly(function, gold, predicted, zero_division=0))


@settings(max_examples=30, deadline=None)
@given(tagged_sentences(None))
def test_accuracy_is_what_allennlp_evaluate_says(sentences):
    metric = AccuracyByLanguage()
    metric(*columns(sentences))
    evaluation = evaluate(sentences, None)
    assert evaluation.scores == metric.get_metric()
    pairs = Counter(pair for one in sentences for pair in zip(one.gold.tags, one.tags, strict=True))
    assert {(gold, guess): number for gold, guess, number in evaluation.confusion} == pairs
    for label in UPOS:
        counts = [
            pairs[label, label],
            sum(n for (_, guess), n in pairs.items() if guess == label),
            sum(n for (gold, _), n in pairs.items() if gold == label),
        ]
        if any(counts):
            assert list(evaluation.types[label].counts) == counts
        else:
            assert label not in evaluation.types
    assert evaluation.tag_accuracy == evaluation.scores["accuracy/micro"]


@pytest.mark.parametrize("convention", FINDERS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_counts_of_sentences_and_all_that_adds_up_from_them(convention, data):
    sentences = data.draw(tagged_sentences("BIO"))
    evaluation = evaluate(sentences, "BIO", convention=convention)
    spans = [[set(FINDERS[convention]("BIO")(tags)) for tags in (one.tags, one.gold.tags)] for one in sentences]
    expected = [[len(mine & truth), len(mine), len(truth)] for mine, truth in spans]
    counts = evaluation.sentence_counts
    assert counts.counts.tolist() == expected
    assert [counts.languages[i] for i in counts.language_of] == [one.gold.language for one in sentences]
    totals = np.sum(expected, axis=0)
    assert evaluation.scores["f1/micro"] == pytest.approx(float(metric_of("f1", totals)))
    # Every table is of the same spans.
    assert (
        sum(np.array(score.counts) for score in evaluation.types.values()) == pytest.approx(totals) or not totals.any()
    )
    assert sum(np.array(one.group.score.counts) for one in evaluation.lengths) == pytest.approx(totals)
    assert sum(one.group.words for one in evaluation.lengths) == sum(len(one.tags) for one in sentences)
    assert sum(n for gold, guess, n in evaluation.confusion if gold == guess) == totals[0]
    assert sum(n for _, guess, n in evaluation.confusion if guess != "O") == totals[1]
    assert sum(n for gold, _, n in evaluation.confusion if gold != "O") == totals[2]
    assert evaluation.span_errors is not None
    assert evaluation.span_errors["right"] == totals[0]
    assert evaluation.ill_formed == {
        "predicted": sum(first_violation(one.tags, "BIO") is not None for one in sentences),
        "gold": sum(first_violation(one.gold.tags, "BIO") is not None for one in sentences),
    }


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_ill_formed_is_what_breaks_the_scheme(scheme, data):
    sentences = data.draw(tagged_sentences(scheme))
    assert evaluate(sentences, scheme, convention="conlleval").ill_formed == {
        "predicted": sum(first_violation(one.tags, scheme) is not None for one in sentences),
        "gold": sum(first_violation(one.gold.tags, scheme) is not None for one in sentences),
    }


@settings(max_examples=30, deadline=None)
@given(tagged_sentences("BIO"), st.sets(st.sampled_from("abcdef")))
def test_seen_and_unseen_by_words(sentences, known):
    evaluation = evaluate(sentences, "BIO", known_words=known)
    expected = {True: [0, 0, 0], False: [0, 0, 0]}
    for one in sentences:
        guesses, truths = (set(StrictSpans("BIO")(tags)) for tags in (one.tags, one.gold.tags))
        for column, spans in enumerate((guesses & truths, guesses, truths)):
            for span in spans:
                expected[set(one.gold.words[span.start : span.end]) <= known][column] += 1
    assert evaluation.seen is not None
    assert {seen: list(score.counts) for seen, score in evaluation.seen.items()} == expected
    assert evaluation.seen_by == "words"


def test_seen_and_unseen_by_entities_and_by_words_of_accuracy():
    words = ["Ada", "Ada", "Byron", "x"]
    sentence = tagged(["B-PER", "B-PER", "I-PER", "O"], ["B-PER", "B-PER", "O", "O"], words=words)
    evaluation = evaluate([sentence], "BIO", known_words={"Ada"}, known_entities={("Ada",)})
    assert evaluation.to_json()["seen"] == {
        "by": "entities",
        # Both predicted spans are `Ada`, of which only the first is right.
        "seen": {"correct": 1, "predicted": 2, "gold": 1, "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)},
        "unseen": {"correct": 0, "predicted": 0, "gold": 1, "precision": None, "recall": 0.0, "f1": 0.0},
    }
    evaluation = evaluate([tagged(["A", "B", "C", "D"], ["A", "B", "X", "D"], words=words)], None, known_words={"x"})
    assert evaluation.to_json()["seen"] == {
        "by": "words",
        "seen": {"correct": 1, "words": 1, "accuracy": 1.0},
        "unseen": {"correct": 2, "words": 3, "accuracy": pytest.approx(2 / 3)},
    }
    assert evaluate([sentence], "BIO").to_json()["seen"] is None


def test_calibration():
    sentences = [
        tagged(["A", "B"], ["A", "A"])._replace(tag_probabilities=(0.9, 0.8)),
        tagged(["A"], ["A"], "de")._replace(tag_probabilities=(0.7,)),
        tagged(["A"], ["A"], "de"),
    ]
    calibration = evaluate(sentences, None).calibration
    assert calibration is not None
    token = calibration["token"]
    assert calibration["entity"] is None
    assert token["counted"] == 3
    assert token["ece"] == pytest.approx((0.1 + 0.8 + 0.3) / 3)
    assert token["languages"] == {"de": pytest.approx(0.3), "en": pytest.approx((0.1 + 0.8) / 2)}
    assert [row["right"] for row in token["rows"]] == [1.0, 0.0, 1.0]
    assert "calibration is of the 2 of 3 sentences that have probabilities" in evaluate(sentences, None).notes
    assert evaluate(sentences[2:], None).calibration is None


def test_calibration_of_entities():
    sentence = tagged(["O", "B-PER", "I-PER", "B-LOC"], ["O", "B-PER", "I-PER", "B-PER"])._replace(
        entities=(PredictedEntity("PER", 1, 3, 0.6), PredictedEntity("PER", 3, 4, 0.9))
    )
    calibration = evaluate([tagged(["O"], ["O"]), sentence], "BIO").calibration
    assert calibration is not None
    assert calibration["token"] is None
    assert calibration["entity"]["counted"] == 2
    assert calibration["entity"]["ece"] == pytest.approx((0.4 + 0.9) / 2)


def test_lengths():
    sentences = [tagged(["A"] * length, ["A"] * length) for length in (1, 5, 6, 10, 11, 20, 21, 40, 41, 90)]
    lengths = evaluate(sentences, None).to_json()["lengths"]
    assert [(row["from"], row["to"], row["sentences"]) for row in lengths] == [
        (1, 5, 2),
        (6, 10, 2),
        (11, 20, 2),
        (21, 40, 2),
        (41, None, 2),
    ]


def test_trained_and_zero_shot_languages_apart():
    sentences = [
        tagged(["A", "B"], ["A", "B"], "en"),
        tagged(["A", "B", "A"], ["A", "A", "A"], "de"),
        tagged(["A"], ["B"], "nl"),
    ]
    evaluation = evaluate(sentences, None, trained_languages=frozenset({"en", "de", "fr"}))
    figures = evaluation.to_json()
    assert {language: row["zero_shot"] for language, row in figures["languages"].items()} == {
        "de": False,
        "en": False,
        "nl": True,
    }
    assert figures["groups"] == {
        "trained": {
            "languages": ["de", "en"],
            "macro": pytest.approx(5 / 6),
            "correct": 4,
            "words": 5,
            "accuracy": 0.8,
        },
        "zero_shot": {"languages": ["nl"], "macro": 0.0, "correct": 0, "words": 1, "accuracy": 0.0},
    }
    assert figures["notes"] == ["languages that were trained on but have no sentences here: fr"]
    assert evaluate(sentences, None).to_json()["groups"] is None
    assert evaluate(sentences, None).to_json()["languages"]["nl"]["zero_shot"] is None


def test_a_language_without_gold_spans_is_undefined_and_left_out_of_the_average():
    sentences = [tagged(["B-PER", "O"], ["B-PER", "O"], "en"), tagged(["O", "O"], ["B-PER", "O"], "de")]
    evaluation = evaluate(sentences, "BIO")
    figures = evaluation.to_json()
    row = figures["languages"]["de"]
    assert (row["precision"], row["recall"], row["f1"]) == (0.0, None, None)
    assert row["note"] == "no spans in the gold tags: recall and F1 are undefined, and all 1 predicted are wrong"
    assert figures["overall"]["macro"] == 1.0
    assert "the macro-average leaves out de" in figures["notes"]
    # As the metric of a training has it.
    assert figures["scores"]["f1/de"] == 0.0
    assert figures["scores"]["f1/macro"] == 1.0


@pytest.mark.parametrize(
    ("gold", "predicted", "expected", "note"),
    [
        ("O", "O", (None, None, None), "no spans in the gold tags, and none predicted"),
        ("B-PER", "O", (None, 0.0, 0.0), "no spans were predicted: precision is undefined, and all 1 gold spans"),
        ("O", "B-PER", (0.0, None, None), "no spans in the gold tags: recall and F1 are undefined"),
    ],
)
def test_nothing_to_divide_by(gold, predicted, expected, note):
    figures = evaluate([tagged([gold], [predicted])], "BIO").to_json()
    for row in (figures["overall"], figures["languages"]["en"]):
        assert (row["precision"], row["recall"], row["f1"]) == expected
        assert row["note"].startswith(note)


@pytest.mark.parametrize("encoding", [None, "BIO"])
def test_no_sentences_at_all(encoding):
    figures = evaluate([], encoding).to_json()
    assert figures["scores"] == {}
    assert figures["overall"][figures["metric"]] is None
    assert figures["languages"] == {}
    assert figures["notes"] == ["there are no sentences, so that no figure is defined"]


def test_ill_formed_predictions_differ_by_convention_and_this_is_said():
    sentence = tagged(["B-PER", "I-PER", "O"], ["I-PER", "I-PER", "O"])
    strict, lenient = (evaluate([sentence], "BIO", convention=convention) for convention in FINDERS)
    assert (strict.overall.score.value, lenient.overall.score.value) == (0.0, 1.0)
    assert strict.notes[-1] == (
        "the predicted tags of 1 of 1 sentences are ill-formed BIO; by the convention strict, words whose tags break "
        "the scheme are in no span"
    )
    assert lenient.notes[-1].endswith(
        "conlleval, every tagged word is in a span, whether or not its tag breaks the scheme"
    )


@pytest.mark.parametrize("encoding", [None, "BIO"])
def test_the_figures_are_json_and_the_same_in_windows_of_any_size(encoding, monkeypatch):
    sentences = [
        one._replace(tag_probabilities=tuple((i + j) % 11 / 10 for j in range(len(one.tags))))
        for i, one in enumerate(many(60, encoding))
    ]
    known = {f"w{i}" for i in range(50)}
    texts = set()
    for window in (1, 7, 2048):
        monkeypatch.setattr(module, "_WINDOW", window)
        figures = evaluate(iter(sentences), encoding, known_words=known).to_json()
        for row in figures["calibration"]["token"]["rows"]:
            # A sum in another order.
            row["probability"] = round(row["probability"], 9)
        figures["calibration"]["token"]["ece"] = round(figures["calibration"]["token"]["ece"], 9)
        figures["calibration"]["token"]["probability"] = round(figures["calibration"]["token"]["probability"], 9)
        figures["calibration"]["token"]["languages"] = None
        texts.add(json.dumps(figures, allow_nan=False))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("sentence", "encoding", "message"),
    [
        (TaggedSentence(Sentence(("a",), None, "en", "f", 3), ("A",)), None, "f:3: the sentence has no gold tags"),
        (tagged(["A"], ["A", "B"]), None, "gold:1: the sentence has 1 gold tags, but 2 predicted ones"),
        (tagged(["A"], ["A"])._replace(tag_probabilities=()), None, "gold:1: .* 1 words, but 0 probabilities"),
        (tagged(["A"], ["A"], "macro"), None, "a language cannot be called 'macro'"),
        (tagged(["O"], ["S-PER"]), "BIO", "gold:1: .* tag 'S-PER' is not of the scheme BIO.* name that of the pred"),
        (tagged(["O"], ["O"]), "XYZ", "unknown scheme 'XYZ'"),
    ],
)
def test_what_cannot_be_evaluated(sentence, encoding, message):
    with pytest.raises(ConfigurationError, match=message):
        evaluate([sentence], encoding)


def test_an_unknown_convention():
    with pytest.raises(ConfigurationError, match="there is no convention 'loose'; choose strict or conlleval"):
        evaluate([], "BIO", convention="loose")


def test_ten_thousand_sentences_are_quick():
    sentences = many(500, "BIO") * 20
    started = time.process_time()
    evaluate(iter(sentences), "BIO", known_words={"w1"})
    # About a second; a loop over words in Python that is not meant takes several times as long.
    assert time.process_time() - started < 10


def test_sentences_are_not_kept(monkeypatch):
    monkeypatch.setattr(module, "_WINDOW", 20)

    def peak(number: int) -> int:
        tracemalloc.start()
        evaluate((one for seed in range(number) for one in many(20, None, seed)), None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, lots = peak(4), peak(24)
    # A few integers for each of 400 sentences more, which are themselves of some 4 kB.
    assert lots - few < 400 * 200
