"""The command line of an inspection: a store that was captured, in a process of its own and in this one."""

import json
from pathlib import Path
from typing import Any

import pytest
from allennlp.common.util import SigTermReceived

import structkd_plugin.commands.cache_teacher
import structkd_plugin.commands.inspect_teacher  # noqa: F401
from structkd_plugin.teacher.store import TeacherStore
from tests.inspection.synthetic import random_corpus
from tests.inspection.synthetic import write as write_synthetic
from tests.teacher.stores import write_store

from .command_line import as_a_user, run


@pytest.fixture(scope="module")
def store(teacher_archive: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "en"
    assert (
        run("cache-teacher", teacher_archive, f"en={corpora}/en.train.conll", "--output", path, "--k-best", 3) is None
    )
    return path


def test_as_a_user_runs_it(store: Path, corpora: Path, tmp_path: Path) -> None:
    command = ["inspect-teacher", store, f"en={corpora}/en.train.conll", "--json", tmp_path / "all.json", "--output"]
    completed = as_a_user(*command, tmp_path / "pages")
    assert completed.returncode == 0, completed.stderr
    lines = completed.stdout.splitlines()
    assert lines[0] == str(store)
    assert lines[-1] == (
        "Training with this store will work: its 16 sentences are intact, and it has all 16 of the files."
    )
    figures = json.loads((tmp_path / "all.json").read_text())
    assert figures["distributions"]["stored_labellings"] == {
        "k": 3,
        "sentences": 16,
        "same_scores_in_other_order": 0,
        "wrong": 0,
    }
    assert f"legal mass            {100 * figures['distributions']['legal_mass']:.2f} %" in completed.stdout
    assert (tmp_path / "pages" / "index.html").read_text().startswith("<!DOCTYPE html>")
    assert "checksums: 100%" in completed.stderr


def test_twice_the_same(store: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    outputs = []
    for number in range(2):
        page = tmp_path / f"{number}.html"
        assert run("inspect-teacher", store, f"en={corpora}/en.train.conll", "--quiet", "--output", page) is None
        outputs.append((capsys.readouterr().out, page.read_text()))
    assert outputs[0] == outputs[1]


def test_sentences_that_are_not_there(store: Path, corpora: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("inspect-teacher", store, f"{corpora}/de.train.conll", "--language", "de", "--quiet") == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Training with this store will not work: 16 of the 16 sentences of the files are not in")


def test_a_damaged_store(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = write_synthetic(random_corpus(20), tmp_path / "store")
    damaged = tmp_path / "store" / "shard.main.00001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert run("inspect-teacher", store, "--quiet") == 1
    output = capsys.readouterr().out
    assert f"will not work: {damaged} is truncated or was altered" in output.splitlines()[-1]
    assert "1 problems, see below" in output


def test_an_incomplete_store(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_store(tmp_path, finish=False)
    assert run("inspect-teacher", tmp_path, "--quiet") == 1
    output = capsys.readouterr().out
    assert "main (5 in 3 shards, NOT complete)" in output
    assert "manifest.main.json is not complete: its capture was broken off after 5 sentences" in output.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/none"], "error: {tmp}/none is not a teacher store: there is no such directory"),
        (["{store}", "{tmp}/none.conll"], "error: {tmp}/none.conll: there is no such file"),
        (["{store}", "x", "--dataset-reader", "3"], "error: --dataset-reader is the JSON of an object"),
        (["{store}", "x", "--dataset-reader", "{{"], "error: --dataset-reader is not JSON"),
        (["{store}", "--sample", "0"], "error: sample must be at least 1"),
        (["{store}", "--batch-size", "0"], "error: batch_size must be at least 1"),
        (["{store}", "--json", "{tmp}/file/x.json"], "error: cannot write {tmp}/file/x.json"),
    ],
)
def test_errors(store: Path, tmp_path: Path, arguments: Any, message: str) -> None:
    (tmp_path / "file").write_text("")
    given = [argument.format(store=store, tmp=tmp_path) for argument in arguments]
    assert str(run("inspect-teacher", *given, "--quiet")).startswith(message.format(tmp=tmp_path))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SigTermReceived])
def test_breaking_off(store: Path, monkeypatch: pytest.MonkeyPatch, interruption: type) -> None:
    def interrupted(*_: Any) -> Any:
        raise interruption

    monkeypatch.setattr(TeacherStore, "get_batch", interrupted)
    assert run("inspect-teacher", store, "--quiet") == f"broken off; {store} is as it was"
