"""Every scheme writes every set of spans, and reads back what it wrote."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.tag_schemes import (
    SCHEMES,
    Span,
    canonical_scheme,
    convert,
    detect_scheme,
    first_violation,
    is_scheme_tag,
    repair,
    spans_of,
    split_tag,
    tags_of,
)

PREFIXES = {"BIO": "BI", "IOB1": "BI", "BIOUL": "BIUL", "BIOES": "BIES", "BMES": "BMES"}
schemes = st.sampled_from(SCHEMES)
labels = st.sampled_from(["PER", "ORG", "B-LOC"])


@st.composite
def sentences(draw):
    """A sentence's length, and spans over it: touching ones and single words are common."""
    cuts = sorted(draw(st.sets(st.integers(0, 9))))
    stretches = [pair for pair in itertools.pairwise(cuts) if draw(st.booleans())]
    spans = [Span(draw(labels), start, end) for start, end in stretches]
    return (cuts[-1] if cuts else 0) + draw(st.integers(0, 2)), spans


@st.composite
def any_tags(draw):
    scheme = draw(schemes)
    tag = st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from(PREFIXES[scheme]), labels))
    return scheme, draw(st.lists(tag, max_size=9))


@given(sentences(), schemes)
def test_spans_come_back_from_every_scheme(sentence, scheme):
    length, spans = sentence
    tags = tags_of(spans, length, scheme)
    assert len(tags) == length
    assert first_violation(tags, scheme) is None
    assert spans_of(tags, scheme) == spans


@given(sentences(), schemes, schemes)
def test_converting_there_and_back_changes_nothing(sentence, source, target):
    length, spans = sentence
    tags = tags_of(spans, length, source)
    converted = convert(tags, source, target)
    assert converted == tags_of(spans, length, target)
    assert convert(converted, target, source) == tags


@given(any_tags())
def test_repair_is_idempotent_and_keeps_every_words_label(case):
    scheme, tags = case
    mended = repair(tags, scheme)
    assert first_violation(mended, scheme) is None
    assert repair(mended, scheme) == mended
    assert [split_tag(tag, scheme)[1] for tag in mended] == [split_tag(tag, scheme)[1] for tag in tags]


@given(any_tags())
def test_a_violation_is_reported_exactly_where_repair_has_something_to_do(case):
    scheme, tags = case
    violation = first_violation(tags, scheme)
    assert (violation is None) == (repair(tags, scheme) == tags)
    if violation is not None:
        assert repr(tags[violation.word]) in violation.reason
        with pytest.raises(ValueError, match="breaks the scheme"):
            spans_of(tags, scheme)


@given(sentences(), schemes)
def test_a_detected_scheme_reads_the_same_spans(sentence, scheme):
    length, spans = sentence
    tags = tags_of(spans, length, scheme)
    assert spans_of(tags, detect_scheme([tags])) == spans


# What conlleval's rules say of tags that no writer should have written.
@pytest.mark.parametrize(
    ("scheme", "tags", "mended"),
    [
        ("BIO", "O I-PER I-PER", "O B-PER I-PER"),
        ("BIO", "B-PER I-ORG I-ORG", "B-PER B-ORG I-ORG"),
        ("IOB1", "B-PER I-PER O B-PER", "I-PER I-PER O I-PER"),
        ("IOB1", "I-PER B-PER B-ORG", "I-PER B-PER I-ORG"),
        ("BIOES", "B-PER O I-PER E-PER", "S-PER O B-PER E-PER"),
        ("BIOES", "B-PER I-PER", "B-PER E-PER"),
        ("BIOES", "S-PER E-PER", "S-PER S-PER"),
        ("BIOUL", "U-PER I-PER L-PER", "U-PER B-PER L-PER"),
        ("BMES", "M-PER M-PER E-ORG", "B-PER E-PER S-ORG"),
    ],
)
def test_repair_of(scheme, tags, mended):
    assert repair(tags.split(), scheme) == mended.split()


@pytest.mark.parametrize(
    ("files", "scheme"),
    [
        (["O B-PER I-PER", "I-ORG O"], "BIO"),  # breaks either; BIO is what is repaired
        (["O I-PER B-PER I-PER"], "IOB1"),
        (["B-PER I-PER B-PER"], "BIO"),
        (["I-PER I-ORG"], "IOB1"),
        (["O O", "O"], "BIO"),
        (["B-PER E-PER", "S-ORG"], "BIOES"),
        (["B-PER I-PER E-PER", "S-ORG"], "BIOES"),
        (["U-PER O"], "BIOUL"),
        (["B-PER M-PER E-PER"], "BMES"),
        (["S-PER", "O M-PER"], "BMES"),
    ],
)
def test_detect_scheme_of(files, scheme):
    assert detect_scheme([tags.split() for tags in files]) == scheme


@pytest.mark.parametrize("tags", ["I-PER M-PER", "PER", "B-", "L-PER E-PER", "B", "X-PER"])
def test_tags_of_no_scheme_are_not_detected(tags):
    with pytest.raises(ValueError, match="no scheme has the tags"):
        detect_scheme([tags.split()])


@pytest.mark.parametrize("tag", ["E-PER", "B-", "B", "PER", "o", ""])
def test_a_tag_of_another_scheme_is_refused_even_by_repair(tag):
    with pytest.raises(ValueError, match="is not of the scheme BIO, whose tags are O, B-LABEL, I-LABEL"):
        repair(["O", tag], "BIO")


@pytest.mark.parametrize(
    "spans",
    [
        [Span("PER", 0, 2), Span("ORG", 1, 3)],
        [Span("PER", 1, 1)],
        [Span("PER", 2, 4)],
        [Span("PER", -1, 1)],
        [Span("", 0, 1)],
    ],
    ids=["overlap", "empty", "beyond", "before", "unlabelled"],
)
def test_spans_that_cannot_be_written_are_refused(spans):
    with pytest.raises(ValueError, match=r"overlap|not a labelled stretch"):
        tags_of(spans, 3, "BIO")


@given(any_tags())
def test_a_tag_of_a_scheme_is_known_as_one(case):
    assert all(is_scheme_tag(tag) for tag in case[1])


@pytest.mark.parametrize("tag", ["B", "B-", "X-PER", "PER", "", "BI-PER", "-PER", "NOUN"])
def test_no_scheme_has_the_tag(tag):
    assert not is_scheme_tag(tag)


def test_names_of_schemes():
    assert canonical_scheme("IOB2") == canonical_scheme("iob2") == canonical_scheme("bio") == "BIO"
    assert tags_of([Span("PER", 0, 1), Span("PER", 1, 2)], 2, "iob1") == ["I-PER", "B-PER"]
    with pytest.raises(ValueError, match="unknown scheme 'BILOU'; choose one of BIO, IOB1"):
        canonical_scheme("BILOU")
