"""Sentences as the tensors that a model takes: what AllenNLP makes of them, without making everything it makes."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from allennlp.data import Batch, TextFieldTensors, Token, Vocabulary
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer
from allennlp.data.tokenizers import CharacterTokenizer

from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.tokenization import without_surrogates

# Words whose ids are remembered, and ids of all of them together: some 100 MB at most. Beyond, all are forgotten.
_MOST_WORDS = 300_000
_MOST_IDS = 4_000_000


class WordTensors:
    """
    The tensors of the words of sentences.

    Token indexers that look at each word by itself (ids of words and of characters) are asked once for each different
    word, and what they said is put together with numpy. All others see whole sentences, on AllenNLP's own way.

    # Parameters

    reader : `DatasetReader`
        Whose token indexers index the words.
    vocab : `Vocabulary`
    """

    def __init__(self, reader: Any, vocab: Vocabulary) -> None:
        self._reader = reader
        self._vocab = vocab
        indexers: Optional[Dict[str, Any]] = getattr(reader, "_token_indexers", None)
        self._indexers = indexers if indexers and _as_usual(reader) and all(map(_by_word, indexers.values())) else None
        self._forget()

    @property
    def by_word(self) -> bool:
        """Whether each different word is indexed once."""
        return self._indexers is not None

    def tensors(self, sentences: Sequence[Sequence[str]], languages: Sequence[str]) -> TextFieldTensors:
        """
        The tensors of a batch.

        # Parameters

        sentences : `Sequence[Sequence[str]]`
            B sentences, each of at least one word.
        languages : `Sequence[str]`
            The language of each.

        # Returns

        `TextFieldTensors` : as AllenNLP gives a model's `forward`, on the CPU.
        """
        if self._indexers is None:
            return self._through_instances(sentences, languages)
        lengths = np.fromiter(map(len, sentences), dtype=np.int64, count=len(sentences))
        words = [word for sentence in sentences for word in sentence]
        rows = self._rows(words)
        # (B, T): where the words are
        inside = np.arange(lengths.max())[None, :] < lengths[:, None]
        return {name: self._tensor(name, indexer, rows, inside) for name, indexer in self._indexers.items()}

    def _through_instances(self, sentences: Sequence[Sequence[str]], languages: Sequence[str]) -> TextFieldTensors:
        instances = []
        for words, language in zip(sentences, languages, strict=True):
            instance = self._reader.text_to_instance([without_surrogates(word) for word in words], language=language)
            self._reader.apply_token_indexers(instance)
            instances.append(instance)
        batch = Batch(instances)
        batch.index_instances(self._vocab)
        tensors: Any = batch.as_tensor_dict()["tokens"]
        return tensors

    def _forget(self) -> None:
        # Of each word the number of its row in the tables.
        self._known: Dict[str, int] = {}
        self._tables: Dict[str, _Table] = {name: _Table() for name in self._indexers or {}}

    def _rows(self, words: List[str]) -> np.ndarray:
        if len(self._known) > _MOST_WORDS or any(table.ids > _MOST_IDS for table in self._tables.values()):
            self._forget()
        rows: List[Optional[int]] = list(map(self._known.get, words))
        if None in rows:
            for index, word in enumerate(words):
                if rows[index] is None:
                    rows[index] = self._row(word)
        return np.array(rows, dtype=np.int64)

    def _row(self, word: str) -> int:
        row = self._known.get(word)
        if row is None:
            assert self._indexers is not None
            row = self._known[word] = len(self._known)
            tokens = [Token(without_surrogates(word))]
            for name, indexer in self._indexers.items():
                (ids,) = indexer.tokens_to_indices(tokens, self._vocab).values()
                self._tables[name].append(ids[0] if isinstance(ids[0], list) else ids)
        return row

    def _tensor(self, name: str, indexer: Any, rows: np.ndarray, inside: np.ndarray) -> Dict[str, torch.Tensor]:
        table = self._tables[name]
        if isinstance(indexer, SingleIdTokenIndexer):
            # (B, T)
            ids = np.zeros(inside.shape, dtype=np.int64)
            ids[inside] = table.first(rows)
            return {"tokens": torch.from_numpy(ids)}
        of_words = table.padded(rows, indexer._min_padding_length)
        # (B, T, C)
        characters = np.zeros((*inside.shape, of_words.shape[1]), dtype=np.int64)
        characters[inside] = of_words
        return {"token_characters": torch.from_numpy(characters)}


class _Table:
    """Lists of ids, one after another in one array."""

    def __init__(self) -> None:
        self._flat = np.zeros(1024, dtype=np.int64)
        self._starts = np.zeros(1024, dtype=np.int64)
        self._lengths = np.zeros(1024, dtype=np.int64)
        self._rows = 0
        self.ids = 0

    def append(self, ids: Sequence[int]) -> None:
        """Add a list, which may be empty."""
        if self._rows == len(self._starts):
            self._starts, self._lengths = _grown(self._starts), _grown(self._lengths)
        while self.ids + len(ids) > len(self._flat):
            self._flat = _grown(self._flat)
        self._flat[self.ids : self.ids + len(ids)] = ids
        self._starts[self._rows], self._lengths[self._rows] = self.ids, len(ids)
        self._rows += 1
        self.ids += len(ids)

    def first(self, rows: np.ndarray) -> np.ndarray:
        """The first id of each of the lists `rows`."""
        first: np.ndarray = self._flat[self._starts[rows]]
        return first

    def padded(self, rows: np.ndarray, least: int) -> np.ndarray:
        """The lists `rows`, shape (N, C), filled up with 0 to the longest or to `least`."""
        lengths = self._lengths[rows]
        places = np.arange(max(least, int(lengths.max(initial=0))))[None, :]
        inside = places < lengths[:, None]
        found = np.zeros(inside.shape, dtype=np.int64)
        found[inside] = self._flat[(self._starts[rows][:, None] + places)[inside]]
        return found


def _grown(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, np.zeros_like(array)])


def _as_usual(reader: Any) -> bool:
    """Whether the reader makes its instances as the readers of this plugin do."""
    kind = type(reader)
    return (
        isinstance(reader, ShardedReader)
        and kind.text_to_instance is ShardedReader.text_to_instance
        and kind.apply_token_indexers is ShardedReader.apply_token_indexers
    )


def _by_word(indexer: Any) -> bool:
    """Whether what the indexer says of a sentence is what it says of each word, and its padding is zeros behind."""
    if type(indexer) not in (SingleIdTokenIndexer, TokenCharactersIndexer):
        return False
    if indexer._start_tokens or indexer._end_tokens or indexer._token_min_padding_length:
        return False
    if isinstance(indexer, SingleIdTokenIndexer):
        return indexer.namespace is not None and indexer._feature_name == "text"
    return type(indexer._character_tokenizer) is CharacterTokenizer
