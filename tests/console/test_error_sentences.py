"""A mistake is told in a sentence; what is none keeps its traceback."""

import json
import logging
import sys
from pathlib import Path
from typing import Any, List

import pytest
from _jsonnet import evaluate_snippet
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.util import SigTermReceived, import_module_and_submodules
from allennlp.data import DatasetReader
from allennlp.models import Model
from allennlp.training.util import create_serialization_dir
from cached_path import cached_path

import structkd_plugin  # noqa: F401 (registers the components)
from structkd_plugin.console.error_sentences import hook, sentence_of


def raised(function: Any, *arguments: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 (whatever it is)
        function(*arguments)
    return caught.value


def of(function: Any, *arguments: Any, given: Any = ()) -> Any:
    return sentence_of(raised(function, *arguments), given)


@pytest.mark.parametrize(
    ("base", "name", "end"),
    [
        (Model, "structkd_tager", "did you mean 'structkd_tagger'?"),
        (Model, "structkd-tagger", "did you mean 'structkd_tagger'?"),
        (Model, "structkd_tger", "did you mean 'structkd_tagger'?"),
        (DatasetReader, "structkd_colunm", "did you mean 'structkd_column'?"),
        (DatasetReader, "zzz", "structkd_recombined; your own need --include-package with their module"),
    ],
)
def test_an_unknown_component_gets_suggestions(base: Any, name: str, end: str) -> None:
    sentence = of(base.by_name, name)
    assert sentence.startswith(f"error: the name of a {base.__name__} is {name!r}, which is not registered; ")
    assert sentence.endswith(end)
    assert len(sentence) < 250


def test_files_and_folders(tmp_path: Path) -> None:
    assert of(cached_path, "missing.jsonnet") == "error: there is no file missing.jsonnet"
    assert of(open, tmp_path).startswith(f"error: {tmp_path}: Is a directory (STRUCTKD_VERBOSE=1")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    sentence = of(create_serialization_dir, Params({}), str(tmp_path / "run"), False, False)
    assert sentence.startswith(f"error: {tmp_path}/run is there already and not empty: --recover goes on")
    assert "--force" in sentence
    sentence = of(create_serialization_dir, Params({}), str(tmp_path / "new"), True, False)
    assert sentence.startswith(f"error: there is no training in {tmp_path}/new to --recover")


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert "--cuda-device -1 is the CPU" in of(check_for_gpu, 0)


def test_json_and_jsonnet(tmp_path: Path) -> None:
    assert of(json.loads, "{'a': 1}").startswith("error: \"{'a': 1}\" is not JSON: Expecting property name")
    assert of(json.loads, "[" + "1, " * 90).startswith("error: '[1, 1, ")
    assert len(of(json.loads, "[" + "1, " * 90)) < 150
    sentence = of(evaluate_snippet, "", "{a: }", given=["train", "x", "-o", "{a: }"])
    assert sentence.startswith("error: -o is no JSON or Jsonnet, or fails: 1:5")
    sentence = of(evaluate_snippet, "", "{a: b}", given=["train", "x", "--overrides", "{a: b}"])
    assert sentence.startswith("error: --overrides is no JSON or Jsonnet, or fails: 1:5: Unknown variable: b")
    (tmp_path / "x.jsonnet").write_text("{ assert false : 'there is no option speling', a: 1 }")
    sentence = of(Params.from_file, str(tmp_path / "x.jsonnet"))
    assert sentence.startswith(f"error: there is no option speling ({tmp_path}/x.jsonnet:1:")
    (tmp_path / "x.jsonnet").write_text("{ a: 1,\n b }")
    assert of(Params.from_file, str(tmp_path / "x.jsonnet")).startswith(f"error: {tmp_path}/x.jsonnet:2:")
    (tmp_path / "x.jsonnet").write_text("import 'other.libsonnet'")
    assert "other.libsonnet" in of(Params.from_file, str(tmp_path / "x.jsonnet"))


@pytest.mark.parametrize("given", [["--include-package", "structkd_plugn"], ["--include-package=structkd_plugn"]])
def test_a_package_that_is_misspelt(given: List[str]) -> None:
    sentence = of(import_module_and_submodules, "structkd_plugn", given=["train", "x.jsonnet", *given])
    assert sentence == (
        "error: --include-package structkd_plugn: there is no module structkd_plugn; did you mean structkd_plugin?"
    )
    # Without the argument it is a matter of installation, and of the traceback.
    assert of(import_module_and_submodules, "structkd_plugn", given=["train", "x.jsonnet"]) is None


def test_a_sentence_of_our_own_is_as_it_is() -> None:
    assert sentence_of(ConfigurationError("label 'X' is not there"), []) == "error: label 'X' is not there"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SigTermReceived()])
def test_what_a_person_broke_off_is_no_error(error: BaseException) -> None:
    assert sentence_of(error, []) == "broken off"


@pytest.mark.parametrize("error", [ValueError("nan loss"), RuntimeError("CUDA error"), OSError("odd"), KeyError("x")])
def test_what_may_be_a_fault_of_the_program_keeps_its_traceback(error: BaseException) -> None:
    seen: List[Any] = []
    hook(lambda *arguments: seen.append(arguments))(type(error), error, None)
    assert seen == [(type(error), error, None)]


def test_the_traceback_is_in_the_log(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    error = raised(Model.by_name, "structkd_tager")
    with caplog.at_level(logging.INFO):
        hook(sys.__excepthook__)(type(error), error, error.__traceback__)
    assert capsys.readouterr().err.count("\n") == 1
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error
