"""What is evaluated: a trained tagger, or files with what some tagger said."""

import os
import tarfile
from abc import ABC, abstractmethod
from itertools import chain, islice
from typing import Any, Container, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.common.tqdm import Tqdm
from allennlp.models.archival import load_archive

from structkd_plugin.evaluation.gold import Gold, named_scheme, reader_from, scheme_of
from structkd_plugin.evaluation.known import vocabulary_words
from structkd_plugin.evaluation.prediction_files import Prediction, predictions_by_gold_file, read_predictions
from structkd_plugin.evaluation.tagged_sentence import TaggedSentence
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.paths import data_files
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.source import Source

_tqdm: Any = Tqdm.tqdm
_CONFIG = "config.json"
_PLACE_OF_LANGUAGE = "{language}"
_READERS_WITHOUT_TAGS = ("structkd_plain_text", "structkd_recombined")
# Batches of which the sentences are sorted by length, so that those of one batch are of similar length.
_BATCHES_SORTED = 16


class System(ABC):
    """
    Something that tags sentences, and what is known of it.

    # Parameters

    name : `str`
        What it is called.
    """

    # The languages it was trained on; `None` where that is not known.
    trained_languages: Optional[FrozenSet[str]] = None
    # The words it saw in training; `None` where that is not known.
    known_words: Optional[Container[str]] = None

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    @abstractmethod
    def label_encoding(self) -> Optional[str]:
        """How tags write spans; `None` where every word has a label of its own."""

    @abstractmethod
    def gold(self, sources: Sequence[Source]) -> Iterator[Sentence]:
        """The sentences of files with their gold tags, in the scheme of `label_encoding`."""

    @abstractmethod
    def tagged(self, sources: Sequence[Source], batch_size: int = 64, quiet: bool = False) -> Iterator[TaggedSentence]:
        """
        The sentences of gold files, tagged.

        # Parameters

        sources : `Sequence[Source]`
        batch_size : `int`, optional (default = 64)
            Sentences that are computed at once.
        quiet : `bool`, optional (default = `False`)
            Whether to show no progress.

        # Returns

        `Iterator[TaggedSentence]` : in the order of the files.

        # Raises

        `ConfigurationError` : for files that cannot be read, and predictions that are not of the gold sentences.
        """


class ArchivedSystem(System):
    """
    A trained `structkd_tagger`.

    # Parameters

    name : `str`
    tagger : `SentenceTagger`
    config : `Mapping[str, Any]`
        Of its training.
    gold : `Gold`, optional
        How gold files are read; by default as the archive's reader does.
    """

    def __init__(
        self, name: str, tagger: SentenceTagger, config: Mapping[str, Any], gold: Optional[Gold] = None
    ) -> None:
        super().__init__(name)
        self.tagger = tagger
        self.trained_languages = trained_languages_of(config)
        self.known_words = vocabulary_words(tagger.reader, tagger.model.vocab)
        self._gold = gold if gold is not None else Gold(tagger.reader)

    @property
    def label_encoding(self) -> Optional[str]:
        """How tags write spans; `None` where every word has a label of its own."""
        return self.tagger.label_encoding

    def gold(self, sources: Sequence[Source]) -> Iterator[Sentence]:
        """The sentences of files with their gold tags."""
        return self._gold.sentences(sources)

    def tagged(self, sources: Sequence[Source], batch_size: int = 64, quiet: bool = False) -> Iterator[TaggedSentence]:
        """The sentences of gold files, tagged."""
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, not {batch_size}")
        remaining = iter(self.gold(sources))
        with _tqdm(unit="sentence", disable=quiet) as progress:
            while window := list(islice(remaining, batch_size * _BATCHES_SORTED)):
                found: List[Optional[TaggedSentence]] = [None] * len(window)
                order = sorted(range(len(window)), key=lambda i: len(window[i].words))
                for start in range(0, len(order), batch_size):
                    batch = order[start : start + batch_size]
                    taggings = self.tagger.tag([Words(window[i].words, window[i].language) for i in batch])
                    for i, tagging in zip(batch, taggings, strict=True):
                        found[i] = TaggedSentence(window[i], tagging.tags, tagging.tag_probabilities, tagging.entities)
                    progress.update(len(batch))
                yield from (sentence for sentence in found if sentence is not None)


