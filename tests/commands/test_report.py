"""The command line of a report: runs that were trained, in a process of its own and in this one."""

import json
from pathlib import Path
from typing import Any

import pytest
from allennlp.common.util import SigTermReceived

import structkd_plugin.commands.report
import structkd_plugin.evaluation.report.reporting
from tests.evaluation.report.folders import evaluation, write_run
from tests.teacher.training import config, train, write_corpus

from .command_line import as_a_user, run

FILES = ["index.html", "report.json", "report.md", "tables.tex"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds and a teacher of one language, and data to evaluate on."""
    path = tmp_path_factory.mktemp("trained")
    for language in ("en", "de"):
        for split in ("train", "dev"):
            write_corpus(path / f"{language}.{split}.conll", language, 16, seed=int(split == "dev"))
    for seed in (1, 2):
        settings = config(path)
        settings["pytorch_seed"] = seed
        train(settings, path / f"student_seed{seed}")
    settings = config(path)
    del settings["train_data_path"]["en"]
    settings["validation_data_path"] = {"de": str(path / "de.dev.conll")}
    train(settings, path / "teacher")
    return path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored")
    write_run(path / "one", evaluated=evaluation({"de": 0.9, "en": 0.8}))
    (path / "empty").mkdir()
    (path / "file").touch()
    (path / "de.conll").touch()
    return path


def test_as_a_user_runs_it(trained: Path) -> None:
    runs = [trained / name for name in ("student_seed1", "student_seed2", "teacher")]
    files = [f"{language}={trained}/{language}.dev.conll" for language in ("de", "en")]
    arguments = [*runs, "--output", trained / "report", *files, "--baseline", "student", "--teachers", "teacher"]
    completed = as_a_user("report", *arguments)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.splitlines()[-1].startswith(f"{trained}/report: ")
    assert {path.name for path in (trained / "report").iterdir()} >= set(FILES)
    sections = json.loads((trained / "report" / "report.json").read_text())["sections"]
    methods = sections["overview"]["figures"]["methods"]
    assert methods["student"]["from"] == ["evaluated here"] * 2
    assert {"de", "en", "macro", "micro"} <= set(methods["student"]["scores"])
    # A teacher is evaluated in its languages.
    assert methods["teacher"]["scores"]["en"]["value"] is None
    assert set(sections["gap"]["figures"]["teachers"]) == {"de"}
    assert sections["costs"]["figures"]["student"]["words_per_second"] > 0
    assert sections["costs"]["figures"]["student"]["parameters"] > 100


def test_evaluated_by_itself_or_by_allennlp_the_figures_are_the_same(trained: Path, tmp_path: Path) -> None:
    run_folder = trained / "student_seed1"
    assert run("report", run_folder, "--output", tmp_path, f"en={trained}/en.dev.conll", "--quiet") is None
    methods = json.loads((tmp_path / "report.json").read_text())["sections"]["overview"]["figures"]["methods"]
    metrics = json.loads((run_folder / "metrics.json").read_text())
    # The development data of the training, of which its metrics are too.
    value = methods["student"]["scores"]["en"]["value"]
    assert (value or 0.0) == pytest.approx(metrics["best_validation_f1/en"], abs=1e-12)


def test_reads_what_is_stored_and_says_where_the_page_is(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run("report", stored / "one", stored / "empty", "--output", tmp_path / "new", "--samples", 50) is None
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"warning: {stored}/empty holds no run")
    assert lines[-1].endswith(f"files; open {tmp_path}/new/index.html")
    assert {path.name for path in (tmp_path / "new").iterdir()} >= set(FILES)


def test_options_may_stand_anywhere_and_twice_is_the_same(stored: Path, tmp_path: Path) -> None:
    pages = []
    orders = [["{run}", "--output", "{out}"], ["{run}", "--output", "{out}"], ["--output", "{out}", "{run}"]]
    for number, arguments in enumerate(orders):
        given = [one.format(run=stored / "one", out=tmp_path / str(number)) for one in arguments]
        assert run("report", *given, "--samples", 20, "--title", "Of mine") is None
        pages.append([(tmp_path / str(number) / name).read_bytes() for name in FILES])
    assert pages[0] == pages[1] == pages[2]
    assert b"<h1>Of mine</h1>" in pages[0][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "{out}"], "error: there are no runs to report"),
        (["{runs}/none", "--output", "{out}"], "error: {runs}/none: there is no such folder"),
        (["{runs}/empty", "--output", "{out}"], "error: {runs}/empty holds no run"),
        (["{runs}/file", "--output", "{out}"], "error: {runs}/file is a file: give the folder"),
        (["{runs}/one", "--output", "{runs}/file"], "error: cannot write to {runs}/file"),
        (["{runs}/one", "--output", "{out}", "--baseline", "x"], "error: there is no method 'x'; there are one"),
        (["{runs}/one", "--output", "{out}", "en={runs}/none"], "error: en={runs}/none: {runs}/none is neither"),
        (["{runs}/one", "--output", "{out}", "--samples", "0"], "error: samples must be at least 1"),
        (["{runs}/one", "--output", "{out}", "--level", "95"], "error: level must be between 0 and 1"),
        (["{runs}/one", "--output", "{out}", "--dataset-reader", "3"], "error: --dataset-reader is the JSON of an"),
        (
            ["{runs}/one", "--output", "{out}", "de={runs}/de.conll"],
            "error: {runs}/one cannot be evaluated: its config.json names no dataset_reader",
        ),
    ],
)
def test_errors(stored: Path, tmp_path: Path, arguments: Any, message: str) -> None:
    given = [argument.format(runs=stored, out=tmp_path / "out") for argument in arguments]
    end = str(run("report", *given))
    assert end.startswith(message.format(runs=stored))
    assert not (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SigTermReceived])
def test_breaking_off(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type) -> None:
    def interrupted(*_: Any) -> Any:
        raise interruption

    monkeypatch.setattr(structkd_plugin.evaluation.report.reporting, "overview", interrupted)
    assert run("report", stored / "one", "--output", tmp_path, "--samples", 20) == (
        f"broken off; no file of {tmp_path} is half written"
    )
