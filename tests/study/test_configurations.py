"""What a study trains: its configurations, as Jsonnet understands them."""

import json
from pathlib import Path

import pytest
import yaml
from _jsonnet import evaluate_file

from tests.study.programs import FOLDER, program
from tests.study.study_content import BASELINE, POSTERIOR, RECOMBINED, TEXT, TEXT_ROW, TOP_WK, given

plan = program("plan")
study_file = program("study_file")
configurations = program("configurations")
STUDIES = sorted(FOLDER.glob("*.yaml"))
pytestmark = pytest.mark.usefixtures("in_the_repository")


def evaluated(study, *names):
    """Some configurations of a study, as Jsonnet understands them."""
    Path(study.folder, "configs").mkdir(parents=True)
    Path(study.folder, "task.libsonnet").write_text(configurations.task_text(study))
    found = {}
    texts = configurations.texts(study)
    for name in names:
        file = Path(study.folder, "configs", f"{name}.jsonnet")
        file.write_text(texts[name])
        found[name] = json.loads(evaluate_file(str(file)))
    return found


class TestConfigurations:
    def test_there_is_one_for_each_run(self):
        assert set(configurations.texts(study_file.study_of(given()))) == {
            "teacher_crf_de",
            "teacher_crf_en",
            "student_baseline_seed1",
            "student_baseline_seed2",
            "student_posterior_seed1",
            "student_posterior_seed2",
        }

    def test_they_are_what_the_study_says(self, tmp_path):
        study = study_file.study_of(given(output=str(tmp_path / "out")))
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
        assert evaluated(study_file.study_of(given(output=str(tmp_path / "runs"))), "teacher_crf_en")

    def test_the_task_is_that_of_the_study(self, tmp_path):
        changes = {
            "task": "training_configs/ner.libsonnet",
            "task_options": {"types": ["PER", "MISC"], "reader": {"ill_formed": "repair"}},
            "files": "fixtures/ner/{language}/{split}.conll",
        }
        name = "student_baseline_seed1"
        student = evaluated(study_file.study_of(given(output=str(tmp_path), **changes)), name)[name]
        assert student["dataset_reader"]["labels"] == ["O", "B-PER", "I-PER", "B-MISC", "I-MISC"]
        assert student["dataset_reader"]["ill_formed"] == "repair"
        assert student["dataset_reader"]["type"] == "structkd_column"
        assert student["train_data_path"]["en"].endswith("/small/data/en/train.conll")

    def test_a_misspelt_option_is_named(self, tmp_path):
        study = study_file.study_of(given(output=str(tmp_path), students={"options": {"hiden_size": 3}}))
        with pytest.raises(RuntimeError, match=r"no option hiden_size; the options are .*hidden_size"):
            evaluated(study, "student_posterior_seed1")

    def test_a_misspelt_option_of_the_task_is_named(self, tmp_path):
        study = study_file.study_of(given(output=str(tmp_path), task_options={"typs": ["PER"]}))
        with pytest.raises(RuntimeError, match=r"task_options has typs, which the task does not"):
            evaluated(study, "student_baseline_seed1")

    def test_a_row_without_teachers_has_no_stores(self, tmp_path):
        """Also where its configuration has stores of its own to begin with."""
        rows = [BASELINE, {**POSTERIOR, "name": "Untaught", "teachers": "none"}]
        study = study_file.study_of(given(output=str(tmp_path), rows=rows))
        config = evaluated(study, "student_untaught_seed1")["student_untaught_seed1"]
        assert not any(isinstance(one, dict) for one in config["trainer"]["callbacks"])

    def test_the_frozen_encoder_is_everyones(self, tmp_path):
        encoder = {"type": "universal_sentence_encoder", "cache": "runs/vectors", "size": 2560}
        study = study_file.study_of(given(output=str(tmp_path), frozen_encoder=encoder))
        for config in evaluated(study, "teacher_crf_de", "student_baseline_seed1").values():
            assert config["dataset_reader"]["token_indexers"]["frozen"]["cache"] == "runs/vectors"
            assert config["model"]["encoder"]["input_size"] > 2560

    def test_unlabelled_sentences_are_of_the_rows_that_ask_for_them(self, tmp_path):
        rows = [BASELINE, POSTERIOR, {**POSTERIOR, "name": "More", "unlabelled": ["nl"]}]
        rows += [{**POSTERIOR, "name": "Most", "unlabelled": True}]
        study = study_file.study_of(
            given(output=str(tmp_path), unlabelled={**TEXT, "skip": 3, "sentences": 7}, rows=rows)
        )
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
        assert json.loads(configurations.teachers_together(study, "crf"))["members"] == [
            {"type": "structkd", "path": f"{folder}/teachers/crf/{language}/model.tar.gz"} for language in ("de", "en")
        ]

    def test_students_of_other_rows_may_speak_of_zero_shot_languages(self, tmp_path):
        one = {**TEXT_ROW, "name": "One", "zero_shot_teachers": "Baseline"}
        two = {**TEXT_ROW, "name": "Two", "zero_shot_teachers": ["Posterior", "Baseline"]}
        rows = [BASELINE, {**POSTERIOR, "seeds": [7]}, TEXT_ROW, one, two]
        study = study_file.study_of(given(output=str(tmp_path), unlabelled=TEXT, rows=rows))
        folder = f"{tmp_path}/small"
        found = [study.stores(row) for row in study.rows[2:]]
        assert [stores["nl"] for stores in found] == [
            f"{folder}/stores/crf_unlabelled/nl",
            f"{folder}/stores/of_students/baseline/nl",
            f"{folder}/stores/of_students/baseline+posterior/nl",
        ]
        # Of a language trained on, its own teacher goes on speaking.
        assert all({**stores, "nl": None} == {**found[0], "nl": None} for stores in found)
        for speakers, students in (
            ("baseline", ["baseline_seed1", "baseline_seed2"]),
            ("baseline+posterior", ["baseline_seed1", "baseline_seed2", "posterior_seed7"]),
        ):
            assert json.loads(configurations.students_together(study, speakers)) == {
                "type": "ensemble",
                "members": [
                    {"type": "structkd", "path": f"{folder}/students/{name}/model.tar.gz"} for name in students
                ],
            }

    def test_stores_of_students_hold_the_labellings_that_rows_take(self):
        legal = {**TOP_WK, "options": {"labellings": "legal"}, "unlabelled": True}
        rows = [BASELINE, {**legal, "k": 3}, {**legal, "name": "Other", "k": 4, "zero_shot_teachers": "Baseline"}]
        study = study_file.study_of(given(unlabelled=TEXT, rows=rows))
        assert (study.k_best("crf"), study.k_best_of_students("baseline")) == (4, 4)
        assert study.k_best_of_students("top_wk") == 0

    def test_recombined_sentences_are_of_the_rows_that_ask_for_them(self, tmp_path):
        rows = [BASELINE, {**POSTERIOR, "name": "New", "recombined": ["de"]}]
        rows += [{**POSTERIOR, "name": "Both", "unlabelled": True, "recombined": True}]
        more = {"unlabelled": TEXT, "recombined": {**RECOMBINED, "new_words": 0.1}}
        study = study_file.study_of(given(output=str(tmp_path), rows=rows, **more))
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
    (tmp_path / "c.libsonnet").write_text("{ a: importstr\n  'd.txt' }")
    (tmp_path / "d.txt").write_text("d")
    found = configurations.imported_files(str(tmp_path / "a.jsonnet"))
    assert [Path(file).name for file in found] == ["a.jsonnet", "b.libsonnet", "c.libsonnet", "d.txt"]
    names = {Path(file).name for file in configurations.imported_files("training_configs/top_wk.jsonnet")}
    assert names == {"top_wk.jsonnet", "baseline.jsonnet", "base.libsonnet", "upos.libsonnet"}


