"""More sentences for a teacher to speak of, where there is no more text: made of those that there are."""

import random
import unicodedata
from typing import Any, Dict, Iterator, List, Optional, Sequence

from allennlp.common.checks import ConfigurationError
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.data.token_indexers.token_indexer import TokenIndexer

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sharded_reader import ShardedReader, checked_part

# Shorter words are mostly those whose beginning is all that they are: articles, prepositions.
_SHORTEST_WITH_BEGINNING = 4


@DatasetReader.register("structkd_recombined")
class RecombinedReader(ShardedReader):
    """
    Sentences without labels, recombined of those of another reader: the beginning of one and the end of another, in
    which some words have got the first half of another word, so that they are new but end as words of their kind do.

    What a teacher says of the sentences it was trained on is little more than their gold tags; of these it says
    what it would of new ones. Recombination after Jia and Liang (2016), words that do not exist after Gulordava et
    al. (2018). The sentences are a function of the files, of `sentences`, `new_words` and `seed`: the same when a
    teacher is asked and when a student is trained. All sentences of the files are held in memory.

    Registered as a `DatasetReader` with name "structkd_recombined".

    # Parameters

    reader : `DatasetReader`
        Reads the sentences; their tags are not looked at.
    sentences : `int`
        How many to make of each language.
    new_words : `float`, optional (default=`0.3`)
        The probability that a word gets another beginning, if it is of at least 4 characters and begins with a letter.
    seed : `int`, optional (default=`13370`)
        Another seed, other sentences.
    token_indexers, shard, max_instances :
        See `ShardedReader`.
    """

    def __init__(
        self,
        reader: DatasetReader,
        sentences: int,
        new_words: float = 0.3,
        seed: int = 13370,
        token_indexers: Optional[Dict[str, TokenIndexer]] = None,
        shard: bool = True,
        max_instances: Optional[int] = None,
    ) -> None:
        self._reader = checked_part(reader, "the reader", "the recombination")
        if sentences < 1:
            raise ConfigurationError(f"sentences is {sentences}, but at least 1 is to be made of each language")
        if not 0 <= new_words <= 1:
            raise ConfigurationError(f"new_words is {new_words}, but a probability lies in [0, 1]")
        super().__init__(token_indexers, self._reader.language, shard, max_instances)
        self._number = sentences
        self._new_words = new_words
        self._seed = seed

    def all_sentences(self, paths: Any) -> Iterator[Sentence]:
        """The new sentences, one language after another."""
        found: Dict[str, List[Sentence]] = {}
        for sentence in self._reader.sentences(paths):
            found.setdefault(sentence.language, []).append(sentence)
        for language, sentences in found.items():
            yield from self._recombined(sentences, language)

    def _recombined(self, sentences: Sequence[Sentence], language: str) -> Iterator[Sentence]:
        # A text as seed is hashed by SHA-512: the same in every process, unlike `hash`.
        generator = random.Random(f"{self._seed} {language}")
        longest = max(len(sentence.words) for sentence in sentences)
        donors = [word for sentence in sentences for word in sentence.words if _has_beginning(word)]
        made = 0
        while made < self._number:
            first, second = generator.choice(sentences), generator.choice(sentences)
            beginning = first.words[: generator.randint(0, len(first.words))]
            end = second.words[generator.randint(0, len(second.words)) :]
            # As long as sentences are: longer ones would cost most and be least like any.
            if not 1 <= len(beginning) + len(end) <= longest:
                continue
            words = tuple(
                _with_beginning_of(generator.choice(donors), word)
                if _has_beginning(word) and generator.random() < self._new_words
                else word
                for word in (*beginning, *end)
            )
            made += 1
            yield Sentence(words, None, language, first.file, first.line)


def _has_beginning(word: str) -> bool:
    return len(word) >= _SHORTEST_WITH_BEGINNING and word[0].isalpha()


def _with_beginning_of(donor: str, word: str) -> str:
    beginning = donor[: _middle(donor)]
    # Capitals mark names, and in German nouns: they stay with the end.
    first = beginning[0].upper() if word[0].isupper() else beginning[0].lower()
    return first + beginning[1:] + word[_middle(word) :]


def _middle(word: str) -> int:
    """Where the second half of a word begins, a mark staying with its letter."""
    middle = len(word) // 2
    while middle < len(word) and unicodedata.category(word[middle]).startswith("M"):
        middle += 1
    return middle
