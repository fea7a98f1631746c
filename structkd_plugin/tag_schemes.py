"""
The schemes that write spans as one tag per word, and the ways between them.

A tag is `O`, or a prefix, a hyphen and the span's label: `B-PER`. The prefix says where in its span a word lies:

| scheme | first | inside | last | only word |
|---|---|---|---|---|
| BIO (IOB2) | B | I | I | B |
| IOB1 | I, or B right after a span of the same label | I | I | like first |
| BIOUL | B | I | L | U |
| BIOES | B | I | E | S |
| BMES | B | M | E | S |

Every scheme writes every set of non-overlapping spans, so that converting loses nothing.
"""

from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

OUTSIDE = "O"


class Span(NamedTuple):
    """A labelled stretch of words; `end` is exclusive."""

    label: str
    start: int
    end: int


class Violation(NamedTuple):
    """The first word (index into the sentence) whose tag the scheme does not allow there, and why."""

    word: int
    reason: str


class _Letters(NamedTuple):
    """The prefixes of a scheme by the place of the word in its span."""

    first: str
    inside: str
    last: str
    only: str


_LETTERS: Dict[str, _Letters] = {
    "BIO": _Letters("B", "I", "I", "B"),
    "IOB1": _Letters("I", "I", "I", "I"),  # and B for the first or only word where two spans of a label touch
    "BIOUL": _Letters("B", "I", "L", "U"),
    "BIOES": _Letters("B", "I", "E", "S"),
    "BMES": _Letters("B", "M", "E", "S"),
}

SCHEMES: Tuple[str, ...] = tuple(_LETTERS)
_PREFIXES = {scheme: tuple(sorted({*letters, "B"})) for scheme, letters in _LETTERS.items()}

_OPENS, _CONTINUES, _ENDS, _SINGLE = "B", "IM", "EL", "SU"


def canonical_scheme(name: str) -> str:
    """
    The name of a scheme as used throughout: `IOB2` is `BIO`, and letter case does not matter.

    # Raises

    `ValueError` : if there is no such scheme.
    """
    if name in _LETTERS:
        return name
    scheme = "BIO" if name.upper() == "IOB2" else name.upper()
    if scheme not in _LETTERS:
        raise ValueError(f"unknown scheme {name!r}; choose one of {', '.join(SCHEMES)}")
    return scheme


