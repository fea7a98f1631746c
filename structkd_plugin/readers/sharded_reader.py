"""From a stream of sentences to instances, every sentence read exactly once in whatever number of processes."""

from itertools import islice
from typing import Any, Dict, Iterator, List, Optional, Sequence, Union

from allennlp.common.checks import ConfigurationError
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.data.fields.field import Field
from allennlp.data.fields.metadata_field import MetadataField
from allennlp.data.fields.sequence_label_field import SequenceLabelField
from allennlp.data.fields.text_field import TextField
from allennlp.data.instance import Instance
from allennlp.data.token_indexers.single_id_token_indexer import SingleIdTokenIndexer
from allennlp.data.token_indexers.token_indexer import TokenIndexer
from allennlp.data.tokenizers.token_class import Token

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_key import sentence_key

NO_LABEL = -1


class ShardedReader(CheckedOptions, DatasetReader):
    """
    A reader that makes instances of sentences; a subclass says where the sentences come from.

    Every process goes through the same stream of sentences and makes instances of its own share only: making them
    is what costs time. An instance has the fields `tokens`, `tags` (label namespace `labels`) and `metadata`, a
    dictionary of `words`, `language`, `key`, `file`, `line` and `sentence_id`. A sentence without labels
    has the integer -1 for the tag of each word, so that it can share a batch with labelled ones.

    # Parameters

    token_indexers : `Optional[Dict[str, TokenIndexer]]`, optional (default=`{"tokens": SingleIdTokenIndexer()}`)
        They see the words as they are in the file.
    language : `str`, optional (default=`"und"`)
        The language of sentences for which nothing else names one; "und" is the code for undetermined.
    shard : `bool`, optional (default=`True`)
        Whether the processes of a distributed run share the sentences among them. `False` lets each read all of them,
        which is what exact validation needs: AllenNLP ends every rank's validation with the shortest rank. The
        workers of one process's loader share the sentences in any case.
    max_instances : `Optional[int]`, optional (default=`None`)
        Read only so many sentences, counted over all processes and after any sampling.
    """

    def __init__(
        self,
        token_indexers: Optional[Dict[str, TokenIndexer]] = None,
        language: str = "und",
        shard: bool = True,
        max_instances: Optional[int] = None,
    ) -> None:
        # AllenNLP divides a `max_instances` it knows of among ranks even where each of them reads everything.
        super().__init__(manual_distributed_sharding=True, manual_multiprocess_sharding=True)
        if max_instances is not None and max_instances < 1:
            raise ConfigurationError(f"max_instances is {max_instances}; give at least 1, or null for all")
        if not language.strip():
            raise ConfigurationError('language is empty; give a code such as "de", or "und" if it is not known')
        self.language = language
        # A mixture makes the instances for its parts, and refuses parts that were told how to make them.
        self.makes_its_own_instances = token_indexers is not None or not shard
        self._token_indexers = token_indexers or {"tokens": SingleIdTokenIndexer()}
        self._shard = shard
        self._max_sentences = max_instances

    def all_sentences(self, paths: Any) -> Iterator[Sentence]:
        """The sentences of `paths` in a fixed order, the same in every process."""
        raise NotImplementedError

    def sentences(self, paths: Any) -> Iterator[Sentence]:
        """
        The sentences a run over `paths` reads, in all its processes together.

        # Parameters

        paths : `Any`
            What AllenNLP calls the data path.

        # Returns

        `Iterator[Sentence]` : at most `max_instances`, in a fixed order.
        """
        return islice(self.all_sentences(paths), self._max_sentences)

    def text_to_instance(
        self,
        words: Sequence[Union[str, Token]],
        tags: Optional[Sequence[str]] = None,
        language: Optional[str] = None,
        file: Optional[str] = None,
        line: Optional[int] = None,
        sentence_id: Optional[str] = None,
    ) -> Instance:
        """
        One sentence as an instance, without token indexers: `apply_token_indexers` adds them.

        # Parameters

        words : `Sequence[Union[str, Token]]`
            At least one word, none of them empty.
        tags : `Optional[Sequence[str]]`
            One tag per word; without them the instance has no field `tags`.
        language : `Optional[str]`
            The language's code; the reader's own without it.
        file, line, sentence_id : `Optional[str]`, `Optional[int]`, `Optional[str]`
            Where the sentence came from.

        # Returns

        `Instance`

        # Raises

        `ConfigurationError` : for no words, an empty word, or another number of tags than of words.
        """
        if isinstance(words, str):
            raise data_error(file, line, f"{words!r} is a text; give the list of its words")
        texts: List[str] = [word if isinstance(word, str) else str(word.text) for word in words]
        if not texts:
            raise data_error(file, line, "the sentence has no words")
        if "" in texts:
            raise data_error(file, line, f"word {texts.index('') + 1} of the sentence is empty")
        if tags is not None and len(tags) != len(texts):
            raise data_error(file, line, f"the sentence has {len(texts)} words but {len(tags)} tags")
        language = self.language if language is None else language
        tokens = TextField([Token(text) for text in texts])
        fields: Dict[str, Field[Any]] = {"tokens": tokens}
        if tags is not None:
            fields["tags"] = SequenceLabelField(list(tags), tokens, label_namespace="labels")
        fields["metadata"] = MetadataField(
            {
                "words": texts,
                "language": language,
                "key": sentence_key(language, texts),
                "file": file,
                "line": line,
                "sentence_id": sentence_id,
            }
        )
        return Instance(fields)

    def apply_token_indexers(self, instance: Instance) -> None:
        """Give the `tokens` of `instance` this reader's token indexers."""
        instance["tokens"].token_indexers = self._token_indexers  # type: ignore[attr-defined]

    def _read(self, file_path: Any) -> Iterator[Instance]:
        for sentence in self._share(self.sentences(file_path)):
            instance = self.text_to_instance(
                sentence.words,
                sentence.tags,
                sentence.language,
                sentence.file,
                sentence.line,
                sentence.sentence_id,
            )
            if sentence.tags is None:
                unlabelled = [NO_LABEL] * len(sentence.words)
                instance.add_field("tags", SequenceLabelField(unlabelled, instance["tokens"], "labels"))  # type: ignore[arg-type]
            yield instance

    def _share(self, sentences: Iterator[Sentence]) -> Iterator[Sentence]:
        if self._shard:
            return self.shard_iterable(sentences)
        worker = self.get_worker_info()
        return sentences if worker is None else islice(sentences, worker.id, None, worker.num_workers)


def checked_part(reader: DatasetReader, name: str, whole: str) -> ShardedReader:
    """
    A reader whose sentences another one, the whole, makes instances of.

    # Parameters

    reader : `DatasetReader`
        The class that readers are registered with is what FromParams can build.
    name, whole : `str`, `str`
        What the two are called in a message.

    # Raises

    `ConfigurationError` : if it yields no sentences, or was told how to make instances.
    """
    if not isinstance(reader, ShardedReader):
        raise ConfigurationError(
            f"{name} of {whole} is a {type(reader).__name__}, which yields no sentences; give one whose type begins "
            "with structkd_"
        )
    if reader.makes_its_own_instances:
        raise ConfigurationError(
            f"{name} of {whole} has token_indexers or shard of its own, which would have no effect; give them to "
            f"{whole}"
        )
    return reader
