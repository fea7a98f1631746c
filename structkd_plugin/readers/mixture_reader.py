"""Files of several formats in one run: labelled and unlabelled, say."""

from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Union

from allennlp.common.checks import ConfigurationError
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.data.token_indexers.token_indexer import TokenIndexer

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sharded_reader import ShardedReader, checked_part


@DatasetReader.register("structkd_mixture")
class MixtureReader(ShardedReader):
    """
    Several readers as one. Its data path is a mapping of the readers' names to their paths; readers that the mapping
    leaves out read nothing, and a path that is no mapping goes to the first reader.

    The parts yield sentences; instances are made, and shared among processes, here and only here. So
    `token_indexers` and `shard` are given to the mixture and not to its parts.

    Registered as a `DatasetReader` with name "structkd_mixture".

    # Parameters

    readers : `Dict[str, DatasetReader]`
        The parts by name. The first one's language is that of text given to a predictor.
    token_indexers : `Optional[Dict[str, TokenIndexer]]`, optional (default=`{"tokens": SingleIdTokenIndexer()}`)
        For the sentences of all parts.
    untagged : `Optional[List[str]]`, optional (default=`None`)
        Readers whose sentences lose the tags that their files may have, to be learnt from teachers alone.
    shard, max_instances :
        See `ShardedReader`.
    """

    def __init__(
        self,
        readers: Dict[str, DatasetReader],
        token_indexers: Optional[Dict[str, TokenIndexer]] = None,
        untagged: Optional[List[str]] = None,
        shard: bool = True,
        max_instances: Optional[int] = None,
    ) -> None:
        if not readers:
            raise ConfigurationError("the mixture has no readers; name at least one")
        unknown = [name for name in untagged or () if name not in readers]
        if unknown:
            raise ConfigurationError(
                f"untagged of the mixture names a reader {unknown[0]!r}, but it has {', '.join(map(repr, readers))}"
            )
        parts = {name: checked_part(reader, f"reader {name!r}", "the mixture") for name, reader in readers.items()}
        super().__init__(token_indexers, next(iter(parts.values())).language, shard, max_instances)
        self._readers = parts
        self._untagged = frozenset(untagged or ())

    def all_sentences(self, paths: Union[str, Mapping[str, Any]]) -> Iterator[Sentence]:
        """The sentences of every part, one part after another in the order of `paths`."""
        if not isinstance(paths, Mapping):
            paths = {next(iter(self._readers)): paths}
        for name in paths:
            if name not in self._readers:
                raise ConfigurationError(
                    f"the data path names a reader {name!r}, but the mixture has {', '.join(map(repr, self._readers))}"
                )
        for name in paths:
            sentences = self._readers[name].sentences(paths[name])
            yield from map(_without_tags, sentences) if name in self._untagged else sentences


def _without_tags(sentence: Sentence) -> Sentence:
    return replace(sentence, tags=None)
