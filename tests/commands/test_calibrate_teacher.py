"""The command line of a calibration: written, shown only, taken out, and mended after a kill."""

import re
from pathlib import Path
from typing import Any, Dict

import pytest

import structkd_plugin.commands.calibrate_teacher
import structkd_plugin.commands.inspect_teacher  # noqa: F401
from structkd_plugin.teacher.store import TeacherStore
from tests.inspection.synthetic import PLAIN, Corpus, random_corpus, write, write_tagged

from .command_line import as_a_user, run


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Of two writers, with development data in `dev`, drawn at a temperature of 2."""
    corpus = random_corpus(60, scale=2.0, **PLAIN)
    write_tagged(tmp_path / "dev", corpus.sentences, corpus.sampled(2.0))
    for writer, sentences in (("a", corpus.sentences[:30]), ("b", corpus.sentences[30:])):
        write(Corpus(sentences, corpus.tables, corpus.teacher), tmp_path / "store", writer=writer)
    return str(tmp_path / "store")


def content(path: str) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(path).iterdir()}


def test_as_a_user_runs_it(store: str, tmp_path: Path) -> None:
    completed = as_a_user("calibrate-teacher", store, f"en={tmp_path}/dev")
    assert completed.returncode == 0, completed.stderr
    calibration = TeacherStore.open(store).calibration
    assert calibration is not None
    assert 1.2 < calibration.temperature < 3.5
    assert len(calibration.reliability) == 20
    assert f"temperature                   1.0000  →  {calibration.temperature:.4f}" in completed.stdout
    before, after = re.findall(r"nll, nats a sentence +([\d.]+)  →  ([\d.]+)", completed.stdout)[0]
    assert float(after) < float(before)
    assert re.search(r"ECE, % +[\d.]+  →  [\d.]+", completed.stdout)
    assert completed.stdout.splitlines()[-1].startswith("written; it is used where the callback")


def test_shown_written_and_taken_out(store: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = content(store)
    arguments = ["calibrate-teacher", store, f"en={tmp_path}/dev", "--quiet"]
    assert run(*arguments, "--dry-run") is None
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "nothing was written (--dry-run)"
    assert content(store) == before
    assert run(*arguments) is None
    assert capsys.readouterr().out.splitlines()[:-1] == shown[:-1]
    written = content(store)
    assert {name for name in written if written[name] != before[name]} == {"manifest.a.json", "manifest.b.json"}
    assert run(*arguments) is None
    assert content(store) == written
    capsys.readouterr()
    assert run("calibrate-teacher", store, "--remove") is None
    assert capsys.readouterr().out == f"{store}: the calibration was taken out\n"
    assert content(store) == before
    assert run("calibrate-teacher", store, "--remove") is None
    assert capsys.readouterr().out == f"{store}: there was no calibration\n"


def test_after_a_kill_between_manifests(store: str, tmp_path: Path) -> None:
    before = content(store)
    arguments = ["calibrate-teacher", store, f"en={tmp_path}/dev", "--quiet"]
    run(*arguments)
    written = content(store)
    manifest = Path(store) / "manifest.b.json"
    manifest.write_bytes(before["manifest.b.json"])
    assert "has two calibrations: manifest.b.json" in str(run(*arguments, "--dry-run"))
    assert run("inspect-teacher", store, "--quiet") == 1
    assert run(*arguments) is None
    assert content(store) == written
    manifest.write_bytes(before["manifest.b.json"])
    assert run("calibrate-teacher", store, "--remove") is None
    assert content(store) == before


def test_missing_sentences(store: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with open(tmp_path / "dev", "a") as file:
        file.write("\nunknown O\n")
    arguments = ["calibrate-teacher", store, f"en={tmp_path}/dev", "--quiet"]
    message = str(run(*arguments))
    assert message.startswith(
        f"error: {store} has no record of 1 of the 61 sentences of the files, the first being 'unknown'"
    )
    assert f"`allennlp cache-teacher ARCHIVE FILES... --output {store}`" in message
    assert TeacherStore.open(store).calibration is None
    assert run(*arguments, "--missing", "skip") is None
    assert "fitted to 60 sentences" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/none", "x"], "error: {tmp}/none is not a teacher store"),
        (["{store}"], "error: name files with development data, or --remove"),
        (["{store}", "x", "--remove"], "error: --remove takes the calibration out and needs neither files"),
        (["{store}", "{tmp}/none.conll"], "error: {tmp}/none.conll: there is no such file"),
        (["{store}", "x", "--dataset-reader", "3"], "error: --dataset-reader is the JSON of an object"),
        (["{store}", "{tmp}/dev", "--language", "en", "--batch-size", "0"], "error: batch_size must be at least 1"),
    ],
)
def test_errors(store: str, tmp_path: Path, arguments: Any, message: str) -> None:
    given = [argument.format(store=store, tmp=tmp_path) for argument in arguments]
    assert str(run("calibrate-teacher", *given, "--quiet")).startswith(message.format(tmp=tmp_path))


def test_breaking_off(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    before = content(store)
    monkeypatch.setattr(TeacherStore, "get_batch", interrupted)
    message = run("calibrate-teacher", store, f"en={tmp_path}/dev", "--quiet")
    assert str(message).startswith(f"broken off; if {store} was being written, it says so when it is opened")
    assert content(store) == before
