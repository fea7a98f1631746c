"""What readers of all file formats share: paths, languages, sampling, long sentences."""

import codecs
import logging
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Union

from allennlp.common.checks import ConfigurationError
from allennlp.data.token_indexers.token_indexer import TokenIndexer

from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.language_sampling import LanguageSampling
from structkd_plugin.readers.paths import PathOrPaths, data_files
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sharded_reader import ShardedReader

logger = logging.getLogger(__name__)


class SentenceReader(ShardedReader):
    """
    A reader of files in one format; a subclass implements `parse`.

    A data path is a path, a glob, a list of those, a mapping of languages to those, or a path with `{language}` in
    place of the language: `"data/{language}/train.conllu"`. Without `sampling`, sentences are streamed in the order
    of the files. Sampling needs the number of sentences, so that files are gone through once more to count them.

    # Parameters

    token_indexers, language, shard, max_instances :
        See `ShardedReader`.
    encoding : `str`, optional (default=`"utf-8"`)
        The files' encoding.
    max_words : `Optional[int]`, optional (default=`None`)
        The longest sentence to read, in words; `None` for any.
    long_sentences : `str`, optional (default=`"error"`)
        What to do with a longer one: `"error"`, or `"skip"`, which is counted and logged.
    sampling : `Optional[LanguageSampling]`, optional (default=`None`)
        How many sentences of each language to read.
    """

    def __init__(
        self,
        token_indexers: Optional[Dict[str, TokenIndexer]] = None,
        language: str = "und",
        encoding: str = "utf-8",
        max_words: Optional[int] = None,
        long_sentences: str = "error",
        sampling: Optional[LanguageSampling] = None,
        shard: bool = True,
        max_instances: Optional[int] = None,
    ) -> None:
        super().__init__(token_indexers, language, shard, max_instances)
        if long_sentences not in ("error", "skip"):
            raise ConfigurationError(f'long_sentences is {long_sentences!r}; choose "error" or "skip"')
        if max_words is not None and max_words < 1:
            raise ConfigurationError(f"max_words is {max_words}; give at least 1, or null for any length")
        self._encoding = _line_based_encoding(encoding)
        self._max_words = max_words
        self._skip_long = long_sentences == "skip"
        self._sampling = sampling
        # Files whose skipped sentences were reported; files are read anew for every epoch.
        self._reported: Set[str] = set()

    def parse(self, file: str, language: str) -> Iterator[Sentence]:
        """
        The sentences of one file, in its order.

        # Parameters

        file : `str`
            The file.
        language : `str`
            Its language.

        # Raises

        `ConfigurationError` : one sentence that names file and line, for anything that is not of the format.
        """
        raise NotImplementedError

    def all_sentences(self, paths: Union[PathOrPaths, Mapping[str, PathOrPaths]]) -> Iterator[Sentence]:
        """The sentences of `paths`, sampled by language where that is asked for."""
        files: Dict[str, List[str]] = {}
        for language, file in data_files(paths, self.language):
            files.setdefault(language, []).append(file)

        def read(language: str) -> Iterator[Sentence]:
            for file in files[language]:
                yield from self._checked(file, language)

        if self._sampling is None:
            for language in files:
                yield from read(language)
        else:
            counts = {language: sum(1 for _ in read(language)) for language in files}
            yield from self._sampling.sample(counts, read)

    def _checked(self, file: str, language: str) -> Iterator[Sentence]:
        empty, skipped = True, 0
        for sentence in self.parse(file, language):
            empty = False
            if self._max_words is None or len(sentence.words) <= self._max_words:
                yield sentence
            elif self._skip_long:
                skipped += 1
            else:
                raise data_error(
                    file,
                    sentence.line,
                    f"the sentence has {len(sentence.words)} words, more than max_words ({self._max_words}); "
                    'set long_sentences to "skip" to leave out such sentences',
                )
        if empty:
            raise data_error(file, None, "the file has no sentences; take it out of the data path")
        if skipped and file not in self._reported:
            self._reported.add(file)
            logger.warning("%s: skipped %d sentence(s) of over %s words", file, skipped, self._max_words)


def _line_based_encoding(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        feed: Any = "\n".encode(name)
    except (LookupError, TypeError) as error:
        raise ConfigurationError(f"encoding {encoding!r} is not known to Python") from error
    if feed != b"\n":
        raise ConfigurationError(f"files in {encoding} cannot be read line by line; convert them to utf-8")
    # `text_lines` drops the byte order mark that utf-8-sig is about.
    return name
