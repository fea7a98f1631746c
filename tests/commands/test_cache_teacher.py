"""The command line of a capture: what its arguments mean, and one sentence for everything that is wrong."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from allennlp.common.util import SigTermReceived

import structkd_plugin.commands.cache_teacher  # noqa: F401
from structkd_plugin.commands.cache_teacher import source
from structkd_plugin.teacher.capture import CapturedTeacher, Source
from structkd_plugin.teacher.store import TeacherStore
from tests.teacher.training import student, train

from .command_line import main_of


def run(*arguments: Any) -> None:
    main_of("cache-teacher", *arguments)


def error_of(*arguments: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argument", "language", "expected"),
    [
        ("en=train.conll", None, Source("train.conll", "en")),
        ("pt-BR=a=b.conll", "en", Source("a=b.conll", "pt-BR")),
        ("train.conll", "en", Source("train.conll", "en")),
        ("train.conll", None, Source("train.conll", None)),
        ("data/lr=0.1/train.conll", None, Source("data/lr=0.1/train.conll", None)),
        ("en=data/{a}/*.conll", None, Source("data/{a}/*.conll", "en")),
    ],
)
def test_files_and_their_languages(argument: str, language: Any, expected: Source) -> None:
    assert source(argument, language) == expected


def test_a_file_that_is_called_like_a_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("en=train.conll").write_text("")
    assert source("en=train.conll", "de") == Source("en=train.conll", "de")


def test_a_store_is_written_and_summed_up(
    teacher_archive: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    files = [f"en={corpora}/en.*.conll", f"de={corpora}/de.train.conll", f"en={corpora}/en.train.conll"]
    run(teacher_archive, *files, "--output", tmp_path / "store", "--batch-size", 5, "--encoding", "float32")
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        rf"{tmp_path}/store: 32 sentences \(de 16, en 16; \d+ words\), 0 of them already there, 16 duplicates skipped, "
        r"0\.0 MB on disk, \d+\.\d s",
        last,
    )
    store = TeacherStore.open(str(tmp_path / "store"))
    assert (len(store), store.languages) == (32, ("de", "en"))
    assert store.get(next(store.keys())).emissions.dtype == "float32"
    assert store.legal_k_best == 0


def test_best_labellings_are_stored_and_learnt_from(teacher_archive: Path, corpora: Path, tmp_path: Path) -> None:
    """The student's loss is the one of a store without them."""
    files = [f"{language}={corpora}/{language}.train.conll" for language in ("en", "de")]
    losses = []
    for k in (3, 0):
        directory = tmp_path / f"{k} best"
        run(teacher_archive, *files, "--output", directory / "store", "--k-best", k)
        assert TeacherStore.open(str(directory / "store")).legal_k_best == k
        settings = student(corpora, dict.fromkeys(("en", "de"), str(directory / "store")))
        del settings["validation_data_path"], settings["validation_data_loader"]
        settings["model"]["objective"] = {"type": "k_best", "k": 2, "labellings": "legal"}
        train(settings, directory / "run")
        metrics = json.loads((directory / "run" / "metrics.json").read_text())
        losses.append((metrics["training_objective"], metrics["training_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    message = error_of(teacher_archive, *files, "--output", tmp_path / "3 best" / "store", "--k-best", 4)
    assert "was captured with other settings: k_best is 4, not 3 as in the store" in message


def test_running_it_again_says_what_was_there(
    teacher_archive: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [teacher_archive, f"{corpora}/en.train.conll", "--output", tmp_path / "store", "--language", "en"]
    run(*arguments)
    capsys.readouterr()
    run(*arguments)
    output = capsys.readouterr().out
    assert "16 of 16 sentences were already there" in output
    assert "16 sentences (en 16; " in output
    assert "16 of them already there" in output


def test_quiet_prints_the_last_line_only(
    teacher_archive: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run(teacher_archive, f"en={corpora}/en.train.conll", "--output", tmp_path / "store", "--quiet")
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "sentence/s" not in captured.err


def test_another_reader_and_overrides(teacher_archive: Path, tmp_path: Path) -> None:
    text = tmp_path / "raw.txt"
    text.write_text("Ada sleeps\nAda sleeps so long\n")
    run(
        teacher_archive,
        f"en={text}",
        "--output",
        tmp_path / "store",
        "--dataset-reader",
        '{"type": "structkd_plain_text", "pretokenized": true, "max_words": 2, "long_sentences": "skip"}',
        "-o",
        '{"model.dropout": 0.5}',
    )
    assert len(TeacherStore.open(str(tmp_path / "store"))) == 1


def test_parts_make_one_store(
    teacher_archive: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [teacher_archive, f"{corpora}/*.train.conll", "--output", tmp_path / "store", "--language", "en"]
    for part in ("2/2", "1/2"):
        run(*arguments, "--part", part, "--writer", "mine")
        assert f"{tmp_path}/store: part {part[0]} of 2: " in capsys.readouterr().out
    assert len(TeacherStore.open(str(tmp_path / "store"))) == 32
    assert len(list((tmp_path / "store").glob("manifest.mine-0000[12]-of-00002.json"))) == 2


def test_processes_that_were_launched_together_take_a_part_each(
    teacher_archive: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [teacher_archive, f"en={corpora}/en.train.conll", "--output", tmp_path / "store", "--quiet"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        run(*arguments)
    assert len(TeacherStore.open(str(tmp_path / "store"))) == 16
    assert error_of(*arguments, "--part", "1/2").startswith(
        "error: --part 1/2 is given to a process that was launched as part 2 of 2"
    )


class TestErrors:
    def test_bad_part(self, teacher_archive: Path, tmp_path: Path) -> None:
        message = error_of(teacher_archive, "x", "--output", tmp_path / "store", "--part", "3/2")
        assert message.startswith("error: the part '3/2' is none: write I/N for part I of N")

    def test_no_archive(self, tmp_path: Path) -> None:
        message = error_of(tmp_path / "none.tar.gz", "x", "--output", tmp_path / "store")
        assert message == f"error: {tmp_path}/none.tar.gz: there is no such archive"

    def test_no_file(self, teacher_archive: Path, tmp_path: Path) -> None:
        message = error_of(teacher_archive, tmp_path / "none.conll", "--output", tmp_path / "store")
        assert message.startswith(f"error: {tmp_path}/none.conll: there is no such file")

    def test_output_that_cannot_be_written(self, teacher_archive: Path, corpora: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        message = error_of(teacher_archive, f"{corpora}/en.train.conll", "--output", tmp_path / "file" / "store")
        assert message.startswith(f"error: cannot write the teacher store {tmp_path}/file/store: Not a directory")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{type: 1}", "error: --dataset-reader is not JSON"),
            ("3", "error: --dataset-reader is the JSON of an object"),
        ],
    )
    def test_bad_reader(self, teacher_archive: Path, tmp_path: Path, text: str, message: str) -> None:
        assert error_of(teacher_archive, "x", "--output", tmp_path / "s", "--dataset-reader", text).startswith(message)

    def test_unknown_encoding(self, teacher_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        error_of(teacher_archive, "x", "--output", tmp_path / "store", "--encoding", "bfloat16")
        assert "invalid choice: 'bfloat16'" in capsys.readouterr().err

    def test_less_than_no_labellings(self, teacher_archive: Path, corpora: Path, tmp_path: Path) -> None:
        message = error_of(teacher_archive, f"{corpora}/en.train.conll", "--output", tmp_path / "s", "--k-best", -1)
        assert message == "error: k_best is -1; it is how many labellings to store, 0 for none."

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SigTermReceived])
    def test_breaking_off_says_how_to_go_on(
        self,
        teacher_archive: Path,
        corpora: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        interruption: type,
    ) -> None:
        arguments = [teacher_archive, f"en={corpora}/en.train.conll", "--output", tmp_path / "store"]
        original = CapturedTeacher.records

        def interrupted(self: CapturedTeacher, sentences: Any) -> Any:
            if interruption is KeyboardInterrupt:
                os.kill(os.getpid(), signal.SIGINT)
            raise interruption

        with monkeypatch.context() as patched:
            patched.setattr(CapturedTeacher, "records", interrupted)
            assert error_of(*arguments) == (
                f"broken off; what {tmp_path}/store holds is safe, and the same command goes on from there"
            )
        assert CapturedTeacher.records is original
        run(*arguments)
        assert len(TeacherStore.open(str(tmp_path / "store"))) == 16
