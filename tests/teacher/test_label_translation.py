"""A translated teacher is the teacher: by writing out all labellings."""

from functools import cache
from itertools import product
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from structkd_plugin.tag_schemes import convert, first_violation
from structkd_plugin.teacher.label_translation import LabelTranslation, TagSet
from structkd_plugin.teacher.store import Tables

LETTERS = {"BIO": "BI", "IOB1": "BI", "BIOUL": "BILU", "BIOES": "BIES", "BMES": "BMES"}
FINER = ("BIOUL", "BIOES", "BMES")
CRF, SOFTMAX = "potentials", "log_probabilities"

Labelling = Tuple[str, ...]


def tags_of_scheme(scheme: str, types: Sequence[str]) -> List[str]:
    return ["O", *(f"{letter}-{kind}" for kind in types for letter in LETTERS[scheme])]


@cache
def all_well_formed(scheme: str, words: int) -> List[Labelling]:
    labels = tags_of_scheme(scheme, ["X", "PER"])
    return [tags for tags in product(labels, repeat=words) if first_violation(tags, scheme) is None]


def log_probabilities(labels: Sequence[str], emissions: torch.Tensor, tables: Tables) -> Dict[Labelling, float]:
    """Of all labellings that are possible; (T, L) and the tables, float64."""
    paths = np.array(list(product(range(len(labels)), repeat=len(emissions))))
    e, a, start, end = (x.numpy() for x in (emissions, *tables))
    scores = start[paths[:, 0]] + end[paths[:, -1]] + sum(e[t, paths[:, t]] for t in range(len(e)))
    scores += sum((a[paths[:, t - 1], paths[:, t]] for t in range(1, len(e))), np.zeros(len(paths)))
    assume(scores.max() > -np.inf)
    scores -= np.logaddexp.reduce(scores)
    return {tuple(labels[i] for i in path): score for path, score in zip(paths, scores, strict=True) if score > -np.inf}


def expected(
    teacher: Mapping[Labelling, float],
    renamed: Callable[[str], Optional[str]],
    source: Optional[str] = None,
    target: Optional[str] = None,
) -> Dict[Labelling, float]:
    """The teacher, given that it uses no label that is left out and its tags are well-formed, in the other's labels."""
    mass: Dict[Labelling, float] = {}
    for tags, log_probability in teacher.items():
        names = [renamed(tag) for tag in tags]
        if None in names:
            continue
        if source != target:
            if first_violation(names, source) is not None:
                continue
            names = convert(names, source, target)
        mass[tuple(names)] = np.logaddexp(mass.get(tuple(names), -np.inf), log_probability)
    assume(mass)
    total = np.logaddexp.reduce(list(mass.values()))
    return {tags: value - total for tags, value in mass.items()}


def check_same(translated: Mapping[Labelling, float], wanted: Mapping[Labelling, float]) -> None:
    assert translated.keys() == wanted.keys()
    for tags, value in wanted.items():
        assert translated[tags] == pytest.approx(value, abs=1e-9)


@st.composite
def chains(draw: Any, labels: int, most_words: int, softmax: bool = False) -> Tuple[torch.Tensor, Tables]:
    words = draw(st.integers(1, most_words))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    forbidden = draw(st.sampled_from([0.0, 0.15]))

    def table(*shape: int) -> torch.Tensor:
        values = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.masked_fill(torch.rand(shape, generator=generator) < forbidden, -torch.inf)

    emissions = table(words, labels)
    if softmax:
        emissions[:, 0].nan_to_num_(neginf=0.0)
        zeros = torch.zeros(labels, dtype=torch.float64)
        return emissions.log_softmax(1), Tables(torch.zeros(labels, labels, dtype=torch.float64), zeros, zeros)
    return emissions, Tables(table(labels, labels), table(labels), table(labels))


def renaming(label_map: Mapping[str, Optional[str]]) -> Callable[[str], Optional[str]]:
    def renamed(tag: str) -> Optional[str]:
        if tag == "O":
            return tag
        prefix, _, kind = tag.partition("-")
        wanted = label_map.get(kind, kind)
        return wanted if wanted in (None, "O") else f"{prefix}-{wanted}"

    return renamed


def shuffled(draw: Any, labels: Sequence[str]) -> Tuple[str, ...]:
    return tuple(draw(st.permutations(labels)))


