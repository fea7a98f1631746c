import random
from collections import Counter

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader
from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.readers import RecombinedReader
from structkd_plugin.readers.recombined_reader import _with_beginning_of

TEXT = {"type": "structkd_plain_text", "pretokenized": True}


def recombined(sentences=200, **more):
    return DatasetReader.from_params(
        Params({"type": "structkd_recombined", "reader": dict(TEXT), "sentences": sentences, **more})
    )


def made(reader, paths):
    return [sentence.words for sentence in reader.sentences(paths)]


@pytest.fixture
def text(write):
    return write("de.txt", "a b c d e\nf g h\ni\n")


def test_sentences_are_beginnings_and_ends(text):
    originals = [tuple("abcde"), tuple("fgh"), tuple("i")]
    expected = {
        (*first[:i], *second[j:])
        for first in originals
        for second in originals
        for i in range(len(first) + 1)
        for j in range(len(second) + 1)
    }
    found = made(recombined(5000), {"de": text})
    assert len(found) == 5000
    # All that are possible, and none that is empty or longer than the longest of the file.
    assert set(found) == {words for words in expected if 1 <= len(words) <= 5}


def test_sentences_have_no_tags_and_name_their_file(write):
    file = write("de.conll", "Hans B-PER\nlacht O\n")
    reader = recombined(3, reader={"type": "structkd_column", "scheme": "BIO"})
    for sentence in reader.sentences({"de": file}):
        assert (sentence.tags, sentence.language, sentence.file, sentence.line) == (None, "de", file, 1)
    instance = next(iter(reader.read({"de": file})))
    assert instance["tags"].labels == [-1] * len(instance["metadata"]["words"])


def test_the_same_sentences_every_time_and_in_every_language_order(text, write):
    other = write("nl.txt", "x y\nz\n")
    first = [(s.language, s.words) for s in recombined().sentences({"de": text, "nl": other})]
    second = [(s.language, s.words) for s in recombined().sentences({"nl": other, "de": text})]
    assert Counter(language for language, _ in first) == {"de": 200, "nl": 200}
    assert sorted(first) == sorted(second)
    assert made(recombined(seed=1), {"de": text}) != made(recombined(), {"de": text})
    # What was there before stays where more are made.
    assert made(recombined(300), {"de": text})[:200] == made(recombined(), {"de": text})


def test_random_state_is_left_alone(text):
    random.seed(3)
    expected = random.random()
    random.seed(3)
    made(recombined(), {"de": text})
    assert random.random() == expected


def test_new_words_end_as_the_old_ones(write):
    file = write("en.txt", "walked singing Houses 1999 of\n")
    words = {word for sentence in made(recombined(2000, new_words=1.0), file) for word in sentence}
    assert words >= {"walked", "sinked", "singing", "walging", "Walses", "1999", "of"}
    assert all(word[0].isupper() == word.endswith("ses") for word in words if word[0].isalpha())
    assert {word for word in words if not word[0].isalpha()} == {"1999"}
    assert {word for s in made(recombined(500, new_words=0.0), file) for word in s} == {
        "walked",
        "singing",
        "Houses",
        "1999",
        "of",
    }


@given(st.text(min_size=4), st.text(min_size=4))
def test_any_word_becomes_one(donor, word):
    # Of what `_has_beginning` lets through the first character is a letter; the rest may be anything.
    found = _with_beginning_of("x" + donor, "y" + word)
    assert found.lower().startswith("x")
    assert found[-1] == ("y" + word)[-1] or len(found) >= len(donor) // 2


def test_marks_stay_with_their_letter():
    # Devanagari: the sign follows its consonant, here just behind the middle.
    assert _with_beginning_of("abcd", "कर\u094dता") == "ab" + "ता"
    assert _with_beginning_of("कर\u094dता", "abcd") == "कर\u094d" + "cd"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sentences": 0}, "sentences is 0, but at least 1"),
        ({"new_words": 1.5}, r"new_words is 1.5, but a probability lies in \[0, 1\]"),
        ({"reader": {"type": "sequence_tagging"}}, "the reader of the recombination is a SequenceTaggingDatasetReader"),
        ({"reader": {**TEXT, "shard": False}}, "has token_indexers or shard of its own, .* give them to the recombin"),
    ],
)
def test_mistakes_are_one_sentence(more, message):
    with pytest.raises(ConfigurationError, match=message):
        recombined(**more)


def test_a_mixture_may_have_it(text):
    mixture = {"text": TEXT, "more": {"type": "structkd_recombined", "reader": dict(TEXT), "sentences": 7}}
    reader = DatasetReader.from_params(Params({"type": "structkd_mixture", "readers": mixture}))
    assert isinstance(reader._readers["more"], RecombinedReader)
    assert len(list(reader.read({"text": {"de": text}, "more": {"de": text}}))) == 3 + 7
