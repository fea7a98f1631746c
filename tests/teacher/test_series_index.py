"""The index finds what a dictionary finds, is made again when it is gone, and never stands between store and shards."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.teacher import open_files
from structkd_plugin.teacher import store as store_module
from structkd_plugin.teacher.format import _canonical
from structkd_plugin.teacher.series_index import SeriesIndex, make_index
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter

from .stores import SENTENCES, Spoken, emissions_of, tables_of, teacher, write_store

INDEX = "index.main.00003.safetensors"


def content(path: Path) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def write_keys(path: Path, keys: List[bytes], per_shard: int, writer: str = "main") -> None:
    """A store whose records say at which place of the list their key is."""
    with TeacherStoreWriter(str(path), teacher(), tables_of(), {}, writer) as store:
        for start in range(0, len(keys), per_shard):
            rows = [np.full((1 + i % 3, 3), i, dtype=np.float32) for i in range(start, start + per_shard)]
            part = zip(keys[start : start + per_shard], rows, strict=False)
            store.commit([Record(key.hex(), "en", ["w"] * len(row), row) for key, row in part])
        store.finish()


def without_index(path: Path, writer: str = "main") -> None:
    """Make of a store one that an earlier version wrote."""
    file = path / f"manifest.{writer}.json"
    fields = json.loads(file.read_text(encoding="utf-8"))
    (path / fields["index"]["file"]).unlink()
    for name in ("checksum", "index", "part", "parts", "calibration"):
        del fields[name]
    fields["checksum"] = hashlib.sha256(_canonical(fields)).hexdigest()
    file.write_bytes(_canonical(fields))


class TestLookingUp:
    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        count=st.sampled_from([1, 31, 32, 33, 64, 65, 66, 700]),
        shared=st.integers(0, 15),
        repeated=st.booleans(),
        per_shard=st.integers(20, 200),
    )
    def test_what_a_dictionary_finds(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        seed: int,
        count: int,
        shared: int,
        repeated: bool,
        per_shard: int,
    ) -> None:
        """Also keys that share their first bytes, and such that stand within others and across entries."""
        draw = random.Random(seed)
        beginning = bytes([draw.choice([0, 255, 7])] * 16) if repeated else draw.randbytes(16)
        made = (beginning[:shared] + draw.randbytes(16 - shared) for _ in range(count))
        every = sorted(set(made))
        present = every[::2]
        draw.shuffle(present)
        path = tmp_path_factory.mktemp("store")
        write_keys(path, present, per_shard)
        store = TeacherStore.open(str(path))
        expected = {key: number for number, key in enumerate(present)}
        asked = [*every, *(key[1:] + key[:1] for key in every)]
        draw.shuffle(asked)
        names = [key.hex() for key in asked]
        found = [None if record is None else int(record.emissions[0, 0]) for record in store.get_batch(names)]
        assert found == [expected.get(key) for key in asked]
        assert store.contains(names).tolist() == [key in expected for key in asked]
        assert list(store.keys()) == [key.hex() for key in sorted(present)]
        assert len(store) == len(present)

    def test_bytes_across_entries_are_no_key(self, tmp_path: Path) -> None:
        keys = [bytes(16), bytes(15) + b"\1"]
        write_keys(tmp_path, keys, 2)
        raw = (tmp_path / "index.main.00001.safetensors").read_bytes()
        entries = raw[raw.index(bytes(16), raw.index(b"}}")) :]
        store = TeacherStore.open(str(tmp_path))
        for start in range(1, len(entries) - 16):
            key = entries[start : start + 16]
            assert store.contains([key.hex()]).tolist() == [key in keys]

    def test_pieces_of_all_keys(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of several series, some of which have more buckets than there are pieces, and some fewer."""
        keys = [hashlib.md5(bytes([i % 256, i // 256])).digest() for i in range(900)]
        write_keys(tmp_path, keys[:700], 100)
        write_keys(tmp_path, keys[650:720], 100, writer="second")
        write_keys(tmp_path, keys[720:], 1000, writer="third")
        for at_once in (10, 100, 10_000):
            monkeypatch.setattr(store_module, "_KEYS_AT_ONCE", at_once)
            store = TeacherStore.open(str(tmp_path))
            assert list(store.keys()) == sorted(key.hex() for key in keys)
            assert len(store) == 900

    def test_the_first_writer_counts(self, tmp_path: Path) -> None:
        write_store(tmp_path, SENTENCES[:3], writer="b")
        keys = [bytes.fromhex(sentence.key) for sentence in SENTENCES]
        write_keys(tmp_path, keys, 2, writer="a")
        store = TeacherStore.open(str(tmp_path))
        assert [int(store.get(s.key).emissions[0, 0]) for s in SENTENCES[:3]] == [0, 1, 2]
        assert len(store) == 5


class TestFiles:
    def test_a_store_without_index_is_read_from_its_shards(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        without_index(tmp_path)
        store = TeacherStore.open(str(tmp_path))
        assert len(store) == 5
        for sentence in SENTENCES:
            np.testing.assert_array_equal(store.get(sentence.key).emissions, emissions_of(sentence))

    def test_it_is_made_again(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        before = content(tmp_path)
        (tmp_path / INDEX).unlink()
        with pytest.raises(ConfigurationError, match=rf"{INDEX} is missing: .* Remove it and run the same"):
            TeacherStore.open(str(tmp_path))
        write_store(tmp_path, [])
        assert content(tmp_path) == before
        (tmp_path / INDEX).write_bytes(before[INDEX][:-1])
        with pytest.raises(ConfigurationError, match=rf"{INDEX} is truncated or was altered: it has"):
            TeacherStore.open(str(tmp_path))
        write_store(tmp_path, [])
        assert content(tmp_path) == before
        without_index(tmp_path)
        write_store(tmp_path, [])
        assert {name: raw for name, raw in content(tmp_path).items() if "manifest" not in name} == {
            name: raw for name, raw in before.items() if "manifest" not in name
        }
        assert TeacherStore.open(str(tmp_path)).contains([SENTENCES[0].key]).all()

    def test_another_takes_its_place_when_sentences_are_added(self, tmp_path: Path) -> None:
        reading = write_store(tmp_path, SENTENCES[:4])
        write_store(tmp_path, SENTENCES[4:])
        assert [file.name for file in tmp_path.glob("index.*")] == [INDEX]
        # Who has the store open goes on reading what it had.
        assert reading.contains([s.key for s in SENTENCES]).tolist() == [True] * 4 + [False]
        np.testing.assert_array_equal(reading.get(SENTENCES[3].key).emissions, emissions_of(SENTENCES[3]))

    def test_a_damaged_bucket_is_named(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        raw = bytearray((tmp_path / INDEX).read_bytes())
        raw[-1] ^= 1
        (tmp_path / INDEX).write_bytes(raw)
        store = TeacherStore.open(str(tmp_path))
        with pytest.raises(ConfigurationError, match=rf"{INDEX} was altered: bucket 0 does not have its checksum. Rem"):
            store.contains([SENTENCES[0].key])

    def test_memory_and_file_say_the_same(self, tmp_path: Path) -> None:
        """However many shards there are."""
        sentences = [Spoken("en", f"word {number}") for number in range(100)]
        for per_shard in (1, 7, 100):
            path = tmp_path / str(per_shard)
            write_store(path, sentences, per_shard=per_shard)
            manifest: Any = store_module.read_manifests(path)[0]
            entry, raw = make_index(path, "main", manifest.shards, manifest.teacher)
            assert entry == manifest.index
            assert raw == (path / entry.file).read_bytes()
            index = SeriesIndex(path, "main", None, manifest.shards, manifest.teacher)
            assert all(index.find(bytes.fromhex(s.key)) is not None for s in sentences)


class TestOpenFiles:
    def test_more_shards_than_may_be_open(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sentences = [Spoken("en", f"word {number}") for number in range(60)]
        stores = [write_store(tmp_path / name, sentences, per_shard=2) for name in "ab"]
        monkeypatch.setattr(open_files, "MOST_OPEN", 7)
        monkeypatch.setattr(open_files, "_open", type(open_files._open)())
        for sentence in random.Random(1).choices(sentences, k=300):
            for store in stores:
                np.testing.assert_array_equal(store.get(sentence.key).emissions, emissions_of(sentence))
            assert len(open_files._open) <= 7

    def test_what_nobody_reads_is_closed(self, tmp_path: Path) -> None:
        store = write_store(tmp_path)
        store.get_batch(list(store.keys()))
        assert {file.path.parent for file in open_files._open} >= {tmp_path}
        del store
        assert tmp_path not in {file.path.parent for file in open_files._open}
