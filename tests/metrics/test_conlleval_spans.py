"""ConllevalSpans against seqeval's default mode, which has the same rules, and against what conlleval printed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from structkd_plugin.metrics.conlleval_spans import ConllevalSpans
from structkd_plugin.metrics.strict_spans import StrictSpans
from structkd_plugin.tag_schemes import Span, repair, spans_of
from tests.metrics.sentences import PREFIXES, tags_in

# seqeval knows these prefixes only.
RENAMED = str.maketrans("MLU", "IES")


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_spans_of_any_tags_are_those_of_seqevals_default_mode(scheme, data):
    tags = data.draw(st.lists(tags_in(scheme), max_size=12))
    expected = get_entities([tag[0].translate(RENAMED) + tag[1:] for tag in tags])
    assert ConllevalSpans(scheme)(tags) == [Span(label, start, end + 1) for label, start, end in expected]


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_spans_of_well_formed_tags_are_those_of_the_scheme_and_of_the_strict_convention(scheme, data):
    tags = repair(data.draw(st.lists(tags_in(scheme), max_size=12)), scheme)
    assert ConllevalSpans(scheme)(tags) == spans_of(tags, scheme) == StrictSpans(scheme)(tags)


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_spans_of_a_batch_are_those_of_its_sentences(scheme, data):
    batch = data.draw(st.lists(st.lists(tags_in(scheme), max_size=8), max_size=5))
    spans = ConllevalSpans(scheme)
    lengths = np.array([len(tags) for tags in batch], np.int64)
    found = spans.find(np.array(spans.numbers(tag for tags in batch for tag in tags), np.int64), lengths)
    starts = np.cumsum(lengths) - lengths
    assert [(spans.labels[label], start, end) for start, end, label in zip(*found, strict=True)] == [
        (span.label, begin + span.start, begin + span.end)
        for tags, begin in zip(batch, starts, strict=True)
        for span in ConllevalSpans(scheme)(tags)
    ]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("I-A I-A O", [("A", 0, 2)]),
        ("O I-A B-A", [("A", 1, 2), ("A", 2, 3)]),
        ("B-A I-B I-B", [("A", 0, 1), ("B", 1, 3)]),
        ("I-B B-A I-A I-B", [("B", 0, 1), ("A", 1, 3), ("B", 3, 4)]),
        ("B-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),
    ],
)
def test_every_tagged_word_is_in_a_span(tags, spans):
    assert ConllevalSpans("BIO")(tags.split()) == [Span(*span) for span in spans]


def test_a_tag_of_another_scheme_is_an_error():
    with pytest.raises(ValueError, match="tag 'U-PER' is not of the scheme BIO"):
        ConllevalSpans("BIO")(["O", "U-PER"])
