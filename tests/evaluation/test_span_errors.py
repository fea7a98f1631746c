"""What is wrong with spans, against a search through all ways to compare them."""

from itertools import permutations
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.evaluation.span_errors import KINDS, same_stretch, span_errors
from structkd_plugin.metrics.conlleval_spans import ConllevalSpans
from structkd_plugin.metrics.span_finder import FoundSpans
from structkd_plugin.tag_schemes import Span
from tests.metrics.sentences import tags_in


def found(spans: List[Span]) -> FoundSpans:
    return FoundSpans(
        *(np.array(column, np.int64) for column in ([s.start for s in spans], [s.end for s in spans])),
        np.array([ord(span.label[0]) for span in spans], np.int64),
    )


def most_pairs(first: List[Span], second: List[Span]) -> int:
    """The most pairs of overlapping spans, by trying all."""
    if len(first) > len(second):
        first, second = second, first
    return max(
        sum(a.start < b.end and b.start < a.end for a, b in zip(first, order, strict=False))
        for order in permutations(second, len(first))
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_kinds_are_those_of_a_search(data):
    length = data.draw(st.integers(1, 9))
    tags = st.lists(tags_in("BIO"), min_size=length, max_size=length)
    gold, predicted = (ConllevalSpans("BIO")(data.draw(tags)) for _ in range(2))
    errors = span_errors(found(gold), found(predicted))
    assert tuple(errors) == KINDS
    assert errors["right"] == len(set(gold) & set(predicted))
    stretches = [{span[1:] for span in side} for side in (gold, predicted)]
    assert errors["right"] + errors["wrong_type"] == len(stretches[0] & stretches[1])
    left, left_predicted = (
        [span for span in side if span[1:] not in stretches[0] & stretches[1]] for side in (gold, predicted)
    )
    assert errors["wrong_boundary"] == sum(
        most_pairs([s for s in left if s.label == label], [s for s in left_predicted if s.label == label])
        for label in ("PER", "LOC")
    )
    compared = sum(errors[kind] for kind in ("right", "wrong_type", "wrong_boundary", "wrong_both"))
    assert compared + errors["missed"] == len(gold)
    assert compared + errors["spurious"] == len(predicted)


@pytest.mark.parametrize(
    ("gold", "predicted", "kind"),
    [
        ([Span("A", 0, 2)], [Span("A", 0, 2)], "right"),
        ([Span("A", 0, 2)], [Span("B", 0, 2)], "wrong_type"),
        ([Span("A", 0, 2)], [Span("A", 1, 3)], "wrong_boundary"),
        ([Span("A", 0, 2)], [Span("B", 1, 3)], "wrong_both"),
        ([Span("A", 0, 2)], [], "missed"),
        ([], [Span("A", 0, 2)], "spurious"),
    ],
)
def test_one_of_each_kind(gold, predicted, kind):
    assert span_errors(found(gold), found(predicted)) == {one: int(one == kind) for one in KINDS}


def test_a_span_that_is_split_is_one_wrong_boundary_and_one_spurious():
    errors = span_errors(found([Span("A", 0, 4)]), found([Span("A", 0, 2), Span("A", 2, 4)]))
    assert {kind: number for kind, number in errors.items() if number} == {"wrong_boundary": 1, "spurious": 1}


def test_same_stretch_is_by_both_ends():
    gold, predicted = found([Span("A", 0, 2), Span("A", 3, 4)]), found([Span("B", 0, 1), Span("B", 3, 4)])
    assert [column.tolist() for column in same_stretch(gold, predicted)] == [[1], [1]]
