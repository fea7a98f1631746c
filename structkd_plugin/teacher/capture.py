"""Capturing a teacher: from a trained tagger and files to a teacher store."""

import time
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params
from allennlp.common.tqdm import Tqdm
from allennlp.data.batch import Batch
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from allennlp.models.archival import Archive
from allennlp.models.model import Model
from allennlp.nn.util import move_to_device

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.teacher.fingerprint import teacher_fingerprint
from structkd_plugin.teacher.format import LOG_PROBABILITIES, POTENTIALS, Teacher
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter, encode_emissions

# What of a reader's settings decides how words become numbers.
_TOKENISATION_SETTINGS = ("token_indexers", "tokenizer")

# How structkd_tagger shows what is captured. (`isinstance` with a protocol does not see a module's submodules.)
_TAGGER_ATTRIBUTES = ("labels", "label_encoding", "crf", "k_best")

_tqdm: Any = Tqdm.tqdm


class Source(NamedTuple):
    """Files to capture: a path or glob, and its language if the reader is not to decide."""

    path: str
    language: Optional[str] = None


class CaptureSummary(NamedTuple):
    """What a capture did."""

    sentences: int  # in the files, each counted once
    words: int
    by_language: Dict[str, int]
    duplicates: int
    already_there: int
    bytes_on_disk: int
    seconds: float

    def __str__(self) -> str:
        languages = ", ".join(f"{language} {count:,}" for language, count in sorted(self.by_language.items()))
        return (
            f"{self.sentences:,} sentences ({languages}; {self.words:,} words), "
            f"{self.already_there:,} of them already there, {self.duplicates:,} duplicates skipped, "
            f"{self.bytes_on_disk / 1e6:.1f} MB on disk, {self.seconds:.1f} s"
        )