class PredictedFiles(System):
    """
    A file of predictions, or a folder of such files with one for each gold file.

    # Parameters

    path : `str`
        A file, with the sentences of all gold files in their order; or a folder, see `predictions_by_gold_file`.
    reader_settings : `Mapping[str, Any]`, optional
        Of the reader of gold files; by default CoNLL-U and XML of aspect terms are told by their names, and
        other files are columns.
    scheme : `str`, optional
        How predicted tags write spans, "none" where they do not. Without it, the reader's, or else that of the gold
        tags.

    # Raises

    `ConfigurationError` : for settings that make no reader, and an unknown scheme.
    """

    def __init__(
        self, path: str, reader_settings: Optional[Mapping[str, Any]] = None, scheme: Optional[str] = None
    ) -> None:
        super().__init__(path)
        self._path = path
        self._settings = dict(reader_settings or {})
        self._gold = Gold(reader_from(reader_settings) if reader_settings is not None else None)
        # Whether the scheme is settled.
        self._decided = scheme is not None
        self._named = scheme is not None
        self._scheme = named_scheme(scheme)
        if not self._decided and self._settings.get("scheme") is not None:
            self._decided, self._scheme = True, named_scheme(self._settings["scheme"])
        # What gold tags are written in has been compared with what was named.
        self._compared = False

    @property
    def label_encoding(self) -> Optional[str]:
        """
        How tags write spans; `None` where every word has a label of its own. Where nobody has said, it is what the
        gold tags show, and before these were asked for, what the predictions show.
        """
        if self._decided:
            return self._scheme
        files = [self._path]
        if os.path.isdir(self._path):
            files = sorted(entry.path for entry in os.scandir(self._path) if entry.is_file())
        return scheme_of(
            Sentence(prediction.words, prediction.tags, "und", file, prediction.line)
            for file in files
            for prediction in self._predictions(file)
        )

    def gold(self, sources: Sequence[Source]) -> Iterator[Sentence]:
        """The sentences of files with their gold tags."""
        self._settle(sources)
        return self._gold.sentences(sources)

    def tagged(self, sources: Sequence[Source], batch_size: int = 64, quiet: bool = False) -> Iterator[TaggedSentence]:
        """The sentences of gold files, with what is predicted for them."""
        # Before the first sentence is asked for: the caller may want to know the scheme.
        self._settle(sources)
        return self._tagged(sources, quiet)

    def _settle(self, sources: Sequence[Source]) -> None:
        """Find out how tags write spans, if nobody has said, and how gold tags come to be written so."""
        if self._decided and (not self._named or self._scheme is None or self._settings or self._compared):
            return
        written = scheme_of(self._gold.sentences(sources))
        if not self._decided:
            self._decided, self._scheme = True, written
        elif written != self._scheme:
            self._gold = Gold(None, self._scheme)
        self._compared = True

    def _tagged(self, sources: Sequence[Source], quiet: bool) -> Iterator[TaggedSentence]:
        with _tqdm(unit="sentence", disable=quiet) as progress:
            for sentence in self._matched(sources):
                progress.update()
                yield sentence

    def _matched(self, sources: Sequence[Source]) -> Iterator[TaggedSentence]:
        if not os.path.isdir(self._path):
            yield from matched(self._gold.sentences(sources), self._predictions(self._path), self._path)
            return
        files = [
            Source(found.file, found.language)
            for source in sources
            for found in data_files(
                source.path if source.language is None else {source.language: source.path},
                self._gold.of(source.path).language,
            )
        ]
        predicted = predictions_by_gold_file(self._path, [(str(file.language), file.path) for file in files])
        for file in files:
            path = predicted[file.path]
            yield from matched(self._gold.sentences([file]), self._predictions(path), path)

    def _predictions(self, file: str) -> Iterator[Prediction]:
        label = self._settings.get("label") if self._settings.get("type") == "structkd_conllu" else None
        spans = self._decided and self._scheme is not None
        return read_predictions(file, label or "upos", spans)


def open_system(
    path: str,
    cuda_device: int = -1,
    reader_settings: Optional[Mapping[str, Any]] = None,
    scheme: Optional[str] = None,
) -> System:
    """
    The system that a path names.

    # Parameters

    path : `str`
        A model.tar.gz or a serialization directory; or a file of predictions, or a folder of such.
    cuda_device : `int`, optional (default = -1)
        Of a trained tagger; -1 is the CPU.
    reader_settings : `Mapping[str, Any]`, optional
        Of the reader of gold files.
    scheme : `str`, optional
        How predictions write spans, "none" where they do not; a trained tagger says so itself.

    # Raises

    `ConfigurationError` : for a path with neither.
    """
    if not os.path.exists(path):
        raise ConfigurationError(f"{path}: there is no such file or folder (looked from {os.getcwd()})")
    if not is_archive(path):
        return PredictedFiles(path, reader_settings, scheme)
    tagger, config = _load(path, cuda_device)
    if scheme is not None and named_scheme(scheme) != tagger.label_encoding:
        raise ConfigurationError(
            f"{path}: the tagger writes spans as {tagger.label_encoding or 'no scheme'}, which --scheme {scheme} "
            "cannot change; leave it out"
        )
    gold = None if reader_settings is None else Gold(reader_from(reader_settings))
    return ArchivedSystem(path, tagger, config, gold)


