"""What a capture needs of a teacher, of whatever kind it is."""

from functools import cached_property
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from allennlp.common import Registrable
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params
from allennlp.data.dataset_readers.dataset_reader import DatasetReader

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.crf import ChainConstraints, LinearChainCRF, chain_constraints
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.tag_schemes import canonical_scheme
from structkd_plugin.teacher.format import KINDS, TABLE_NAMES, Teacher
from structkd_plugin.teacher.writer import Record, encode_emissions


class CapturedTeacher(CheckedOptions, Registrable):
    """
    A trained tagger that can be captured: sentences' words in, potentials or log-probabilities out.

    A subclass implements `emissions`, `tables`, `fingerprint`, `device` and `eval`, and is registered under the `type`
    that a description of it has: `@CapturedTeacher.register("mine")`, made by `{"type": "mine", ...}`. Its constructor
    gets `cuda_device` (−1 for the CPU) if it has a parameter of that name. What it must keep to:

    - With its `tables`, the emissions of a sentence determine a distribution over its labellings: the score of one is
      the sum of its emissions, transitions, start and end, in nats. A softmax tagger has the log-probabilities of each
      word as emissions and tables of 0.
    - On one device the same batch of sentences gives the same bytes, whatever was computed before it. What else is in
      its batch may change the last bits of what it says of a sentence, and nothing more.
    - `fingerprint` changes whenever the answers may: with parameters, labels, tokenisation and options; and with
      nothing else, neither the names of files nor how they are packed.

    # Parameters

    labels : `Sequence[str]`
        The L labels in the order of the columns of the emissions.
    kind : `str`
        "potentials" (a CRF) or "log_probabilities" (a softmax tagger).
    label_encoding : `str`, optional
        Scheme in which the labels write spans; none for labels of words.
    constraints : `str`, optional
        Where the teacher holds its labels to the scheme: "decoding", "everywhere", or none.
    reader : `DatasetReader`, optional
        What reads the files if `read_with` names nothing else: one of this plugin's, or else as good as none.
    reader_settings : `Dict[str, Any]`, optional
        Its configuration, for the record.

    # Raises

    `ConfigurationError` : for labels that are not different strings or not of the scheme.
    """

    def __init__(
        self,
        labels: Sequence[str],
        kind: str,
        label_encoding: Optional[str] = None,
        constraints: Optional[str] = None,
        reader: Optional[DatasetReader] = None,
        reader_settings: Optional[Dict[str, Any]] = None,
    ) -> None:
        if kind not in KINDS:
            raise ConfigurationError(f"kind is {kind!r}; choose one of {', '.join(KINDS)}")
        twice = sorted({label for label in labels if list(labels).count(label) > 1})
        if twice:
            raise ConfigurationError(f"the teacher has several labels of the name {', '.join(map(repr, twice))}")
        self.labels = list(labels)
        self.kind = kind
        try:
            self.label_encoding = None if label_encoding is None else canonical_scheme(label_encoding)
            _ = self._legal
        except ValueError as error:
            raise ConfigurationError(f"the label encoding of the teacher does not fit its labels: {error}") from None
        self.constraints = constraints
        self.reader_settings = reader_settings or {}
        self._reader = reader

    # ------------------------------------------------------------------------------ what a kind of teacher implements

    def emissions(self, sentences: Sequence[Sentence]) -> List[np.ndarray]:
        """
        The emissions of `sentences`, computed as one batch.

        # Returns

        `List[numpy.ndarray]` : for each sentence float32, shape (T, L), nats.

        # Raises

        `ConfigurationError` : for a sentence that the teacher cannot tag word by word, naming it.
        `ValueError` : where the computation fails; the sentence at fault is then found and named by `records`.
        """
        raise NotImplementedError

    def tables(self) -> Dict[str, torch.Tensor]:
        """
        The tables of the distribution that the teacher was trained as.

        # Returns

        `Dict[str, torch.Tensor]` : `transitions` (L, L), `start_transitions` (L,), `end_transitions` (L,); float32, on
            the CPU, −inf where it forbids, zeros for a softmax tagger.
        """
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Which teacher it is: 64 hexadecimal digits, as `teacher_fingerprint` makes them."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the teacher computes."""
        raise NotImplementedError

    def eval(self) -> None:
        """Put the teacher into evaluation mode."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- what they have in common

    @property
    def reader(self) -> ShardedReader:
        """
        The reader of the files.

        # Raises

        `ConfigurationError` : if it is none of this plugin's.
        """
        if not isinstance(self._reader, ShardedReader):
            found = "the teacher has no reader of files. Name one"
            if self._reader is not None:
                kind = type(self._reader).__name__
                found = f"the reader of the archive is a {kind}, not one of this plugin's. Name another"
            raise ConfigurationError(f'{found} with --dataset-reader, for example \'{{"type": "structkd_column"}}\'.')
        return self._reader

    def read_with(self, settings: Dict[str, Any]) -> None:
        """
        Have the files read by another reader; how words become numbers stays the teacher's own.

        # Parameters

        settings : `Dict[str, Any]`
            Configuration of one of this plugin's readers.

        # Raises

        `ConfigurationError` : if it is not one.
        """
        reader: DatasetReader = DatasetReader.from_params(Params(settings).duplicate())
        if not isinstance(reader, ShardedReader):
            raise ConfigurationError(
                f"--dataset-reader names a {type(reader).__name__}, which is not one of this plugin's. Name one that "
                "is, "
                'for example \'{"type": "structkd_column"}\'.'
            )
        self._reader, self.reader_settings = reader, settings

    def describe(self, encoding: str, k_best: int = 0) -> Teacher:
        """
        Who the records are from and what they hold, for the manifest.

        # Parameters

        encoding : `str`
            Type of the stored emissions.
        k_best : `int`, optional (default = 0)
            How many of the best labellings are stored with each record.
        """
        return Teacher(
            fingerprint=self.fingerprint(),
            labels=tuple(self.labels),
            kind=self.kind,
            label_encoding=self.label_encoding,
            constraints=self.constraints,
            encoding=encoding,
            k_best=k_best,
            k_best_scheme=self.label_encoding if k_best else None,
        )

    def records(self, sentences: Sequence[Sentence]) -> List[Record]:
        """
        What the teacher says of `sentences`, computed as one batch.

        # Raises

        `ConfigurationError` : for a sentence that the teacher cannot compute with, naming it.
        """
        try:
            emissions = self.emissions(sentences)
        except ValueError as error:
            # The potentials of one sentence spoil its whole batch.
            if len(sentences) > 1:
                for sentence in sentences:
                    self.records([sentence])
            raise ConfigurationError(f"the teacher fails on the sentence {show(sentences[0])}: {error}") from error
        return [
            Record(sentence_key(sentence.language, sentence.words), sentence.language, sentence.words, rows)
            for sentence, rows in zip(sentences, emissions, strict=True)
        ]

    def with_k_best(self, records: Sequence[Record], encoding: str, k: int) -> List[Record]:
        """
        `records` with the K best labellings that are legal in the label encoding, computed as one batch.

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
        device = self.device
        rows = [torch.from_numpy(encode_emissions(record, self.labels, encoding)).float() for record in records]
        # (B, T, L)
        emissions = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        # (B, T)
        mask = torch.arange(emissions.shape[1], device=device) < lengths.unsqueeze(1)
        tables = self.tables()
        transitions, start, end = (tables[name].to(device) for name in TABLE_NAMES)
        distribution = LinearChainCRF(emissions, transitions, start, end, mask)
        if self._legal is not None:
            distribution = distribution.forbid(
                *(
                    torch.zeros(allowed.shape, device=device).masked_fill(~allowed.to(device), -torch.inf)
                    for allowed in self._legal
                )
            )
        # (B, K, T), (B, K)
        tags, scores = (array.cpu().numpy() for array in distribution.k_best(k))
        return [
            record._replace(k_best_tags=tags[i, :, : len(record.words)].T, k_best_scores=scores[i])
            for i, record in enumerate(records)
        ]

    @cached_property
    def _legal(self) -> Optional[ChainConstraints]:
        return None if self.label_encoding is None else chain_constraints(self.labels, self.label_encoding)


def no_tables(num_labels: int) -> Dict[str, torch.Tensor]:
    """The tables of a softmax tagger: zeros, (L, L), (L,) and (L,)."""
    shapes = ((num_labels, num_labels), (num_labels,), (num_labels,))
    return {name: torch.zeros(shape) for name, shape in zip(TABLE_NAMES, shapes, strict=True)}


def show(sentence: Sentence) -> str:
    """A sentence and where it stands, for an error."""
    return f"{' '.join(sentence.words)!r} ({sentence.language}, {sentence.file}:{sentence.line})"