@dataclass
class CapturedTeacher:
    """
    A trained tagger with all that a capture needs to know of it.

    # Parameters

    model : `Model`
        A tagger like `structkd_tagger`.
    reader : `ShardedReader`
        One of this plugin's readers; it reads the files, and its token indexers are the teacher's.
    reader_settings : `Dict[str, Any]`
        Its configuration.
    """

    model: Model
    reader: ShardedReader
    reader_settings: Dict[str, Any]

    @classmethod
    def of_archive(cls, archive: Archive, reader_overrides: Optional[Dict[str, Any]] = None) -> "CapturedTeacher":
        """
        The teacher in an archive.

        # Parameters

        archive : `Archive`
            As `load_archive` gives it.
        reader_overrides : `Dict[str, Any]`, optional
            Configuration of a reader to be used instead of the archive's, for files of another format. Its token
            indexers are the archive's in any case.

        # Raises

        `ConfigurationError` : if the archive's model or reader is not of a kind that can be captured.
        """
        config = archive.config.duplicate().as_dict(quiet=True)
        settings = config.get("validation_dataset_reader") or config["dataset_reader"]
        reader: DatasetReader = archive.validation_dataset_reader
        if reader_overrides is not None:
            settings = {**reader_overrides, **_tokenisation(settings)}
            reader = DatasetReader.from_params(Params(settings).duplicate())
        if not all(hasattr(archive.model, name) for name in _TAGGER_ATTRIBUTES):
            raise ConfigurationError(
                f"the model of the archive is a {type(archive.model).__name__}, which shows no potentials that could "
                "be captured. Name an archive of a structkd_tagger."
            )
        if not isinstance(reader, ShardedReader):
            raise ConfigurationError(
                f"the reader of the archive is a {type(reader).__name__}, not one of this plugin's. Name another "
                'with --dataset-reader, for example \'{"type": "structkd_column"}\'.'
            )
        return cls(archive.model, reader, settings)

    def describe(self, encoding: str, k_best: int = 0) -> Teacher:
        """
        Who the records are from and what they hold, for the manifest.

        # Parameters

        encoding : `str`
            Type of the stored emissions.
        k_best : `int`, optional (default = 0)
            How many of the best labellings are stored with each record.
        """
        model: Any = self.model
        constraints = model.crf.constraints_in if model.crf.constrained else None
        vocabulary = {
            namespace: list(model.vocab.get_token_to_index_vocabulary(namespace).items())
            for namespace in sorted(model.vocab.get_namespaces())
        }
        return Teacher(
            fingerprint=teacher_fingerprint(
                model.state_dict(),
                model.labels,
                model.label_encoding,
                constraints,
                {"reader": _tokenisation(self.reader_settings), "vocabulary": vocabulary},
            ),
            labels=tuple(model.labels),
            # Forbidden transitions make a chain of a softmax tagger too.
            kind=POTENTIALS if model.crf.learn_transitions or constraints == "everywhere" else LOG_PROBABILITIES,
            label_encoding=model.label_encoding,
            constraints=constraints,
            encoding=encoding,
            k_best=k_best,
            k_best_scheme=model.label_encoding if k_best and constraints is not None else None,
        )

    def tables(self) -> Dict[str, torch.Tensor]:
        """
        The tables of the distribution that the teacher was trained as.

        # Returns

        `Dict[str, torch.Tensor]` : `transitions` (L, L), `start_transitions` (L,), `end_transitions` (L,); float32,
            −inf where it forbids, zeros for a softmax tagger.
        """
        model: Any = self.model
        names = ("transitions", "start_transitions", "end_transitions")
        return {name: table.float().cpu() for name, table in zip(names, model.crf.tables(), strict=True)}

    def records(self, sentences: Sequence[Sentence]) -> List[Record]:
        """
        What the teacher says of `sentences`, computed as one batch.

        # Raises

        `ConfigurationError` : for a sentence that the model cannot compute with, naming it.
        """
        try:
            return self._compute(sentences)
        except ValueError as error:
            # The potentials of one sentence spoil its whole batch.
            if len(sentences) > 1:
                for sentence in sentences:
                    self.records([sentence])
            raise ConfigurationError(f"the teacher fails on the sentence {_show(sentences[0])}: {error}") from error

    def with_k_best(self, records: Sequence[Record], encoding: str, k: int) -> List[Record]:
        """
        `records` with the K best labellings that the teacher's constraint allows, computed as one batch.

        # Parameters

        records : `Sequence[Record]`
        encoding : `str`
            Type in which the store keeps the emissions. The labellings are the best by what it keeps, so that they are
            those that a training computes from it.
        k : `int`
            At least 1.

        # Raises

        `ConfigurationError` : for emissions that cannot be stored, with the sentence.
        """
        model: Any = self.model
        device = next(model.parameters()).device
        rows = [torch.from_numpy(encode_emissions(record, model.labels, encoding)).float() for record in records]
        # (B, T, L)
        emissions = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        # (B, T)
        mask = torch.arange(emissions.shape[1], device=device) < lengths.unsqueeze(1)
        # (B, K, T), (B, K)
        tags, scores = (array.cpu().numpy() for array in model.k_best(emissions, mask, k))
        return [
            record._replace(k_best_tags=tags[i, :, : len(record.words)].T, k_best_scores=scores[i])
            for i, record in enumerate(records)
        ]

    def _compute(self, sentences: Sequence[Sentence]) -> List[Record]:
        model: Any = self.model
        instances = [
            self.reader.text_to_instance(
                sentence.words, None, sentence.language, sentence.file, sentence.line, sentence.sentence_id
            )
            for sentence in sentences
        ]
        for instance in instances:
            self.reader.apply_token_indexers(instance)
        batch = Batch(instances)
        batch.index_instances(model.vocab)
        device = next(model.parameters()).device
        output = model(**move_to_device(batch.as_tensor_dict(), device))
        # (B, T, L)
        emissions = output["emissions"].float()
        if not model.crf.learn_transitions:
            emissions = emissions.log_softmax(dim=2)
        lengths = output["mask"].sum(dim=1).tolist()
        rows = emissions.cpu().numpy()
        records = []
        for sentence, length, row in zip(sentences, lengths, rows, strict=True):
            if length != len(sentence.words):
                raise ConfigurationError(
                    f"the teacher sees {length} of the {len(sentence.words)} words of {_show(sentence)}. Set the "
                    "`max_length` of its token indexer so that it sees all."
                )
            key = sentence_key(sentence.language, sentence.words)
            records.append(Record(key, sentence.language, sentence.words, row[:length]))
        return records


