"""Mistakes in the file of a study, and its defaults."""

import pytest

from tests.study.programs import program
from tests.study.study_content import BASELINE, POSTERIOR, RECOMBINED, TEXT, TEXT_ROW, TOP_WK, given

program("plan")
study_file = program("study_file")
pytestmark = pytest.mark.usefixtures("in_the_repository")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nmae": "x"}, "nmae is no key of a study; there are baseline, corpus"),
        ({"name": None}, "name is missing: what the folder"),
        ({"name": "../x"}, "name is '../x', but may have letters"),
        ({"task": "no.libsonnet"}, "task is no.libsonnet, but there is no such file in"),
        ({"task_options": [1]}, r"task_options is a mapping of names to values, not \[1\]"),
        ({"corpus": None}, "corpus is missing, which files has as {corpus}: .* --config corpus=FOLDER"),
        ({"corpus": 3}, "corpus is a text, not 3"),
        ({"files": "x/{split}.conllu"}, "files is x/{split}.conllu, but must have {language}"),
        ({"files": "x/{language}.conllu"}, "files is x/{language}.conllu, but must have {split}"),
        ({"files": "{language}/{split}"}, "files is {language}/{split}, but must have an ending"),
        ({"files": "{language}/{split}/{part}.conllu"}, "files has {part}, but only {corpus}, {language} and {split}"),
        ({"languages": "de"}, "languages is a list of at least one language"),
        ({"languages": []}, "languages is a list of at least one language"),
        ({"zero_shot": [{"it": "x/it.conll"}]}, "zero_shot has {'it': 'x/it.conll'}, which is no code of a language"),
        ({"rows": [BASELINE, {**POSTERIOR, "teachers": ["crf"]}]}, r"rows, Posterior: teachers is \['crf'\], but must"),
        (
            {"rows": [BASELINE, {**TOP_WK, "k": [1, 5]}, {**TOP_WK, "k": 5}]},
            "rows has two of the name 'Top-WK': give each a name of its own",
        ),
        ({"output": "{corpus}/runs"}, "output is {corpus}/runs, but a folder here has neither braces nor commas"),
        ({"task_options": {"file": "x"}}, "task_options has file, which the study sets itself"),
        (
            {"students": {"options": {"learning_rate_scheduler": {"gamma": "1e-3"}}}},
            "students.options.learning_rate_scheduler.gamma is the text '1e-3', not a number: write 1.0e-3",
        ),
        ({"unlabelled": {**TEXT, "reader": None}}, "unlabelled.reader.type is missing, as in"),
        (
            {"unlabelled": {**TEXT, "files": "{language}.xml", "sentences": 5}},
            "unlabelled has skip or sentences, but XML cannot be cut",
        ),
        (
            {"unlabelled": {**TEXT, "files": "{corpus}/{language}/train.conllu"}},
            "unlabelled.files has the training sentences of en, all of which are trained on",
        ),
        (
            {"unlabelled": {**TEXT, "files": "{corpus}/{language}/train.conllu", "skip": 9}, "train_sentences": 10},
            "unlabelled.skip is 9 for en, but the first 10 sentences of the same file",
        ),
        (
            {"recombined": {"reader": {"label": None}, "sentences": 9}},
            "recombined.reader.type is missing, as in",
        ),
        ({"languages": ["de", "de"]}, "languages names a language twice"),
        ({"languages": ["de", False]}, "languages has false, which is what YAML makes of no: write 'no' with quotes"),
        ({"languages": ["de", "German!"]}, "languages has 'German!', which is no code of a language"),
        ({"zero_shot": ["de"]}, "zero_shot has de, which is trained on"),
        ({"zero_shot": ["nl", "nl"]}, "zero_shot names a language twice"),
        ({"zero_shot": "nl"}, "zero_shot is a list of languages, or a mapping"),
        ({"zero_shot": {"nl": "{corpus}/{x}.conllu"}}, "zero_shot.nl has {x}"),
        ({"seeds": 3}, "seeds is a list of at least one number"),
        ({"seeds": [1, 1]}, "seeds has a number twice"),
        ({"seeds": ["a"]}, "seeds is 'a', but must be a whole number of at least 0"),
        ({"rows": [BASELINE, {**POSTERIOR, "seeds": 2}]}, "rows, Posterior: seeds is a list of at least one number"),
        ({"train_sentences": 0}, "train_sentences is 0, but must be a whole number of at least 1"),
        ({"dev_sentences": True}, "dev_sentences is True, but must be a whole number"),
        (
            {"files": "{corpus}/{language}/{split}.xml", "train_sentences": 5},
            "train_sentences is given, but XML cannot be cut",
        ),
        ({"samples": 5}, "samples is 5, but must be a whole number of at least 100"),
        ({"cuda_device": -2}, "cuda_device is -2"),
        ({"teachers": {}}, "teachers is empty"),
        ({"teachers": {"crf": {}}}, "teachers.crf: config is missing"),
        ({"teachers": {"none": {"config": "x"}}}, "teachers: none is what rows without teachers say"),
        ({"teachers": {"C R F": {"config": "x"}}}, "teachers: a name is 'C R F'"),
        ({"teachers": {"crf": {"config": "x"}}}, "teachers.crf.config is x, but there is no such file"),
        (
            {"teachers": {"crf": {"config": "training_configs/teacher.libsonnet", "epochs": 3}}},
            "teachers.crf.epochs is no key of a study; there are config, options",
        ),
        ({"students": {"epochs": 2}}, "students.epochs is no key of a study; there are options"),
        ({"students": {"options": {"seed": 2}}}, "students.options has seed, which the study sets itself"),
        ({"students": {"options": {"a-b": 2}}}, "students.options has 'a-b', which cannot be the name of an option"),
        ({"unlabelled": {"languages": ["en"]}}, "unlabelled.files is missing, as in"),
        ({"unlabelled": {"files": "{language}.txt"}}, "unlabelled.languages is missing, as in"),
        ({"unlabelled": {"files": "en.txt", "languages": ["en"]}}, "unlabelled.files is en.txt, but must have {lang"),
        ({"unlabelled": {**TEXT, "languages": ["fr"]}}, "unlabelled.languages has fr, which is neither trained on nor"),
        ({"unlabelled": {**TEXT, "skip": -1}}, "unlabelled.skip is -1, but must be a whole number"),
        ({"unlabelled": {**TEXT, "skip": {"en": -1}}}, "unlabelled.skip.en is -1, but must be a whole number"),
        (
            {"unlabelled": {**TEXT, "skip": {"ta": 1}}},
            "unlabelled.skip has ta, which unlabelled.languages does not have",
        ),
        ({"unlabelled": {**TEXT, "first": 1}}, "unlabelled.first is no key of a study; there are files, languages"),
        (
            {"rows": [BASELINE, {**POSTERIOR, "unlabelled": True}]},
            "rows, Posterior: unlabelled is given, but the study has",
        ),
        (
            {"unlabelled": TEXT, "rows": [{**BASELINE, "unlabelled": True}, POSTERIOR]},
            "rows, Baseline: unlabelled needs teach",
        ),
        (
            {"unlabelled": TEXT, "rows": [BASELINE, {**POSTERIOR, "unlabelled": ["de"]}]},
            r"rows, Posterior: unlabelled is \['de'\], but must be true or a list of en, nl",
        ),
        ({"recombined": {"sentences": 9}}, "recombined.reader is missing, as in {sentences: 900, reader: {type: str"),
        ({"recombined": {"reader": {"type": "x"}}}, "recombined.sentences is missing, as in"),
        ({"recombined": {**RECOMBINED, "sentences": 0}}, "recombined.sentences is 0, but must be a whole number"),
        ({"recombined": {**RECOMBINED, "languages": ["nl"]}}, "recombined.languages has nl, which is not trained on"),
        ({"recombined": {**RECOMBINED, "new_words": 3}}, "recombined.new_words is 3, but a probability is a number"),
        ({"recombined": {**RECOMBINED, "words": 1}}, "recombined.words is no key of a study; there are languages"),
        (
            {"rows": [BASELINE, {**POSTERIOR, "recombined": True}]},
            "rows, Posterior: recombined is given, but the study has",
        ),
        (
            {"recombined": RECOMBINED, "rows": [BASELINE, {**POSTERIOR, "recombined": ["nl"]}]},
            r"rows, Posterior: recombined is \['nl'\], but must be true or a list of de, en",
        ),
        (
            {"unlabelled": TEXT, "rows": [BASELINE, {**TEXT_ROW, "zero_shot_teachers": 3}]},
            "rows, Text: zero_shot_teachers is the name of a row or a list of names, not 3$",
        ),
        (
            {"unlabelled": TEXT, "rows": [BASELINE, {**TEXT_ROW, "zero_shot_teachers": []}]},
            r"rows, Text: zero_shot_teachers is the name of a row or a list of names, not \[\]$",
        ),
        (
            {"unlabelled": TEXT, "rows": [BASELINE, {**TEXT_ROW, "zero_shot_teachers": ["Baseline", "Baseline"]}]},
            "rows, Text: zero_shot_teachers names 'Baseline' twice$",
        ),
        (
            {"unlabelled": TEXT, "rows": [BASELINE, POSTERIOR, {**TEXT_ROW, "zero_shot_teachers": "Text"}]},
            "rows, Text: zero_shot_teachers has 'Text', which is no row above it: there are Baseline, Posterior$",
        ),
        (
            {"unlabelled": TEXT, "rows": [{**TEXT_ROW, "zero_shot_teachers": "Baseline"}, BASELINE]},
            "rows, Text: zero_shot_teachers has 'Baseline', which is no row above it: there is none$",
        ),
        (
            {
                "unlabelled": TEXT,
                "rows": [
                    *({**BASELINE, "name": f"{number} {100 * 'long'}"} for number in (1, 2)),
                    {**TEXT_ROW, "zero_shot_teachers": [f"{number} {100 * 'long'}" for number in (1, 2)]},
                ],
                "baseline": "Text",
            },
            "rows, Text: zero_shot_teachers: 2 rows with so long names are too much for the name of a file$",
        ),
        (
            {
                "unlabelled": TEXT,
                "rows": [BASELINE, {**TEXT_ROW, "unlabelled": ["en"], "zero_shot_teachers": "Baseline"}],
            },
            "rows, Text: zero_shot_teachers is given, but the row has no sentences of a zero-shot language",
        ),
        ({"frozen_encoder": {"type": "x"}}, "frozen_encoder.size is missing, as in {type: universal_sentence_encoder"),
        ({"baseline": "Base"}, "baseline is 'Base', but the rows are Baseline, Posterior: name one of them"),
        ({"rows": [BASELINE]}, "rows has one row"),
        ({"rows": []}, "rows is a list of rows"),
        ({"rows": [BASELINE, "posterior"]}, "rows, number 2: a row is a mapping with name and config"),
        ({"rows": [BASELINE, {"name": "A"}]}, "rows, number 2: config is missing"),
        ({"rows": [BASELINE, {**POSTERIOR, "name": "A=B"}]}, "rows, number 2: name is 'A=B', but may have letters"),
        ({"rows": [BASELINE, {**POSTERIOR, "config": "x"}]}, "rows, Posterior: config is x, but there is no such file"),
        ({"rows": [BASELINE, {**POSTERIOR, "epochs": 2}]}, "rows, Posterior: epochs is no key of a study"),
        ({"rows": [BASELINE, POSTERIOR, POSTERIOR]}, "rows has two of the name 'Posterior'"),
        (
            {"rows": [BASELINE, POSTERIOR, {**POSTERIOR, "name": "posterior"}]},
            "rows has two of the name in files 'posterior'",
        ),
        (
            {"rows": [BASELINE, {**POSTERIOR, "teachers": "softmax"}]},
            "rows, Posterior: teachers is 'softmax', but must be one of crf, none",
        ),
        (
            {"rows": [BASELINE, {**TOP_WK, "options": {"labellings": "legal"}}]},
            "rows, Top-WK: labellings is legal, so that k must be given",
        ),
        ({"rows": [BASELINE, {**TOP_WK, "k": 2, "options": {"k": 2}}]}, "rows, Top-WK: k is given twice"),
        ({"rows": [BASELINE, {**TOP_WK, "k": [2, 2]}]}, r"rows, Top-WK: k is \[2, 2\], but must be"),
        ({"rows": [BASELINE, {**TOP_WK, "k": "5"}]}, "rows, Top-WK: k is '5', but must be a whole number"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence_that_names_the_key(changes, message):
    with pytest.raises(study_file.StudyError, match=f"^{message}") as found:
        study_file.study_of(given(**changes))
    assert "\n" not in str(found.value)


def test_a_missing_file_is_named():
    with pytest.raises(
        study_file.StudyError, match=r"^there is no file nowhere/de/train.conllu, nor 6 more: correct files"
    ):
        study_file.check_files(study_file.study_of(given(corpus="nowhere")))


def test_labels_of_a_task_may_be_numbers():
    assert study_file.study_of(given(task_options={"types": ["1", "2"]})).task_options == {"types": ["1", "2"]}


def test_unlabelled_sentences_may_be_those_after_the_tagged_ones():
    unlabelled = {**TEXT, "files": "{corpus}/{language}/train.conllu", "skip": {"en": 10}}
    study = study_file.study_of(given(unlabelled=unlabelled, train_sentences=10))
    assert study.cut("en", "unlabelled").split()[0] == "10"


def test_what_is_left_out_has_a_default():
    study = study_file.study_of(given(seeds=None, zero_shot=None, students=None))
    assert (study.folder, study.samples, study.cuda_device) == ("runs/study/small", 10_000, -1)
    assert [row.seeds for row in study.rows] == [[1], [1]]
    assert (study.limit("train"), study.limit("dev"), study.limit("test")) == (0, 0, 0)
    assert study.zero_shot == {}


def test_lists_of_the_command_line_are_text():
    assert study_file.study_of(given(seeds=["1", "22"])).rows[0].seeds == [1, 22]
