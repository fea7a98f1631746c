"""
The sentences of raw texts and their words, by rules: no model, nothing to download, for every language.

Words, abbreviations and frequent words of a language are spaCy's, and so is the list of the marks that may end a
sentence in any script. Its sentencizer ends one at every such mark; the rules here tell where the mark is no end.
"""

import re
import unicodedata
from enum import Enum
from itertools import pairwise
from typing import Iterator, List, NamedTuple, Optional

from spacy.pipeline import Sentencizer

from structkd_plugin.tokenization import TextWord, placed_words, split_words, stop_words, word_starts

_ELLIPSIS = "\u2026"
_TERMINATORS = frozenset([*Sentencizer.default_punct_chars, _ELLIPSIS])
_MARKS = "".join(sorted(_TERMINATORS))
# They stand within addresses, numbers and words as well, and end a sentence only before white space.
_NEED_SPACE = frozenset([".", "!", "?", _ELLIPSIS])

_QUOTES = frozenset("\"'\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\uff02\uff07")
_CLOSING_BRACKETS = frozenset(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) == "Pe")
_CLOSERS = "".join(sorted(_QUOTES | _CLOSING_BRACKETS))

# What a sentence goes on with, never begins with.
_CONTINUATIONS = frozenset(",;:\u060c\u061b\u3001\uff0c\uff1a\uff1b")

_LINE_END = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_PARAGRAPH_END = "\u2029"
# Words that end otherwise say nothing of the sentence.
_MARKS_AND_CLOSERS = frozenset(_MARKS + _CLOSERS)

# Languages that write ordinal numbers with a full stop, as in "am 5. Mai".
_WITH_ORDINALS = frozenset(
    [
        *["bs", "cs", "da", "de", "et", "eu", "fi", "fo", "hr", "hu", "is"],
        *["lb", "lv", "nb", "nn", "no", "pl", "sk", "sl", "sr", "tr"],
    ]
)
_ORDINAL = re.compile(r"\d{1,2}|[IVX]{2,}|[VX]")

# Abbreviations of several words: "i.e".
_DOTTED = re.compile(r"([^\W\d]{1,3}\.)+[^\W\d]{1,3}")

# Before names, in many languages; spaCy knows the abbreviations of some languages only. None is a word of its own.
_TITLES = frozenset(
    [
        *["dr", "prof", "mr", "mrs", "ms", "st", "sr", "sig", "dott", "ing", "mgr", "mag", "gen", "nr", "vs"],
        *["др", "проф"],
    ]
)

# How far to look for the letter that the next sentence would begin with, behind quotation marks and the like.
_LOOK_AHEAD = 4


class TextSentence(NamedTuple):
    """A sentence: where it stands in its text, in characters, `end` exclusive, and its words, at least one."""

    start: int
    end: int
    words: List[TextWord]


class PlainSentence(NamedTuple):
    """As `TextSentence`, but its words are without their places."""

    start: int
    end: int
    words: List[str]


class _Mark(Enum):
    """What a mark at the end of a word, or the word that it is, says of the sentence."""

    STRONG = "it ends, unless it is in a quotation or in brackets and a small letter follows"
    STOP = "it ends, unless a small letter follows"
    SHORT = "an abbreviation or an ordinal number: it ends only if one of the most frequent words follows in capitals"
    INSIDE = "an initial, a title, the number of an item: it goes on"


def sentences_of(text: str, language: str, line_breaks: bool = False) -> List[TextSentence]:
    """
    The sentences of a raw text.

    Their words, laid end to end, are those of `text_words`: nothing visible is left out, and nothing is cut, however
    long a sentence is. A blank line ends a sentence; a single line end is white space, because texts are wrapped
    within sentences. What is said of a text depends on that text and its language alone. Threads may share this.

    # Parameters

    text : `str`
    language : `str`
        Its language, as for `text_words`.
    line_breaks : `bool`, optional (default = `False`)
        Whether every line end ends a sentence, as in lists, subtitles and chats.

    # Returns

    `List[TextSentence]` : from left to right; none for a text without anything visible.
    """
    found = []
    for start, end, words in split_sentences(text, language, line_breaks):
        found.append(TextSentence(start, end, placed_words(text, words, start)))
    return found


def split_sentences(text: str, language: str, line_breaks: bool = False) -> List[PlainSentence]:
    """The sentences that `sentences_of` gives, their words without their places, which takes less time."""
    words = split_words(text, language)
    if not words:
        return []
    # Nothing that is printed is a line end.
    if text.isprintable() and _MARKS_AND_CLOSERS.isdisjoint([word[-1] for word in words]):
        # Around the words there is nothing visible, so that the last one is where it is found last.
        return [PlainSentence(text.index(words[0]), text.rindex(words[-1]) + len(words[-1]), words)]
    scan = _Scan(text, words, language, line_breaks)
    bounds = pairwise([*scan.starts(), len(words)])
    return [PlainSentence(scan.begins[first], scan.ends[end - 1], words[first:end]) for first, end in bounds]


