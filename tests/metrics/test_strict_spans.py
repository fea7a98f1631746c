"""StrictSpans against seqeval, and against the project's own schemes where tags are well-formed."""

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


def test_a_tag_of_another_scheme_is_an_error():
    with pytest.raises(ValueError, match="tag 'U-PER' is not of the scheme BIO"):
        StrictSpans("BIO")(["O", "U-PER"])


def test_iob2_is_bio():
    assert StrictSpans("IOB2").scheme == "BIO"
