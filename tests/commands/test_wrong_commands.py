"""Commands that are typed wrongly, as a person types them: one sentence that helps, exit status 1, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch

from structkd_plugin.console.error_sentences import sentence_of
from tests.teacher.training import config, write_corpus

from .command_line import run

ROOT = Path(__file__).resolve().parents[2]

# name: (arguments, what the sentence must say); {d} is a folder with corpora, an archive and what `folder` writes.
WRONG: Dict[str, Tuple[List[str], List[str]]] = {
    "configuration that is not there": (
        ["train", "{d}/missing.jsonnet", "-s", "{d}/run"],
        ["there is no file {d}/missing.jsonnet"],
    ),
    "model misspelt": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", '{"model.type": "structkd_tager"}'],
        ["model.type of the configuration is 'structkd_tager'", "did you mean 'structkd_tagger'?"],
    ),
    "reader misspelt": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", '{"dataset_reader.type": "structkd_colum"}'],
        ["dataset_reader.type of the configuration is 'structkd_colum'", "did you mean 'structkd_column'?"],
    ),
    "objective misspelt": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", '{"model.objective": {"type": "posteriour"}}'],
        ["model.objective.type of the configuration is 'posteriour'", "did you mean 'posterior'?"],
    ),
    "callback misspelt": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", '{"trainer.callbacks": ["structkd_sumary"]}'],
        ["type of the configuration is 'structkd_sumary'", "did you mean 'structkd_summary'?"],
    ),
    "option misspelt": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", '{"model.dropuot": 0.1}'],
        ["structkd_tagger (StructuredTagger) has no option 'dropuot'; did you mean 'dropout'?"],
    ),
    "pattern that nothing fits": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", '{"train_data_path": "{d}/{language}.trian.conll"}'],
        ["{d}/{language}.trian.conll"],
    ),
    "store that is not there": (
        ["train", "{d}/distil.json", "-s", "{d}/run"],
        ["{d}/no-store"],
    ),
    "labels that differ": (
        ["train", "{d}/labels.json", "-s", "{d}/run"],
        ["are not the student's", "the student alone has B-ORG"],
    ),
    "archive that is not there": (["predict", "{d}/nowhere.tar.gz", "{d}/in.jsonl"], ["there is no file {d}/nowhere"]),
    "input that is not there": (
        ["predict", "{d}/archive", "{d}/missing.jsonl"],
        ["there is no file {d}/missing.jsonl"],
    ),
    "predictor misspelt": (
        ["predict", "{d}/archive", "{d}/in.jsonl", "--predictor", "structkd_tager"],
        ["the name of a Predictor is 'structkd_tager'", "did you mean 'structkd_tagger'?"],
    ),
    "predictor arguments that are no JSON": (
        ["predict", "{d}/archive", "{d}/in.jsonl", "--predictor-args", "{'all_labels': true}"],
        ["is not JSON"],
    ),
    "package misspelt": (
        ["predict", "{d}/archive", "{d}/in.jsonl", "--include-package", "structkd_plugn"],
        ["--include-package structkd_plugn", "did you mean structkd_plugin?"],
    ),
    "folder that is there": (["train", "{d}/good.json", "-s", "{d}/archive"], ["--recover", "--force"]),
    "overrides that are no JSON": (
        ["train", "{d}/good.json", "-s", "{d}/run", "-o", "{trainer.num_epochs: 3}"],
        ["-o is no JSON or Jsonnet"],
    ),
    "GPU where there is none": (
        ["predict", "{d}/archive", "{d}/in.jsonl", "--cuda-device", "0"],
        ["a GPU is asked for", "--cuda-device -1"],
    ),
}


@pytest.fixture(scope="module")
def folder(teacher_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wrong")
    for language in ("en", "de"):
        write_corpus(path / f"{language}.train.conll", language, 8)
        write_corpus(path / f"{language}.dev.conll", language, 4, seed=1)
    (path / "archive").symlink_to(teacher_archive)
    (path / "in.jsonl").write_text('{"words": ["Ada"], "language": "en"}\n')
    (path / "good.json").write_text(json.dumps(config(path)))
    assert run("cache-teacher", teacher_archive, f"en={path}/en.train.conll", "--output", path / "store") is None
    for name, store, labels in (("distil", "no-store", []), ("labels", "store", ["B-ORG"])):
        settings = config(path, objective={"type": "posterior"})
        settings["vocabulary"]["tokens_to_add"] = {
            "labels": [*settings["vocabulary"]["tokens_to_add"]["labels"], *labels]
        }
        stores = {language: str(path / store) for language in ("en", "de")}
        settings["trainer"]["callbacks"] = [{"type": "structkd_teacher", "stores": stores}]
        (path / f"{name}.json").write_text(json.dumps(settings))
    return path


def filled(texts: List[str], folder: Path, run_directory: Path) -> List[str]:
    return [text.replace("{d}/run", str(run_directory)).replace("{d}", str(folder)) for text in texts]


def as_a_person(*arguments: str, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "allennlp", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def needs_no_gpu(name: str) -> None:
    if "GPU" in name and torch.cuda.is_available():
        pytest.skip("there is a GPU")


@pytest.mark.parametrize("name", WRONG)
def test_the_sentence_helps(name: str, folder: Path, tmp_path: Path) -> None:
    needs_no_gpu(name)
    arguments, expected = (filled(texts, folder, tmp_path / "run") for texts in WRONG[name])
    with pytest.raises(Exception) as caught:  # noqa: PT011 (of many kinds)
        run(*arguments)
    sentence = sentence_of(caught.value, arguments)
    assert sentence is not None
    assert sentence.startswith("error: ")
    assert [part for part in expected if part not in sentence] == []


# Each takes seconds, most of them for the imports.
@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG)
def test_nothing_but_the_sentence_is_printed(name: str, folder: Path, tmp_path: Path) -> None:
    needs_no_gpu(name)
    arguments, expected = (filled(texts, folder, tmp_path / "run") for texts in WRONG[name])
    _is_one_sentence(as_a_person(*arguments), expected)


def _is_one_sentence(completed: "subprocess.CompletedProcess[str]", expected: List[str]) -> None:
    assert completed.returncode == 1
    assert "Traceback" not in completed.stdout + completed.stderr
    assert completed.stderr.count("error: ") == 1
    last = completed.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert [part for part in expected if part not in last] == []


def test_a_mistake_in_a_training_is_one_sentence_and_its_traceback_is_in_the_log(folder: Path, tmp_path: Path) -> None:
    arguments, expected = (filled(texts, folder, tmp_path / "run") for texts in WRONG["labels that differ"])
    _is_one_sentence(as_a_person(*arguments), expected)
    log = (tmp_path / "run" / "out.log").read_text()
    assert "Traceback" in log
    assert "callback.on_start(" in log


def test_a_training_prints_little_and_logs_all(folder: Path, tmp_path: Path) -> None:
    trained = as_a_person(
        "train", str(folder / "good.json"), "-s", str(tmp_path), "-o", '{"trainer.callbacks": ["structkd_summary"]}'
    )
    assert trained.returncode == 0, trained.stderr
    lines = trained.stdout.splitlines()
    assert lines[0].startswith("trained       2 epochs in ")
    assert lines[-1].startswith("next          allennlp evaluate ")
    assert len(lines) < 12
    # Besides: bars, and what comes while AllenNLP imports what it knows, which is before any plugin.
    rest = [piece for line in trained.stderr.splitlines() for piece in line.split("\r") if piece.strip()]
    assert not any(" - INFO - " in line and "Plugin allennlp_models available" not in line for line in rest)
    assert not any("warning: " in line or "FutureWarning" in line for line in rest)
    bars = [line for line in rest if "/s]" in line]
    assert {"batches/s", "sentences/s"} <= {
        unit for unit in ("batches/s", "sentences/s") if any(unit in bar for bar in bars)
    }
    assert max(map(len, bars)) < 120
    log = (tmp_path / "out.log").read_text()
    assert len(log.splitlines()) > 100
    assert "trainer.num_epochs = 2" in log
    assert "trained       2 epochs in " in log


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("switch", ["STRUCTKD_VERBOSE", "ALLENNLP_DEBUG"])
def test_who_asks_for_all_lines_gets_them(folder: Path, tmp_path: Path, switch: str) -> None:
    trained = as_a_person("train", str(folder / "good.json"), "-s", str(tmp_path / "run"), **{switch: "1"})
    assert trained.returncode == 0, trained.stderr
    assert "trainer.num_epochs = 2" in trained.stdout
    failed = as_a_person("train", str(folder / "missing.json"), "-s", str(tmp_path / "run2"), **{switch: "1"})
    assert "Traceback" in failed.stderr


@pytest.mark.slow
def test_an_evaluation_prints_its_metrics(folder: Path) -> None:
    evaluated = as_a_person("evaluate", str(folder / "archive"), str(folder / "{language}.dev.conll"))
    assert evaluated.returncode == 0, evaluated.stderr
    assert any(line.split()[:1] == ["f1/macro"] for line in evaluated.stderr.splitlines())


@pytest.mark.slow
def test_a_command_that_is_unknown_names_the_known_ones() -> None:
    misspelt = as_a_person("cache-techer", "x")
    assert misspelt.returncode == 2
    assert "cache-teacher" in misspelt.stderr


# Two starts, each of which may take minutes where others use the processor too.
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_in_the_home_folder_makes_the_plugin_known_elsewhere(tmp_path: Path) -> None:
    # Elsewhere AllenNLP does not know of the plugin, and nothing of the plugin is there to say so; a file in the home
    # folder makes it known everywhere.
    elsewhere = as_a_person("cache-teacher", "--help", cwd=tmp_path)
    assert elsewhere.returncode == 2
    (tmp_path / "home" / ".allennlp").mkdir(parents=True)
    (tmp_path / "home" / ".allennlp" / "plugins").write_text("structkd_plugin\n")
    known = as_a_person("cache-teacher", "--help", cwd=tmp_path, HOME=str(tmp_path / "home"))
    assert (known.returncode, known.stdout.startswith("usage: allennlp cache-teacher")) == (0, True)


class TestExport:
    def test_as_a_person_runs_it(self, folder: Path, tmp_path: Path) -> None:
        exported = as_a_person("export", str(folder / "archive"), "--output", str(tmp_path / "exported"))
        assert exported.returncode == 0, exported.stderr
        assert exported.stdout.startswith(f"{tmp_path}/exported: network.onnx 0.0 MB, vocabulary.json 0.0 MB, manifest")
        assert sorted(path.name for path in (tmp_path / "exported").iterdir()) == [
            "manifest.json",
            "network.onnx",
            "vocabulary.json",
        ]

    def test_what_is_wrong_is_a_sentence(self, folder: Path, tmp_path: Path) -> None:
        end: Any = run("export", folder / "archive", "--output", folder)
        assert str(end).startswith(f"error: {folder} is there already")
