"""Words of texts: where they stand, where they begin, and which rules split them."""

import logging
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin import tokenization
from structkd_plugin.tokenization import text_words, without_surrogates, word_starts

# White space, line ends, invisible characters, combining marks, parts of emoji, halves of characters.
AWKWARD = (
    " \u00a0\u2028\r\n\t\u200b\u200d\ufeff\u00ad\u0301\u0308\u093f\U0001f469\U0001f4bb\U0001f3fd\ufe0f\U0001f1e9\ud800"
)


def words_of(text, language="und"):
    return [word.text for word in text_words(text, language)]


def seen(text):
    """The characters that are more than white space, controls and zero-width formats."""
    return [one for one in text if unicodedata.category(one) not in ("Cc", "Cf", "Zs", "Zl", "Zp")]


# The first text of a language takes long.
@settings(deadline=None, max_examples=200)
@given(
    text=st.text(st.one_of(st.characters(), st.sampled_from("ab.,'-" + AWKWARD)), max_size=30),
    language=st.sampled_from(["und", "en", "de", "zh"]),
)
def test_offsets_are_those_of_the_text_and_nothing_visible_is_lost(text, language):
    words = text_words(text, language)
    end = 0
    for word in words:
        assert end <= word.start < word.end
        assert text[word.start : word.end] == word.text
        assert not seen(text[end : word.start])
        assert seen(word.text)
        end = word.end
    assert not seen(text[end:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Cafe\u0301 am U\u0308bersee.", ["Cafe\u0301", "am", "U\u0308bersee", "."]),
        (
            "ok \U0001f469\u200d\U0001f4bb\U0001f44d\U0001f3fd!",
            ["ok", "\U0001f469\u200d\U0001f4bb", "\U0001f44d\U0001f3fd", "!"],
        ),
        ("a\r\nb\u00a0c", ["a", "b", "c"]),
        ("x\u200by \u200b \ufeff z", ["x\u200by", "z"]),
        ("a\ud800 b", ["a", "\ud800", "b"]),
        (" \r\n\u00a0", []),
        ("", []),
    ],
    ids=["combining marks", "emoji", "line end and no-break space", "zero width", "surrogate", "white space", "empty"],
)
def test_words_of_awkward_texts(text, words):
    assert words_of(text) == words


def test_rules_are_those_of_the_language():
    assert words_of("Er sagt z.B. don't.", "de")[-3:] == ["z.B.", "don't", "."]
    assert words_of("Er sagt z.B. don't.", "en")[-3:] == ["do", "n't", "."]
    assert words_of("don't", "en-GB") == words_of("don't", "EN_gb") == ["do", "n't"]


def test_chinese_is_split_into_characters_but_not_within_them():
    assert words_of("北京e\u0301", "zh") == ["北", "京", "e\u0301"]


@pytest.mark.parametrize("language", ["ko", "th", "qqq", "lex_attrs", "../de", ""])
def test_a_language_without_rules_gets_those_for_any_and_one_message(language, caplog, monkeypatch):
    # Without the packages that spaCy's rules for some languages need, which some environments have.
    for package in ("natto", "pythainlp", "pythainlp.tokenize"):
        monkeypatch.setitem(sys.modules, package, None)
    tokenization._rules_of.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert words_of("ein Haus.", language) == words_of("ein Haus.", language) == ["ein", "Haus", "."]
    assert [record.getMessage() for record in caplog.records] == [
        f"spaCy has no rules at hand for language {language!r}; using those for any language"
    ]


def test_an_undetermined_language_needs_no_message(caplog):
    with caplog.at_level(logging.WARNING):
        words_of("ein Haus.", "und")
    assert not caplog.records


def test_rules_that_change_the_text_are_not_used_on_it(monkeypatch):
    rules = tokenization._Rules("de")
    change = rules._tokenizer
    monkeypatch.setattr(rules, "_tokenizer", _Changing(change))
    assert rules.split("zwei  Wörter") == tokenization._any_language().split("zwei  Wörter")


class _Changing:
    """A tokenizer that drops repeated white space, as those do that other packages implement."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self.vocab = tokenizer.vocab

    def __call__(self, text):
        return self._tokenizer(" ".join(text.split()))


def test_memory_does_not_grow_with_the_number_of_different_words(monkeypatch):
    monkeypatch.setattr(tokenization, "_MOST_STRINGS", 1500)
    rules = tokenization._Rules("de")
    for i in range(3000):
        assert rules.split(f"wort{i} {i}x") == [(0, len(f"wort{i}")), (len(f"wort{i}") + 1, len(f"wort{i} {i}x"))]
        assert len(rules._tokenizer.vocab.strings) < 1600


def test_threads_may_share_it():
    texts = [f"Wort{i} und {i}-mal\u0301 z.B. don't." for i in range(200)]
    expected = [text_words(text, language) for text in texts for language in ("de", "en")]
    tokenization._rules_of.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda pair: text_words(*pair), [(text, code) for text in texts for code in ("de", "en")])
        assert list(found) == expected


def test_a_long_text_is_split():
    assert len(text_words("Wort " * 250_000, "und")) == 250_000


def test_surrogates_are_replaced_one_by_one():
    assert without_surrogates("a\ud800\udc00é\U0001f600") == "a\ufffd\ufffdé\U0001f600"


@pytest.mark.parametrize("mark", ["\u0301", "\u200d", "\u00ad", "\ufe0f"])
@pytest.mark.parametrize("space", ["  ", " \xa0", "\t", "\n "])
def test_white_space_before_a_mark_that_belongs_to_what_is_before_it_is_in_no_word(mark: str, space: str) -> None:
    for language in ("en", "de", "zh", "xx"):
        found = text_words(f"a{space}{mark}b", language)
        assert not any(character.isspace() for word in found for character in word.text)
        assert [word.text.strip(mark) for word in found] == ["a", "b"]


@given(
    st.lists(st.tuples(st.text("ab.", min_size=1, max_size=3), st.sampled_from(["", " ", "  ", "\n", " \xa0"]))),
    st.text("ab ", max_size=3),
    st.text("ab ", max_size=3),
    st.booleans(),
)
def test_words_are_where_they_are_found_first_however_they_are_separated(pieces, before, after, single) -> None:
    pieces = [(word, " " if single else space) for word, space in pieces]
    text = before
    expected = []
    for word, space in pieces:
        expected.append(len(text))
        text += word + space
    assert word_starts(text + after, [word for word, _ in pieces], len(before)) == expected


def test_what_was_split_before_is_split_the_same_way() -> None:
    first = text_words("Don't go to the U.S. now!", "en")
    assert text_words("Don't go to the U.S. now!", "en") == first
    # Beside other words, at other places.
    assert [word.text for word in text_words("now! U.S. Don't", "en")] == ["now", "!", "U.S.", "Do", "n't"]


def test_abbreviations_of_several_words_stay_whole() -> None:
    assert [word.text for word in text_words("en EE. UU. hoy", "es")] == ["en", "EE. UU.", "hoy"]


def test_what_is_remembered_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "_MOST_KNOWN", 5)
    for number in range(40):
        assert [word.text for word in text_words(f"w{number}, w{number}", "en")] == [f"w{number}", ",", f"w{number}"]
        assert len(tokenization._rules("en")._known) <= 5
