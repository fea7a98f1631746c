"""The gold sentences that are evaluated against, and how their tags write spans."""

from functools import cache
from itertools import chain
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence

from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params
from allennlp.data.dataset_readers.dataset_reader import DatasetReader

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.readers.source import Source
from structkd_plugin.tag_schemes import canonical_scheme, detect_scheme, is_scheme_tag

# What to call labels of words where a scheme is named.
NO_SCHEME = "none"


class Gold(NamedTuple):
    """Readers of gold files, and the scheme their tags are read in."""

    # For all files; `None` chooses by the name of each.
    reader: Optional[ShardedReader]
    # What tags of column files are converted to; `None` leaves them as they are.
    converted: Optional[str] = None

    def sentences(self, sources: Sequence[Source]) -> Iterator[Sentence]:
        """The sentences of files, one file after the other."""
        return chain.from_iterable(
            self.of(source.path).sentences(
                [source.path] if source.language is None else {source.language: [source.path]}
            )
            for source in sources
        )

    def of(self, path: str) -> ShardedReader:
        """The reader of a file."""
        return self.reader if self.reader is not None else _reader_by_name(path, self.converted)


def reader_from(settings: Mapping[str, Any]) -> ShardedReader:
    """
    The reader that settings describe, without what it would need for a model.

    # Raises

    `ConfigurationError` : for settings that make no reader of this plugin.
    """
    # Only what is read counts here; an indexer could need files that are elsewhere.
    settings = {name: value for name, value in settings.items() if name != "token_indexers"}
    try:
        reader = DatasetReader.from_params(Params(dict(settings)).duplicate())
    except (ConfigurationError, TypeError) as error:
        raise ConfigurationError(f"there is no such dataset reader: {error}") from None
    if not isinstance(reader, ShardedReader):
        raise ConfigurationError(
            f"{type(reader).__name__} is not one of this plugin's readers, whose types begin with structkd_"
        )
    return reader


def scheme_of(sentences: Iterable[Sentence]) -> Optional[str]:
    """
    How the tags of sentences write spans; `None` where any of them is no tag of a scheme.

    # Raises

    `ConfigurationError` : if no scheme has all the prefixes.
    """
    strangers = False
    is_of_scheme = cache(is_scheme_tag)

    def tags() -> Iterator[Sequence[str]]:
        nonlocal strangers
        for sentence in sentences:
            here = sentence.tags or ()
            if not all(map(is_of_scheme, here)):
                strangers = True
                return
            yield here

    try:
        scheme = detect_scheme(tags())
    except ValueError as error:
        if strangers:
            return None
        raise ConfigurationError(
            f"the gold tags look like spans, but {error}; name the scheme with --scheme, or `--scheme none` where "
            "every word has a label of its own"
        ) from error
    return None if strangers else scheme


def named_scheme(name: Optional[str]) -> Optional[str]:
    """
    A scheme by its name as commands take it, `none` for labels of words.

    # Raises

    `ConfigurationError` : if there is no such scheme.
    """
    if name is None or name.lower() == NO_SCHEME:
        return None
    try:
        return canonical_scheme(name)
    except ValueError as error:
        raise ConfigurationError(f"{error}, or none where every word has a label of its own") from error


def _reader_by_name(path: str, scheme: Optional[str]) -> ShardedReader:
    name = path.lower().removesuffix(".gz")
    settings: Dict[str, Any] = {"type": "structkd_column", "scheme": scheme}
    if name.endswith(".conllu"):
        settings = {"type": "structkd_conllu"}
    elif name.endswith(".xml"):
        settings = {"type": "structkd_aspect", "scheme": scheme or "BIO"}
    return reader_from(settings)