def split_tag(tag: str, scheme: str) -> Tuple[str, str]:
    """
    A tag's prefix and label: `"B-PER"` as `("B", "PER")`, `"O"` as `("O", "")`.

    # Raises

    `ValueError` : if the tag is none of the scheme's, wherever it stood.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, _, label = tag.partition("-")
    prefixes = _PREFIXES[canonical_scheme(scheme)]
    if prefix not in prefixes or not label:
        expected = ", ".join(f"{prefix}-LABEL" for prefix in prefixes)
        raise ValueError(f"tag {tag!r} is not of the scheme {scheme}, whose tags are O, {expected}")
    return prefix, label


def is_scheme_tag(tag: str) -> bool:
    """Whether any scheme has this tag."""
    prefix, _, label = tag.partition("-")
    return tag == OUTSIDE or (bool(label) and any(prefix in prefixes for prefixes in _PREFIXES.values()))


def first_violation(tags: Sequence[str], scheme: str) -> Optional[Violation]:
    """
    The first place where `tags` do not follow `scheme`, or `None` if they are well-formed.

    # Raises

    `ValueError` : if a tag is none of the scheme's at all.
    """
    mended = repair(tags, scheme)
    for index, (tag, better) in enumerate(zip(tags, mended, strict=True)):
        if tag == better:
            continue
        before = repr(tags[index - 1]) if index else "the sentence's beginning"
        after = repr(tags[index + 1]) if index + 1 < len(tags) else "the sentence's end"
        return Violation(index, f"tag {tag!r} between {before} and {after} breaks the scheme {scheme}")
    return None


def spans_of(tags: Sequence[str], scheme: str) -> List[Span]:
    """
    The spans that well-formed tags write, from left to right.

    # Parameters

    tags : `Sequence[str]`
        One tag per word.
    scheme : `str`
        One of `SCHEMES`.

    # Returns

    `List[Span]`

    # Raises

    `ValueError` : if the tags are not well-formed; `repair` makes them so.
    """
    violation = first_violation(tags, scheme)
    if violation is not None:
        raise ValueError(f"word {violation.word}: {violation.reason}")
    return _lenient_spans(tags, scheme)


def tags_of(spans: Iterable[Span], length: int, scheme: str) -> List[str]:
    """
    The tags that write `spans` over a sentence of `length` words.

    # Raises

    `ValueError` : if spans overlap, are empty, have no label or leave the sentence.
    """
    scheme = canonical_scheme(scheme)
    letters = _LETTERS[scheme]
    tags = [OUTSIDE] * length
    previous: Optional[Span] = None
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if not 0 <= span.start < span.end <= length or not span.label:
            raise ValueError(f"{span} is not a labelled stretch of a sentence of {length} words")
        if previous is not None and span.start < previous.end:
            raise ValueError(f"{span} overlaps {previous}; one tag per word writes no overlapping spans")
        prefixes = [letters.inside] * (span.end - span.start)
        prefixes[0], prefixes[-1] = letters.first, letters.last
        if len(prefixes) == 1:
            prefixes[0] = letters.only
        if scheme == "IOB1" and previous is not None and previous[::2] == (span.label, span.start):
            prefixes[0] = _OPENS
        tags[span.start : span.end] = [f"{prefix}-{span.label}" for prefix in prefixes]
        previous = span
    return tags


def convert(tags: Sequence[str], source: str, target: str) -> List[str]:
    """
    Well-formed tags of the scheme `source`, written in the scheme `target`.

    # Raises

    `ValueError` : if the tags are not well-formed.
    """
    return tags_of(spans_of(tags, source), len(tags), target)


def repair(tags: Sequence[str], scheme: str) -> List[str]:
    """
    Well-formed tags that keep the label of every word, and are `tags` themselves where those are well-formed.

    A span begins at every tag that begins one, and at every tag that continues one where there is none of its
    label to continue; it ends where its label ends, at a tag that ends one, or before the next beginning.

    # Raises

    `ValueError` : if a tag is none of the scheme's, which is no matter of its place and cannot be repaired.
    """
    return tags_of(_lenient_spans(tags, scheme), len(tags), scheme)


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """
    The scheme in which all of `sentences` (tags of a whole file) are written.

    The prefixes decide, and between BIO and IOB1 what spans begin with: only I (unless two of a label touch) in
    IOB1, only B in BIO. Where a file has both, it breaks either scheme and is taken for BIO. So is a file
    without spans. A file whose spans have no inner word reads the same as BIOES and BMES and is taken for BIOES.

    # Raises

    `ValueError` : if no scheme has all the prefixes.
    """
    # prefix ("" where a tag is no prefix and label) -> a tag that has it, to name in the error
    seen: Dict[str, str] = {}
    begins_with_b = begins_with_i = False
    for tags in sentences:
        inside = ""
        for tag in tags:
            prefix, _, label = tag.partition("-")
            if tag != OUTSIDE:
                seen.setdefault(prefix if label else "", tag)
                begins_with_b |= prefix == "B" and label != inside
                begins_with_i |= prefix == "I" and label != inside
            inside = label
    if begins_with_i and not begins_with_b and seen.keys() <= set("BI"):
        return "IOB1"
    for scheme in ("BIO", "BIOES", "BIOUL", "BMES"):
        if seen.keys() <= set(_PREFIXES[scheme]):
            return scheme
    raise ValueError(
        f"no scheme has the tags {', '.join(map(repr, list(seen.values())[:6]))} together; "
        f"the schemes are {', '.join(SCHEMES)}"
    )


def _lenient_spans(tags: Sequence[str], scheme: str) -> List[Span]:
    spans: List[Span] = []
    start, open_label = 0, ""
    for index, tag in enumerate(tags):
        prefix, label = split_tag(tag, scheme)
        if open_label and not (prefix in _CONTINUES + _ENDS and label == open_label):
            spans.append(Span(open_label, start, index))
            open_label = ""
        if prefix == OUTSIDE:
            continue
        if not open_label:
            start, open_label = index, label
        if prefix in _ENDS + _SINGLE:
            spans.append(Span(label, start, index + 1))
            open_label = ""
    if open_label:
        spans.append(Span(open_label, start, len(tags)))
    return spans
