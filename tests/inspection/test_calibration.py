"""The temperature against a grid, against enumeration, and against the one that data were drawn with."""

import math
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.inspection.calibration import CalibrationSummary, fit_calibration
from structkd_plugin.inspection.labelled_files import reader_of
from structkd_plugin.inspection.temperature import HIGHEST, LOWEST, best_temperature
from structkd_plugin.teacher.calibrated import manifests_of
from structkd_plugin.teacher.capture import Source
from structkd_plugin.teacher.store import TeacherStore

from .synthetic import LABELS, PLAIN, Corpus, random_corpus, write, write_tagged


def fit(store: str, *files: str, **options: Any) -> CalibrationSummary:
    manifests = manifests_of(store)
    sources = [Source(file, "en") for file in files]
    return fit_calibration(TeacherStore.open(store), manifests[0], reader_of(manifests), sources, quiet=True, **options)


def nll(corpus: Corpus, tags: Sequence[Sequence[str]], temperature: float) -> float:
    """Nats a sentence, by enumeration in float64."""
    total = 0.0
    for sentence, gold in zip(corpus.sentences, tags, strict=True):
        found = corpus.enumerated(sentence, temperature)
        path = tuple(LABELS.index(tag) for tag in gold)
        total += float(found.log_partition - found.scores[found.position(path)])
    return total / len(corpus.sentences)


def top_labels(corpus: Corpus, tags: Sequence[Sequence[str]], temperature: float) -> List[Tuple[float, bool]]:
    """Of every word the largest marginal, and whether its label is the gold one."""
    rows = []
    for sentence, gold in zip(corpus.sentences, tags, strict=True):
        for marginals, tag in zip(corpus.enumerated(sentence, temperature).marginals(), gold, strict=True):
            rows.append((float(marginals.max()), LABELS[int(marginals.argmax())] == tag))
    return rows


def inside(rows: List[Tuple[float, bool]], r: int) -> List[Tuple[float, bool]]:
    return [row for row in rows if r / 20 <= row[0] < (r + 1) / 20 or (r == 19 and row[0] >= 1)]


def ece(rows: List[Tuple[float, bool]]) -> float:
    return sum(abs(sum(right - p for p, right in inside(rows, r))) for r in range(20)) / len(rows)


@pytest.mark.parametrize(
    "changes", [{}, PLAIN, {"kind": "log_probabilities", **PLAIN}], ids=["spans", "words", "softmax"]
)
def test_against_enumeration(tmp_path: Path, changes: Any) -> None:
    corpus = random_corpus(40, scale=2.0, **changes)
    # The spans' gold tags have to be well-formed.
    tags = corpus.sampled(2.0, legally=corpus.teacher.label_encoding is not None)
    summary = fit(write(corpus, tmp_path / "store"), write_tagged(tmp_path / "dev", corpus.sentences, tags))
    best = summary.calibration.temperature
    assert summary.nll_before == pytest.approx(nll(corpus, tags, 1.0), rel=1e-6)
    assert summary.nll_after == pytest.approx(nll(corpus, tags, best), rel=1e-6)
    assert summary.ece_before == pytest.approx(ece(top_labels(corpus, tags, 1.0)), abs=1e-6)
    tempered = top_labels(corpus, tags, best)
    assert summary.ece_after == pytest.approx(ece(tempered), abs=1e-6)
    for r, share in enumerate(summary.calibration.reliability):
        in_bin = inside(tempered, r)
        if in_bin:
            assert share == pytest.approx(sum(right for _, right in in_bin) / len(in_bin))
    # No temperature of a grid is better, and close by on either side it is worse.
    assert all(nll(corpus, tags, t) >= summary.nll_after - 1e-9 for t in np.geomspace(LOWEST, HIGHEST, 40))
    assert all(nll(corpus, tags, best * factor) > summary.nll_after for factor in (0.99, 1.01))
    assert (summary.sentences, summary.words) == (40, sum(map(len, tags)))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_recovers_the_temperature_that_tags_were_drawn_with(tmp_path: Path, temperature: float) -> None:
    """Within three standard errors, which are those of the Fisher information of all labellings."""
    corpus = random_corpus(300, seed=3, scale=0.7, **PLAIN)
    information = 0.0
    for sentence in corpus.sentences:
        found = corpus.enumerated(sentence, temperature)
        # d log p / d log temperature is the mean score less that of the labelling, both of tempered potentials.
        deviation = found.scores - found.probabilities @ found.scores
        information += float(found.probabilities @ deviation**2)
    error = information**-0.5
    assert error < 0.1
    tags = corpus.sampled(temperature)
    summary = fit(write(corpus, tmp_path / "store"), write_tagged(tmp_path / "dev", corpus.sentences, tags))
    assert math.log(summary.calibration.temperature) == pytest.approx(math.log(temperature), abs=3 * error)