def capture(
    teacher: CapturedTeacher,
    sources: Sequence[Source],
    output: str,
    batch_size: int = 64,
    encoding: str = "float16",
    k_best: int = 0,
    sentences_per_shard: int = 2048,
    writer: str = "main",
    quiet: bool = False,
) -> CaptureSummary:
    """
    Write to the store `output` what `teacher` says of all sentences in files, each different sentence once.

    May be killed at any moment: run again it goes on after the last whole shard, computing the same batches as an
    uninterrupted run of the same files, so that the store becomes the same, byte for byte on the same device.
    Sentences already in the store stay as they are; the files' labels, if they have any, are not used.

    # Parameters

    teacher : `CapturedTeacher`
        The tagger; it is put into evaluation mode.
    sources : `Sequence[Source]`
        The files.
    output : `str`
        Directory of the store, made if there is none.
    batch_size : `int`, optional (default = 64)
        Sentences a forward pass; sentences of similar length share one.
    encoding : `str`, optional (default = "float16")
        Type of the stored emissions, "float16" or "float32".
    k_best : `int`, optional (default = 0)
        How many of the best labellings that the teacher's constraint allows to store with each sentence.
    sentences_per_shard : `int`, optional (default = 2048)
        How many sentences are held in memory and, at most, lost by a kill.
    writer : `str`, optional (default = "main")
        Name of this writer; processes that add to one store at the same time need different ones.
    quiet : `bool`, optional (default = False)
        Whether to show no progress.

    # Raises

    `ConfigurationError` : for files that cannot be read, a store that is of another teacher or cannot be
        written, and emissions that cannot be stored.
    """
    started = time.monotonic()
    for name, value in (("batch_size", batch_size), ("sentences_per_shard", sentences_per_shard)):
        if value < 1:
            raise ConfigurationError(f"{name} must be at least 1, not {value}")
    description = teacher.describe(encoding, k_best)
    with TeacherStoreWriter(output, description, teacher.tables(), teacher.reader_settings, writer) as store:
        # Going through the files first costs little beside the forward passes, and finds a broken file at once.
        plan = _plan(teacher.reader, sources, store)
        if not quiet and plan.already_there:
            print(f"{plan.already_there:,} of {plan.sentences:,} sentences were already there")
        teacher.model.eval()
        unique = _unique(_read(teacher.reader, sources))
        with (
            torch.no_grad(),
            _tqdm(total=plan.sentences, initial=plan.already_there, unit="sentence", disable=quiet) as progress,
        ):
            for window in _windows(unique, sentences_per_shard):
                store.commit(list(_window_records(teacher, description, window, batch_size, store, progress)))
        store.finish()
    return CaptureSummary(
        sentences=plan.sentences,
        words=plan.words,
        by_language=plan.by_language,
        duplicates=plan.duplicates,
        already_there=plan.already_there,
        bytes_on_disk=sum(file.stat().st_size for file in Path(output).iterdir()),
        seconds=time.monotonic() - started,
    )


class _Plan(NamedTuple):
    sentences: int
    words: int
    by_language: Dict[str, int]
    duplicates: int
    already_there: int


def _plan(reader: ShardedReader, sources: Sequence[Source], store: TeacherStoreWriter) -> _Plan:
    total = words = sentences = already_there = 0
    by_language: Dict[str, int] = {}

    def counted() -> Iterator[Sentence]:
        nonlocal total
        for sentence in _read(reader, sources):
            total += 1
            yield sentence

    for key, sentence in _unique(counted()):
        sentences += 1
        words += len(sentence.words)
        by_language[sentence.language] = by_language.get(sentence.language, 0) + 1
        already_there += key in store
    if not total:
        raise ConfigurationError("there are no sentences in the files")
    return _Plan(sentences, words, by_language, total - sentences, already_there)


def _read(reader: ShardedReader, sources: Sequence[Source]) -> Iterable[Sentence]:
    paths: List[Union[List[str], Mapping[str, List[str]]]] = [
        [source.path] if source.language is None else {source.language: [source.path]} for source in sources
    ]
    return chain.from_iterable(map(reader.sentences, paths))


def _unique(sentences: Iterable[Sentence]) -> Iterator[Tuple[str, Sentence]]:
    seen: Set[bytes] = set()
    for sentence in sentences:
        key = sentence_key(sentence.language, sentence.words)
        binary = bytes.fromhex(key)
        if binary not in seen:
            seen.add(binary)
            yield key, sentence


def _windows(sentences: Iterator[Tuple[str, Sentence]], size: int) -> Iterator[List[Tuple[str, Sentence]]]:
    while True:
        window = list(islice(sentences, size))
        if not window:
            return
        yield window


def _window_records(
    teacher: CapturedTeacher,
    description: Teacher,
    window: Sequence[Tuple[str, Sentence]],
    batch_size: int,
    store: TeacherStoreWriter,
    progress: Any,
) -> Iterator[Record]:
    """
    The records of a window that are not in the store.

    The composition of a batch changes the last bits of what is computed. So it must not depend on what is in the
    store: a batch is computed whole or not at all.
    """
    by_length = sorted(window, key=lambda item: len(item[1].words))
    for start in range(0, len(by_length), batch_size):
        batch = by_length[start : start + batch_size]
        if all(key in store for key, _ in batch):
            continue
        records = teacher.records([sentence for _, sentence in batch])
        if description.k_best:
            records = teacher.with_k_best(records, description.encoding, description.k_best)
        new = [record for record in records if record.key not in store]
        progress.update(len(new))
        yield from new


def _show(sentence: Sentence) -> str:
    return f"{' '.join(sentence.words)!r} ({sentence.language}, {sentence.file}:{sentence.line})"


def _tokenisation(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Of a reader's settings those that decide how words become numbers; readers may contain readers."""
    kept: Dict[str, Any] = {}
    for name, value in settings.items():
        if name in _TOKENISATION_SETTINGS:
            kept[name] = value
        elif isinstance(value, Mapping) and _tokenisation(value):
            kept[name] = _tokenisation(value)
    return kept