class TestSchemes:
    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("target", FINER)
    def test_a_bio_teacher_of_a_finer_student(self, target: str, data: st.DataObject) -> None:
        """Probability of every labelling: the teacher's, of the labelling that writes the same spans."""
        types = data.draw(st.sampled_from([["X"], ["X", "Y"], ["X", "Y", "Z"]]))
        source_labels = shuffled(data.draw, tags_of_scheme("BIO", types))
        student = shuffled(data.draw, tags_of_scheme(target, types))
        emissions, tables = data.draw(chains(len(source_labels), 4 if len(types) < 3 else 3))
        found = LabelTranslation.of("en", CRF, TagSet(source_labels, "BIO"), TagSet(student, target))
        assert (found.kind, found.encoding, found.converted, found.keeps_best) == (CRF, target, True, True)
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        teacher = log_probabilities(source_labels, emissions, tables)
        check_same(translated, expected(teacher, renaming({}), "BIO", target))

    @settings(max_examples=10, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("source", FINER)
    @pytest.mark.parametrize("target", FINER)
    def test_other_letters(self, source: str, target: str, data: st.DataObject) -> None:
        teacher = shuffled(data.draw, tags_of_scheme(source, ["X", "Y"]))
        student = shuffled(data.draw, tags_of_scheme(target, ["X", "Y"]))
        emissions, tables = data.draw(chains(len(teacher), 3))
        found = LabelTranslation.of("en", CRF, TagSet(teacher, source), TagSet(student, target))
        assert (found.encoding, found.converted) == (target, False)
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        letters = dict(zip(LETTERS[source], sorted(LETTERS[target], key="BIMELSU".index), strict=True))
        letters = dict(zip(sorted(letters, key="BIMELSU".index), letters.values(), strict=True))

        def renamed(tag: str) -> str:
            return tag if tag == "O" else letters[tag[0]] + tag[1:]

        # Also what is ill-formed is called by its new name: nothing is conditioned on.
        check_same(translated, expected(log_probabilities(teacher, emissions, tables), renamed))

    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    def test_a_softmax_teacher_becomes_a_chain(self, data: st.DataObject) -> None:
        labels = tuple(tags_of_scheme("BIO", ["X", "Y"]))
        student = tuple(tags_of_scheme("BIOES", ["X", "Y"]))
        emissions, tables = data.draw(chains(len(labels), 3, softmax=True))
        found = LabelTranslation.of("en", SOFTMAX, TagSet(labels, "BIO"), TagSet(student, "BIOES"))
        assert found.kind == CRF
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        teacher = log_probabilities(labels, emissions, tables)
        check_same(translated, expected(teacher, renaming({}), "BIO", "BIOES"))

    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize(("source", "target"), [*(("BIO", finer) for finer in FINER), ("BMES", "BIOUL")])
    def test_labellings_are_converted_as_wholes(self, source: str, target: str, data: st.DataObject) -> None:
        labels = shuffled(data.draw, tags_of_scheme(source, ["X", "PER"]))
        student = shuffled(data.draw, tags_of_scheme(target, ["Y", "PER"]))
        found = LabelTranslation.of("en", CRF, TagSet(labels, source), TagSet(student, target), {"X": "Y"})
        lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        sentences = [
            [data.draw(st.sampled_from(all_well_formed(source, length))) for _ in range(2)] for length in lengths
        ]
        # (W, K)
        tags = torch.cat(
            [torch.tensor([[labels.index(tag) for tag in path] for path in paths]).T for paths in sentences]
        )
        translated = found.tags(tags, torch.tensor(lengths)).split(lengths)
        for paths, rows in zip(sentences, translated, strict=True):
            for path, column in zip(paths, rows.T.tolist(), strict=True):
                names = [tag.replace("-X", "-Y") for tag in path]
                assert [student[i] for i in column] == convert(names, source, target)

    def test_what_is_no_labelling_becomes_labels(self) -> None:
        """The store fills up with label 0 where there are fewer than K."""
        labels = ("I-X", "O", "B-X")
        student = tuple(tags_of_scheme("BIOES", ["X"]))
        found = LabelTranslation.of("en", CRF, TagSet(labels, "BIO"), TagSet(student, "BIOES"))
        tags = found.tags(torch.zeros(3, 1, dtype=torch.long), torch.tensor([2, 1]))
        assert ((tags >= 0) & (tags < len(student))).all()

    @pytest.mark.parametrize(
        ("source", "target"),
        [("BIOES", "BIO"), ("BIOUL", "BIO"), ("BMES", "BIO"), ("IOB1", "BIO"), ("BIO", "IOB1"), ("IOB1", "BIOES")],
    )
    def test_what_is_no_chain_is_refused(self, source: str, target: str) -> None:
        teacher, student = (TagSet(tuple(tags_of_scheme(scheme, ["X"])), scheme) for scheme in (source, target))
        message = (
            f"the teacher in stores/en writes spans as {source} and the student as {target}, and what this teacher "
            f"says is no linear chain over labels of {target}: give the student the labels of {source} .*, or train "
            f"and capture a teacher whose readers convert to {target}"
        )
        with pytest.raises(ConfigurationError, match=message):
            LabelTranslation.of("stores/en", SOFTMAX, teacher, student)

    def test_a_student_that_cannot_write_all_spans_of_the_teacher(self) -> None:
        student = TagSet(("O", "B-X", "I-X", "E-X"), "BIOES")
        with pytest.raises(ConfigurationError, match="the teacher alone has S-X, the student alone has none"):
            LabelTranslation.of("en", CRF, TagSet(("O", "B-X", "I-X"), "BIO"), student)


class TestLabelMaps:
    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("target", ["BIO", "BIOES"])
    @pytest.mark.parametrize(
        "label_map", [{"X": "A"}, {"X": "Y", "Y": "X"}, {"X": None}, {"X": None, "Y": "X"}], ids=str
    )
    def test_spans_of_a_crf(self, target: str, label_map: Dict[str, Optional[str]], data: st.DataObject) -> None:
        labels = shuffled(data.draw, tags_of_scheme("BIO", ["X", "Y"]))
        types = sorted({label_map.get(kind, kind) for kind in "XY"} - {None})
        student = shuffled(data.draw, tags_of_scheme(target, types))
        emissions, tables = data.draw(chains(len(labels), 4 if target == "BIO" else 3))
        found = LabelTranslation.of("en", CRF, TagSet(labels, "BIO"), TagSet(student, target), label_map)
        assert found.keeps_best == (None not in label_map.values())
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        teacher = log_probabilities(labels, emissions, tables)
        check_same(translated, expected(teacher, renaming(label_map), "BIO", target))

    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("target", ["BIO", "BIOES"])
    @pytest.mark.parametrize("label_map", [{"X": "Y"}, {"X": "A", "Y": "A"}, {"X": "O"}, {"X": "O", "Y": "A"}], ids=str)
    def test_merged_spans_of_a_softmax_teacher(
        self, target: str, label_map: Dict[str, Optional[str]], data: st.DataObject
    ) -> None:
        labels = shuffled(data.draw, tags_of_scheme("BIO", ["X", "Y"]))
        types = sorted({label_map.get(kind, kind) for kind in "XY"} - {"O"})
        student = shuffled(data.draw, tags_of_scheme(target, types))
        emissions, tables = data.draw(chains(len(labels), 3, softmax=True))
        before = emissions.clone()
        found = LabelTranslation.of("en", SOFTMAX, TagSet(labels, "BIO"), TagSet(student, target), label_map)
        assert not found.keeps_best
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        assert torch.equal(emissions, before)
        teacher = log_probabilities(labels, emissions, tables)
        check_same(translated, expected(teacher, renaming(label_map), "BIO", target))

    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize(
        ("kind", "label_map"),
        [(SOFTMAX, {"NOUN": "N", "PROPN": "N"}), (CRF, {"NOUN": "N", "PROPN": None}), (CRF, {"NOUN": "N"})],
    )
    def test_labels_of_words(self, kind: str, label_map: Dict[str, Optional[str]], data: st.DataObject) -> None:
        labels = shuffled(data.draw, ["NOUN", "PROPN", "VERB"])
        names = {label: label_map.get(label, label) for label in labels}
        student = shuffled(data.draw, sorted({*names.values()} - {None}))
        emissions, tables = data.draw(chains(3, 4, softmax=kind == SOFTMAX))
        found = LabelTranslation.of("en", kind, TagSet(labels, None), TagSet(student, None), label_map)
        assert found.kind == kind
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        check_same(translated, expected(log_probabilities(labels, emissions, tables), names.__getitem__))

    @settings(max_examples=20, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("target", ["BIO", "BIOES"])
    def test_labels_that_the_student_alone_has_are_impossible(self, target: str, data: st.DataObject) -> None:
        labels = shuffled(data.draw, tags_of_scheme("BIO", ["X"]))
        student = shuffled(data.draw, tags_of_scheme(target, ["X", "Y"]))
        emissions, tables = data.draw(chains(3, 3))
        found = LabelTranslation.of("en", CRF, TagSet(labels, "BIO"), TagSet(student, target), None, "impossible")
        assert found.keeps_best
        translated = log_probabilities(student, found.emissions(emissions), found.tables(tables))
        teacher = log_probabilities(labels, emissions, tables)
        check_same(translated, expected(teacher, renaming({}), "BIO", target))

    def test_a_softmax_teachers_tables_stay_zero(self) -> None:
        found = LabelTranslation.of(
            "en", SOFTMAX, TagSet(("A", "B"), None), TagSet(("C", "A"), None), {"B": None}, "impossible"
        )
        assert found.kind == SOFTMAX
        tables = found.tables(Tables(torch.zeros(2, 2), torch.zeros(2), torch.zeros(2)))
        assert not any(table.any() for table in tables)

    def test_nothing_is_done_where_nothing_differs(self) -> None:
        labels = TagSet(("O", "B-X", "I-X"), "BIO")
        found = LabelTranslation.of("en", CRF, labels, labels)
        words = torch.randn(4, 3)
        assert found.emissions(words) is words


BIO = TagSet(("O", "B-PERSON", "I-PERSON", "B-MISC", "I-MISC"), "BIO")
STUDENT = TagSet(("O", "B-PER", "I-PER"), "BIO")


@pytest.mark.parametrize(
    ("kind", "teacher", "student", "label_map", "message"),
    [
        (
            CRF,
            BIO,
            STUDENT,
            {"PERSN": "PER"},
            r"`label_map` of the teacher in stores/en names 'PERSN', which is no span type of this teacher \(it has "
            r"MISC, PERSON\)\.",
        ),
        (CRF, BIO, STUDENT, {"B-PERSON": "PER"}, "'B-PERSON', which is no span type .*; its labels write spans"),
        (CRF, BIO, STUDENT, {"O": None}, "'O', which is no span type of this teacher"),
        (
            CRF,
            BIO,
            STUDENT,
            {"PERSON": "PRE"},
            r"turns 'PERSON' into 'PRE', which is no span type of the student \(it has PER\); null leaves 'PERSON' out",
        ),
        (CRF, TagSet(("A", "B"), None), TagSet(("A",), None), {"B": "C"}, "'C', which is no label of the student"),
        (
            CRF,
            BIO,
            STUDENT,
            {"PERSON": "PER", "MISC": "PER"},
            "`label_map` of the teacher in stores/en makes one label, B-PER, of B-PERSON and B-MISC; this teacher has "
            r"transitions, .*: map all but one of them to null, .* or use a softmax teacher",
        ),
        (CRF, BIO, STUDENT, {"PERSON": "PER", "MISC": "O"}, "makes one label, O, of O and B-MISC and I-MISC; this"),
        (CRF, BIO, STUDENT, {"PERSON": "PER"}, "the teacher alone has B-MISC, I-MISC, the student alone has none"),
        (
            CRF,
            BIO,
            STUDENT,
            {"MISC": None},
            "the teacher alone has B-PERSON, I-PERSON, the student alone has B-PER, I-PER.*label_map.*absent_labels",
        ),
        (
            CRF,
            TagSet(("A",), None),
            TagSet(("B",), None),
            {"A": None},
            r"leaves out all its labels \(A\): remove the teacher",
        ),
        (CRF, TagSet(("O", "X"), "BIO"), STUDENT, {"X": "PER"}, "cannot be told: tag 'X' is not of the scheme BIO"),
    ],
)
def test_refusals(
    kind: str, teacher: TagSet, student: TagSet, label_map: Dict[str, Optional[str]], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LabelTranslation.of("stores/en", kind, teacher, student, label_map)
