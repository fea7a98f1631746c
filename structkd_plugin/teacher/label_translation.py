"""How what a teacher says of its own labels becomes what it says of the student's."""

from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

import torch
from allennlp.common.checks import ConfigurationError

from structkd_plugin.tag_schemes import OUTSIDE, convert, split_tag
from structkd_plugin.teacher.format import LOG_PROBABILITIES, POTENTIALS
from structkd_plugin.teacher.scheme_conversion import WellFormed, prefixes_of_target, well_formed
from structkd_plugin.teacher.store import Tables

ABSENT_LABELS = ("error", "impossible")


class TagSet(NamedTuple):
    """Labels in index order, and how they write spans."""

    labels: Tuple[str, ...]
    encoding: Optional[str]  # such as "BIO"; none where every word has a label of its own


@dataclass(frozen=True)
class LabelTranslation:
    """
    A teacher's distribution over its labels as one over the student's: exact, or refused when it is made.

    Made by `LabelTranslation.of`. L is the number of the student's labels, M that of the teacher's.

    # Parameters

    kind : `str`
        What the translated teacher is: "potentials" or "log_probabilities".
    encoding : `str`, optional
        Scheme of the translated labels.
    converted : `bool`
        Whether the student's scheme is finer than the teacher's, so that only transitions tell some labels apart.
    keeps_best : `bool`
        Whether the K best labellings of the teacher are those of the translated one.
    columns : `torch.Tensor`, optional
        Shape (L,), int64: for each of the student's labels the teacher's; none where the order is the same.
    merged : `Tuple[Tuple[int, torch.Tensor], ...]`
        The student's labels that stand for several of the teacher's, with those.
    absent : `torch.Tensor`, optional
        Int64, the student's labels that the teacher finds impossible; none where there are none.
    allowed : `WellFormed`, optional
        Where `converted`, what the student's scheme allows.
    student_labels : `torch.Tensor`
        Shape (M,) or, where `converted`, (M, M + 1), int64: for each of the teacher's labels the student's, in a
        labelling of the teacher where the given label follows, M being its end. Means nothing unless `keeps_best`.
    """

    kind: str
    encoding: Optional[str]
    converted: bool
    keeps_best: bool
    columns: Optional[torch.Tensor]
    merged: Tuple[Tuple[int, torch.Tensor], ...]
    absent: Optional[torch.Tensor]
    allowed: Optional[WellFormed]
    student_labels: torch.Tensor

    @classmethod
    def of(
        cls,
        name: str,
        kind: str,
        teacher: TagSet,
        student: TagSet,
        label_map: Optional[Mapping[str, Optional[str]]] = None,
        absent_labels: str = "error",
    ) -> "LabelTranslation":
        """
        The translation from the labels of `teacher` to those of `student`.

        # Parameters

        name : `str`
            The teacher's store, for errors.
        kind : `str`
            What the teacher is: "potentials" or "log_probabilities".
        teacher, student : `TagSet`
        label_map : `Mapping[str, Optional[str]]`, optional
            Where the labels write spans, the teacher's span types and what the student calls them; else labels. None
            leaves a label out: the teacher is conditioned on not using it.
        absent_labels : `str`, optional (default = "error")
            What becomes of labels that the student alone has: "error", or "impossible", which gives them the
            teacher's probability 0.

        # Raises

        `ConfigurationError` : if the map names what is not there, if labels are left that one side does not have, if
            the labels of a CRF would be merged, or if there is no exact way from one scheme to the other.
        """
        try:
            prefixes = _prefixes(name, teacher.encoding, student.encoding)
            plain = not label_map and prefixes is None
            renamed = list(teacher.labels) if plain else _renamed(name, teacher, student, label_map or {})
        except ValueError as error:
            raise ConfigurationError(
                f"what the labels of the teacher in {name} are to the student cannot be told: {error}"
            ) from None
        # How the teacher's labels are called in its own scheme -> its columns
        columns: Dict[str, List[int]] = {}
        for column, label in enumerate(renamed):
            if label is not None:
                columns.setdefault(label, []).append(column)
        _check_merged(name, kind, teacher, columns)
        # The student's labels, as far as they stand for some of the teacher's -> those
        sources: Dict[str, List[int]] = {}
        for label, of_label in columns.items():
            sources.update(dict.fromkeys(_in_student_scheme(label, teacher.encoding, prefixes), of_label))
        _check_same(name, sources, student.labels, absent_labels)
        converted = prefixes is not None and len(set(prefixes.values())) < len(prefixes)
        order = [sources.get(label, [0])[0] for label in student.labels]
        absent = [index for index, label in enumerate(student.labels) if label not in sources]
        return cls(
            kind=POTENTIALS if converted else kind,
            encoding=teacher.encoding if prefixes is None else student.encoding,
            converted=converted,
            keeps_best=len(columns) == len(teacher.labels),
            columns=None if order == list(range(len(teacher.labels))) else torch.tensor(order),
            merged=tuple(
                (index, torch.tensor(sources[label]))
                for index, label in enumerate(student.labels)
                if len(sources.get(label, ())) > 1
            ),
            absent=torch.tensor(absent) if absent else None,
            allowed=well_formed(student.labels, student.encoding) if converted and student.encoding else None,
            student_labels=_student_labels(renamed, teacher.encoding, student, prefixes, converted),
        )

    def emissions(self, words: torch.Tensor) -> torch.Tensor:
        """
        Emissions in the student's labels.

        # Parameters

        words : `torch.Tensor`
            Shape (W, M), float32; left as it is.

        # Returns

        `torch.Tensor` : shape (W, L).
        """
        if self.columns is None and self.absent is None:
            return words
        translated = words if self.columns is None else words.index_select(1, self.columns)
        for column, columns in self.merged:
            translated[:, column] = words[:, columns].logsumexp(dim=1)
        if self.absent is not None:
            translated = translated.index_fill(1, self.absent, -float("inf"))
        return translated

    def tables(self, tables: Tables) -> Tables:
        """The teacher's tables in the student's labels: shapes (L, L), (L,), (L,)."""
        transitions, start, end = tables
        if self.columns is not None:
            transitions = transitions[self.columns][:, self.columns]
            start, end = start[self.columns], end[self.columns]
        if self.absent is not None:
            # Their emissions forbid these labels; a softmax teacher's tables stay 0.
            transitions = transitions.index_fill(0, self.absent, 0.0).index_fill(1, self.absent, 0.0)
            start, end = start.index_fill(0, self.absent, 0.0), end.index_fill(0, self.absent, 0.0)
        if self.allowed is not None:
            transitions, start, end = (
                table.masked_fill(~allowed, -float("inf"))
                for table, allowed in zip((transitions, start, end), self.allowed, strict=True)
            )
        return Tables(transitions, start, end)

    def tags(self, tags: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """
        Labellings in the student's labels; only where `keeps_best`.

        # Parameters

        tags : `torch.Tensor`
            Shape (W, K), int64: labellings that are well-formed in the teacher's scheme, the sentences one after the
            other. What is no labelling becomes some labels of the student.
        lengths : `torch.Tensor`
            Shape (sentences,), int64, the sum being W.

        # Returns

        `torch.Tensor` : shape (W, K), int64.
        """
        if not self.converted:
            return self.student_labels[tags]
        following = tags.roll(-1, dims=0)
        following[lengths.cumsum(0) - 1] = len(self.student_labels)
        return self.student_labels[tags, following]


def _renamed(
    name: str, teacher: TagSet, student: TagSet, label_map: Mapping[str, Optional[str]]
) -> List[Optional[str]]:
    """For each of the teacher's labels what `label_map` calls it, still in the teacher's scheme; none if left out."""
    what = "label" if teacher.encoding is None else "span type"
    own, others = _names(teacher), _names(student)
    for given, wanted in label_map.items():
        if given not in own:
            tag = teacher.encoding is not None and given in teacher.labels
            raise ConfigurationError(
                f"`label_map` of the teacher in {name} names {given!r}, which is no {what} of this teacher (it has "
                f"{_listed(own)})"
                + ("; its labels write spans, and what is mapped is the type of a span." if tag else ".")
            )
        if wanted is not None and wanted not in others and not (teacher.encoding and wanted == OUTSIDE):
            raise ConfigurationError(
                f"`label_map` of the teacher in {name} turns {given!r} into {wanted!r}, which is no {what} of the "
                f"student (it has {_listed(others)}); null leaves {given!r} out."
            )
    renamed: List[Optional[str]] = []
    for label in teacher.labels:
        if teacher.encoding is None:
            renamed.append(label_map.get(label, label))
            continue
        prefix, kind = split_tag(label, teacher.encoding)
        wanted = label_map.get(kind, kind)
        outside = prefix == OUTSIDE or wanted == OUTSIDE
        renamed.append(OUTSIDE if outside else None if wanted is None else f"{prefix}-{wanted}")
    if not any(renamed):
        raise ConfigurationError(
            f"`label_map` of the teacher in {name} leaves out all its labels ({_listed(own)}): remove the teacher from "
            "`stores`, or say what the student calls them."
        )
    return renamed


def _names(tag_set: TagSet) -> Set[str]:
    """What a map is about: the types of spans, or the labels where they write none."""
    if tag_set.encoding is None:
        return set(tag_set.labels)
    return {split_tag(label, tag_set.encoding)[1] for label in tag_set.labels} - {""}


def _prefixes(name: str, source: Optional[str], target: Optional[str]) -> Optional[Dict[str, str]]:
    """For each prefix of the student's scheme the teacher's; none where there is nothing to convert."""
    # Whether labels that write spans go with labels that write none is for the model to judge.
    if source == target or source is None or target is None:
        return None
    prefixes = prefixes_of_target(source, target)
    if prefixes is None:
        finer = f"give the student the labels of {source} (`label_encoding` of the model, `scheme` of its readers)"
        raise ConfigurationError(
            f"the teacher in {name} writes spans as {source} and the student as {target}, and what this teacher says "
            f"is no linear chain over labels of {target}: {finer}, or train and capture a teacher whose readers "
            f"convert to {target}."
        )
    return prefixes


def _in_student_scheme(label: str, encoding: Optional[str], prefixes: Optional[Dict[str, str]]) -> List[str]:
    """The tags of the student's scheme that a tag of the teacher's stands for."""
    if prefixes is None or encoding is None or label == OUTSIDE:
        return [label]
    prefix, kind = split_tag(label, encoding)
    return [f"{theirs}-{kind}" for theirs, ours in prefixes.items() if ours == prefix]


def _student_labels(
    renamed: Sequence[Optional[str]],
    encoding: Optional[str],
    student: TagSet,
    prefixes: Optional[Dict[str, str]],
    converted: bool,
) -> torch.Tensor:
    """See `LabelTranslation`."""
    index = {label: number for number, label in enumerate(student.labels)}
    if not converted or encoding is None or student.encoding is None:
        return torch.tensor(
            [0 if label is None else index[_in_student_scheme(label, encoding, prefixes)[0]] for label in renamed]
        )
    # (M, M + 1)
    table = torch.zeros(len(renamed), len(renamed) + 1, dtype=torch.long)
    for row, label in enumerate(renamed):
        if label is None:
            continue
        prefix, kind = split_tag(label, encoding)
        inside = f"I-{kind}"
        sentence = [f"B-{kind}", label] if prefix == "I" else [label]
        word = len(sentence) - 1
        table[row] = index[convert(sentence, encoding, student.encoding)[word]]
        if prefix != OUTSIDE:
            continued = index[convert([*sentence, inside], encoding, student.encoding)[word]]
            table[row, [column for column, after in enumerate(renamed) if after == inside]] = continued
    return table


def _check_merged(name: str, kind: str, teacher: TagSet, columns: Mapping[str, Sequence[int]]) -> None:
    for label, of_label in columns.items():
        if len(of_label) > 1 and kind != LOG_PROBABILITIES:
            several = " and ".join(teacher.labels[column] for column in of_label)
            raise ConfigurationError(
                f"`label_map` of the teacher in {name} makes one label, {label}, of {several}; this teacher has "
                "transitions, and with merged labels it is no linear chain any more: map all but one of them to null, "
                "which leaves them out, or use a softmax teacher (`transitions: none`), whose labels can be merged."
            )


def _check_same(name: str, of_teacher: Iterable[str], of_student: Iterable[str], absent_labels: str) -> None:
    extra, absent = set(of_teacher) - set(of_student), set(of_student) - set(of_teacher)
    if extra or (absent and absent_labels == "error"):
        raise ConfigurationError(
            f"the labels of the teacher in {name} are not the student's: the teacher alone has {_listed(extra)}, the "
            f"student alone has {_listed(absent)}. List all labels under `vocabulary.tokens_to_add.labels` in the "
            "configurations of every teacher and of the student, so that a label that is rare in one language is "
            "known to all; or, where their tag sets differ, say so with the teacher in `stores`: `label_map` for what "
            'the teacher alone has, `"absent_labels": "impossible"` for what the student alone has.'
        )


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(sorted(labels)) or "none"
