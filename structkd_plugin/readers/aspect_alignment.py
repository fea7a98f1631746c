"""From character offsets of aspect terms to spans of words."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from structkd_plugin.tag_schemes import Span
from structkd_plugin.tokenization import TextWord


class AspectTerm(NamedTuple):
    """A term as an annotator marked it: its text, its offsets in characters (`end` exclusive), its line in the file."""

    text: str
    start: int
    end: int
    line: int


class Misalignment(NamedTuple):
    """Something about a term that words cannot show as it was marked."""

    line: int
    reason: str


def aligned_spans(
    text: str, words: Sequence[TextWord], terms: Sequence[AspectTerm], label: str
) -> Tuple[List[Span], List[Misalignment]]:
    """
    The spans of words that the terms of a text cover.

    A term whose offsets do not hold its text is looked for at the place nearest to them. A term that begins or ends
    inside a word is widened to the whole word. Of terms that then overlap, the one of more words stays, or the first
    of equally many. The same stretch marked twice is one span and no misalignment.

    # Parameters

    text : `str`
        The sentence.
    words : `Sequence[TextWord]`
        Its words.
    terms : `Sequence[AspectTerm]`
        The terms marked in it.
    label : `str`
        The label of every span.

    # Returns

    `Tuple[List[Span], List[Misalignment]]` : spans that do not overlap, from left to right, and everything that
    had to be changed to get them.

    # Raises

    `ValueError` : with the line of the term as second argument, if the text of a term is nowhere in the sentence.
    """
    misalignments: List[Misalignment] = []
    # span -> line of the first term that covers it
    lines: Dict[Span, int] = {}
    for term in terms:
        start, end = term.start, term.end
        if not 0 <= start < end <= len(text) or _plain(text[start:end]) != _plain(term.text):
            found = _nearest(text, term)
            if found is None:
                raise ValueError(f"the target {term.text!r} is nowhere in the sentence {text!r}", term.line)
            misalignments.append(
                Misalignment(term.line, f"the target {term.text!r} is not at {start}-{end} but at {found}")
            )
            start, end = found, found + len(term.text)
        covered = [index for index, word in enumerate(words) if word.start < end and start < word.end]
        if not covered:
            raise ValueError(f"the target {term.text!r} has no words", term.line)
        first, last = covered[0], covered[-1]
        if words[first].start < start or end < words[last].end:
            whole = text[words[first].start : words[last].end]
            misalignments.append(Misalignment(term.line, f"the target {term.text!r} is a part of {whole!r}"))
        lines.setdefault(Span(label, first, last + 1), term.line)
    kept: List[Span] = []
    for span in sorted(lines, key=lambda span: (span.start - span.end, span.start)):
        rival = next((other for other in kept if span.start < other.end and other.start < span.end), None)
        if rival is None:
            kept.append(span)
        else:
            shown, winner = (text[words[one.start].start : words[one.end - 1].end] for one in (span, rival))
            misalignments.append(Misalignment(lines[span], f"the target {shown!r} overlaps {winner!r}"))
    return sorted(kept, key=lambda span: span.start), misalignments


def _nearest(text: str, term: AspectTerm) -> Optional[int]:
    plain_text, plain_term = _plain(text), _plain(term.text)
    starts = [start for start in range(len(text) - len(plain_term) + 1) if plain_text.startswith(plain_term, start)]
    return min(starts, key=lambda start: abs(start - term.start), default=None)


def _plain(text: str) -> str:
    # XML turns line breaks and tabs into spaces in attributes, where targets are, but not in texts.
    return "".join(" " if character.isspace() else character for character in text)
