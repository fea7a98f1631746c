"""Constraints against AllenNLP's own tables and against what well-formed spans can be."""

import itertools

import pytest
import torch
from allennlp.modules.conditional_random_field import allowed_transitions

from structkd_plugin.crf.constraints import SCHEMES, chain_constraints
from structkd_plugin.tag_schemes import Span, tags_of

LETTERS = {"BIO": "BI", "IOB1": "BI", "BIOUL": "BILU", "BIOES": "BIES", "BMES": "BMES"}


def labels_of(scheme, kinds=("X", "Y")):
    return ["O", *(f"{letter}-{kind}" for kind in kinds for letter in LETTERS[scheme])]


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOUL", "BMES"])
def test_tables_are_those_of_allennlp(scheme):
    labels = labels_of(scheme)
    if scheme == "BMES":
        labels.remove("O")  # AllenNLP's BMES, made for segmentation, has no O
    ours = chain_constraints(labels, scheme)
    theirs = set(allowed_transitions(scheme, dict(enumerate(labels))))
    size = len(labels)
    for i, j in itertools.product(range(size), repeat=2):
        assert bool(ours.transitions[i, j]) == ((i, j) in theirs), (labels[i], labels[j])
    for j in range(size):
        assert bool(ours.start[j]) == ((size, j) in theirs), labels[j]
        assert bool(ours.end[j]) == ((j, size + 1) in theirs), labels[j]


def all_span_sets(length, kinds):
    """Every set of spans that do not overlap in a sentence of `length` words."""

    def extend(position):
        if position >= length:
            yield ()
            return
        for rest in extend(position + 1):
            yield rest
        for end in range(position + 1, length + 1):
            for kind in kinds:
                for rest in extend(end):
                    yield (Span(kind, position, end), *rest)

    return list(extend(0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_allowed_sequences_are_exactly_those_that_spans_can_have(scheme):
    labels = labels_of(scheme)
    constraints = chain_constraints(labels, scheme)
    for length in (1, 2, 3):
        written = {tuple(tags_of(list(spans), length, scheme)) for spans in all_span_sets(length, ("X", "Y"))}
        allowed = {
            tuple(labels[i] for i in path)
            for path in itertools.product(range(len(labels)), repeat=length)
            if constraints.start[path[0]]
            and constraints.end[path[-1]]
            and all(constraints.transitions[i, j] for i, j in itertools.pairwise(path))
        }
        assert allowed == written


def test_labels_of_another_encoding_are_refused():
    with pytest.raises(ValueError, match=r"label 'I-X' is not of the encoding BMES.*declare"):
        chain_constraints(["O", "B-X", "I-X"], "BMES")
    with pytest.raises(ValueError, match="label 'NOUN' is not of the encoding BIO"):
        chain_constraints(["NOUN"], "BIO")
    with pytest.raises(ValueError, match="unknown label encoding 'BILOU'; choose one of BIO"):
        chain_constraints(["O"], "BILOU")


def test_tables_are_boolean():
    constraints = chain_constraints(["O", "B-X", "I-X"], "BIO")
    assert {table.dtype for table in constraints} == {torch.bool}
