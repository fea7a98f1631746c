"""Against all labellings written out in float64."""

import itertools
import math
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import pytest
import torch

from structkd_plugin.inspection.distributions import MASS_OF
from structkd_plugin.inspection.report import inspect_store

from .synthetic import LABELS, PLAIN, Corpus, k_best_by_enumeration, legal, random_corpus, write

KINDS: Dict[str, Dict[str, Any]] = {
    "spans": {},
    "spans without constraint": {"constraints": None},
    "words": PLAIN,
    "softmax of spans": {"kind": "log_probabilities"},
}


def expected(corpus: Corpus) -> Dict[str, Any]:
    """The figures by definition."""
    entropy, legal_mass, words = 0.0, [], 0
    mass: Dict[int, List[float]] = {k: [] for k in MASS_OF}
    same: Dict[int, int] = {}
    compared: Dict[int, int] = {}
    for sentence in corpus.sentences:
        found = corpus.enumerated(sentence)
        probabilities = dict(zip(map(tuple, found.paths.tolist()), found.probabilities.tolist(), strict=True))
        words += len(sentence.words)
        entropy -= sum(p * math.log(p) for p in probabilities.values())
        of_legal = {y: p for y, p in probabilities.items() if legal(corpus.labels_of(y))}
        legal_mass.append(sum(of_legal.values()))
        decoded = of_legal if corpus.teacher.constraints else probabilities
        ranked = sorted(decoded.items(), key=lambda item: -item[1])
        for k in MASS_OF:
            mass[k].append(sum(p for _, p in ranked[:k]) / sum(decoded.values()))
        for k, (path, _) in enumerate(ranked[1:10], start=2):
            same[k] = same.get(k, 0) + sum(a == b for a, b in zip(ranked[0][0], path, strict=True))
            compared[k] = compared.get(k, 0) + len(path)
    return {
        "entropy_per_word": entropy / words,
        "legal_mass": np.mean(legal_mass) if corpus.teacher.label_encoding else None,
        "k_best_mass": {str(k): np.mean(values) for k, values in mass.items()},
        "agreement_with_best": {str(k): same[k] / compared[k] for k in sorted(same)},
    }


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_against_enumeration(tmp_path: Path, changes: Dict[str, Any]) -> None:
    corpus = random_corpus(30, **changes)
    if corpus.teacher.kind == "log_probabilities":
        for sentence in corpus.sentences:
            sentence.emissions[:] = torch.from_numpy(sentence.emissions).log_softmax(dim=1).numpy()
    inspection = inspect_store(write(corpus, tmp_path / "store"), batch_size=7, quiet=True)
    figures = inspection.figures()["distributions"]
    assert (figures["sentences"], figures["words"]) == (30, sum(len(s.words) for s in corpus.sentences))
    for name, value in expected(corpus).items():
        assert figures[name] == (None if value is None else pytest.approx(value, rel=1e-5)), name
    assert inspection.works


def test_a_teacher_that_is_constrained_everywhere_has_legal_mass_alone(tmp_path: Path) -> None:
    corpus = random_corpus(10, constraints="everywhere")
    for name, row in (("transitions", (0, 2)), ("start_transitions", (2,))):
        corpus.tables[name][row] = -math.inf
    statistics = inspect_store(write(corpus, tmp_path / "store"), quiet=True).distributions
    assert statistics is not None
    assert statistics.legal_mass == pytest.approx(1.0)


class TestStoredLabellings:
    @staticmethod
    def check(tmp_path: Path, corpus: Corpus, best: Optional[Dict[str, Any]] = None) -> Any:
        inspection = inspect_store(write(corpus, tmp_path / "store", best=best), quiet=True)
        assert inspection.distributions is not None
        return inspection, inspection.distributions.stored_labellings

    @pytest.mark.parametrize("k", [3, 12])
    @pytest.mark.parametrize(
        "changes",
        [
            {"k_best_scheme": "BIO"},
            {"k_best_scheme": None},
            {"k_best_scheme": None, **PLAIN},
        ],
        ids=["legal", "of all, though legal ones are decoded", "of words"],
    )
    def test_right_ones(self, tmp_path: Path, k: int, changes: Dict[str, Any]) -> None:
        corpus = random_corpus(20, k_best=k, **changes)
        inspection, labellings = self.check(tmp_path, corpus)
        assert (labellings.sentences, labellings.reordered, labellings.wrong) == (20, 0, 0)
        assert inspection.works

    def test_another_order_of_equal_scores_is_right(self, tmp_path: Path) -> None:
        corpus = random_corpus(4, k_best=2, k_best_scheme="BIO")
        sentence = corpus.sentences[2]
        sentence.emissions[:] = 0
        for table in corpus.tables.values():
            table.zero_()
        tags, scores = k_best_by_enumeration(corpus, sentence, 2)
        inspection, labellings = self.check(tmp_path, corpus, {sentence.key: (tags[:, ::-1], scores)})
        assert (labellings.reordered, labellings.wrong) == (1, 0)
        assert inspection.works
        assert any("1 sentences" in note and "same scores" in note for note in inspection.notes)

    @pytest.mark.parametrize("what", ["tags", "scores", "twice the same", "illegal", "too few"])
    def test_wrong_ones(self, tmp_path: Path, what: str) -> None:
        corpus = random_corpus(9, k_best=2, k_best_scheme="BIO")
        sentence = next(s for s in corpus.sentences if len(s.words) == 3)
        tags, scores = k_best_by_enumeration(corpus, sentence, 2)
        if what == "tags":
            taken = {tuple(tags[:, 0]), tuple(tags[:, 1])}
            paths = itertools.product(range(len(LABELS)), repeat=3)
            tags[:, 1] = next(p for p in paths if p not in taken and legal(corpus.labels_of(p)))
        elif what == "scores":
            scores[1] -= 0.01
        elif what == "twice the same":
            tags[:, 1] = tags[:, 0]
        elif what == "illegal":
            tags[:, 0] = [0, 2, 2]
        else:
            scores[1] = -np.inf
        inspection, labellings = self.check(tmp_path, corpus, {sentence.key: (tags, scores)})
        assert (labellings.wrong, labellings.first_wrong) == (1, sentence.key)
        assert not inspection.works
        assert f"in 1 of 9 sentences, the first being that with key {sentence.key}" in inspection.verdict


def test_a_sentence_without_a_labelling(tmp_path: Path) -> None:
    corpus = random_corpus(5)
    corpus.sentences[3].emissions[0] = -np.inf
    inspection = inspect_store(write(corpus, tmp_path / "store"), quiet=True)
    assert not inspection.works
    assert "In 1 of 5 sentences the teacher gives no labelling that it may decode" in inspection.verdict
    assert corpus.sentences[3].key in inspection.verdict
    del corpus.sentences[3]
    assert inspection.distributions is not None
    assert inspection.distributions.entropy_per_word == pytest.approx(expected(corpus)["entropy_per_word"], rel=1e-5)
