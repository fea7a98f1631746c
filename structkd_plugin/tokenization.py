"""The words of a text and where they stand in it, by spaCy's rules for its language: no model, nothing to download."""

import logging
import re
import unicodedata
from functools import cache
from threading import Lock
from typing import List, NamedTuple, Tuple

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
    beginnings = None if text.isascii() else {found.start() for found in regex.finditer(r"\X", text)}
    words: List[TextWord] = []
    for start, end in _rules(language).split(without_surrogates(text)):
        if beginnings is not None and start not in beginnings and words and words[-1].end == start:
            start = words.pop().start
        words.append(TextWord(text[start:end], start, end))
    return [word for word in words if any(map(_visible, word.text))]


def without_surrogates(text: str) -> str:
    """`text` of the same length, with U+FFFD in place of lone surrogates."""
    return _SURROGATES.sub("\ufffd", text)


class _Rules:
    """spaCy's rules for one language, begun anew before their memory grows too large."""

    def __init__(self, code: str) -> None:
        self._code = code
        self._tokenizer: Tokenizer = spacy.blank(code).tokenizer
        self._lock = Lock()

    def split(self, text: str) -> List[Tuple[int, int]]:
        """Where tokens start and end, white space among them."""
        # The tokenizer alone: the pipeline around it refuses long texts.
        with self._lock:
            if len(self._tokenizer.vocab.strings) > _MOST_STRINGS:
                self._tokenizer = spacy.blank(self._code).tokenizer
            document = self._tokenizer(text)
        if document.text != text and self._code != _ANY_LANGUAGE:
            # Rules that come with packages of their own may drop or change white space.
            return _any_language().split(text)
        return [(token.idx, token.idx + len(token.text)) for token in document]


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
