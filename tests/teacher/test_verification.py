"""Whatever byte of a store is altered, the check of the whole says which file, and goes on to the others."""

from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.teacher.verification import verify_store

from .stores import SENTENCES, WITH_K_BEST, emissions_of, write_store


@pytest.mark.parametrize("changes", [{}, WITH_K_BEST, {"encoding": "float16"}], ids=["plain", "with K best", "float16"])
def test_an_intact_store_of_two_writers(tmp_path: Path, changes: dict) -> None:
    write_store(tmp_path, SENTENCES[:3], **changes)
    write_store(tmp_path, SENTENCES[2:], writer="second", **changes)
    found = verify_store(str(tmp_path), quiet=True)
    assert found.problems == ()
    assert [manifest.writer for manifest in found.manifests] == ["main", "second"]
    # One sentence was captured by both.
    assert (found.sentences, found.words) == ({"de": 2, "en": 4}, {"de": 4, "en": 7})
    assert found.bytes_on_disk == sum(file.stat().st_size for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    "file", ["tables.safetensors", "shard.main.00000.safetensors", "manifest.main.json", "index.main.00003.safetensors"]
)
def test_every_seventh_byte(tmp_path: Path, file: str) -> None:
    write_store(tmp_path, **WITH_K_BEST)
    raw = (tmp_path / file).read_bytes()
    for position in range(0, len(raw), 7):
        altered = bytearray(raw)
        altered[position] ^= 4
        (tmp_path / file).write_bytes(bytes(altered))
        problems = verify_store(str(tmp_path), quiet=True).problems
        assert len(problems) == 1, position
        assert problems[0].startswith(f"{tmp_path / file} ")


def test_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    write_store(tmp_path, SENTENCES, per_shard=1)
    write_store(tmp_path, SENTENCES[:1], writer="second", finish=False)
    damaged = tmp_path / "shard.main.00001.safetensors"
    content, emissions = damaged.read_bytes(), emissions_of(SENTENCES[1]).tobytes()
    assert content.count(emissions) == 1
    damaged.write_bytes(content.replace(emissions, emissions[:-1] + bytes([emissions[-1] ^ 1])))
    (tmp_path / "shard.main.00003.safetensors").unlink()
    (tmp_path / "shard.main.00002.safetensors").write_bytes(b"short")
    (tmp_path / "tables.safetensors").unlink()
    found = verify_store(str(tmp_path), quiet=True)
    assert sum(found.sentences.values()) == 3
    starts = ["manifest.second.json is not complete", "tables.safetensors is missing"]
    starts += ["shard.main.00001.safetensors was altered: 1 of its 1 records"]
    starts += ["shard.main.00002.safetensors is truncated", "shard.main.00003.safetensors is missing"]
    assert len(found.problems) == len(starts)
    for problem, start in zip(found.problems, starts, strict=True):
        assert problem.startswith(f"{tmp_path}/{start}")


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a teacher store: it holds no manifest\.\*\.json"):
        verify_store(str(tmp_path))
    with pytest.raises(ConfigurationError, match="there is no such directory"):
        verify_store(str(tmp_path / "none"))


def test_progress_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_store(tmp_path)
    verify_store(str(tmp_path))
    assert "5/5" in capsys.readouterr().err
