"""The file of a study: its mistakes, and what follows from it."""

import ast
import json
import sys
from pathlib import Path

import pytest
import yaml
from _jsonnet import evaluate_file

from tests.study.programs import FOLDER, ROOT, program

plan = program("plan")
STUDIES = sorted(FOLDER.glob("*.yaml"))
BASELINE = {"name": "Baseline", "config": "training_configs/baseline.jsonnet", "teachers": "none"}
POSTERIOR = {"name": "Posterior", "config": "training_configs/posterior.jsonnet"}
TEXT = {"files": "fixtures/text/{language}.txt", "languages": ["en", "nl"]}
RECOMBINED = {"reader": {"type": "structkd_conllu", "label": None}, "sentences": 9}
TOP_WK = {"name": "Top-WK", "config": "training_configs/top_wk.jsonnet"}


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


def given(**changes):
    """The content of a small study file; `None` takes a key out."""
    content = {
        "name": "small",
        "task": "training_configs/upos.libsonnet",
        "corpus": "fixtures/upos",
        "files": "{corpus}/{language}/{split}.conllu",
        "languages": ["de", "en"],
        "zero_shot": ["nl"],
        "seeds": [1, 2],
        "teachers": {"crf": {"config": "training_configs/teacher.libsonnet", "options": {"epochs": 3}}},
        "students": {"options": {"epochs": 2}},
        "baseline": "Baseline",
        "rows": [BASELINE, POSTERIOR],
        **changes,
    }
    return {key: value for key, value in content.items() if value is not None}


def evaluated(study, *names):
    """Some configurations of a study, as Jsonnet understands them."""
    Path(study.folder, "configs").mkdir(parents=True)
    Path(study.folder, "task.libsonnet").write_text(plan.task_text(study))
    found = {}
    texts = plan.configurations(study)
    for name in names:
        file = Path(study.folder, "configs", f"{name}.jsonnet")
        file.write_text(texts[name])
        found[name] = json.loads(evaluate_file(str(file)))
    return found


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
    with pytest.raises(plan.StudyError, match=f"^{message}") as found:
        plan.study_of(given(**changes))
    assert "\n" not in str(found.value)


def test_a_missing_file_is_named():
    with pytest.raises(plan.StudyError, match=r"^there is no file nowhere/de/train.conllu, nor 6 more: correct files"):
        plan.check_files(plan.study_of(given(corpus="nowhere")))


def test_what_is_left_out_has_a_default():
    study = plan.study_of(given(seeds=None, zero_shot=None, students=None))
    assert (study.folder, study.seeds, study.samples, study.cuda_device) == ("runs/study/small", [1], 10_000, -1)
    assert (study.limit("train"), study.limit("dev"), study.limit("test")) == (0, 0, 0)
    assert study.zero_shot == {}


def test_lists_of_the_command_line_are_text():
    assert plan.study_of(given(seeds=["1", "22"])).seeds == [1, 22]


def test_sentences_are_cut_but_not_of_tests():
    study = plan.study_of(given(train_sentences=20, dev_sentences=5))
    assert [study.limit(split) for split in plan.SPLITS] == [20, 5, 0]


def test_zero_shot_languages_may_have_files_elsewhere():
    study = plan.study_of(given(zero_shot={"it": "{corpus}/other/{language}-{split}.conllu", "nl": "x.conllu.gz"}))
    assert study.source("it", "test") == "fixtures/upos/other/it-test.conllu"
    assert study.data("nl", "test") == "runs/study/small/data/nl/test.conllu"
    assert study.sources()[-2:] == ["fixtures/upos/other/it-test.conllu", "x.conllu.gz"]


class TestRows:
    def test_several_k_are_several_rows(self):
        rows = [BASELINE, {**TOP_WK, "k": [1, 10], "options": {"labellings": "legal"}}]
        study = plan.study_of(given(rows=rows))
        assert [(row.name, row.slug, row.family, row.k) for row in study.rows[1:]] == [
            ("Top-WK (1)", "top_wk_1", "Top-WK", 1),
            ("Top-WK (10)", "top_wk_10", "Top-WK", 10),
        ]
        assert study.k_best("crf") == 10

    def test_stores_have_labellings_only_if_a_row_reads_them(self):
        assert plan.study_of(given(rows=[BASELINE, {**TOP_WK, "k": 5}])).k_best("crf") == 0

    def test_options_of_a_row_come_before_those_of_all(self):
        (_, row) = plan.study_of(given(rows=[BASELINE, {**POSTERIOR, "options": {"epochs": 9}}])).rows
        assert row.options == {"epochs": 9}

    def test_teachers_that_no_row_learns_from_are_not_trained(self):
        config = {"config": "training_configs/teacher.libsonnet"}
        study = plan.study_of(given(teachers={"crf": config, "softmax": config, "spare": config}))
        assert study.needed_teachers() == ["crf"]
        rows = [BASELINE, {**POSTERIOR, "teachers": "softmax"}]
        study = plan.study_of(given(teachers={"crf": config, "softmax": config, "spare": config}, rows=rows))
        assert study.needed_teachers() == ["crf", "softmax"]