def test_the_same_in_other_batches(tmp_path: Path) -> None:
    corpus = random_corpus(30)
    dev = write_tagged(tmp_path / "dev", corpus.sentences, corpus.sampled(2.0, legally=True))
    store = write(corpus, tmp_path / "store")
    first, second = fit(store, dev), fit(store, dev, batch_size=7)
    assert first.calibration.temperature == pytest.approx(second.calibration.temperature, rel=1e-4)
    assert fit(store, dev) == first


class TestBestTemperature:
    @pytest.mark.parametrize("minimum", [0.06, 0.7, 1.0, 3.0, 19.0])
    def test_of_a_function_that_is_convex_in_the_inverse(self, minimum: float) -> None:
        found = best_temperature(lambda t: (1 / t - 1 / minimum) ** 2)
        assert found == pytest.approx(minimum, rel=1e-4)

    def test_of_a_function_without_a_minimum(self) -> None:
        assert best_temperature(lambda t: t) == LOWEST
        assert best_temperature(lambda t: -t) == HIGHEST

    def test_of_a_constant(self) -> None:
        assert best_temperature(lambda t: 3.0) == 1.0


def test_a_teacher_that_is_always_right(tmp_path: Path) -> None:
    corpus = random_corpus(10, **PLAIN)
    tags = [corpus.labels_of(corpus.enumerated(sentence).ranked()[0][1]) for sentence in corpus.sentences]
    summary = fit(write(corpus, tmp_path / "store"), write_tagged(tmp_path / "dev", corpus.sentences, tags))
    assert summary.calibration.temperature == LOWEST
    assert "at the end of the range" in str(summary)


def test_forbidden_gold_tags_are_counted_and_left_out(tmp_path: Path) -> None:
    corpus = random_corpus(12, scale=2.0)
    tags = corpus.sampled(1.5, legally=True)
    reader = {"type": "structkd_column"}
    store = write(corpus, tmp_path / "store", reader)
    expected = fit(store, write_tagged(tmp_path / "without", corpus.sentences[1:], tags[1:]))
    tags[0] = ["I-X"] * len(corpus.sentences[0].words)
    found = fit(store, write_tagged(tmp_path / "dev", corpus.sentences, tags))
    assert (found.forbidden, found.sentences) == (1, 11)
    assert found.calibration.temperature == pytest.approx(expected.calibration.temperature, rel=1e-4)
    shown = repr(" ".join(corpus.sentences[0].words))
    assert f"left out: 1 whose gold tags the teacher forbids, the first being {shown}" in str(found)
    all_forbidden = [["I-X"] * len(sentence.words) for sentence in corpus.sentences]
    with pytest.raises(ConfigurationError, match="forbids the gold tags of all 12 sentences"):
        fit(store, write_tagged(tmp_path / "all", corpus.sentences, all_forbidden))


class TestErrors:
    def test_missing_sentences(self, tmp_path: Path) -> None:
        corpus = random_corpus(6)
        tags = corpus.sampled(legally=True)
        dev = write_tagged(tmp_path / "dev", corpus.sentences, tags)
        known = Corpus(corpus.sentences[:4], corpus.tables, corpus.teacher)
        store = write(known, tmp_path / "store")
        with pytest.raises(
            ConfigurationError, match=r"no record of 2 of the 6 .*'w4.* \(en, .*dev:\d+\)\. Capture them: "
        ):
            fit(store, dev)
        summary = fit(store, dev, missing="skip")
        assert (summary.sentences, summary.missing) == (4, 2)
        assert "left out: 2 that the store has not" in str(summary)
        with pytest.raises(ConfigurationError, match="no record of 2 of the 2 "):
            fit(store, write_tagged(tmp_path / "other", corpus.sentences[4:], tags[4:]), missing="skip")

    def test_labels_of_another_teacher(self, tmp_path: Path) -> None:
        corpus = random_corpus(2)
        tags = [["B-Y"] + ["O"] * (len(sentence.words) - 1) for sentence in corpus.sentences]
        store = write(corpus, tmp_path / "store")
        with pytest.raises(
            ConfigurationError, match=r"labels that the teacher of .*store has not: B-Y\. Its labels are O, "
        ):
            fit(store, write_tagged(tmp_path / "dev", corpus.sentences, tags))

    def test_no_gold_tags(self, tmp_path: Path) -> None:
        corpus = random_corpus(2)
        store = write(corpus, tmp_path / "store", {"type": "structkd_plain_text", "pretokenized": True})
        (tmp_path / "dev").write_text("\n".join(" ".join(sentence.words) for sentence in corpus.sentences))
        with pytest.raises(ConfigurationError, match="no gold tags"):
            fit(store, str(tmp_path / "dev"))
