"""How large models are."""

from pathlib import Path

import torch

from structkd_plugin.evaluation.report.sizes import archive_bytes, parameter_count

from .folders import write_run


def test_what_two_parts_share_counts_once_and_counters_do_not(tmp_path: Path) -> None:
    path = str(write_run(tmp_path / "a"))
    assert parameter_count(path) == 12 + 5
    assert archive_bytes(path) == 1_234_567


def test_what_is_not_there_or_damaged_is_unknown(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a")
    whole = (path / "best.th").read_bytes()
    (path / "best.th").write_bytes(whole[: len(whole) // 2])
    assert parameter_count(str(path)) is None
    (path / "best.th").unlink()
    (path / "model.tar.gz").unlink()
    assert parameter_count(str(path)) is archive_bytes(str(path)) is None


def test_no_program_in_a_file_is_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    class Program:
        def __reduce__(self) -> object:
            return Path.touch, (ran,)

    torch.save({"a": Program()}, tmp_path / "best.th")
    assert parameter_count(str(tmp_path)) is None
    assert not ran.exists()
