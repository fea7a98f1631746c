"""The trainer callback that opens teacher stores, checks them, and has their content added to the batches."""

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from allennlp.common.checks import ConfigurationError
from allennlp.data.data_loaders.data_loader import DataLoader
from allennlp.training.callbacks.callback import TrainerCallback

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.decorating_loader import undecorated
from structkd_plugin.schedules import LinearSchedule, Schedule
from structkd_plugin.teacher.loader import (
    MISSING_POLICIES,
    AlignedTeacher,
    TeacherDataLoader,
    checked_metadata,
    missing_error,
    no_store_error,
)
from structkd_plugin.teacher.store import TeacherStore
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
    stores : `Dict[str, Union[str, List[str]]]`
        For each language the directory of its teacher's store, or of several teachers' stores, which are averaged.
    schedule : `Schedule`, optional (default = linear from 1 to 0, per step)
        The interpolation weight λ of the distillation term; 1 − λ is that of the gold tags.
    missing : `str`, optional (default = "error")
        What becomes of a sentence whose language has no store, or that its store has no record of. "error": the
        training stops, if possible before it begins. "skip": the sentence is trained without a teacher.

    # Raises

    `ConfigurationError` : from `on_start`, for stores that cannot be opened, that the model cannot learn from, whose
        labels are not the model's, or, with `missing: error`, that do not cover the training data.
    """

    def __init__(
        self,
        serialization_dir: str,
        stores: Dict[str, Union[str, List[str]]],
        schedule: Optional[Schedule] = None,
        missing: str = "error",
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
        self._paths = {
            language: [paths] if isinstance(paths, str) else list(paths) for language, paths in stores.items()
        }
        self._schedule = schedule or LinearSchedule()
        self._missing = missing
        self._loader: Optional[TeacherDataLoader] = None

    def on_start(self, trainer: "GradientDescentTrainer", is_primary: bool = True, **kwargs: Any) -> None:
        """Open and check the stores, and put the teachers between the data loader and the trainer."""
        super().on_start(trainer, is_primary=is_primary, **kwargs)
        # Several languages may share a store: it is opened once.
        opened: Dict[str, TeacherStore] = {}
        for paths in self._paths.values():
            for path in paths:
                opened.setdefault(path, TeacherStore.open(path))
        labels = _labels_of(trainer)
        for path, store in opened.items():
            _check_labels(path, store, labels)
        if not isinstance(trainer.model, AcceptsTeachers):
            raise ConfigurationError(
                f"the callback structkd_teacher needs a model that can learn from teachers, such as structkd_tagger; "
                f"{type(trainer.model).__name__} has no method check_teachers"
            )
        trainer.model.check_teachers(self._descriptions(opened))
        aligned = {path: AlignedTeacher.of(store, labels) for path, store in opened.items()}
        teachers = {language: [aligned[path] for path in paths] for language, paths in self._paths.items()}
        self._check_coverage(trainer.data_loader, teachers)
        self._loader = TeacherDataLoader(
            trainer.data_loader,
            teachers,
            self._schedule,
            # The trainer keeps its number of epochs to itself.
            num_epochs=trainer._num_epochs,
            missing=self._missing,
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

    def _descriptions(self, opened: Mapping[str, TeacherStore]) -> List[TeacherDescription]:
        return [
            TeacherDescription(
                name=path,
                languages=tuple(language for language, paths in self._paths.items() if path in paths),
                labels=store.labels,
                kind=store.kind,
                label_encoding=store.label_encoding,
                k_best=store.legal_k_best,
            )
            for path, store in opened.items()
        ]

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


def _labels_of(trainer: "GradientDescentTrainer") -> List[str]:
    vocabulary = trainer.model.vocab.get_index_to_token_vocabulary("labels")
    return [vocabulary[index] for index in range(len(vocabulary))]


def _check_labels(path: str, store: TeacherStore, labels: Iterable[str]) -> None:
    of_teacher, of_student = set(store.labels), set(labels)
    if of_teacher != of_student:
        raise ConfigurationError(
            f"the labels of the teacher in {path} are not the student's: the teacher alone has "
            f"{_listed(of_teacher - of_student)}, the student alone has {_listed(of_student - of_teacher)}. List all "
            "labels under `vocabulary.tokens_to_add.labels` in the configurations of every teacher and of the "
            "student, so that a label that is rare in one language is known to all."
        )


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels)) or "none"


def _log_coverage(what: str, total: Mapping[str, int], covered: Mapping[str, int]) -> None:
    for language in sorted(total):
        logger.info("%s: %d of %d sentences in %s have a teacher", what, covered[language], total[language], language)