def test_a_row_has_a_configuration_for_each_of_its_seeds():
    study = study_file.study_of(given(seeds=[1, 2], rows=[BASELINE, {**POSTERIOR, "seeds": [7]}]))
    students = [name for name in configurations.texts(study) if name.startswith("student_")]
    assert students == ["student_baseline_seed1", "student_baseline_seed2", "student_posterior_seed7"]
    assert study.students(study.rows[1]) == ["runs/study/small/students/posterior_seed7"]


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_studies_that_are_shipped_are_right(file, tmp_path):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    study = study_file.study_of({"corpus": "data", **content, "output": str(tmp_path)})
    students, languages = sum(len(row.seeds) for row in study.rows), len(study.languages)
    assert len(configurations.texts(study)) == students + languages * len(study.needed_teachers())
    # The same methods are in several: Jsonnet takes its time.
    looked_at = study.rows if study.name == "upos" else (study.baseline, study.rows[-1])
    names = [plan.student_name(row.slug, row.seeds[0]) for row in looked_at]
    teacher = plan.teacher_name("crf", study.languages[0])
    found = evaluated(study, *names, teacher)
    assert list(found[teacher]["train_data_path"]) == [study.languages[0]]
    for row, name in zip(looked_at, names, strict=True):
        config = found[name]
        assert ("objective" in config["model"]) == (row.teachers is not None), row.name
        if row.k is not None:
            objective = config["model"]["objective"]
            parts = objective.get("objectives", [objective])
            assert [part["k"] for part in parts if "k" in part] == [row.k], row.name


def test_the_paper_s_methods_are_in_the_studies_of_the_paper():
    for name in ("upos", "ner"):
        rows = [row["name"] for row in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["rows"]]
        # With teachers and more sentences than the paper has: below.
        assert rows[:9] == [
            *("Softmax", "Token", "Baseline", "Emission", "Top-K", "Top-WK", "Posterior", "Pos.+Top-WK"),
            "Cross-entropy",
        ]
        assert all(row.startswith("Cross-entropy + ") for row in rows[9:])