class TestConfigurations:
    def test_there_is_one_for_each_run(self):
        assert set(plan.configurations(plan.study_of(given()))) == {
            "teacher_crf_de",
            "teacher_crf_en",
            "student_baseline_seed1",
            "student_baseline_seed2",
            "student_posterior_seed1",
            "student_posterior_seed2",
        }

    def test_they_are_what_the_study_says(self, tmp_path):
        study = plan.study_of(given(output=str(tmp_path / "out")))
        found = evaluated(study, "teacher_crf_de", "student_posterior_seed2", "student_baseline_seed1")
        teacher, student = found["teacher_crf_de"], found["student_posterior_seed2"]
        assert teacher["train_data_path"] == {"de": f"{tmp_path}/out/small/data/de/train.conllu"}
        assert teacher["trainer"]["num_epochs"] == 3
        assert student["validation_data_path"] == {
            language: f"{tmp_path}/out/small/data/{language}/dev.conllu" for language in ("de", "en")
        }
        assert student["trainer"]["num_epochs"] == 2
        assert student["random_seed"] == student["numpy_seed"] == student["pytorch_seed"] == 2
        assert student["trainer"]["cuda_device"] == -1
        (callback,) = [one for one in student["trainer"]["callbacks"] if isinstance(one, dict)]
        assert callback["stores"] == {
            language: f"{tmp_path}/out/small/stores/crf/{language}" for language in ("de", "en")
        }
        assert not any(isinstance(one, dict) for one in found["student_baseline_seed1"]["trainer"]["callbacks"])
        # The tests' tags are for the evaluation of the study alone.
        assert all(config["test_data_path"] is None and not config["evaluate_on_test"] for config in found.values())

    def test_a_link_to_another_disk_is_no_obstacle(self, tmp_path):
        (tmp_path / "disk" / "deep" / "er").mkdir(parents=True)
        (tmp_path / "runs").symlink_to(tmp_path / "disk" / "deep" / "er")
        assert evaluated(plan.study_of(given(output=str(tmp_path / "runs"))), "teacher_crf_en")

    def test_the_task_is_that_of_the_study(self, tmp_path):
        changes = {
            "task": "training_configs/ner.libsonnet",
            "task_options": {"types": ["PER", "MISC"], "reader": {"ill_formed": "repair"}},
            "files": "fixtures/ner/{language}/{split}.conll",
        }
        name = "student_baseline_seed1"
        student = evaluated(plan.study_of(given(output=str(tmp_path), **changes)), name)[name]
        assert student["dataset_reader"]["labels"] == ["O", "B-PER", "I-PER", "B-MISC", "I-MISC"]
        assert student["dataset_reader"]["ill_formed"] == "repair"
        assert student["dataset_reader"]["type"] == "structkd_column"
        assert student["train_data_path"]["en"].endswith("/small/data/en/train.conll")

    def test_a_misspelt_option_is_named(self, tmp_path):
        study = plan.study_of(given(output=str(tmp_path), students={"options": {"hiden_size": 3}}))
        with pytest.raises(RuntimeError, match=r"no option hiden_size; the options are .*hidden_size"):
            evaluated(study, "student_posterior_seed1")

    def test_the_frozen_encoder_is_everyones(self, tmp_path):
        encoder = {"type": "universal_sentence_encoder", "cache": "runs/vectors", "size": 2560}
        study = plan.study_of(given(output=str(tmp_path), frozen_encoder=encoder))
        for config in evaluated(study, "teacher_crf_de", "student_baseline_seed1").values():
            assert config["dataset_reader"]["token_indexers"]["frozen"]["cache"] == "runs/vectors"
            assert config["model"]["encoder"]["input_size"] > 2560

    def test_of_each_language_another_number_may_be_left_out(self):
        study = plan.study_of(given(unlabelled={**TEXT, "skip": {"en": 3}, "sentences": 7}))
        assert (study.cut("en", "unlabelled"), study.cut("nl", "unlabelled")) == ("3 7 lines", "0 7 lines")

    def test_unlabelled_sentences_are_of_the_rows_that_ask_for_them(self, tmp_path):
        rows = [BASELINE, POSTERIOR, {**POSTERIOR, "name": "More", "unlabelled": ["nl"]}]
        rows += [{**POSTERIOR, "name": "Most", "unlabelled": True}]
        study = plan.study_of(given(output=str(tmp_path), unlabelled={**TEXT, "skip": 3, "sentences": 7}, rows=rows))
        assert (study.skip("nl", "unlabelled"), study.limit("unlabelled"), study.skip("nl", "train")) == (3, 7, 0)
        assert study.source("nl", "unlabelled") == "fixtures/text/nl.txt"
        assert set(study.sources()) >= {"fixtures/text/nl.txt", "fixtures/text/en.txt"}
        found = evaluated(study, "student_posterior_seed1", "student_more_seed1", "student_most_seed1")
        folder = f"{tmp_path}/small"
        plain, more, most = found.values()
        assert plain["train_data_path"] == {
            language: f"{folder}/data/{language}/train.conllu" for language in ("de", "en")
        }
        assert more["train_data_path"] == {
            "labelled": plain["train_data_path"],
            "unlabelled": {"nl": f"{folder}/data/nl/unlabelled.txt"},
        }
        assert sorted(most["train_data_path"]["unlabelled"]) == ["en", "nl"]
        assert more["dataset_reader"]["readers"]["unlabelled"] == {"type": "structkd_plain_text"}
        (callback,) = [one for one in most["trainer"]["callbacks"] if isinstance(one, dict)]
        assert callback["stores"] == {
            "de": f"{folder}/stores/crf/de",
            "en": f"{folder}/stores/crf_unlabelled/en",
            "nl": f"{folder}/stores/crf_unlabelled/nl",
        }
        assert json.loads(plan.teachers_together(study, "crf"))["members"] == [
            {"type": "structkd", "path": f"{folder}/teachers/crf/{language}/model.tar.gz"} for language in ("de", "en")
        ]

    def test_recombined_sentences_are_of_the_rows_that_ask_for_them(self, tmp_path):
        rows = [BASELINE, {**POSTERIOR, "name": "New", "recombined": ["de"]}]
        rows += [{**POSTERIOR, "name": "Both", "unlabelled": True, "recombined": True}]
        more = {"unlabelled": TEXT, "recombined": {**RECOMBINED, "new_words": 0.1}}
        study = plan.study_of(given(output=str(tmp_path), rows=rows, **more))
        new, both = evaluated(study, "student_new_seed1", "student_both_seed1").values()
        folder = f"{tmp_path}/small"
        recombined = {"type": "structkd_recombined", "new_words": 0.1, **RECOMBINED}
        assert new["dataset_reader"]["readers"]["unlabelled"] == recombined
        assert new["train_data_path"]["unlabelled"] == {"de": f"{folder}/data/de/train.conllu"}
        assert both["dataset_reader"]["readers"]["unlabelled"] == {
            "type": "structkd_mixture",
            "readers": {"unlabelled": {"type": "structkd_plain_text"}, "recombined": recombined},
        }
        assert both["train_data_path"]["unlabelled"] == {
            "unlabelled": {language: f"{folder}/data/{language}/unlabelled.txt" for language in ("en", "nl")},
            "recombined": {language: f"{folder}/data/{language}/train.conllu" for language in ("de", "en")},
        }
        assert study.stores(study.rows[2]) == {
            "de": f"{folder}/stores/crf_recombined/de",
            "en": f"{folder}/stores/crf_unlabelled_recombined/en",
            "nl": f"{folder}/stores/crf_unlabelled/nl",
        }


