"""StrictSpans against seqeval, and against the project's own schemes where tags are well-formed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.scheme import Entities

from structkd_plugin.metrics.strict_spans import StrictSpans
from structkd_plugin.tag_schemes import Span, repair, spans_of
from tests.metrics.sentences import PREFIXES, SEQEVAL_SCHEMES, tags_in


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_spans_of_any_tags_are_those_of_seqeval(scheme, data):
    tags = data.draw(st.lists(tags_in(scheme), max_size=12))
    renamed = ["I" + tag[1:] if tag[0] == "M" else tag for tag in tags]
    expected = Entities([renamed], SEQEVAL_SCHEMES[scheme]).entities[0]
    assert StrictSpans(scheme)(tags) == [Span(entity.tag, entity.start, entity.end) for entity in expected]


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_spans_of_well_formed_tags_are_those_of_the_scheme(scheme, data):
    tags = repair(data.draw(st.lists(tags_in(scheme), max_size=12)), scheme)
    assert StrictSpans(scheme)(tags) == spans_of(tags, scheme)


@pytest.mark.parametrize("scheme", PREFIXES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_spans_of_a_batch_are_those_of_its_sentences(scheme, data):
    batch = data.draw(st.lists(st.lists(tags_in(scheme), max_size=8), max_size=5))
    spans = StrictSpans(scheme)
    lengths = np.array([len(tags) for tags in batch], np.int64)
    found = spans.find(np.array(spans.numbers(tag for tags in batch for tag in tags), np.int64), lengths)
    starts = np.cumsum(lengths) - lengths
    assert [(spans.labels[label], start, end) for start, end, label in zip(*found, strict=True)] == [
        (span.label, begin + span.start, begin + span.end)
        for tags, begin in zip(batch, starts, strict=True)
        for span in StrictSpans(scheme)(tags)
    ]


def test_the_first_numbers_are_those_of_the_tags_given():
    spans = StrictSpans("BIO", ["I-B", "O", "B-A"])
    assert spans.numbers(["B-A", "B-C", "O", "I-B"]) == [2, 3, 1, 0]


def test_a_tag_of_another_scheme_is_an_error():
    with pytest.raises(ValueError, match="tag 'U-PER' is not of the scheme BIO"):
        StrictSpans("BIO")(["O", "U-PER"])


def test_iob2_is_bio():
    assert StrictSpans("IOB2").scheme == "BIO"
