from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.readers.sentence_key import sentence_key

sentences = st.tuples(st.text(max_size=4), st.lists(st.text(max_size=4), max_size=4))


@given(sentences, sentences)
def test_only_the_same_words_in_the_same_language_share_a_key(one, other):
    assert (sentence_key(*one) == sentence_key(*other)) == (one == other)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_word_boundaries_and_language_count(words):
    assert sentence_key("de", words) != sentence_key("de", ["".join(words), ""])
    assert sentence_key("de", words) != sentence_key("nl", words)


def test_a_key_is_the_same_for_ever():
    # Stores on disk hold such keys: this value must never change.
    assert sentence_key("de", ["Ein", "Fluß"]) == "fea0af67dfc1c5f6dd81d1ddc48b4b8e"
    assert sentence_key("de", ("Ein", "Fluß")) == "fea0af67dfc1c5f6dd81d1ddc48b4b8e"


def test_words_are_not_normalised():
    assert sentence_key("fr", ["é"]) != sentence_key("fr", ["e\u0301"])
    assert len(sentence_key("fr", ["\ud800"])) == 32
