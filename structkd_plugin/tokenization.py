"""The words of a text and where they stand in it, by spaCy's rules for its language: no model, nothing to download."""

import logging
import re
import unicodedata
from functools import cache
from itertools import chain
from threading import Lock
from typing import Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Sequence, Tuple, cast

import regex
import spacy
from spacy.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

UNDETERMINED = "und"

# spaCy's name for rules that serve any language written with spaces.
_ANY_LANGUAGE = "xx"

# JSON can carry halves of characters, which are no text; spaCy and many token indexers fail on them.
_SURROGATES = re.compile("[\ud800-\udfff]")

# spaCy remembers every string it ever saw, about 400 bytes each.
_MOST_STRINGS = 100_000

# spaCy takes one character after the other off a stretch without white space, and looks at all that is left each time.
_LONGEST_STRETCH = 500

# How many characters are split at a time, which bounds the memory.
_LONGEST_PIECE = 100_000

# Marks of scripts without white space, which spaCy finds at the edges of words only.
_MARKS = r"\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff3d\uff5b-\uff65"
_ALONE = regex.compile(rf"[{_MARKS}]")
# Chinese characters are words of their own; what else is in a Chinese text has the rules for any language.
_CHINESE = "zh"
_ALONE_IN_CHINESE = regex.compile(rf"[{_MARKS}\p{{Han}}]")

_LONG_STRETCHES = re.compile(rf"\S{{{_LONGEST_STRETCH + 1},}}")
_WHITE_SPACE = re.compile(r"\s+")
# How many stretches without white space are remembered, and of how many characters.
_MOST_KNOWN, _LONGEST_KNOWN = 100_000, 40
# Byte order marks, zero-width spaces, marks of direction, controls; not what belongs to the character before it.
_INVISIBLE_EDGES = regex.compile(
    r"(?<!\S)[\p{GCB=Control}&&[\p{Cc}\p{Cf}]--\s]+|[\p{GCB=Control}&&[\p{Cc}\p{Cf}]--\s]+(?!\S)", regex.V1
)
# Where a stretch is best parted: behind a sign that is not used within numbers, names and addresses, or a character
# of a script without white space.
_LAST_PARTING = regex.compile(r"[[\p{P}\p{S}\p{Han}\p{Hiragana}]--[.,:'\u2019\-_/@&%+#=?~]]", regex.REVERSE | regex.V1)


class TextWord(NamedTuple):
    """A word and where it stands in its text, in characters; `end` is exclusive."""

    text: str
    start: int
    end: int


def text_words(text: str, language: str) -> List[TextWord]:
    """
    The words of a raw text.

    Nothing is normalised: `text[word.start : word.end] == word.text` for every word. No word begins within what
    people take for one character, such as a letter with its combining marks or a composed emoji, and none is without
    anything visible. Threads may share this.

    # Parameters

    text : `str`
        The text.
    language : `str`
        Its language. Of a code such as `pt-BR`, the first part is enough; a language that spaCy has no rules for, or
        none without installing more, is split by rules for any language, which is logged once.

    # Returns

    `List[TextWord]` : from left to right.
    """
    return placed_words(text, split_words(text, language))


def split_words(text: str, language: str) -> List[str]:
    """The words that `text_words` gives, without their places, which takes less time."""
    rules = _rules(language)
    # At the edges of a word, what cannot be seen would hide its full stop and make another word of it.
    readable = (
        text
        if text.isascii() and text.isprintable()
        else _INVISIBLE_EDGES.sub(lambda found: " " * len(found[0]), without_surrogates(text))
    )
    if rules.joins_words(readable) or (len(readable) > _LONGEST_STRETCH and _LONG_STRETCHES.search(readable)):
        return [text[start:end] for start, end in _spans(readable, _pieces(readable), rules)]
    words = rules.words(readable.split())
    if "\ufffd" in readable and readable != text:
        # Words with lone surrogates as they were given.
        return [text[word.start : word.end] for word in placed_words(readable, words)]
    return words


def placed_words(text: str, words: Sequence[str], begin: int = 0) -> List[TextWord]:
    """Words with their places in a text; parameters as for `word_starts`."""
    starts = word_starts(text, words, begin)
    return [TextWord(word, start, start + len(word)) for word, start in zip(words, starts, strict=True)]


def word_starts(text: str, words: Sequence[str], begin: int = 0) -> List[int]:
    """
    Where words stand in a text.

    # Parameters

    text : `str`
    words : `Sequence[str]`
        As `split_words` gives them, or some of them that follow each other: each has something visible in it, and
        nothing visible is between two. So a word is where it is found first behind the one before.
    begin : `int`, optional (default = 0)
        Where to look for the first.

    # Returns

    `List[int]` : for each word the place of its first character.
    """
    starts: List[int] = []
    find = text.index
    for word in words:
        start = find(word, begin)
        starts.append(start)
        begin = start + len(word)
    return starts


def _spans(text: str, pieces: Iterable[Tuple[int, int]], rules: "_Rules") -> List[Tuple[int, int]]:
    """Where the words of `text` are, by rules for each of `pieces`."""
    beginnings = None if text.isascii() else _beginnings(text)
    spans: List[Tuple[int, int]] = []
    for piece, piece_end in pieces:
        for start, end in rules.split(text[piece:piece_end]):
            start, end = start + piece, end + piece
            if beginnings is not None and not beginnings[start] and spans and spans[-1][1] == start:
                start = spans.pop()[0]
            spans.append((start, end))
    return [(start, end) for start, end in spans if any(map(_visible, text[start:end]))]


