"""Several captures share the work: each sentence is in one part, and the store is complete when all parts are."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.commands.cache_teacher import share_of_work
from structkd_plugin.teacher.capture import CapturedTeacher, CaptureSummary, Source, capture
from structkd_plugin.teacher.parts import Part, launched, part_number, without_part
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import TeacherStoreWriter

from ..children import fork
from .stores import SENTENCES, records_of, tables_of, write_store
from .stores import teacher as who
from .training import load_teacher

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def teacher(archive: Path) -> CapturedTeacher:
    return load_teacher(archive)


def content(path: Path) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if not file.name.startswith(".lock")}


def captured(
    teacher: CapturedTeacher, output: Path, files: List[str], part: Optional[Part] = None, **options: Any
) -> CaptureSummary:
    sources = [Source(file, Path(file).name[:2]) for file in files]
    settings = {"batch_size": 4, "sentences_per_shard": 6, "quiet": True, **options}
    return capture(teacher, sources, str(output), part=part, **settings)


def files_of(data: Path) -> List[str]:
    return [str(data / f"{language}.train.conll") for language in ("en", "de")]


class TestPart:
    @given(keys=st.lists(st.binary(min_size=16, max_size=16)), parts=st.integers(1, 99_999))
    def test_every_sentence_is_in_one_part(self, keys: List[bytes], parts: int) -> None:
        for key in keys:
            number = part_number(key, parts)
            assert 1 <= number <= parts
            assert Part(number, parts).takes(key)
            assert not Part(number % parts + 1, parts).takes(key) or parts == 1

    def test_its_name(self) -> None:
        assert Part.parse("2/8") == Part(2, 8)
        assert Part(2, 8).writer("part") == "part-00002-of-00008"
        assert without_part("a-00002-of-00008") == "a"
        assert without_part("main") == "main"

    @pytest.mark.parametrize(
        "text", ["", "2", "0/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3", "1/100000", "１/２", " 1/2"]
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"the part '.*' is none: write I/N for part I of N"):
            Part.parse(text)

    def test_what_a_launcher_says(self) -> None:
        assert launched({}) is launched({"RANK": "0", "WORLD_SIZE": "1"}) is launched({"LOCAL_RANK": "1"}) is None
        assert launched({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == (Part(6, 8), 1)
        assert share_of_work(None, 0, {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == (Part(6, 8), 1)
        assert share_of_work(None, -1, {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == (Part(6, 8), -1)
        assert share_of_work("2/3", 1, {}) == (Part(2, 3), 1)
        assert share_of_work("2/3", 1, {"RANK": "0", "WORLD_SIZE": "1"}) == (Part(2, 3), 1)

    @pytest.mark.parametrize(
        "environment",
        [{"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}],
        ids=str,
    )
    def test_what_no_launcher_says(self, environment: Dict[str, str]) -> None:
        with pytest.raises(ConfigurationError, match="which is no place among several processes"):
            launched(environment)

    def test_both(self) -> None:
        with pytest.raises(ConfigurationError, match="--part 1/2 is given to a process that was launched as part 2 of"):
            share_of_work("1/2", -1, {"RANK": "1", "WORLD_SIZE": "2"})


class TestCapture:
    def test_the_parts_are_the_whole(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        captured(teacher, tmp_path / "whole", files_of(data), encoding="float32")
        summaries = [
            captured(teacher, tmp_path / "parts", files_of(data) * 2, Part(i, 3), encoding="float32") for i in (3, 1, 2)
        ]
        assert sum(summary.sentences for summary in summaries) == sum(summary.duplicates for summary in summaries) == 32
        assert all(summary.sentences > 3 for summary in summaries)
        whole, parts = (TeacherStore.open(str(tmp_path / name)) for name in ("whole", "parts"))
        assert list(parts.keys()) == list(whole.keys())
        assert (len(parts), parts.languages) == (32, ("de", "en"))
        for key in whole.keys():  # noqa: SIM118
            np.testing.assert_allclose(parts.get(key).emissions, whole.get(key).emissions, atol=1e-6)

    def test_their_order_does_not_matter(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        for order in ((1, 2, 3), (3, 2, 1)):
            for number in order:
                captured(teacher, tmp_path / str(order), files_of(data), Part(number, 3))
        assert content(tmp_path / "(1, 2, 3)") == content(tmp_path / "(3, 2, 1)")

    def test_missing_parts_are_named(self, teacher: CapturedTeacher, data: Path, tmp_path: Path) -> None:
        for number, expected in ((3, "parts 1, 2 and 4 of 4 .* are missing.*--part 1/4"), (1, "parts 2 and 4 of 4")):
            captured(teacher, tmp_path, files_of(data), Part(number, 4))
            with pytest.raises(ConfigurationError, match=rf"is not complete: {expected}"):
                TeacherStore.open(str(tmp_path))
        captured(teacher, tmp_path, files_of(data), Part(4, 4))
        with pytest.raises(ConfigurationError, match=r"part 2 of 4 of the capture by the writer 'part' is missing"):
            TeacherStore.open(str(tmp_path))
        captured(teacher, tmp_path, files_of(data), Part(2, 4))
        assert len(TeacherStore.open(str(tmp_path))) == 32

    def test_a_part_may_have_no_sentence(self, teacher: CapturedTeacher, tmp_path: Path) -> None:
        (tmp_path / "en.conll").write_text("Ada B-PER\n\n")
        sentences = [
            captured(teacher, tmp_path / "store", [str(tmp_path / "en.conll")], Part(number, 3)).sentences
            for number in (1, 2, 3)
        ]
        assert sorted(sentences) == [0, 0, 1]
        assert len(TeacherStore.open(str(tmp_path / "store"))) == 1

    def test_a_sentence_of_another_part_is_refused(self, tmp_path: Path) -> None:
        part = next(Part(i, 2) for i in (1, 2) if not Part(i, 2).takes(bytes.fromhex(SENTENCES[0].key)))
        with (
            TeacherStoreWriter(str(tmp_path), who(), tables_of(), {}, part=part) as writer,
            pytest.raises(ValueError, match="'Ada sleeps' is not in part"),
        ):
            writer.commit(records_of(SENTENCES[:1]))

    @pytest.mark.parametrize("first", [None, Part(1, 1)])
    def test_a_part_and_another_of_its_name(self, tmp_path: Path, first: Optional[Part]) -> None:
        name = Part(1, 1).writer("a")
        with TeacherStoreWriter(str(tmp_path), who(), tables_of(), {}, "a" if first else name, first) as writer:
            writer.commit(records_of(SENTENCES))
        second, what = (None, "a part") if first else (Part(1, 1), "no part")
        with pytest.raises(ConfigurationError, match=rf"has a series '{name}' that is of {what}. Give this writer"):
            TeacherStoreWriter(str(tmp_path), who(), tables_of(), {}, "a" if second else name, second)

    def test_files_are_added_to_all_parts(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for part in (Part(1, 2), Part(2, 2)):
            captured(teacher, tmp_path, files_of(data)[:1], part)
        before = TeacherStore.open(str(tmp_path))
        keys = list(before.keys())
        emissions = [record.emissions.tobytes() for record in before.get_batch(keys)]
        there = 0
        for part in (Part(1, 2), Part(2, 2)):
            there += captured(teacher, tmp_path, files_of(data), part).already_there
        assert there == 16
        after = TeacherStore.open(str(tmp_path))
        assert len(after) == 32
        assert [record.emissions.tobytes() for record in after.get_batch(keys)] == emissions


class TestKills:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_parts_that_run_at_the_same_time(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, seed: int
    ) -> None:
        """Each is killed at moments of its own, and goes on while the other runs."""
        parts = [Part(1, 2), Part(2, 2)]
        options = {"batch_size": 2, "sentences_per_shard": 2}
        for part in parts:
            captured(teacher, tmp_path / "whole", files_of(data), part, **options)
        draw = random.Random(seed)
        killed = 0
        for last in (False, False, True):
            children = [
                fork(lambda part=part: bool(captured(teacher, tmp_path / "killed", files_of(data), part, **options)))
                for part in parts
            ]
            for child in children:
                if not last:
                    time.sleep(draw.random() * 0.03)
                    os.kill(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
                killed += os.WIFSIGNALED(status)
                assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
        assert killed
        assert content(tmp_path / "killed") == content(tmp_path / "whole")


class TestOtherWriters:
    def test_what_another_writer_has_is_not_captured_again(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        captured(teacher, tmp_path, files_of(data)[:1])
        summary = captured(teacher, tmp_path, files_of(data), writer="second")
        assert (summary.sentences, summary.already_there) == (32, 16)
        manifests = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("manifest.*"))]
        assert [manifest["sentences"] for manifest in manifests] == [{"en": 16}, {"de": 16}]
        monkeypatch.setattr(CapturedTeacher, "records", None)
        # Nor by parts, or by parts of another number.
        for part in (Part(1, 2), Part(2, 2), Part(1, 3), Part(3, 3), Part(2, 3)):
            summary = captured(teacher, tmp_path, files_of(data), part)
            assert summary.sentences == summary.already_there
        assert len(TeacherStore.open(str(tmp_path))) == 32

    def test_what_a_writer_has_begun_is_not_counted_on(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path
    ) -> None:
        """How far another process has come is chance."""
        with TeacherStoreWriter(
            str(tmp_path), teacher.describe("float16"), teacher.tables(), teacher.reader_settings, "running"
        ) as running:
            sentences = list(teacher.reader.sentences({"en": [files_of(data)[0]]}))
            teacher.model.eval()
            records = [record._replace(emissions=record.emissions.copy()) for record in _records(teacher, sentences)]
            running.commit(records[:10])
            assert captured(teacher, tmp_path, files_of(data)).already_there == 0
            running.commit(records[10:])
            running.finish()
        assert len(TeacherStore.open(str(tmp_path))) == 32

    def test_a_series_of_commands_gives_the_same_bytes(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path
    ) -> None:
        for name in ("a", "b"):
            captured(teacher, tmp_path / name, files_of(data)[:1], Part(1, 2))
            captured(teacher, tmp_path / name, files_of(data)[1:], writer="rest")
            captured(teacher, tmp_path / name, files_of(data), Part(2, 2))
            captured(teacher, tmp_path / name, files_of(data), Part(1, 2))
        assert content(tmp_path / "a") == content(tmp_path / "b")


def _records(teacher: CapturedTeacher, sentences: List[Any]) -> List[Any]:
    with torch.no_grad():
        return [record for sentence in sentences for record in teacher.records([sentence])]


class TestProgress:
    def test_lines_name_their_part(
        self, teacher: CapturedTeacher, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        captured(teacher, tmp_path, files_of(data), Part(1, 2), quiet=False)
        errors = capsys.readouterr().err
        assert "\r" not in errors
        lines = errors.splitlines()
        assert lines
        assert all(re.match(r"part 1 of 2: +\d+%", line) for line in lines), lines
        captured(teacher, tmp_path, files_of(data), Part(1, 2), quiet=False)
        assert re.search(r"^part 1 of 2: (\d+) of \1 sentences were already there$", capsys.readouterr().out, re.M)


@pytest.mark.slow
def test_a_launcher_shares_the_work_out(archive: Path, data: Path, tmp_path: Path) -> None:
    """As a user does it: torchrun, which says in the environment who is who."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "allennlp"),
        *("cache-teacher", str(archive), *(f"{Path(file).name[:2]}={file}" for file in files_of(data))),
        *("--output", str(tmp_path / "store")),
    ]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    last = sorted(line for line in done.stdout.splitlines() if "on disk" in line)
    assert [re.search(r"store: (part \d of 2): \d+ sentences", line)[1] for line in last] == [  # type: ignore[index]
        "part 1 of 2",
        "part 2 of 2",
    ]
    store = TeacherStore.open(str(tmp_path / "store"))
    assert len(store) == 32
    assert sorted(file.name for file in (tmp_path / "store").glob("manifest.*")) == [
        "manifest.part-00001-of-00002.json",
        "manifest.part-00002-of-00002.json",
    ]


def test_writers_begin_at_the_same_time_only_one_after_the_other(tmp_path: Path) -> None:
    """Of two teachers that begin a store at once one is refused, whichever comes second."""
    write_store(tmp_path, [], finish=False)
    with pytest.raises(ConfigurationError, match="is the store of another teacher"):
        write_store(tmp_path, writer="second", fingerprint="0" * 64)
