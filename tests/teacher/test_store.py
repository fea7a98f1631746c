"""What was written is what is read; nothing that was altered passes for it."""

import dataclasses
import hashlib
import itertools
import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.teacher.format import Calibration, IndexEntry, Manifest, ShardEntry, _canonical
from structkd_plugin.teacher.store import RecordLengthError, TeacherStore
from structkd_plugin.teacher.writer import Record, TeacherStoreWriter

from ..children import fork
from .stores import (
    LABELS,
    SENTENCES,
    WITH_K_BEST,
    Spoken,
    emissions_of,
    k_best_of,
    records_of,
    tables_of,
    teacher,
    write_store,
)


def read_everything(path: Path) -> None:
    store = TeacherStore.open(str(path))
    store.get_batch(list(store.keys()))


def content(path: Path) -> dict:
    return {file.name: file.read_bytes() for file in path.iterdir()}


class TestReading:
    def test_every_record_comes_back(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store")
        records = store.get_batch([s.key for s in SENTENCES], [len(s.words.split()) for s in SENTENCES])
        for sentence, record in zip(SENTENCES, records, strict=True):
            np.testing.assert_array_equal(record.emissions, emissions_of(sentence))
            np.testing.assert_array_equal(store.get(sentence.key).emissions, emissions_of(sentence))

    def test_the_best_labellings_come_back(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store", **WITH_K_BEST)
        assert store.legal_k_best == 3
        for sentence, record in zip(SENTENCES, store.get_batch([s.key for s in SENTENCES]), strict=True):
            tags, scores = k_best_of(sentence, 3)
            np.testing.assert_array_equal(record.k_best_tags, tags)
            np.testing.assert_array_equal(record.k_best_scores, scores)
            np.testing.assert_array_equal(record.emissions, emissions_of(sentence))
            assert (record.k_best_tags.dtype, record.k_best_scores.dtype) == (np.int16, np.float32)

    def test_a_store_without_best_labellings_has_none_of_each_sentence(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store")
        assert store.legal_k_best == 0
        record = store.get(SENTENCES[1].key)
        assert (record.k_best_tags.shape, record.k_best_scores.shape) == ((3, 0), (0,))

    @pytest.mark.parametrize(
        ("label_encoding", "scheme", "expected"),
        [("BIO", "BIO", 3), ("BIO", None, 0), ("BIO", "IOB1", 0), (None, None, 3), (None, "BIO", 0)],
    )
    def test_only_labellings_of_the_scheme_are_legal(
        self, tmp_path: Path, label_encoding: str, scheme: str, expected: int
    ) -> None:
        store = write_store(tmp_path, label_encoding=label_encoding, k_best=3, k_best_scheme=scheme)
        assert store.legal_k_best == expected
        assert store.get(SENTENCES[0].key).k_best_scores.shape == (3,)

    def test_it_says_whose_it_is(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store", kind="log_probabilities")
        assert (len(store), store.labels, store.languages) == (5, LABELS, ("de", "en"))
        assert (store.kind, store.label_encoding, store.fingerprint) == ("log_probabilities", "BIO", "f" * 64)
        assert sorted(store.keys()) == list(store.keys()) == sorted(s.key for s in SENTENCES)

    def test_tables_are_exact_and_may_forbid(self, tmp_path: Path) -> None:
        tables = tables_of()
        tables["transitions"][0, 2] = float("-inf")
        with TeacherStoreWriter(str(tmp_path), teacher(), tables, {}) as writer:
            writer.finish()
        for name, table in TeacherStore.open(str(tmp_path)).tables._asdict().items():
            assert torch.equal(table, tables[name]), name
            assert table.dtype == torch.float32

    def test_what_is_not_there_is_none(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store")
        absent = Spoken("fr", "Ada dort").key
        assert store.get(absent) is None
        assert store.contains([SENTENCES[0].key, absent, SENTENCES[1].key]).tolist() == [True, False, True]
        assert store.get_batch([]) == []

    def test_same_words_in_another_language_are_another_sentence(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store", [Spoken("en", "Ada"), Spoken("de", "Ada")])
        assert len(store) == 2
        english, german = (store.get(Spoken(language, "Ada").key).emissions for language in ("en", "de"))
        assert not np.array_equal(english, german)

    def test_an_empty_store_opens(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store", [])
        assert len(store) == 0
        assert store.get(SENTENCES[0].key) is None

    def test_another_length_is_refused(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store")
        with pytest.raises(RecordLengthError) as caught:
            store.get_batch([SENTENCES[0].key, SENTENCES[1].key], [2, 4])
        assert (caught.value.position, caught.value.num_words) == (1, 3)

    @pytest.mark.parametrize("key", ["", "ab", "0" * 31, "0" * 33])
    def test_what_is_no_key_is_refused(self, tmp_path: Path, key: str) -> None:
        store = write_store(tmp_path / "store")
        with pytest.raises(ValueError, match=r"32 hexadecimal digits"):
            store.contains([SENTENCES[0].key, key])

    def test_records_cannot_be_written_to(self, tmp_path: Path) -> None:
        record = write_store(tmp_path / "store", **WITH_K_BEST).get(SENTENCES[0].key)
        for array in record:
            with pytest.raises(ValueError, match=r"read-only"):
                array.reshape(-1)[0] = 1.0

    def test_float16_is_half_the_size_and_close(self, tmp_path: Path) -> None:
        full, half = write_store(tmp_path / "full"), write_store(tmp_path / "half", encoding="float16")
        for sentence in SENTENCES:
            record = half.get(sentence.key).emissions
            assert record.dtype == np.float16
            np.testing.assert_allclose(record, full.get(sentence.key).emissions, rtol=2**-11)

    @settings(max_examples=30, deadline=None)
    @given(
        keys=st.sets(
            st.one_of(
                st.binary(min_size=16, max_size=16),
                # Keys that share beginnings, and end in zero bytes.
                st.integers(0, 300).map(lambda n: bytes(14) + n.to_bytes(2, "little")),
                st.integers(0, 300).map(lambda n: n.to_bytes(2, "big") + bytes(14)),
            ),
            min_size=1,
            max_size=40,
        ),
        per_shard=st.integers(1, 9),
        shuffle=st.randoms(use_true_random=False),
    )
    def test_any_keys_are_found_and_no_others(
        self, tmp_path_factory: pytest.TempPathFactory, keys: set, per_shard: int, shuffle: random.Random
    ) -> None:
        path = tmp_path_factory.mktemp("store")
        present = sorted(keys)[::2]
        shuffle.shuffle(present)
        value = {key: np.full((1, 3), number, dtype=np.float32) for number, key in enumerate(present)}
        with TeacherStoreWriter(str(path), teacher(), tables_of(), {}) as writer:
            for start in range(0, len(present), per_shard):
                part = present[start : start + per_shard]
                writer.commit([Record(key.hex(), "en", ["w"], value[key]) for key in part])
            writer.finish()
        store = TeacherStore.open(str(path))
        asked = list(keys)
        shuffle.shuffle(asked)
        for key, record in zip(asked, store.get_batch([key.hex() for key in asked]), strict=True):
            if key in value:
                np.testing.assert_array_equal(record.emissions, value[key])
            else:
                assert record is None


class TestProcesses:
    def test_forks_read_at_the_same_time(self, tmp_path: Path) -> None:
        """They share the descriptors of the files, which have no position that one could move for the other."""
        store = write_store(tmp_path / "store")
        store.get(SENTENCES[0].key)

        def same() -> bool:
            return all(
                np.array_equal(store.get(sentence.key).emissions, emissions_of(sentence))
                for sentence in SENTENCES * 100
            )

        children = [fork(same) for _ in range(2)]
        for sentence in SENTENCES * 100:
            np.testing.assert_array_equal(store.get(sentence.key).emissions, emissions_of(sentence))
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        np.testing.assert_array_equal(store.get(SENTENCES[2].key).emissions, emissions_of(SENTENCES[2]))

    def test_worker_processes_of_a_loader_read(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "store")
        loader = torch.utils.data.DataLoader(
            [sentence.key for sentence in SENTENCES],
            batch_size=2,
            num_workers=2,
            collate_fn=lambda keys: [record.emissions.tolist() for record in store.get_batch(keys)],
        )
        read = [emissions for batch in loader for emissions in batch]
        assert read == [emissions_of(sentence).tolist() for sentence in SENTENCES]

    def test_it_can_be_sent_to_another_process(self, tmp_path: Path) -> None:
        store = pickle.loads(pickle.dumps(write_store(tmp_path / "store")))
        np.testing.assert_array_equal(store.get(SENTENCES[4].key).emissions, emissions_of(SENTENCES[4]))

    def test_memory_does_not_grow_with_what_is_read(self, tmp_path: Path) -> None:
        sentences = [Spoken("en", f"word{number}") for number in range(64)]
        with TeacherStoreWriter(str(tmp_path), teacher(), tables_of(), {}) as writer:
            for sentence in sentences:
                # 3 MB each
                words = ["w"] * 250_000
                writer.commit([Record(sentence.key, "en", words, np.zeros((len(words), 3), dtype=np.float32))])
            writer.finish()
        store = TeacherStore.open(str(tmp_path))
        before = _own_memory()
        for sentence in sentences:
            assert len(store.get(sentence.key).emissions) == 250_000
        assert _own_memory() - before < 30e6


def _own_memory() -> int:
    """Bytes of memory that belong to this process alone, without files the system may drop from memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


class TestRefusals:
    def test_no_directory(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"nowhere is not a teacher store: there is no such directory"):
            TeacherStore.open(str(tmp_path / "nowhere"))

    def test_not_a_store(self, tmp_path: Path) -> None:
        (tmp_path / "readme.txt").write_text("hello")
        with pytest.raises(ConfigurationError, match=r"is not a teacher store: it holds no manifest\.\*\.json"):
            TeacherStore.open(str(tmp_path))

    def test_other_format_version(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        manifest = tmp_path / "manifest.main.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
        with pytest.raises(
            ConfigurationError, match=r"has format version 99, this version of the plugin reads version 1"
        ):
            TeacherStore.open(str(tmp_path))

    def test_other_format(self, tmp_path: Path) -> None:
        (tmp_path / "manifest.main.json").write_text('{"format": "x", "version": 1, "checksum": ""}')
        with pytest.raises(ConfigurationError, match=r"its format is 'x'"):
            TeacherStore.open(str(tmp_path))

    @pytest.mark.parametrize("content", ["", "[]", "3", "{}", "\xff", '{"format": '])
    def test_damaged_manifest(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "manifest.main.json").write_text(content, encoding="latin-1")
        with pytest.raises(ConfigurationError, match=r"manifest.main.json is damaged"):
            TeacherStore.open(str(tmp_path))

    def test_a_manifest_of_before_a_field_was_added(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        manifest = tmp_path / "manifest.main.json"
        fields = json.loads(manifest.read_text())
        del fields["checksum"], fields["teacher"]["k_best"]
        fields["checksum"] = hashlib.sha256(_canonical(fields)).hexdigest()
        manifest.write_bytes(_canonical(fields))
        with pytest.raises(ConfigurationError, match=r"manifest.main.json has not the fields .*'k_best'.* again"):
            TeacherStore.open(str(tmp_path))

    def test_a_manifest_in_another_form(self, tmp_path: Path) -> None:
        """What is not written exactly as we write it was not written by us, whatever it says."""
        write_store(tmp_path)
        manifest = tmp_path / "manifest.main.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text())))
        with pytest.raises(ConfigurationError, match=r"manifest.main.json was altered"):
            TeacherStore.open(str(tmp_path))

    def test_incomplete_capture(self, tmp_path: Path) -> None:
        write_store(tmp_path, finish=False)
        with pytest.raises(
            ConfigurationError, match=r"broken off after 5 sentences. Run the same `allennlp cache-teach"
        ):
            TeacherStore.open(str(tmp_path))

    def test_missing_shard(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        (tmp_path / "shard.main.00001.safetensors").unlink()
        with pytest.raises(ConfigurationError, match=r"shard.main.00001.safetensors is missing: .* 2 sentences in it"):
            TeacherStore.open(str(tmp_path))

    @pytest.mark.parametrize("changes", [{}, WITH_K_BEST], ids=["", "k best"])
    @pytest.mark.parametrize("left", [0, 5, 100, -1])
    def test_truncated_shard(self, tmp_path: Path, left: int, changes: dict) -> None:
        write_store(tmp_path, **changes)
        shard = tmp_path / "shard.main.00000.safetensors"
        shard.write_bytes(shard.read_bytes()[:left])
        with pytest.raises(ConfigurationError, match=r"00000.safetensors is truncated or was altered: it has"):
            TeacherStore.open(str(tmp_path))

    def test_missing_tables(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        (tmp_path / "tables.safetensors").unlink()
        with pytest.raises(ConfigurationError, match=r"tables.safetensors is missing"):
            TeacherStore.open(str(tmp_path))

    def test_tables_of_another_teacher(self, tmp_path: Path) -> None:
        write_store(tmp_path / "a")
        write_store(tmp_path / "b", seed=1)
        os.replace(tmp_path / "b" / "tables.safetensors", tmp_path / "a" / "tables.safetensors")
        with pytest.raises(ConfigurationError, match=r"tables.safetensors was altered"):
            TeacherStore.open(str(tmp_path / "a"))

    def test_shard_of_another_store(self, tmp_path: Path) -> None:
        write_store(tmp_path / "a", SENTENCES[:2])
        write_store(tmp_path / "b", SENTENCES[2:4])
        name = "shard.main.00000.safetensors"
        os.replace(tmp_path / "b" / name, tmp_path / "a" / name)
        with pytest.raises(ConfigurationError, match=r"00000.safetensors (is truncated or )?was altered"):
            TeacherStore.open(str(tmp_path / "a"))

    def test_two_teachers_in_one_store(self, tmp_path: Path) -> None:
        write_store(tmp_path / "a")
        write_store(tmp_path / "b", writer="second", fingerprint="0" * 64)
        for file in (tmp_path / "b").glob("*second*"):
            os.replace(file, tmp_path / "a" / file.name)
        with pytest.raises(ConfigurationError, match=r"mixes two teachers: .*fingerprint is '000"):
            TeacherStore.open(str(tmp_path / "a"))


class TestAlteredBits:
    """No flipped bit goes unnoticed, wherever it is: when the store opens, or when the record is read."""

    def flip(self, file: Path, bit: int) -> None:
        raw = bytearray(file.read_bytes())
        raw[bit // 8] ^= 1 << bit % 8
        file.write_bytes(raw)

    def test_every_third_byte_of_the_manifest(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        file = tmp_path / "manifest.main.json"
        for byte in range(0, file.stat().st_size, 3):
            self.flip(file, 8 * byte + byte % 8)
            with pytest.raises(ConfigurationError):
                Manifest.read(file)
            self.flip(file, 8 * byte + byte % 8)
        Manifest.read(file)

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("tables.safetensors", {}),
            ("shard.main.00001.safetensors", {}),
            ("shard.main.00001.safetensors", WITH_K_BEST),
            ("index.main.00003.safetensors", {}),
        ],
        ids=["tables", "shard", "shard with k best", "index"],
    )
    def test_every_byte_of(self, tmp_path: Path, name: str, changes: dict) -> None:
        write_store(tmp_path / "store", encoding="float16", **changes)
        file = tmp_path / "store" / name
        for byte in range(file.stat().st_size):
            bit = 8 * byte + byte % 8
            self.flip(file, bit)
            with pytest.raises(ConfigurationError):
                read_everything(tmp_path / "store")
            self.flip(file, bit)
        read_everything(tmp_path / "store")

    @pytest.mark.parametrize("array", [0, 1, 2], ids=["emissions", "tags", "scores"])
    def test_a_record_is_named_by_its_key(self, tmp_path: Path, array: int) -> None:
        write_store(tmp_path, SENTENCES[:1], **WITH_K_BEST)
        shard = tmp_path / "shard.main.00000.safetensors"
        tags, scores = k_best_of(SENTENCES[0], 3)
        content = (emissions_of(SENTENCES[0]), tags.astype(np.int16), scores)[array]
        position = shard.read_bytes().index(content.tobytes())
        self.flip(shard, 8 * position)
        store = TeacherStore.open(str(tmp_path))
        with pytest.raises(ConfigurationError, match=f"key {SENTENCES[0].key} does not have its checksum"):
            store.get(SENTENCES[0].key)


class TestWriting:
    @pytest.mark.parametrize("changes", [{}, WITH_K_BEST], ids=["", "k best"])
    def test_two_captures_are_the_same_bytes(self, tmp_path: Path, changes: dict) -> None:
        write_store(tmp_path / "a", **changes)
        write_store(tmp_path / "b", **changes)
        assert content(tmp_path / "a") == content(tmp_path / "b")

    def test_it_goes_on_after_what_was_committed(self, tmp_path: Path) -> None:
        write_store(tmp_path / "whole")
        write_store(tmp_path / "broken", SENTENCES[:2], finish=False)
        with TeacherStoreWriter(str(tmp_path / "broken"), teacher(), tables_of(), {"type": "test"}) as writer:
            assert [s.key in writer for s in SENTENCES] == [True, True, False, False, False]
        with pytest.raises(ConfigurationError, match=r"not complete"):
            TeacherStore.open(str(tmp_path / "broken"))
        write_store(tmp_path / "broken", SENTENCES[2:])
        assert content(tmp_path / "broken") == content(tmp_path / "whole")

    @pytest.mark.parametrize("after", [False, True], ids=["before a rename", "after a rename"])
    @pytest.mark.parametrize("last", range(10))
    def test_broken_off_at_any_write(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int, after: bool
    ) -> None:
        """The moments that a kill hits by chance only: tables, manifest, thrice shard and manifest, index, manifest."""

        class Killed(BaseException):
            pass

        def go_on(path: Path) -> None:
            with TeacherStoreWriter(str(path), teacher(), tables_of(), {"type": "test"}) as writer:
                for start in range(0, len(SENTENCES), 2):
                    window = [s for s in SENTENCES[start : start + 2] if s.key not in writer]
                    writer.commit(records_of(window))
                writer.finish()

        original, renames = os.replace, itertools.count()

        def replace(source: Path, target: Path) -> None:
            reached = next(renames) == last
            if not reached or after:
                original(source, target)
            if reached:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            with pytest.raises(Killed):
                go_on(tmp_path / "broken")
        if last == 9 and after:
            assert len(TeacherStore.open(str(tmp_path / "broken"))) == 5
        else:
            with pytest.raises(ConfigurationError, match=r"is not complete|is not a teacher store"):
                TeacherStore.open(str(tmp_path / "broken"))
        go_on(tmp_path / "broken")
        write_store(tmp_path / "whole")
        assert content(tmp_path / "broken") == content(tmp_path / "whole")

    def test_what_is_being_added_to_is_not_complete(self, tmp_path: Path) -> None:
        write_store(tmp_path, SENTENCES[:2])
        write_store(tmp_path, SENTENCES[2:4], finish=False)
        with pytest.raises(ConfigurationError, match=r"broken off after 4 sentences"):
            TeacherStore.open(str(tmp_path))
        assert len(write_store(tmp_path, SENTENCES[4:])) == 5

    def test_leftovers_are_cleared_away(self, tmp_path: Path) -> None:
        write_store(tmp_path / "a", SENTENCES[:2], finish=False)
        (tmp_path / "a" / "shard.main.00001.safetensors.main.tmp").write_bytes(b"half")
        (tmp_path / "a" / "shard.main.00001.safetensors").write_bytes(b"renamed, but the manifest was not")
        write_store(tmp_path / "a", SENTENCES[2:])
        write_store(tmp_path / "b")
        assert content(tmp_path / "a") == content(tmp_path / "b")

    def test_nothing_changes_without_anything_new(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        # What the store holds; some releases of filelock touch the lock when they take it.
        files = [file for file in tmp_path.iterdir() if not file.name.startswith(".lock.")]
        before = {file: file.stat().st_mtime_ns for file in files}
        write_store(tmp_path, [])
        assert {file: file.stat().st_mtime_ns for file in files} == before
        assert {file for file in tmp_path.iterdir() if not file.name.startswith(".lock.")} == set(files)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"fingerprint": "0" * 64}, "fingerprint is '000"),
            (
                {"labels": ("O", "I-PER", "B-PER")},
                r"labels is \('O', 'I-PER', 'B-PER'\), not \('O', 'B-PER', 'I-PER'\)",
            ),
            ({"encoding": "float16"}, "encoding is 'float16', not 'float32'"),
            ({"kind": "log_probabilities"}, "kind is 'log_probabilities', not 'potentials'"),
            ({"constraints": "everywhere"}, "constraints is 'everywhere', not 'decoding'"),
            ({"label_encoding": None}, "label_encoding is None, not 'BIO'"),
            (WITH_K_BEST, "k_best is 3, not 0; k_best_scheme is 'BIO', not None as in the store"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    @pytest.mark.parametrize("writer", ["main", "second"])
    def test_another_teacher_is_refused(self, tmp_path: Path, change: dict, named: str, writer: str) -> None:
        write_store(tmp_path)
        before = content(tmp_path)
        what = "is the store of another teacher" if "fingerprint" in change else "was captured with other settings"
        with pytest.raises(ConfigurationError, match=f"{what}: {named}"):
            write_store(tmp_path, writer=writer, **change)
        assert {name: raw for name, raw in content(tmp_path).items() if "lock" not in name} == {
            name: raw for name, raw in before.items() if "lock" not in name
        }

    def test_what_was_begun_and_holds_nothing_binds_nobody(self, tmp_path: Path) -> None:
        with TeacherStoreWriter(str(tmp_path), teacher(fingerprint="0" * 64), tables_of(seed=1), {}):
            pass
        store = write_store(tmp_path, **WITH_K_BEST)
        assert len(store) == len(SENTENCES)
        assert torch.equal(store.tables.transitions, torch.as_tensor(tables_of()["transitions"]))

    def test_two_writers_share_a_store(self, tmp_path: Path) -> None:
        write_store(tmp_path, SENTENCES[:3])
        store = write_store(tmp_path, SENTENCES[2:], writer="second")
        assert len(store) == 5
        for sentence in SENTENCES:
            np.testing.assert_array_equal(store.get(sentence.key).emissions, emissions_of(sentence))

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({}, r"k_best is 0, not 3; k_best_scheme is None, not 'BIO' as in the store"),
            ({"k_best": 2, "k_best_scheme": "BIO"}, "k_best is 2, not 3 as in the store"),
            ({"k_best": 3, "k_best_scheme": None}, "k_best_scheme is None, not 'BIO' as in the store"),
        ],
        ids=["none", "fewer", "another scheme"],
    )
    def test_another_number_of_best_labellings_is_refused(self, tmp_path: Path, change: dict, named: str) -> None:
        write_store(tmp_path, **WITH_K_BEST)
        with pytest.raises(ConfigurationError, match=f"was captured with other settings: {named}"):
            write_store(tmp_path, **change)

    def test_it_goes_on_with_best_labellings(self, tmp_path: Path) -> None:
        write_store(tmp_path / "whole", **WITH_K_BEST)
        write_store(tmp_path / "broken", SENTENCES[:2], finish=False, **WITH_K_BEST)
        write_store(tmp_path / "broken", SENTENCES[2:], **WITH_K_BEST)
        assert content(tmp_path / "broken") == content(tmp_path / "whole")

    def test_two_writers_of_one_name_are_refused(self, tmp_path: Path) -> None:
        first = TeacherStoreWriter(str(tmp_path), teacher(), tables_of(), {})
        with first, pytest.raises(ConfigurationError, match=r"is being written by another process"):
            TeacherStoreWriter(str(tmp_path), teacher(), tables_of(), {})
        with TeacherStoreWriter(str(tmp_path), teacher(), tables_of(), {}):
            pass

    def test_a_damaged_store_is_not_added_to(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        (tmp_path / "shard.main.00000.safetensors").write_bytes(b"")
        with pytest.raises(ConfigurationError, match=r"00000.safetensors is truncated"):
            write_store(tmp_path, [])

    def test_a_directory_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("important")
        with pytest.raises(ConfigurationError, match=r"is not a teacher store: it holds 'thesis.tex'"):
            write_store(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]

    def test_marks_of_other_programs_are_no_hindrance(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        (tmp_path / ".snakemake_timestamp").write_text("")
        write_store(tmp_path, [])
        assert (tmp_path / ".snakemake_timestamp").exists()

    def test_output_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match=r"cannot write the teacher store .*file/store: Not a directory"):
            write_store(tmp_path / "file" / "store")

    def test_a_full_disk_loses_nothing_that_was_committed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_store(tmp_path / "store", SENTENCES[:2], finish=False)
        before = content(tmp_path / "store")

        def no_space(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", no_space)
            with pytest.raises(
                ConfigurationError, match=r"No space left on device. What was committed before is intact"
            ):
                write_store(tmp_path / "store", SENTENCES[2:])
        assert content(tmp_path / "store") == before
        write_store(tmp_path / "store", SENTENCES[2:])
        write_store(tmp_path / "whole")
        assert content(tmp_path / "store") == content(tmp_path / "whole")

    @pytest.mark.parametrize("writer", ["", "a/b", "a.b", "ä", "x" * 65])
    def test_bad_writer_name(self, tmp_path: Path, writer: str) -> None:
        with pytest.raises(ConfigurationError, match=r"is no name for a writer"):
            write_store(tmp_path, writer=writer)

    @pytest.mark.parametrize("change", [{"encoding": "bfloat16"}, {"kind": "opinions"}], ids=["encoding", "kind"])
    def test_bad_choice(self, tmp_path: Path, change: dict) -> None:
        with pytest.raises(ConfigurationError, match=f"{next(iter(change))} is '.*'; choose one of"):
            write_store(tmp_path, **change)


class TestRefusedEmissions:
    def commit(self, path: Path, emissions: np.ndarray, words: str = "Ada sleeps", encoding: str = "float16") -> None:
        with TeacherStoreWriter(str(path), teacher(encoding=encoding), tables_of(), {}) as writer:
            sentence = Spoken("en", words)
            writer.commit([Record(sentence.key, "en", words.split(), emissions.astype(np.float32))])
            writer.finish()

    @pytest.mark.parametrize(
        ("value", "what"),
        [(np.nan, "NaN"), (np.inf, r"\+inf"), (1e5, "a number that float16 cannot hold"), (-1e5, "a number that")],
    )
    def test_numbers_that_mean_nothing(self, tmp_path: Path, value: float, what: str) -> None:
        emissions = np.zeros((2, 3))
        emissions[1, 2] = value
        with pytest.raises(ConfigurationError, match=f"{what}.* 'I-PER' of the word 'sleeps' .number 2.*'Ada sleeps'"):
            self.commit(tmp_path, emissions)

    def test_float32_holds_large_numbers(self, tmp_path: Path) -> None:
        self.commit(tmp_path, np.full((2, 3), 1e5), encoding="float32")

    def test_a_label_may_be_impossible(self, tmp_path: Path) -> None:
        emissions = np.zeros((2, 3))
        emissions[0, 1] = -np.inf
        self.commit(tmp_path, emissions)
        record = TeacherStore.open(str(tmp_path)).get(Spoken("en", "Ada sleeps").key)
        np.testing.assert_array_equal(record.emissions, emissions)

    @pytest.mark.parametrize("shape", [(1, 3), (3, 3), (2, 2), (6,)])
    def test_another_shape(self, tmp_path: Path, shape: tuple) -> None:
        with pytest.raises(ConfigurationError, match=r"'Ada sleeps' have shape .*, not \(words, labels\) = \(2, 3\)"):
            self.commit(tmp_path, np.zeros(shape))

    def test_no_words(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"have shape"):
            self.commit(tmp_path, np.zeros((0, 3)), words="")


class TestRefusedLabellings:
    def commit(self, path: Path, tags: object, scores: object, **changes: object) -> None:
        sentence = SENTENCES[0]
        with TeacherStoreWriter(str(path), teacher(**{**WITH_K_BEST, **changes}), tables_of(), {}) as writer:
            words = sentence.words.split()
            writer.commit([Record(sentence.key, "en", words, emissions_of(sentence), tags, scores)])

    @pytest.mark.parametrize(
        ("tags", "scores", "shown"),
        [
            (None, None, r"tags of shape \(2, 0\) and scores of shape \(0,\)"),
            (np.zeros((3, 2)), np.zeros(3), r"tags of shape \(3, 2\)"),
            (np.zeros((2, 3)), np.zeros(2), r"scores of shape \(2,\)"),
        ],
        ids=["none", "tags", "scores"],
    )
    def test_another_shape(self, tmp_path: Path, tags: object, scores: object, shown: str) -> None:
        with pytest.raises(ConfigurationError, match=f"'Ada sleeps' have .*{shown}.*, not .* = \\(2, 3\\) and .*3,"):
            self.commit(tmp_path, tags, scores)

    def test_a_store_that_is_to_have_none(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"tags of shape \(2, 3\).*, not .* = \(2, 0\)"):
            self.commit(tmp_path, *k_best_of(SENTENCES[0], 3), k_best=0, k_best_scheme=None)

    @pytest.mark.parametrize(("tag", "score"), [(3, 0.0), (-1, 0.0), (0, np.nan), (0, np.inf)])
    def test_what_means_nothing(self, tmp_path: Path, tag: int, score: float) -> None:
        tags, scores = k_best_of(SENTENCES[0], 3)
        tags[1, 2], scores[0] = tag, score
        with pytest.raises(
            ConfigurationError, match=r"'Ada sleeps' have a tag that is not .* of the 3 labels, or a score"
        ):
            self.commit(tmp_path, tags, scores)

    def test_a_negative_number_of_them(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="k_best is -1; it is how many labellings to store, 0 for none"):
            self.commit(tmp_path, None, None, k_best=-1)
        assert not list(tmp_path.iterdir())

    def test_more_labels_than_their_tags_can_name(self, tmp_path: Path) -> None:
        labels = [f"tag {number}" for number in range(2**15)]
        with pytest.raises(ConfigurationError, match=r"has 32,768 labels, .* 32,767 at most. Capture without --k-best"):
            self.commit(tmp_path, None, None, labels=tuple(labels))
        for changes in ({"labels": tuple(labels), "k_best": 0}, {"labels": tuple(labels[1:])}):
            with TeacherStoreWriter(str(tmp_path / str(len(changes))), teacher(**changes), tables_of(), {}):
                pass


class TestCalibration:
    CALIBRATION = Calibration(1.5, (0.25, 0.5, 1.0))

    def calibrate(self, path: Path, writer: str = "main", calibration: Calibration = CALIBRATION) -> None:
        file = path / f"manifest.{writer}.json"
        file.write_bytes(dataclasses.replace(Manifest.read(file), calibration=calibration).to_bytes())

    def test_it_comes_back(self, tmp_path: Path) -> None:
        assert write_store(tmp_path).calibration is None
        self.calibrate(tmp_path)
        assert TeacherStore.open(str(tmp_path)).calibration == self.CALIBRATION

    def test_who_adds_to_the_store_takes_it_over(self, tmp_path: Path) -> None:
        write_store(tmp_path, SENTENCES[:2])
        self.calibrate(tmp_path)
        write_store(tmp_path, SENTENCES[2:4])
        assert write_store(tmp_path, SENTENCES[4:], writer="second").calibration == self.CALIBRATION

    @pytest.mark.parametrize("other", [None, Calibration(1.0, (0.25, 0.5, 1.0))])
    def test_two_are_refused(self, tmp_path: Path, other: Calibration) -> None:
        write_store(tmp_path, SENTENCES[:2])
        write_store(tmp_path, SENTENCES[2:], writer="second")
        self.calibrate(tmp_path)
        self.calibrate(tmp_path, "second", other)
        with pytest.raises(
            ConfigurationError, match=r"has two calibrations: manifest.second.json has another than manifest.main.json"
        ):
            TeacherStore.open(str(tmp_path))


class TestManifest:
    @given(
        complete=st.booleans(),
        labels=st.lists(st.text(), unique=True).map(tuple),
        reader=st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()))),
        counts=st.dictionaries(st.text(min_size=1), st.integers(0)),
    )
    @settings(deadline=None)
    def test_round_trip(
        self, tmp_path_factory: pytest.TempPathFactory, complete: bool, labels: tuple, reader: dict, counts: dict
    ) -> None:
        manifest = Manifest(
            writer="w",
            complete=complete,
            teacher=teacher(labels),
            reader=reader,
            tables_crc32=3,
            sentences=counts,
            words=counts,
            shards=(ShardEntry("f", 1, 2, 3, ("en",), 4),),
            index=IndexEntry("i", 5, 2, 6) if complete else None,
            part=2 if complete else None,
            parts=3 if complete else None,
            calibration=Calibration(1.25, (0.5, 1.0)) if complete else None,
        )
        file = tmp_path_factory.mktemp("manifest") / "manifest.w.json"
        file.write_bytes(manifest.to_bytes())
        assert Manifest.read(file) == manifest
