"""The tensors of words are those that AllenNLP makes, whatever the token indexers."""

from typing import Any, Dict, List

import pytest
import torch
from allennlp.data import Vocabulary
from allennlp.data.token_indexers import (
    ELMoTokenCharactersIndexer,
    SingleIdTokenIndexer,
    TokenCharactersIndexer,
    TokenIndexer,
)
from allennlp.data.tokenizers import CharacterTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.prediction import word_tensors
from structkd_plugin.prediction.word_tensors import WordTensors
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.readers.mixture_reader import MixtureReader

INDEXERS: Dict[str, Any] = {
    "words": lambda: {"tokens": SingleIdTokenIndexer()},
    "lower case": lambda: {"w": SingleIdTokenIndexer(namespace="other", lowercase_tokens=True)},
    "characters": lambda: {
        "tokens": SingleIdTokenIndexer(),
        "token_characters": TokenCharactersIndexer(min_padding_length=3),
    },
    "bytes": lambda: {
        "b": TokenCharactersIndexer(
            character_tokenizer=CharacterTokenizer(byte_encoding="utf-8", start_tokens=[259], end_tokens=[260]),
            min_padding_length=1,
        )
    },
}
OTHERS: Dict[str, Any] = {
    "start": lambda: {"tokens": SingleIdTokenIndexer(start_tokens=["@"])},
    "feature": lambda: {"tokens": SingleIdTokenIndexer(feature_name="ent_type_", default_value="x")},
    "long": lambda: {"tokens": SingleIdTokenIndexer(token_min_padding_length=5)},
    "elmo": lambda: {"tokens": SingleIdTokenIndexer(), "elmo": ELMoTokenCharactersIndexer()},
    "ends": lambda: {"c": TokenCharactersIndexer(min_padding_length=1, end_tokens=["@"])},
}
SENTENCES = st.lists(
    st.lists(st.text(alphabet="abÄé\u4e00\U0001f469.A\ud800", min_size=1, max_size=6), min_size=1, max_size=5),
    min_size=1,
    max_size=4,
)


def vocabulary() -> Vocabulary:
    return Vocabulary(
        tokens_to_add={
            "tokens": ["a", "ab", "Ä", "\ufffd"],
            "other": ["a", "ä"],
            "token_characters": [*"abé", "\ufffd"],
        }
    )


def assert_same(mine: Any, theirs: Any) -> None:
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].keys() == theirs[name].keys()
        for key, tensor in mine[name].items():
            assert tensor.dtype == theirs[name][key].dtype
            assert torch.equal(tensor, theirs[name][key]), (name, key)


@pytest.mark.parametrize("kind", INDEXERS)
@settings(max_examples=15, deadline=None)
@given(batches=st.lists(SENTENCES, min_size=1, max_size=3))
def test_as_allennlp_makes_them(kind: str, batches: List[List[List[str]]]) -> None:
    indexers: Dict[str, TokenIndexer] = INDEXERS[kind]()
    for reader in (ColumnReader(token_indexers=indexers), MixtureReader({"a": ColumnReader()}, indexers)):
        tensors = WordTensors(reader, vocabulary())
        assert tensors.by_word
        for sentences in batches:
            languages = ["de"] * len(sentences)
            assert_same(tensors.tensors(sentences, languages), tensors._through_instances(sentences, languages))


@pytest.mark.parametrize("kind", OTHERS)
def test_other_indexers_see_whole_sentences(kind: str) -> None:
    tensors = WordTensors(ColumnReader(token_indexers=OTHERS[kind]()), vocabulary())
    assert not tensors.by_word
    sentences = [["a", "ab"], ["Ä\ud800"]]
    assert_same(tensors.tensors(sentences, ["de"] * 2), tensors._through_instances(sentences, ["de"] * 2))


def test_readers_that_make_instances_of_their_own_are_asked() -> None:
    class Own(ColumnReader):
        def text_to_instance(self, words: Any, *others: Any, **more: Any) -> Any:
            return super().text_to_instance([word.lower() for word in words], *others, **more)

    class Indexer(SingleIdTokenIndexer):
        pass

    assert not WordTensors(Own(), vocabulary()).by_word
    assert not WordTensors(ColumnReader(token_indexers={"tokens": Indexer()}), vocabulary()).by_word
    (ids,) = WordTensors(Own(), vocabulary()).tensors([["A"]], ["de"])["tokens"].values()
    assert ids.tolist() == [[2]]


def test_words_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_tensors, "_MOST_WORDS", 20)
    tensors = WordTensors(ColumnReader(token_indexers=INDEXERS["characters"]()), vocabulary())
    for start in range(0, 3000, 10):
        sentences = [[f"a{number}" for number in range(start, start + 10)]]
        assert_same(tensors.tensors(sentences, ["de"]), tensors._through_instances(sentences, ["de"]))
        assert len(tensors._known) <= 31
    monkeypatch.setattr(word_tensors, "_MOST_WORDS", 10**6)
    sentences = [[f"b{number}" for number in range(3000)]]
    assert_same(tensors.tensors(sentences, ["de"]), tensors._through_instances(sentences, ["de"]))
    monkeypatch.setattr(word_tensors, "_MOST_IDS", 10)
    tensors.tensors([["a"]], ["de"])
    assert len(tensors._known) == 1