class _Scan:
    """Goes once through the words of a text, and stops at those that may end a sentence and at what follows them."""

    def __init__(self, text: str, words: List[str], language: str, line_breaks: bool) -> None:
        self._text = text
        self._words = words
        # Where each word begins and ends in the text.
        self.begins = word_starts(text, words)
        self.ends = [start + len(word) for start, word in zip(self.begins, words, strict=True)]
        self._line_breaks = line_breaks
        self._has_lines = _LINE_END.search(text) is not None
        # What the sentence may end with, if since then there was nothing but what closes.
        self._mark: Optional[_Mark] = None
        self._frequent = stop_words(language)
        self._with_ordinals = language.lower().replace("_", "-").partition("-")[0] in _WITH_ORDINALS
        self._begin(0)

    def starts(self) -> Iterator[int]:
        """The number of the word that each sentence begins with."""
        for number, word in enumerate(self._words):
            says = word[-1] in _MARKS_AND_CLOSERS
            if number == 0 or (self._has_lines and self._line_ends(number)):
                self._begin(number)
                yield number
            elif self._mark is not None:
                if self._closes(number):
                    self._closed = True
                    self._note_quotes(word)
                    continue
                if not self._only_marks(word) and self._ends_before(number):
                    self._begin(number)
                    yield number
            elif not says:
                continue
            self._mark = self._mark_of(number) if says else None
            self._closed = False
            self._note_quotes(word)

    def _begin(self, number: int) -> None:
        """Forget the sentence before; one begins with word `number`."""
        self._first = number
        # Whether there was a letter or a digit, among the words up to one.
        self._said = False
        self._looked_at = number
        self._mark = None
        # Whether a quotation or a bracket was closed since then.
        self._closed = False
        # Of quotation marks that do not show it, whether one is open.
        self._open = False

    def _note_quotes(self, word: str) -> None:
        """Take in a word that may open or close a quotation."""
        if word in _QUOTES:
            self._open = not self._open

    def _line_ends(self, number: int) -> bool:
        """Whether there is a line end before a word that ends a sentence."""
        ends = _LINE_END.findall(self._text, self.ends[number - 1], self.begins[number])
        return len(ends) > (0 if self._line_breaks else 1) or _PARAGRAPH_END in ends

    def _adjacent(self, number: int) -> bool:
        """Whether there is nothing between a word and the one before."""
        return 0 < number < len(self._words) and self.ends[number - 1] == self.begins[number]

    def _closes(self, number: int) -> bool:
        """Whether a word after a mark belongs to the sentence because it closes something."""
        word = self._words[number]
        if word.strip(_CLOSERS):
            return False
        before, after = self._adjacent(number), self._adjacent(number + 1)
        if before != after:
            return before
        return unicodedata.category(word[0]) in ("Pe", "Pf") or self._open

    def _only_marks(self, word: str) -> bool:
        """Whether a word goes with the mark before, as the second of "?!" does."""
        core = word.rstrip(_CLOSERS)
        return core != "" and not core.strip(_MARKS)

    def _said_before(self, number: int) -> bool:
        """Whether the sentence has a letter or a digit before a word."""
        while not self._said and self._looked_at < number:
            self._said = any(map(str.isalnum, self._words[self._looked_at]))
            self._looked_at += 1
        return self._said

    def _mark_of(self, number: int) -> Optional[_Mark]:
        """What a word says of the sentence, if it is a mark or ends with one."""
        core = self._words[number].rstrip(_CLOSERS)
        stem = core.rstrip(_MARKS)
        marks = core[len(stem) :]
        if not marks or (not stem and not self._said_before(number)):
            # Dots before the first word end nothing.
            return None
        if marks.strip("." + _ELLIPSIS):
            return _Mark.STRONG
        if marks != "." or not (stem or self._adjacent(number)):
            return _Mark.STOP
        # spaCy keeps a full stop with what it knows as an abbreviation.
        known = bool(stem)
        if not known:
            number -= 1
            stem = self._words[number]
        if stem.isdecimal() or _ORDINAL.fullmatch(stem):
            if number == self._first:
                return _Mark.INSIDE
            return _Mark.SHORT if self._with_ordinals and _ORDINAL.fullmatch(stem) else _Mark.STOP
        if stem.lower() in _TITLES or _is_initial(stem):
            return _Mark.INSIDE
        return _Mark.SHORT if known or _DOTTED.fullmatch(stem) else _Mark.STOP

    def _ends_before(self, number: int) -> bool:
        """Whether the sentence, after its mark and what closes, ends before a word."""
        word = self._words[number]
        if self._mark is _Mark.INSIDE or word[0] in _CONTINUATIONS:
            return False
        if self._adjacent(number) and self._words[number - 1].rstrip(_CLOSERS)[-1:] in _NEED_SPACE:
            return False
        if self._mark is _Mark.SHORT:
            return word[0].isupper() and word.lower() in self._frequent
        return not self._small(number) or (self._mark is _Mark.STRONG and not self._closed)

    def _small(self, number: int) -> bool:
        """Whether what follows begins with a small letter."""
        for word in self._words[number : number + _LOOK_AHEAD]:
            for letter in word:
                if letter.isalnum():
                    return letter.islower()
        return False


def _is_initial(stem: str) -> bool:
    """Whether a word is a single letter of an alphabet, with or without combining marks."""
    return stem[0].isalpha() and stem[0].upper() != stem[0].lower() and len(unicodedata.normalize("NFC", stem)) == 1
