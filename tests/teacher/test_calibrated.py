"""A calibration is in all manifests of a store or in none; what a kill leaves is refused by name, and mended."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, Dict

import pytest
from allennlp.common.checks import ConfigurationError
from filelock import FileLock

from structkd_plugin.teacher.calibrated import clear_disagreement, manifests_of, set_calibration
from structkd_plugin.teacher.format import Calibration, Manifest, _canonical
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import TeacherStoreWriter

from .stores import SENTENCES, records_of, tables_of, teacher, write_store

CALIBRATION = Calibration(1.7, tuple(r / 20 for r in range(20)))


def content(path: Path) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def two_writers(path: Path) -> Path:
    write_store(path, SENTENCES[:3])
    write_store(path, SENTENCES[3:], writer="second")
    return path


def test_written_read_and_taken_out(tmp_path: Path) -> None:
    path = two_writers(tmp_path)
    before = content(path)
    assert TeacherStore.open(str(path)).calibration is None
    assert set_calibration(str(path), CALIBRATION) == 2
    assert TeacherStore.open(str(path)).calibration == CALIBRATION
    assert set_calibration(str(path), CALIBRATION) == 0
    changed = {name for name, data in content(path).items() if data != before[name]}
    assert changed == {"manifest.main.json", "manifest.second.json"}
    stored = json.loads((path / "manifest.main.json").read_text())["calibration"]
    assert stored == {"temperature": 1.7, "reliability": [r / 20 for r in range(20)]}
    assert set_calibration(str(path), None) == 2
    assert content(path) == before


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    """Before the first manifest, between the two, and after both."""
    path = two_writers(tmp_path)
    done = 0
    original = os.replace

    class Killed(BaseException):
        pass

    def replace(source: Any, target: Any) -> None:
        nonlocal done
        if done == renames:
            raise Killed
        original(source, target)
        done += 1
        if done == renames == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            set_calibration(str(path), CALIBRATION)
    if renames == 1:
        with pytest.raises(ConfigurationError) as caught:
            TeacherStore.open(str(path))
        assert "two calibrations: manifest.second.json has another than manifest.main.json" in str(caught.value)
        assert f"`allennlp calibrate-teacher {path} FILES...` again" in str(caught.value)
        with pytest.raises(ConfigurationError, match="two calibrations"):
            TeacherStoreWriter(str(path), teacher(), tables_of(), {}, "third")
        clear_disagreement(str(path))
        assert TeacherStore.open(str(path)).calibration is None
    else:
        clear_disagreement(str(path))
        assert TeacherStore.open(str(path)).calibration == (CALIBRATION if renames else None)
    set_calibration(str(path), CALIBRATION)
    assert TeacherStore.open(str(path)).calibration == CALIBRATION


def test_a_writer_that_joins_takes_it_over(tmp_path: Path) -> None:
    write_store(tmp_path, SENTENCES[:2])
    set_calibration(str(tmp_path), CALIBRATION)
    store = write_store(tmp_path, SENTENCES[2:], writer="second")
    assert store is not None
    assert store.calibration == CALIBRATION
    # So does one that goes on.
    with TeacherStoreWriter(str(tmp_path), teacher(), tables_of(), {"type": "test"}) as writer:
        writer.commit(records_of(SENTENCES[2:3]))
        writer.finish()
    assert TeacherStore.open(str(tmp_path)).calibration == CALIBRATION


def test_a_store_that_is_being_written(tmp_path: Path) -> None:
    path = two_writers(tmp_path)
    with FileLock(str(path / ".lock.second")):
        with pytest.raises(ConfigurationError, match="is being written by another process"):
            set_calibration(str(path), CALIBRATION)
        assert TeacherStore.open(str(path)).calibration is None
    set_calibration(str(path), CALIBRATION)


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = two_writers(tmp_path)

    def replace(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(ConfigurationError, match=r"cannot write the calibration of .*: No space left on device"):
        set_calibration(str(path), CALIBRATION)


def test_no_store(tmp_path: Path) -> None:
    for change in (set_calibration, lambda path, _: clear_disagreement(path), lambda path, _: manifests_of(path)):
        with pytest.raises(ConfigurationError, match="is not a teacher store"):
            change(str(tmp_path), None)


class TestFormat:
    @pytest.mark.parametrize(
        ("temperature", "reliability", "message"),
        [
            (0.0, (0.5,), "above 0"),
            (-1.0, (0.5,), "above 0"),
            (math.inf, (0.5,), "finite"),
            (math.nan, (0.5,), "finite"),
            ("1", (0.5,), "a number as temperature"),
            (True, (0.5,), "a number as temperature"),
            (1.0, (), "at least one"),
            (1.0, (0.5, 1.5), "from 0 to 1"),
            (1.0, (math.nan,), "from 0 to 1"),
        ],
    )
    def test_nonsense(self, temperature: Any, reliability: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Calibration(temperature, reliability)

    @pytest.mark.parametrize(
        ("calibration", "message"),
        [
            ({"temperature": -1, "reliability": [0.5]}, "manifest.main.json cannot be used: the temperature"),
            ({"temperature": 1.0, "reliability": []}, "manifest.main.json cannot be used: the reliability"),
            ({"temperature": 1.0}, "manifest.main.json has not the fields .*'reliability'"),
            ({"reliability": [0.5]}, "manifest.main.json has not the fields"),
            ({"temperature": 1.0, "reliability": [0.5], "more": 1}, "manifest.main.json has not the fields"),
            ([1], "manifest.main.json has not the fields"),
        ],
    )
    def test_a_manifest_with_nonsense(self, tmp_path: Path, calibration: Any, message: str) -> None:
        write_store(tmp_path)
        with pytest.raises(ConfigurationError, match=message):
            self.read(tmp_path / "manifest.main.json", calibration)

    def test_a_manifest_without_the_key(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        assert self.read(tmp_path / "manifest.main.json", remove=True).calibration is None

    @staticmethod
    def read(file: Path, calibration: Any = None, remove: bool = False) -> Manifest:
        fields = json.loads(file.read_text())
        del fields["checksum"]
        fields["calibration"] = calibration
        if remove:
            del fields["calibration"]
        fields["checksum"] = hashlib.sha256(_canonical(fields)).hexdigest()
        file.write_bytes(_canonical(fields))
        return Manifest.read(file)
