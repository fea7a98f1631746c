"""One teacher as a configuration names it."""

import math
from dataclasses import dataclass
from typing import Any, Dict, Hashable, List, Optional

from allennlp.common import FromParams, Params
from allennlp.common.checks import ConfigurationError

from structkd_plugin.checked_options import CheckedOptions
from structkd_plugin.teacher.label_translation import ABSENT_LABELS


@dataclass(frozen=True)
class TeacherEntry(CheckedOptions, FromParams):
    """
    A store, how much its teacher counts, and what its labels are to the student.

    # Parameters

    path : `str`
        Directory of the store.
    weight : `float`, optional (default = 1)
        Above 0: a teacher's share of a sentence is its weight divided by the sum of the weights of all the teachers
        of the language that have the sentence.
    label_map : `Dict[str, Optional[str]]`, optional
        What the student calls the teacher's span types, or its labels where they write no spans; null leaves one
        out. What is not named keeps its name.
    absent_labels : `str`, optional (default = "error")
        What becomes of labels that the student alone has: "error", or "impossible", which gives them the teacher's
        probability 0.
    """

    path: str
    weight: float = 1.0
    # Of labels and null. More exact types would have AllenNLP answer a wrong one with "failed to construct".
    label_map: Optional[Dict[str, Any]] = None
    absent_labels: str = "error"

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigurationError("`path` is empty: name the directory of a teacher store")
        if not isinstance(self.label_map or {}, dict) or not all(
            wanted is None or (isinstance(wanted, str) and wanted) for wanted in (self.label_map or {}).values()
        ):
            raise ConfigurationError(
                f"`label_map` of the teacher in {self.path} is an object that gives each of the teacher's labels the "
                f"student's or null, not {self.label_map!r}"
            )
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ConfigurationError(
                f"`weight` of the teacher in {self.path} is {self.weight}, but must be a finite number above 0; leave "
                "a teacher out that is not to count"
            )
        if self.absent_labels not in ABSENT_LABELS:
            raise ConfigurationError(
                f"`absent_labels` of the teacher in {self.path} is one of {', '.join(ABSENT_LABELS)}, not "
                f"{self.absent_labels!r}"
            )

    @property
    def translation_key(self) -> Hashable:
        """The same for entries that differ in nothing but their weight."""
        return self.path, tuple(sorted((self.label_map or {}).items())), self.absent_labels

    @classmethod
    def list_of(cls, given: Any) -> List["TeacherEntry"]:
        """
        The teachers that a configuration gives: a path, an object with the options, or a list of such.

        # Raises

        `ConfigurationError` : for anything else, and for options that are unknown, missing or out of range.
        """
        given = given.as_dict(quiet=True) if isinstance(given, Params) else given
        return [cls._of(entry) for entry in (given if isinstance(given, (list, tuple)) else [given])]

    @classmethod
    def _of(cls, given: Any) -> "TeacherEntry":
        if isinstance(given, TeacherEntry):
            return given
        if isinstance(given, str):
            return cls(given)
        if isinstance(given, (dict, Params)):
            try:
                made: TeacherEntry = cls.from_params(given if isinstance(given, Params) else Params(dict(given)))
            except TypeError as error:
                raise ConfigurationError(f"{error} This is in the teacher {dict(given)}") from None
            return made
        raise ConfigurationError(f"a teacher is the directory of a store, or an object with its `path`, not {given!r}")
