"""The loader that adds what the teachers say to the batches of another loader."""

from collections import Counter
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders.data_loader import DataLoader, TensorDict
from allennlp.nn.util import move_to_device

from structkd_plugin.decorating_loader import DecoratingDataLoader
from structkd_plugin.schedules import Progress, Schedule
from structkd_plugin.teacher.store import RecordLengthError, TeacherStore
from structkd_plugin.teacher_batch import KBestLabellings, TeacherBatch, TeacherPotentials

MISSING_POLICIES = ("error", "skip")


class AlignedTeacher(NamedTuple):
    """A store, and how its label order becomes the student's."""

    store: TeacherStore
    columns: torch.Tensor  # (L,), long: for each of the student's labels the teacher's column
    student_labels: torch.Tensor  # (L,), long: for each of the teacher's labels the student's; the inverse of `columns`
    transitions: torch.Tensor  # (L, L), float32, in the student's order, like the next two
    start_transitions: torch.Tensor  # (L,)
    end_transitions: torch.Tensor  # (L,)

    @classmethod
    def of(cls, store: TeacherStore, labels: Sequence[str]) -> "AlignedTeacher":
        """`store` for a student with `labels` in index order; both have the same set of labels."""
        # (L,)
        columns = torch.tensor([store.labels.index(label) for label in labels])
        tables = store.tables
        return cls(
            store,
            columns,
            columns.argsort(),
            tables.transitions[columns][:, columns],
            tables.start_transitions[columns],
            tables.end_transitions[columns],
        )


class TeacherDataLoader(DecoratingDataLoader):
    """
    Adds `batch["teacher"]`, a `TeacherBatch`, to every batch of `inner`.

    A sentence gets the potentials of the teachers of its language, each with the weight 1 / (number of teachers that
    have the sentence).

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
    """

    def __init__(
        self,
        inner: DataLoader,
        teachers: Mapping[str, Sequence[AlignedTeacher]],
        schedule: Schedule,
        num_epochs: int,
        missing: str = "error",
    ) -> None:
        super().__init__(inner)
        if missing not in MISSING_POLICIES:
            raise ConfigurationError(f"`missing` is one of {', '.join(MISSING_POLICIES)}, not {missing!r}")
        self._teachers = teachers
        self._schedule = schedule
        self._num_epochs = num_epochs
        self._missing = missing
        self._num_labels = len(next(iter(teachers.values()))[0].columns)
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
            teacher = TeacherBatch(
                self._potentials(checked_metadata(batch.get("metadata"))),
                # ()
                torch.tensor(self.interpolation(epoch, batch_in_epoch), dtype=torch.float32),
            )
            # The batch is on the trainer's device already; nothing moves it after us.
            yield {**batch, "teacher": move_to_device(teacher, _device_of(batch))}

    def _potentials(self, metadata: Sequence[Mapping[str, Any]]) -> List[TeacherPotentials]:
        languages = [sentence["language"] for sentence in metadata]
        teachers = [self._teachers.get(language, ()) for language in languages]
        num_words = max(len(sentence["words"]) for sentence in metadata)
        # A batch without teachers has one empty slot, so that its shapes can be relied on.
        slots = [
            self._slot([at[slot] if slot < len(at) else None for at in teachers], metadata, num_words)
            for slot in range(max(1, *map(len, teachers)))
        ]
        # (B,)
        found = torch.stack([slot.weight for slot in slots]).sum(dim=0)
        for language, count in zip(languages, found.tolist(), strict=True):
            if not count and self._missing == "error":
                raise no_store_error([language], self._teachers)
            self.sentences_seen[language] += 1
            self.sentences_taught[language] += bool(count)
        # (B,): 1 / number of teachers, 0 where there is none
        share = torch.where(found > 0, 1.0 / found.clamp(min=1.0), found)
        return [slot._replace(weight=slot.weight * share) for slot in slots]

    def _slot(
        self,
        teachers: Sequence[Optional[AlignedTeacher]],
        metadata: Sequence[Mapping[str, Any]],
        num_words: int,
    ) -> TeacherPotentials:
        """What one teacher says of each sentence; the weight is 1 where it says anything, else 0."""
        batch, labels = len(metadata), self._num_labels
        k = min((teacher.store.legal_k_best for teacher in teachers if teacher is not None), default=0)
        slot = TeacherPotentials(
            torch.zeros(batch, num_words, labels),  # (B, T, L)
            torch.zeros(batch, labels, labels),  # (B, L, L)
            torch.zeros(batch, labels),  # (B, L)
            torch.zeros(batch, labels),  # (B, L)
            torch.zeros(batch),  # (B,)
            KBestLabellings(
                torch.zeros(batch, k, num_words, dtype=torch.long),  # (B, K, T)
                torch.full((batch, k), -float("inf")),  # (B, K)
            )
            if k
            else None,
        )
        rows_by_teacher: Dict[int, List[int]] = {}
        for row, teacher in enumerate(teachers):
            if teacher is not None:
                rows_by_teacher.setdefault(id(teacher), []).append(row)
        for rows in rows_by_teacher.values():
            teacher = teachers[rows[0]]
            assert teacher is not None
            self._fill(slot, teacher, rows, metadata)
        return slot

    def _fill(
        self,
        slot: TeacherPotentials,
        teacher: AlignedTeacher,
        rows: Sequence[int],
        metadata: Sequence[Mapping[str, Any]],
    ) -> None:
        keys = [metadata[row]["key"] for row in rows]
        lengths = [len(metadata[row]["words"]) for row in rows]
        try:
            records = teacher.store.get_batch(keys, lengths)
        except RecordLengthError as error:
            raise _length_error(error, metadata[rows[error.position]], teacher.store) from None
        found = [row for row, record in zip(rows, records, strict=True) if record is not None]
        if len(found) < len(rows) and self._missing == "error":
            absent = [metadata[row] for row, record in zip(rows, records, strict=True) if record is None]
            raise missing_error(absent, teacher.store)
        if not found:
            return
        present = [record for record in records if record is not None]
        lengths = [len(record.emissions) for record in present]
        # The words of all sentences one after the other, so that conversion and reordering happen once.
        # (W, L)
        words = torch.from_numpy(np.concatenate([record.emissions for record in present]))
        words = words.float()[:, teacher.columns]
        for row, length, of_sentence in zip(found, lengths, words.split(lengths), strict=True):
            slot.emissions[row, :length] = of_sentence
        if slot.k_best is not None:
            k = slot.k_best.scores.shape[1]
            # (W, K)
            tags = torch.from_numpy(np.concatenate([record.k_best_tags[:, :k] for record in present]))
            tags = teacher.student_labels[tags.long()]
            for row, length, of_sentence in zip(found, lengths, tags.split(lengths), strict=True):
                slot.k_best.tags[row, :, :length] = of_sentence.T
            scores = torch.from_numpy(np.stack([record.k_best_scores[:k] for record in present]))
            slot.k_best.scores[found] = scores
        slot.transitions[found] = teacher.transitions
        slot.start_transitions[found] = teacher.start_transitions
        slot.end_transitions[found] = teacher.end_transitions
        slot.weight[found] = 1.0


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
        "`allennlp cache-teacher` on the training file with this language, or set `missing` of the callback "
        'structkd_teacher to "skip".'
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