def stop_words(language: str) -> FrozenSet[str]:
    """The most frequent words of a language, in small letters; none where spaCy has no list of them."""
    return _rules(language).stop_words


def _beginnings(text: str) -> bytearray:
    """For each character whether what people take for one begins with it."""
    beginnings = bytearray(len(text))
    for found in regex.finditer(r"\X", text):
        beginnings[found.start()] = True
    return beginnings


def _pieces(text: str) -> Iterator[Tuple[int, int]]:
    """Where to split `text` into pieces that spaCy splits in a time that grows no faster than they do."""
    begin = 0
    for stretch in _LONG_STRETCHES.finditer(text):
        yield from _pieces_between_words(text, begin, stretch.start())
        begin = stretch.start()
        while stretch.end() - begin > _LONGEST_STRETCH:
            parting = _LAST_PARTING.search(text, begin, begin + _LONGEST_STRETCH)
            cut = parting.end() if parting is not None else begin + _LONGEST_STRETCH
            yield begin, cut
            begin = cut
    yield from _pieces_between_words(text, begin, len(text))


def _pieces_between_words(text: str, begin: int, end: int) -> Iterator[Tuple[int, int]]:
    while end - begin > _LONGEST_PIECE:
        # There is white space soon: there is no long stretch.
        space = _WHITE_SPACE.search(text, begin + _LONGEST_PIECE, end)
        cut = space.end() if space is not None else end
        yield begin, cut
        begin = cut
    if begin < end:
        yield begin, end


def without_surrogates(text: str) -> str:
    """`text` of the same length, with U+FFFD in place of lone surrogates."""
    return _SURROGATES.sub("\ufffd", text)


class _Rules:
    """spaCy's rules for one language, begun anew before their memory grows too large."""

    def __init__(self, code: str) -> None:
        self._code = code
        language = spacy.blank(code)
        self._tokenizer: Tokenizer = language.tokenizer
        # Abbreviations of several words are one word. The rules look at nothing else across white space.
        rules = getattr(self._tokenizer, "rules", None) or ()
        joined = [rule for rule in rules if rule.strip() and (len(rule.split()) > 1 or rule != rule.strip())]
        self._joined = re.compile("|".join(map(re.escape, sorted(joined)))) if joined else None
        # Stretches without white space come again and again.
        self._known: Dict[str, Tuple[str, ...]] = {}
        self.stop_words = frozenset(map(str.lower, language.Defaults.stop_words))
        self._lock = Lock()

    def joins_words(self, text: str) -> bool:
        """Whether there may be a word in `text` that has white space in it."""
        return self._joined is not None and self._joined.search(text) is not None

    def words(self, stretches: List[str]) -> List[str]:
        """The words of texts without white space, laid end to end."""
        found = list(map(self._known.get, stretches))
        if None in found:
            found = [
                self._words(stretch) if known is None else known
                for stretch, known in zip(stretches, found, strict=True)
            ]
        return list(chain.from_iterable(cast(List[Tuple[str, ...]], found)))

    def _words(self, stretch: str) -> Tuple[str, ...]:
        words = tuple(stretch[start:end] for start, end in _spans(stretch, [(0, len(stretch))], self))
        if len(stretch) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[stretch] = words
        return words

    def split(self, text: str) -> List[Tuple[int, int]]:
        """Where tokens start and end, white space among them."""
        alone = _ALONE_IN_CHINESE if self._code == _CHINESE else _ALONE
        found: List[Tuple[int, int]] = []
        begin = 0
        for one in alone.finditer(text):
            found += self._tokens(text, begin, one.start())
            found.append(one.span())
            begin = one.end()
        return found + self._tokens(text, begin, len(text))

    def _tokens(self, text: str, begin: int, end: int) -> List[Tuple[int, int]]:
        if begin == end:
            return []
        if self._code == _CHINESE:
            return _any_language()._tokens(text, begin, end)
        text = text[begin:end]
        # The tokenizer alone: the pipeline around it refuses long texts.
        with self._lock:
            if len(self._tokenizer.vocab.strings) > _MOST_STRINGS:
                self._tokenizer = spacy.blank(self._code).tokenizer
            document = self._tokenizer(text)
        if document.text != text and self._code != _ANY_LANGUAGE:
            # Rules that come with packages of their own may drop or change white space.
            return [(start + begin, stop + begin) for start, stop in _any_language().split(text)]
        return [(token.idx + begin, token.idx + begin + len(token.text)) for token in document]


_loading = Lock()


def _rules(language: str) -> _Rules:
    with _loading:
        return _rules_of(language)


@cache
def _rules_of(language: str) -> _Rules:
    if language != UNDETERMINED:
        for code in (language, language.lower().replace("_", "-").partition("-")[0]):
            try:
                return _Rules(code)
            except (ImportError, AttributeError):
                # spaCy has no such language, or another module by that name, or needs another package to split it.
                continue
        logger.warning("spaCy has no rules at hand for language %r; using those for any language", language)
    return _any_language()


@cache
def _any_language() -> _Rules:
    return _Rules(_ANY_LANGUAGE)


def _visible(character: str) -> bool:
    # Controls, formats such as the zero-width characters, and separators.
    return unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Zl", "Zp")
