"""What follows from a study: its rows, and its files."""

import ast
import sys

import pytest

from tests.study.programs import FOLDER, program
from tests.study.study_content import BASELINE, POSTERIOR, TEXT, TOP_WK, given

plan = program("plan")
study_file = program("study_file")
pytestmark = pytest.mark.usefixtures("in_the_repository")


def test_sentences_are_cut_but_not_of_tests():
    study = study_file.study_of(given(train_sentences=20, dev_sentences=5))
    assert [study.limit(split) for split in plan.SPLITS] == [20, 5, 0]


def test_zero_shot_languages_may_have_files_elsewhere():
    study = study_file.study_of(
        given(zero_shot={"it": "{corpus}/other/{language}-{split}.conllu", "nl": "x.conllu.gz"})
    )
    assert study.source("it", "test") == "fixtures/upos/other/it-test.conllu"
    assert study.data("nl", "test") == "runs/study/small/data/nl/test.conllu"
    assert study.sources()[-2:] == ["fixtures/upos/other/it-test.conllu", "x.conllu.gz"]


def test_of_each_language_another_number_may_be_left_out():
    study = study_file.study_of(given(unlabelled={**TEXT, "skip": {"en": 3}, "sentences": 7}))
    assert (study.cut("en", "unlabelled"), study.cut("nl", "unlabelled")) == ("3 7 lines", "0 7 lines")


def test_several_k_are_several_rows():
    rows = [BASELINE, {**TOP_WK, "k": [1, 10], "options": {"labellings": "legal"}}]
    study = study_file.study_of(given(rows=rows))
    assert [(row.name, row.slug, row.family, row.k) for row in study.rows[1:]] == [
        ("Top-WK (1)", "top_wk_1", "Top-WK", 1),
        ("Top-WK (10)", "top_wk_10", "Top-WK", 10),
    ]
    assert study.k_best("crf") == 10


def test_stores_have_labellings_only_if_a_row_reads_them():
    assert study_file.study_of(given(rows=[BASELINE, {**TOP_WK, "k": 5}])).k_best("crf") == 0


def test_options_of_a_row_come_before_those_of_all():
    (_, row) = study_file.study_of(given(rows=[BASELINE, {**POSTERIOR, "options": {"epochs": 9}}])).rows
    assert row.options == {"epochs": 9}


def test_teachers_that_no_row_learns_from_are_not_trained():
    config = {"config": "training_configs/teacher.libsonnet"}
    study = study_file.study_of(given(teachers={"crf": config, "softmax": config, "spare": config}))
    assert study.needed_teachers() == ["crf"]
    rows = [BASELINE, {**POSTERIOR, "teachers": "softmax"}]
    study = study_file.study_of(given(teachers={"crf": config, "softmax": config, "spare": config}, rows=rows))
    assert study.needed_teachers() == ["crf", "softmax"]


ALONE = ["plan", "study_file", "configurations", "cut", "train", "versions"]


@pytest.mark.parametrize("name", ALONE)
def test_nothing_but_the_standard_library_is_needed(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert imported - set(sys.stdlib_module_names) <= set(ALONE)
