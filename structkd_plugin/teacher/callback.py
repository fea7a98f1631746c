"""The trainer callback that opens teacher stores, checks them, and has their content added to the batches."""

import logging
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Dict, Hashable, Iterator, List, Mapping, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders.data_loader import DataLoader
from allennlp.models.model import Model
from allennlp.training.callbacks.callback import TrainerCallback

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.decorating_loader import undecorated
from structkd_plugin.schedules import LinearSchedule, Schedule
from structkd_plugin.teacher.label_translation import LabelTranslation, TagSet
from structkd_plugin.teacher.loader import (
    MISSING_POLICIES,
    AlignedTeacher,
    TeacherDataLoader,
    checked_metadata,
    missing_error,
    no_store_error,
)
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.teacher_entry import TeacherEntry
from structkd_plugin.teacher_batch import AcceptsTeachers, TeacherDescription

if TYPE_CHECKING:
    from allennlp.training.gradient_descent_trainer import GradientDescentTrainer

logger = logging.getLogger(__name__)


@TrainerCallback.register("structkd_teacher")
class TeacherCallback(CheckedOptions, TrainerCallback):
    """
    Distills from teacher stores: the training batches get what the teachers say of them.

    In `on_start`, before the first step, it opens the stores, checks them against the model and the training data,
    and puts a `TeacherDataLoader` around `trainer.data_loader`; in `on_end` it takes that away and reports how
    many sentences had a teacher. Validation, prediction and the archive need no store. Each process of a
    distributed training opens the stores itself.

    # Parameters

    serialization_dir : `str`
        Given by AllenNLP.
    stores : `Dict[str, Union[str, TeacherEntry, List[Union[str, TeacherEntry]]]]`
        For each language its teacher, or several, which are averaged by their weights: each the directory of a store,
        or an object with that as `path` and further options of `TeacherEntry`: `weight`, `label_map`, `absent_labels`.
        A teacher in BIO teaches a student in BIOES, BIOUL or BMES without more ado.
    schedule : `Schedule`, optional (default = linear from 1 to 0, per step)
        The interpolation weight λ of the distillation term; 1 − λ is that of the gold tags.
    missing : `str`, optional (default = "error")
        What becomes of a sentence whose language has no store, or that its store has no record of. "error": the
        training stops, if possible before it begins. "skip": the sentence is trained without a teacher.
    calibrated : `bool`, optional (default = False)
        Whether to divide what the stores have by the temperatures of their calibrations, and to pass on how reliable
        these say the teachers are.

    # Raises

    `ConfigurationError` : from `on_start`, for stores that cannot be opened, that the model cannot learn from, whose
        labels cannot be told in the model's, that are not calibrated though they should be, or, with `missing: error`,
        that do not cover the training data.
    """

    def __init__(
        self,
        serialization_dir: str,
        # `TeacherEntry` reads it: of a union AllenNLP says only that nothing fits.
        stores: Dict[str, Any],
        schedule: Optional[Schedule] = None,
        missing: str = "error",
        calibrated: bool = False,
    ) -> None:
        super().__init__(serialization_dir)
        if not stores or not all(stores.values()):
            raise ConfigurationError(
                "`stores` of the callback structkd_teacher needs at least one language, and a directory for each"
            )
        if missing not in MISSING_POLICIES:
            raise ConfigurationError(
                f"`missing` of the callback structkd_teacher is one of {', '.join(MISSING_POLICIES)}, not {missing!r}"
            )
        self._entries = {language: _entries(language, given) for language, given in stores.items()}
        self._schedule = schedule or LinearSchedule()
        self._missing = missing
        self._calibrated = calibrated
        self._loader: Optional[TeacherDataLoader] = None

    def on_start(self, trainer: "GradientDescentTrainer", is_primary: bool = True, **kwargs: Any) -> None:
        """Open and check the stores, and put the teachers between the data loader and the trainer."""
        super().on_start(trainer, is_primary=is_primary, **kwargs)
        # Several languages may share a store: it is opened once.
        opened: Dict[str, TeacherStore] = {}
        translations: Dict[Hashable, LabelTranslation] = {}
        for entry in self._all_entries():
            if entry.path not in opened:
                opened[entry.path] = TeacherStore.open(entry.path)
            if entry.translation_key not in translations:
                translations[entry.translation_key] = _translation(entry, opened[entry.path], trainer.model)
        if not isinstance(trainer.model, AcceptsTeachers):
            raise ConfigurationError(
                f"the callback structkd_teacher needs a model that can learn from teachers, such as structkd_tagger; "
                f"{type(trainer.model).__name__} has no method check_teachers"
            )
        labels = _labels_of(trainer.model)
        trainer.model.check_teachers(self._descriptions(opened, translations, labels))
        # Entries that differ in nothing are one teacher, also in different languages.
        aligned: Dict[Hashable, AlignedTeacher] = {}
        for entry in self._all_entries():
            key = (entry.translation_key, entry.weight)
            if key not in aligned:
                translation = translations[entry.translation_key]
                aligned[key] = AlignedTeacher.of(
                    opened[entry.path], labels, translation, entry.weight, self._calibrated
                )
        teachers = {
            language: [aligned[entry.translation_key, entry.weight] for entry in entries]
            for language, entries in self._entries.items()
        }
        self._check_coverage(trainer.data_loader, teachers)
        self._loader = TeacherDataLoader(
            trainer.data_loader,
            teachers,
            self._schedule,
            # The trainer keeps its number of epochs to itself.
            num_epochs=trainer._num_epochs,
            missing=self._missing,
            k_best=getattr(trainer.model, "legal_labellings", None),
        )
        self._loader.put_in(trainer)

    def on_end(
        self,
        trainer: "GradientDescentTrainer",
        metrics: Optional[Dict[str, Any]] = None,
        epoch: Optional[int] = None,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        """Put the data loader back, and report how many sentences had a teacher."""
        if self._loader is None:
            return
        self._loader.take_out(trainer)
        _log_coverage("distilled", self._loader.sentences_seen, self._loader.sentences_taught)

    def _all_entries(self) -> Iterator[TeacherEntry]:
        return chain.from_iterable(self._entries.values())

    def _descriptions(
        self,
        opened: Mapping[str, TeacherStore],
        translations: Mapping[Hashable, LabelTranslation],
        labels: Tuple[str, ...],
    ) -> List[TeacherDescription]:
        """The teachers as the model sees them: in its labels."""
        first_entries: Dict[Hashable, TeacherEntry] = {}
        languages: Dict[Hashable, List[str]] = {}
        for language, entries in self._entries.items():
            for entry in entries:
                first_entries.setdefault(entry.translation_key, entry)
                of_entry = languages.setdefault(entry.translation_key, [])
                if language not in of_entry:
                    of_entry.append(language)
        descriptions = []
        for key, entry in first_entries.items():
            store, translation = opened[entry.path], translations[key]
            descriptions.append(
                TeacherDescription(
                    name=entry.path,
                    languages=tuple(languages[key]),
                    labels=store.labels if set(store.labels) == set(labels) else labels,
                    kind=translation.kind,
                    label_encoding=translation.encoding,
                    k_best=store.legal_k_best if translation.keeps_best else 0,
                    calibrated=self._calibrated,
                    converted_from=store.label_encoding if translation.converted else None,
                )
            )
        return descriptions

    def _check_coverage(self, loader: DataLoader, teachers: Mapping[str, Sequence[AlignedTeacher]]) -> None:
        """Look every training sentence up before the first step, if the sentences are in memory."""
        if getattr(undecorated(loader), "max_instances_in_memory", None) is not None:
            logger.info("the data loader reads lazily: sentences are looked up in the teacher stores batch by batch")
            return
        sentences: Dict[str, List[Mapping[str, Any]]] = {}
        for instance in loader.iter_instances():
            field = instance.fields.get("metadata")
            metadata = checked_metadata([getattr(field, "metadata", {})])[0]
            sentences.setdefault(metadata["language"], []).append(metadata)
        without = sorted(set(sentences) - set(teachers))
        if without and self._missing == "error":
            raise no_store_error(without, teachers)
        for language in sorted(set(teachers) - set(sentences)):
            logger.warning(
                "there is a teacher store for the language %s, but no training sentence is in it (there are: %s)",
                language,
                ", ".join(sorted(sentences)),
            )
        total: Counter[str] = Counter({language: len(of_language) for language, of_language in sentences.items()})
        covered: Counter[str] = Counter()
        for language, of_language in sentences.items():
            keys = [sentence["key"] for sentence in of_language]
            have_any = [False] * len(keys)
            for teacher in teachers.get(language, ()):
                found = teacher.store.contains(keys).tolist()
                absent = [sentence for sentence, has in zip(of_language, found, strict=True) if not has]
                if absent and self._missing == "error":
                    raise missing_error(absent, teacher.store)
                have_any = [a or b for a, b in zip(have_any, found, strict=True)]
            covered[language] = sum(have_any)
        _log_coverage("training data", total, covered)


def _entries(language: str, given: Any) -> List[TeacherEntry]:
    try:
        return TeacherEntry.list_of(given)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"`stores` of the callback structkd_teacher, language {language}: {error.message}"
        ) from None


def _labels_of(model: Model) -> Tuple[str, ...]:
    vocabulary = model.vocab.get_index_to_token_vocabulary("labels")
    return tuple(vocabulary[index] for index in range(len(vocabulary)))


def _translation(entry: TeacherEntry, store: TeacherStore, model: Model) -> LabelTranslation:
    # A model that says nothing of how its labels write spans is taken to write them as its teachers do.
    student = TagSet(_labels_of(model), getattr(model, "label_encoding", store.label_encoding))
    return LabelTranslation.of(
        entry.path,
        store.kind,
        TagSet(store.labels, store.label_encoding),
        student,
        entry.label_map,
        entry.absent_labels,
    )


def _log_coverage(what: str, total: Mapping[str, int], covered: Mapping[str, int]) -> None:
    for language in sorted(total):
        logger.info("%s: %d of %d sentences in %s have a teacher", what, covered[language], total[language], language)