def test_imports_are_followed(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "a.jsonnet").write_text(
        "// import 'no.libsonnet'\n(import 'deeper/b.libsonnet') + (import \"c.libsonnet\")"
    )
    (tmp_path / "deeper" / "b.libsonnet").write_text("import '../c.libsonnet'")
    (tmp_path / "c.libsonnet").write_text("{}")
    found = plan.imported_files(str(tmp_path / "a.jsonnet"))
    assert [Path(file).name for file in found] == ["a.jsonnet", "b.libsonnet", "c.libsonnet"]
    names = {Path(file).name for file in plan.imported_files("training_configs/top_wk.jsonnet")}
    assert names == {"top_wk.jsonnet", "baseline.jsonnet", "base.libsonnet", "upos.libsonnet"}


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_studies_that_are_shipped_are_right(file, tmp_path):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    study = plan.study_of({"corpus": "data", **content, "output": str(tmp_path)})
    rows, languages = len(study.rows), len(study.languages)
    assert len(plan.configurations(study)) == rows * len(study.seeds) + languages * len(study.needed_teachers())
    # The same methods are in several: Jsonnet takes its time.
    looked_at = study.rows if study.name == "upos" else (study.baseline, study.rows[-1])
    names = [plan.student_name(row.slug, study.seeds[0]) for row in looked_at]
    teacher = plan.teacher_name("crf", study.languages[0])
    found = evaluated(study, *names, teacher)
    assert list(found[teacher]["train_data_path"]) == [study.languages[0]]
    for row, name in zip(looked_at, names, strict=True):
        config = found[name]
        assert ("objective" in config["model"]) == (row.teachers is not None), row.name
        if row.k is not None:
            assert f'"k": {row.k}' in json.dumps(config["model"]["objective"])


def test_the_paper_s_methods_are_in_the_studies_of_the_paper():
    for name in ("upos", "ner"):
        rows = [row["name"] for row in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["rows"]]
        # With teachers and more sentences than the paper has: below.
        assert rows[:9] == [
            *("Softmax", "Token", "Baseline", "Emission", "Top-K", "Top-WK", "Posterior", "Pos.+Top-WK"),
            "Cross-entropy",
        ]
        assert all(row.startswith("Cross-entropy + ") for row in rows[9:])


ALONE = ["plan", "cut", "train", "results", "versions"]


@pytest.mark.parametrize("name", ALONE)
def test_nothing_but_the_standard_library_is_needed(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    } | {node.module.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert imported - set(sys.stdlib_module_names) <= set(ALONE)
