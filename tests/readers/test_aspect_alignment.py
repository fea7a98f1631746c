import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.readers.aspect_alignment import AspectTerm, aligned_spans
from structkd_plugin.tag_schemes import Span, tags_of
from structkd_plugin.tokenization import text_words

TEXT = "The fish tacos and the half-price wine list: fish!"


def term(text, start=None):
    start = TEXT.index(text) if start is None else start
    return AspectTerm(text, start, start + len(text), line=7)


def aligned(*terms):
    words = text_words(TEXT, "und")
    spans, changes = aligned_spans(TEXT, words, terms, "A")
    return [" ".join(word.text for word in words[span.start : span.end]) for span in spans], [c.reason for c in changes]


@pytest.mark.parametrize(
    ("terms", "spans", "changes"),
    [
        ([term("wine list"), term("fish tacos")], ["fish tacos", "wine list"], []),
        ([term("wine list"), term("wine list")], ["wine list"], []),
        ([term("aco")], ["tacos"], ["the target 'aco' is a part of 'tacos'"]),
        ([term("rice w")], ["price wine"], ["the target 'rice w' is a part of 'price wine'"]),
        ([term("wine", 30)], ["wine"], ["the target 'wine' is not at 30-34 but at 34"]),
        ([term("fish", 30)], ["fish"], ["the target 'fish' is not at 30-34 but at 45"]),
        ([term("wine\tlist", 34)], ["wine list"], []),
        ([term("fish", 4), term("fish tacos")], ["fish tacos"], ["the target 'fish' overlaps 'fish tacos'"]),
        ([term("tacos"), term("fish"), term("fish", 45)], ["fish", "tacos", "fish"], []),
    ],
    ids=["plain", "twice", "inside", "across", "moved", "nearest", "white-space", "overlap", "touching"],
)
def test_terms_become_spans_of_words(terms, spans, changes):
    assert aligned(*terms) == (spans, changes)


@pytest.mark.parametrize("start", [4, -5, 400])
def test_a_target_that_the_sentence_does_not_have_is_refused(start):
    with pytest.raises(ValueError, match="the target 'soup' is nowhere in the sentence 'The fish") as error:
        aligned(term("soup", start))
    assert error.value.args[1] == 7


def test_a_target_of_white_space_is_refused():
    with pytest.raises(ValueError, match="the target ' ' has no words"):
        aligned(term(" "))


@settings(deadline=None)
@given(st.text("ab, .", min_size=1, max_size=30), st.data())
def test_every_stretch_of_a_text_is_covered_by_spans_that_a_scheme_can_write(text, data):
    words = text_words(text, "und")
    terms = []
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        if text[start:end].strip():
            terms.append(AspectTerm(text[start:end], start, end, 1))
    spans, changes = aligned_spans(text, words, terms, "A")
    assert "O" in [*tags_of(spans, len(words), "BIO"), "O"]
    for marked in terms:
        inside = [i for i, word in enumerate(words) if word.start < marked.end and marked.start < word.end]
        assert any(span.start <= i < span.end for span in spans for i in inside)
    if not changes:
        assert set(spans) == {
            Span("A", min(inside), max(inside) + 1)
            for inside in (
                [i for i, word in enumerate(words) if word.start < marked.end and marked.start < word.end]
                for marked in terms
            )
        }
