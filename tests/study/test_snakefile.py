"""The rules of a study: what they would run, and one study from end to end, killed on its way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.study.programs import FOLDER, ROOT, SNAKEMAKE, needs_snakemake

pytestmark = needs_snakemake


def command(study, *arguments):
    return [
        *(str(SNAKEMAKE), "--snakefile", str(FOLDER / "Snakefile"), "--configfile", str(study)),
        *("--rerun-incomplete", "--nolock", "--cores", "2", *arguments),
    ]


def environment():
    return {
        **os.environ,
        "STRUCTKD_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        # Its notes on source files go to the user's folder otherwise.
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(ROOT / ".pytest_cache")),
    }


def snakemake(study, *arguments):
    return subprocess.run(
        command(study, *arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_dry_run_names_every_run(tmp_path):
    done = snakemake(FOLDER / "fixtures.yaml", "--config", f"output={tmp_path}", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    # 2 teachers; 4 rows with 2 seeds; data of 2 languages in three splits and the test of another.
    expected = {"teacher": "2", "store": "2", "student": "8", "data": "7", "configuration": "10"}
    expected.update(score_teacher="2", score_student="8", compare="1", report="1", results="1")
    assert {name: counts.get(name) for name in expected} == expected
    assert list(tmp_path.iterdir()) == []


def test_stores_of_unlabelled_sentences_are_planned(tmp_path):
    content = yaml.safe_load((FOLDER / "fixtures.yaml").read_text(encoding="utf-8"))
    content["output"] = str(tmp_path / "out")
    content["zero_shot"] = ["ru"]
    content["unlabelled"] = {"files": "fixtures/text/{language}.txt", "languages": ["en", "ru"]}
    for row in content["rows"][1:]:
        row["unlabelled"] = True
    # One more store of the same sentences.
    content["rows"][2]["zero_shot_teachers"] = content["rows"][0]["name"]
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = snakemake(study, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    # Of German there is nothing more; for Russian all teachers are asked together.
    expected = {"store": "1", "store_of_more": "1", "zero_shot_store": "1", "teachers_together": "1", "data": "9"}
    expected.update(zero_shot_store_of_students="1", students_together="1")
    assert {name: counts.get(name) for name in expected} == expected


def test_stores_of_recombined_sentences_are_planned(tmp_path):
    content = yaml.safe_load((FOLDER / "fixtures.yaml").read_text(encoding="utf-8"))
    content["output"] = str(tmp_path / "out")
    content["unlabelled"] = {"files": "fixtures/text/{language}.txt", "languages": ["en"]}
    content["recombined"] = {"reader": {"type": "structkd_conllu", "label": None}, "sentences": 50}
    content["rows"][1]["recombined"] = ["de"]
    content["rows"][2].update(unlabelled=True, recombined=True)
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = snakemake(study, "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout + done.stderr
    # Nothing is captured that no row learns from; both kinds of English sentences are one store.
    stores = set(re.findall(r"--output (\S+/stores/\S+)", done.stdout + done.stderr))
    folder = tmp_path / "out" / "fixtures" / "stores"
    expected = {"crf/en", "crf_recombined/de", "crf_unlabelled_recombined/en"}
    assert stores == {str(folder / name) for name in expected}
    assert '"type": "structkd_recombined"' in done.stdout + done.stderr


def test_a_mistake_is_one_sentence(tmp_path):
    done = snakemake(FOLDER / "fixtures.yaml", "--config", f"output={tmp_path}", "corpus=nowhere", "--dry-run")
    assert done.returncode != 0
    assert "error: there is no file nowhere/de/train.conllu" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_option_is_seen_before_anything_is_trained(tmp_path):
    content = yaml.safe_load((FOLDER / "fixtures.yaml").read_text(encoding="utf-8"))
    content["output"] = str(tmp_path / "out")
    content["students"]["options"]["hiden_size"] = 3
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = snakemake(study)
    assert done.returncode != 0
    message = r"^error: \S+/configs/student_\w+\.jsonnet: there is no option hiden_size; the options are "
    assert re.search(message, done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("fixtures/teachers/*/*/model.tar.gz"))


def in_training(out):
    """Students that have finished an epoch, and not their training."""
    folders = {file.parent for file in out.glob("students/*/model_state_e*.th")}
    return [folder for folder in folders if not (folder / "model.tar.gz").exists()]


def finished(out):
    """Archives of teachers that something else has been begun with, so that Snakemake knows them to be complete."""
    # Not those of unlabelled sentences: zero-shot languages have no teacher.
    languages = {file.stem.rpartition("_")[2] for file in out.glob("logs/s[tc]ore_teacher_crf_*.log")}
    return [out / "teachers" / "crf" / language / "model.tar.gz" for language in sorted(languages)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_that_is_killed_goes_on(tmp_path):
    """The study of the fixtures, smaller; killed with all it runs in the middle of a student's training."""
    rows = [
        {"name": "Baseline", "config": "training_configs/baseline.jsonnet", "teachers": "none"},
        {
            "name": "Top-WK",
            "config": "training_configs/top_wk.jsonnet",
            "k": [1, 3],
            "options": {"labellings": "legal"},
        },
        {"name": "Posterior", "config": "training_configs/posterior.jsonnet", "unlabelled": True},
        {
            "name": "Posterior of students",
            "config": "training_configs/posterior.jsonnet",
            "unlabelled": ["ru"],
            "zero_shot_teachers": "Baseline",
            "seeds": [1],
        },
    ]
    small = {"word_size": 16, "character_size": 16, "hidden_size": 16}
    study = tmp_path / "study.json"
    study.write_text(
        json.dumps(
            {
                "name": "killed",
                "output": str(tmp_path / "out"),
                "task": "training_configs/upos.libsonnet",
                "files": "fixtures/upos/{language}/{split}.conllu",
                "languages": ["de", "en"],
                "zero_shot": ["ru"],
                "unlabelled": {"files": "fixtures/text/{language}.txt", "languages": ["en", "ru"], "sentences": 20},
                "seeds": [1, 2],
                "train_sentences": 60,
                "dev_sentences": 20,
                "teachers": {
                    "crf": {"config": "training_configs/teacher.libsonnet", "options": {"epochs": 3, **small}}
                },
                "students": {"options": {"epochs": 20, **small}},
                "baseline": "Baseline",
                "rows": rows,
                "samples": 200,
            }
        )
    )
    out = tmp_path / "out" / "killed"
    log = tmp_path / "first.log"
    with log.open("w") as output:
        first = subprocess.Popen(
            command(study), cwd=ROOT, env=environment(), stdout=output, stderr=output, start_new_session=True
        )
        deadline = time.monotonic() + 900
        while not (in_training(out) and finished(out)):
            assert first.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    broken = {file.parent.name for file in out.glob("students/*/model_state_e*.th")}
    assert not (out / "results.md").exists()
    before = {file: file.stat().st_mtime_ns for file in finished(out)}

    second = snakemake(study)
    assert second.returncode == 0, second.stdout + second.stderr
    resumed = {
        file.name.partition(".")[0]
        for file in out.glob("students/*.begun.json")
        if json.loads(file.read_text())["resumed"]
    }
    assert resumed
    assert resumed <= broken
    # What was finished is not done again.
    assert {file: file.stat().st_mtime_ns for file in before} == before

    text = (out / "results.md").read_text(encoding="utf-8")
    for heading in ("Languages trained on", "Zero-shot languages", "By K", "Cost"):
        assert f"## {heading}" in text
    assert re.search(r"^\| Top-WK \(3\) \| \d+\.\d\d ± \d+\.\d\d", text, re.MULTILINE)
    assert "≥" in text
    assert (out / "report" / "report.md").exists()
    assert "Top-WK (3) (2 seeds) against Baseline (2 seeds)" in (out / "comparison.txt").read_text()
    assert len((out / "data" / "de" / "train.conllu").read_text().strip().split("\n\n")) == 60
    manifest = json.loads((out / "stores" / "crf" / "de" / "manifest.main.json").read_text())
    assert manifest["teacher"]["k_best"] == 3
    spoken_of = (out / "stores" / "of_students" / "baseline" / "ru" / "manifest.main.json").read_text()
    assert json.loads(spoken_of)["teacher"]["fingerprint"] != manifest["teacher"]["fingerprint"]
    assert "| Stores (students of Baseline), 1 in all |" in text

    third = snakemake(study)
    assert "Nothing to be done" in third.stdout + third.stderr
    assert Path(out, "results.md").read_text(encoding="utf-8") == text

    # Changed options are seen, also where two numbers change places.
    changed = json.loads(study.read_text())
    changed["rows"][1]["k"] = [1, 4]
    changed["unlabelled"].update(skip=20, sentences=0)
    study.write_text(json.dumps(changed))
    fourth = snakemake(study, "--dry-run")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", fourth.stdout + fourth.stderr, re.MULTILINE))
    assert {name: jobs.get(name) for name in ("teacher", "student", "store", "store_of_more", "data")} == {
        "teacher": None,
        # All but the baseline: the stores hold more labellings now.
        "student": "7",
        "store": "2",
        "store_of_more": "1",
        "data": "2",
    }
