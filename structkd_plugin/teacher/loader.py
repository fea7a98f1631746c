"""The loader that adds what the teachers say to the batches of another loader."""

from collections import Counter
from itertools import compress
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders.data_loader import DataLoader, TensorDict

from structkd_plugin.decorating_loader import DecoratingDataLoader
from structkd_plugin.schedules import Progress, Schedule
from structkd_plugin.teacher.label_translation import LabelTranslation, TagSet
from structkd_plugin.teacher.store import RecordLengthError, StoredRecord, Tables, TeacherStore
from structkd_plugin.teacher_batch import KBestLabellings, TeacherBatch, TeacherPotentials

MISSING_POLICIES = ("error", "skip")


class AlignedTeacher(NamedTuple):
    """A store, and how what it has becomes what its teacher says of the student's labels."""

    store: TeacherStore
    translation: LabelTranslation
    tables: Tables  # for the student's labels, at `temperature`
    weight: float = 1.0  # relative to the other teachers of a sentence
    temperature: float = 1.0  # divides what the store has
    reliability: Optional[torch.Tensor] = None  # (R,), float32, as in `TeacherPotentials`

    @classmethod
    def of(
        cls,
        store: TeacherStore,
        labels: Sequence[str],
        translation: Optional[LabelTranslation] = None,
        weight: float = 1.0,
        calibrated: bool = False,
    ) -> "AlignedTeacher":
        """
        `store` for a student.

        # Parameters

        store : `TeacherStore`
        labels : `Sequence[str]`
            The student's, in index order.
        translation : `LabelTranslation`, optional
            Left out where both have the same set of labels, in the same scheme.
        weight : `float`, optional (default = 1)
        calibrated : `bool`, optional (default = False)
            Whether to take what the store has at its calibration's temperature, and its reliability with it.

        # Raises

        `ConfigurationError` : if `calibrated` and the store has no calibration.
        """
        if translation is None:
            teacher = TagSet(store.labels, store.label_encoding)
            translation = LabelTranslation.of(
                str(store.path), store.kind, teacher, TagSet(tuple(labels), store.label_encoding)
            )
        if not calibrated:
            return cls(store, translation, translation.tables(store.tables), weight)
        if store.calibration is None:
            raise ConfigurationError(
                f"{store.path} has no calibration, which `calibrated: true` of the callback structkd_teacher asks for: "
                "run `allennlp calibrate-teacher` on it, or set `calibrated: false`."
            )
        temperature = store.calibration.temperature
        return cls(
            store,
            translation,
            translation.tables(Tables(*(table / temperature for table in store.tables))),
            weight,
            temperature,
            torch.tensor(store.calibration.reliability, dtype=torch.float32),
        )

    @property
    def legal_k_best(self) -> int:
        """How many of the best legal labellings of a sentence it has; 0 where its translation has other ones."""
        return self.store.legal_k_best if self.translation.keeps_best else 0

    def emissions(self, records: Sequence[StoredRecord]) -> torch.Tensor:
        """Those of `records`, the sentences one after the other: shape (W, L), float32."""
        words = torch.from_numpy(np.concatenate([record.emissions for record in records])).float()
        if self.temperature != 1.0:
            words = words / self.temperature
        return self.translation.emissions(words)

    def k_best(self, records: Sequence[StoredRecord], lengths: np.ndarray, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
        """The `k` best labellings: tags (W, K) of the sentences one after the other, int64, and scores (records, K)."""
        tags = torch.from_numpy(np.concatenate([record.k_best_tags[:, :k] for record in records])).long()
        scores = torch.from_numpy(np.stack([record.k_best_scores[:k] for record in records]))
        return self.translation.tags(tags, torch.from_numpy(lengths)), scores / self.temperature


class _SentenceTables(NamedTuple):
    """What every teacher says of every sentence alike, by the teacher's number; the last row is no teacher's, and 0."""

    transitions: torch.Tensor  # (N + 1, L, L)
    start_transitions: torch.Tensor  # (N + 1, L)
    end_transitions: torch.Tensor  # (N + 1, L)
    reliability: Optional[torch.Tensor]  # (N + 1, R)

    @classmethod
    def of(cls, teachers: Sequence[AlignedTeacher]) -> "_SentenceTables":
        reliabilities = [teacher.reliability for teacher in teachers]
        if len({None if each is None else len(each) for each in reliabilities}) > 1:
            raise ConfigurationError(
                "the calibrations of the teacher stores have reliabilities of different lengths: calibrate all of them "
                "with the same version of `allennlp calibrate-teacher`."
            )
        transitions, start, end = (
            _with_zeros(of_teachers) for of_teachers in zip(*(teacher.tables for teacher in teachers), strict=True)
        )
        given = [each for each in reliabilities if each is not None]
        return cls(transitions, start, end, _with_zeros(given) if given else None)

    def to(self, device: torch.device) -> "_SentenceTables":
        return self._each(lambda table: table.to(device))

    def of_sentences(self, numbers: torch.Tensor) -> "_SentenceTables":
        """For each sentence the row of its teacher, whose numbers have shape (B,)."""
        return self._each(lambda table: table.index_select(0, numbers))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "_SentenceTables":
        transitions, start, end, reliability = self
        return _SentenceTables(
            change(transitions), change(start), change(end), None if reliability is None else change(reliability)
        )


def _with_zeros(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([*rows, torch.zeros_like(rows[0])])


class _Slot(NamedTuple):
    """What at most one teacher says of each sentence."""

    emissions: torch.Tensor  # (B, T, L)
    k_best: Optional[KBestLabellings]
    numbers: np.ndarray  # (B,), int64: of the teachers; their count where there is none
    weights: np.ndarray  # (B,), float32, relative; 0 where there is none


class TeacherDataLoader(DecoratingDataLoader):
    """
    Adds `batch["teacher"]`, a `TeacherBatch`, to every batch of `inner`.

    A sentence gets the potentials of the teachers of its language, each with its share: its weight divided by the sum
    of the weights of those of them that have the sentence.

    # Parameters

    inner : `DataLoader`
        The loader that makes the batches; they need `metadata` with `words`, `language` and `key`.
    teachers : `Mapping[str, Sequence[AlignedTeacher]]`
        The teachers of each language.
    schedule : `Schedule`
        The interpolation weight.
    num_epochs : `int`
        Length of the training.
    missing : `str`, optional (default = "error")
        What becomes of a sentence that a teacher has no record of: "error", or "skip", which trains it without.
    k_best : `int`, optional
        How many of the best legal labellings of a sentence are wanted at most; without, as many as the stores have.
    """

    def __init__(
        self,
        inner: DataLoader,
        teachers: Mapping[str, Sequence[AlignedTeacher]],
        schedule: Schedule,
        num_epochs: int,
        missing: str = "error",
        k_best: Optional[int] = None,
    ) -> None:
        super().__init__(inner)
        if missing not in MISSING_POLICIES:
            raise ConfigurationError(f"`missing` is one of {', '.join(MISSING_POLICIES)}, not {missing!r}")
        self._teachers = teachers
        self._schedule = schedule
        self._num_epochs = num_epochs
        self._missing = missing
        self._k_best = k_best
        distinct = list({id(teacher): teacher for at in teachers.values() for teacher in at}.values())
        self._numbers = {id(teacher): number for number, teacher in enumerate(distinct)}
        cpu = torch.device("cpu")
        self._tables = {cpu: _SentenceTables.of(distinct)}
        self._num_labels = self._tables[cpu].start_transitions.shape[1]
        try:
            self._batches_per_epoch: Optional[int] = len(inner)
        except TypeError:
            self._batches_per_epoch = None
        self.sentences_seen: Counter[str] = Counter()  # by language
        self.sentences_taught: Counter[str] = Counter()  # those of them that had a teacher
        # A schedule that needs what this loader does not know says so now.
        self.interpolation(epoch=0, batch_in_epoch=0)

    def interpolation(self, epoch: int, batch_in_epoch: int) -> float:
        """The weight λ of the distillation term for a batch, both numbers counted from 0."""
        return self._schedule(Progress(epoch, batch_in_epoch, self._batches_per_epoch, self._num_epochs))

    def iter_epoch(self, epoch: int) -> Iterator[TensorDict]:
        """The batches of epoch `epoch`, each with what the teachers say of it."""
        for batch_in_epoch, batch in enumerate(self.inner):
            # The batch is on the trainer's device already; nothing moves it after us.
            device = _device_of(batch)
            # AllenNLP takes named tuples of tensors, though its type for batches does not say so.
            teacher: Any = TeacherBatch(
                self._potentials(checked_metadata(batch.get("metadata")), device),
                # ()
                torch.tensor(self.interpolation(epoch, batch_in_epoch), dtype=torch.float32, device=device),
            )
            yield {**batch, "teacher": teacher}

    def _potentials(self, metadata: Sequence[Mapping[str, Any]], device: torch.device) -> List[TeacherPotentials]:
        languages = [sentence["language"] for sentence in metadata]
        teachers = [self._teachers.get(language, ()) for language in languages]
        # A batch without teachers has one empty slot, so that its shapes can be relied on.
        slots = [
            self._slot([at[slot] if slot < len(at) else None for at in teachers], metadata)
            for slot in range(max(1, *map(len, teachers)))
        ]
        # (B,)
        total = np.sum([slot.weights for slot in slots], axis=0)
        taught = (total > 0).tolist()
        for language, has_any in zip(languages, taught, strict=True):
            if not has_any and self._missing == "error":
                raise no_store_error([language], self._teachers)
        self.sentences_seen.update(languages)
        # Also a language none of whose sentences is taught is counted.
        self.sentences_taught.update(dict.fromkeys(languages, 0))
        self.sentences_taught.update(compress(languages, taught))
        total[total == 0] = 1.0
        return [self._on_device(slot, slot.weights / total, device) for slot in slots]

    def _on_device(self, slot: _Slot, share: np.ndarray, device: torch.device) -> TeacherPotentials:
        """A slot as the model takes it; the tables are on the device already, and only told apart there."""
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        tables = self._tables[device].of_sentences(torch.from_numpy(slot.numbers).to(device))
        k_best = slot.k_best
        return TeacherPotentials(
            slot.emissions.to(device),
            tables.transitions,
            tables.start_transitions,
            tables.end_transitions,
            torch.from_numpy(share).to(device),
            None if k_best is None else KBestLabellings(k_best.tags.to(device), k_best.scores.to(device)),
            tables.reliability,
        )

    def _slot(self, teachers: Sequence[Optional[AlignedTeacher]], metadata: Sequence[Mapping[str, Any]]) -> _Slot:
        """What the teacher of each sentence says of it, where the sentence has one and that has the sentence."""
        batch, num_words = len(metadata), max(len(sentence["words"]) for sentence in metadata)
        k = min((teacher.legal_k_best for teacher in teachers if teacher is not None), default=0)
        if self._k_best is not None:
            k = min(k, self._k_best)
        slot = _Slot(
            torch.zeros(batch, num_words, self._num_labels),  # (B, T, L)
            KBestLabellings(
                torch.zeros(batch, num_words, k, dtype=torch.long),  # (B, T, K) for now
                torch.full((batch, k), -float("inf")),  # (B, K)
            )
            if k
            else None,
            np.full(batch, len(self._numbers)),
            np.zeros(batch, dtype=np.float32),
        )
        rows_by_teacher: Dict[int, List[int]] = {}
        for row, teacher in enumerate(teachers):
            if teacher is not None:
                rows_by_teacher.setdefault(id(teacher), []).append(row)
        for rows in rows_by_teacher.values():
            teacher = teachers[rows[0]]
            assert teacher is not None
            self._fill(slot, teacher, rows, metadata)
        if slot.k_best is None:
            return slot
        return slot._replace(k_best=slot.k_best._replace(tags=slot.k_best.tags.transpose(1, 2).contiguous()))

    def _fill(
        self,
        slot: _Slot,
        teacher: AlignedTeacher,
        rows: Sequence[int],
        metadata: Sequence[Mapping[str, Any]],
    ) -> None:
        found, records = self._records(teacher.store, rows, metadata)
        if not records:
            return
        lengths = np.array([len(record.emissions) for record in records])
        # (W,): where each word of the sentences, one after the other, stands in the padded batch
        before = lengths.cumsum() - lengths
        padded = slot.emissions.shape[1]
        places = torch.from_numpy(np.arange(lengths.sum()) + np.repeat(np.array(found) * padded - before, lengths))
        slot.emissions.flatten(0, 1).index_copy_(0, places, teacher.emissions(records))
        if slot.k_best is not None:
            tags, scores = teacher.k_best(records, lengths, slot.k_best.scores.shape[1])
            slot.k_best.tags.flatten(0, 1).index_copy_(0, places, tags)
            slot.k_best.scores[found] = scores
        slot.numbers[found] = self._numbers[id(teacher)]
        slot.weights[found] = teacher.weight

    def _records(
        self, store: TeacherStore, rows: Sequence[int], metadata: Sequence[Mapping[str, Any]]
    ) -> Tuple[List[int], List[StoredRecord]]:
        """Those of `rows` that `store` has a record of, and the records."""
        keys = [metadata[row]["key"] for row in rows]
        lengths = [len(metadata[row]["words"]) for row in rows]
        try:
            records = store.get_batch(keys, lengths)
        except RecordLengthError as error:
            raise _length_error(error, metadata[rows[error.position]], store) from None
        absent = [metadata[row] for row, record in zip(rows, records, strict=True) if record is None]
        if absent and self._missing == "error":
            raise missing_error(absent, store)
        found = [row for row, record in zip(rows, records, strict=True) if record is not None]
        return found, [record for record in records if record is not None]


def show_sentence(sentence: Mapping[str, Any]) -> str:
    """A sentence and where it stands, for an error: `'Ada sleeps' (en, words.conll:3)`."""
    place = sentence["language"]
    if sentence.get("file"):
        place += f", {sentence['file']}"
        if sentence.get("line"):
            place += f":{sentence['line']}"
    return f"{' '.join(sentence['words'])!r} ({place})"


def missing_error(absent: Sequence[Mapping[str, Any]], store: TeacherStore) -> ConfigurationError:
    """The error for sentences that a store should have and has not."""
    return ConfigurationError(
        f"{store.path} has no record of {len(absent)} training sentence{'s' if len(absent) > 1 else ''}, the first "
        f"being {show_sentence(absent[0])}. The store has sentences in {', '.join(store.languages)}. Run "
        "`allennlp cache-teacher` on the training file with this language and the options of the reader that training "
        'uses, or set `missing` of the callback structkd_teacher to "skip".'
    )


def no_store_error(languages: Sequence[str], stores: Mapping[str, Any]) -> ConfigurationError:
    """The error for languages of the training data that no store is configured for."""
    return ConfigurationError(
        f"no teacher store for the language{'s' if len(languages) > 1 else ''} {', '.join(languages)} of the training "
        f"data (there are stores for {', '.join(sorted(stores))}): name one in `stores` of the callback "
        'structkd_teacher, or set its `missing` to "skip" to train these sentences without a teacher.'
    )


def _length_error(error: RecordLengthError, sentence: Mapping[str, Any], store: TeacherStore) -> ConfigurationError:
    return ConfigurationError(
        f"the record of the sentence {show_sentence(sentence)} in {store.path} has {error.num_words} words, the "
        f"sentence has {len(sentence['words'])}: {list(sentence['words'])}. The store was made with another "
        "sentence key; capture the teacher again."
    )


def checked_metadata(metadata: Any) -> Sequence[Mapping[str, Any]]:
    """`metadata` of some sentences, after a check that a store can find them by it."""
    if not metadata or not all("key" in sentence for sentence in metadata):
        raise ConfigurationError(
            "the training batches have no `metadata` with the key of each sentence, by which a teacher store finds "
            "it: use one of this plugin's dataset readers"
        )
    return list(metadata)


def _device_of(values: Any) -> torch.device:
    """Where the batch is: the device of the first tensor in it."""
    if isinstance(values, torch.Tensor):
        return values.device
    for value in values.values():
        if isinstance(value, (dict, torch.Tensor)):
            return _device_of(value)
    raise ConfigurationError("the batch has no tensor in it")