def matched(
    gold: Iterable[Sentence], predictions: Iterable[Prediction], predicted_file: str
) -> Iterator[TaggedSentence]:
    """
    Gold sentences, each with the prediction at the same place.

    # Parameters

    gold : `Iterable[Sentence]`
    predictions : `Iterable[Prediction]`
    predicted_file : `str`
        Where predictions come from, for messages.

    # Raises

    `ConfigurationError` : naming both places, where words are not the same, or one side has more sentences.
    """
    advice = "predictions must be of the gold sentences, in their order"
    remaining = iter(predictions)
    number = 0
    for sentence in gold:
        prediction = next(remaining, None)
        if prediction is None:
            raise data_error(
                predicted_file,
                None,
                f"the predictions end after {number:,} sentences, where the gold sentence {_place(sentence)} follows "
                f"({_shown(sentence.words)}); {advice}",
            )
        number += 1
        if prediction.words != sentence.words:
            raise data_error(prediction.file, prediction.line, f"{_difference(prediction.words, sentence)}; {advice}")
        yield TaggedSentence(sentence, prediction.tags, prediction.tag_probabilities, prediction.entities)
    prediction = next(remaining, None)
    if prediction is not None:
        raise data_error(
            prediction.file,
            prediction.line,
            f"sentence {number + 1:,} of the predictions ({_shown(prediction.words)}) has no gold sentence: the gold "
            f"files end after {number:,}; {advice}",
        )


def trained_languages_of(config: Mapping[str, Any]) -> Optional[FrozenSet[str]]:
    """
    The languages of the training data of a configuration; `None` where it does not say. Of a mixture, those with gold
    tags: a language that other languages' teachers speak of, and no more, is a zero-shot language.

    # Parameters

    config : `Mapping[str, Any]`
        Of a training.
    """
    return _languages(config.get("train_data_path"), config.get("dataset_reader"))


def _languages(path: Any, settings: Any) -> Optional[FrozenSet[str]]:
    reader = settings if isinstance(settings, Mapping) else {}
    if _type_of(settings) == "structkd_mixture":
        parts = reader.get("readers") or {}
        paths = path if isinstance(path, Mapping) else {next(iter(parts), ""): path}
        untagged = {name for name in paths if _type_of(parts.get(name)) in _READERS_WITHOUT_TAGS}
        untagged.update(reader.get("untagged") or ())
        # Without any gold tags, what there is has been trained on.
        used = [name for name in paths if name not in untagged] or paths
        found = [_languages(paths[name], parts.get(name)) for name in used]
        # What is unknown of one part is unknown of the whole.
        known = [languages for languages in found if languages is not None]
        return frozenset(chain.from_iterable(known)) if len(known) == len(found) else None
    if _type_of(settings) == "structkd_recombined":
        return _languages(path, reader.get("reader"))
    if isinstance(path, Mapping):
        return frozenset(map(str, path))
    language = reader.get("language")
    if isinstance(path, str) and _PLACE_OF_LANGUAGE in path:
        return None
    return frozenset([str(language)]) if path is not None and language is not None else None


def _type_of(reader: Any) -> Any:
    """The type of a reader, which may be its name alone where it has no options."""
    return reader.get("type") if isinstance(reader, Mapping) else reader


def is_archive(path: str) -> bool:
    """Whether a path is of a trained tagger, a model.tar.gz or a serialization directory, and not of predictions."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, _CONFIG))
    return tarfile.is_tarfile(path)


def _load(path: str, cuda_device: int) -> Tuple[SentenceTagger, Mapping[str, Any]]:
    try:
        archive = load_archive(path, cuda_device=cuda_device)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"{path}: the archive cannot be loaded ({error})") from error
    # Test sentences are the same for many models.
    return SentenceTagger(archive, keep_vectors=True), archive.config.as_dict(quiet=True)


def _difference(words: Sequence[str], gold: Sentence) -> str:
    """Where the words of a prediction first differ from those of the gold sentence."""
    where = f"the gold sentence {_place(gold)}"
    for i, (word, other) in enumerate(zip(words, gold.words, strict=False)):
        if word != other:
            return f"word {i + 1} is {word!r}, where {where} has {other!r}"
    return f"the sentence has {len(words)} words, where {where} has {len(gold.words)} ({_shown(gold.words)})"


def _place(sentence: Sentence) -> str:
    return f"{sentence.file}:{sentence.line}" if sentence.file else "that was given"


def _shown(words: Sequence[str]) -> str:
    return repr(" ".join(words[:8]) + (" …" if len(words) > 8 else ""))
