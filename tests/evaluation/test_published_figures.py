"""Figures that other people's evaluations printed, of small files; docs/evaluation.md says what else was compared."""

import re
from pathlib import Path

import pytest

from structkd_plugin.evaluation.evaluation import evaluate
from structkd_plugin.evaluation.systems import open_system
from structkd_plugin.metrics.conlleval_spans import ConllevalSpans
from structkd_plugin.metrics.strict_spans import StrictSpans
from structkd_plugin.readers.source import Source
from tests.evaluation.tagged import tagged

# Gold tags / predicted tags, and how many phrases were correct, found and in the gold tags: what version 0.2 of the
# package `conlleval` of PyPI counted, a port of the perl script.
CONLLEVAL = [
    ("BIO", "B-A I-A O / B-A I-A O", (1, 1, 1)),
    ("BIO", "B-A I-A / I-A I-A", (1, 1, 1)),
    ("BIO", "B-A I-A / B-A B-A", (0, 2, 1)),
    ("BIO", "B-A I-A / B-A I-B", (0, 2, 1)),
    ("BIO", "B-A I-A O B-B / O I-A O I-B", (1, 2, 2)),
    ("BIO", "I-A I-A B-A / B-A I-A I-A", (0, 1, 2)),
    ("IOB1", "O I-A I-B / O B-A B-B", (2, 2, 2)),
    ("BIO", "B-A I-B I-B / B-A B-B I-B", (2, 2, 2)),
    ("BIO", "B-A I-A I-A / I-B I-A I-A", (0, 2, 1)),
    ("IOB1", "B-A B-A / I-A B-A", (2, 2, 2)),
    ("BIO", "O O / I-A I-A", (0, 1, 0)),
    ("BIO", "B-A O / O O", (0, 0, 1)),
    ("BIOES", "B-A I-A E-A S-B / B-A I-A I-A S-B", (2, 2, 2)),
    ("BIOES", "S-A E-B I-B / S-A B-B E-B", (1, 2, 3)),
    ("BIOES", "E-A E-A / S-A S-A", (2, 2, 2)),
    ("BIOES", "B-A S-A I-A / B-A I-A E-A", (0, 1, 3)),
]


@pytest.mark.parametrize(("scheme", "tags", "counts"), CONLLEVAL)
def test_conlleval(scheme, tags, counts):
    gold, predicted = (side.split() for side in tags.split(" / "))
    evaluation = evaluate([tagged(gold, predicted)], scheme, convention="conlleval")
    assert tuple(evaluation.overall.score.counts) == counts


# With a multi-word token, an empty node and words within a token, 3 of 8 words with another UPOS in the predictions.
GOLD = """\
1-2 Zum _ _ _ _ _ _ _ _
1 zu zu ADP _ _ 3 case _ _
2 dem der DET _ _ 3 det _ _
3 Haus Haus NOUN _ _ 0 root _ _
3.1 leer _ VERB _ _ _ _ _ _
4 . . PUNCT _ _ 3 punct _ _

1 Ich ich PRON _ _ 2 nsubj _ _
2 gehe gehen VERB _ _ 0 root _ _
3-4 ins _ _ _ _ _ _ _ _
3 in in ADP _ _ 2 obl _ _
4 das der DET _ _ 3 det _ _

"""
# Of version 1.2 of conll18_ud_eval.py, precision, recall, F1 and aligned accuracy of UPOS alike.
CONLL_2018_UPOS = 62.50


def test_conll_2018(tmp_path: Path):
    changed = GOLD.replace("der DET", "der PRON").replace("Haus NOUN", "Haus PROPN").replace("_ VERB", "_ NOUN")
    for name, text in (("gold.conllu", GOLD), ("system.conllu", changed)):
        (tmp_path / name).write_text(text.replace(" ", "\t"))
    system = open_system(str(tmp_path / "system.conllu"))
    sentences = list(system.tagged([Source(str(tmp_path / "gold.conllu"), "de")], quiet=True))
    score = evaluate(sentences, system.label_encoding).overall.score
    assert score.counts == (5, 8)
    assert score.value is not None
    assert round(100 * score.value, 2) == CONLL_2018_UPOS


def test_the_table_of_both_conventions_in_the_documentation():
    page = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?:in (\w+): )?`([A-Z -]+)` \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 10
    for scheme, tags, *written in rows:
        for finder, cell in zip((StrictSpans, ConllevalSpans), written, strict=True):
            spans = finder(scheme or "BIO")(tags.split())
            shown = [f"{label} {start + 1}" + (f"–{end}" if end > start + 1 else "") for label, start, end in spans]
            assert cell == (", ".join(shown) or "–"), tags
