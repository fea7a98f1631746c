"""Whatever happens to the files of a store or to who writes it: nothing wrong is read, nothing committed is lost."""

import io
import json
import os
import resource
import shutil
import signal
import stat
import tempfile
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.teacher import format as format_module
from structkd_plugin.teacher.format import Manifest, read_arrays
from structkd_plugin.teacher.open_files import MemoryFile
from structkd_plugin.teacher.store import TeacherStore
from structkd_plugin.teacher.writer import TeacherStoreWriter

from ..children import fork
from .stores import SENTENCES, WITH_K_BEST, emissions_of, records_of, tables_of, teacher, write_store

SHARD, INDEX = "shard.main.00001.safetensors", "index.main.00003.safetensors"


def content(path: Path) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def everything(path: Path) -> List[Tuple[Any, ...]]:
    """All that a reader can get out of a store."""
    store = TeacherStore.open(str(path))
    tables = [table.numpy().tobytes() for table in store.tables]
    records = [store.get(sentence.key) for sentence in SENTENCES]
    said = (store.labels, store.languages, store.kind, store.fingerprint, store.calibration, len(store))
    return [said, tuple(store.keys()), *tables, *(r and tuple(x.tobytes() for x in r) for r in records)]  # type: ignore[list-item]


def go_on(path: Path) -> None:
    """Write the store of all sentences, or what is missing of it."""
    with TeacherStoreWriter(str(path), teacher(), tables_of(), {"type": "test"}) as writer:
        for start in range(0, len(SENTENCES), 2):
            writer.commit(records_of([s for s in SENTENCES[start : start + 2] if s.key not in writer]))
        writer.finish()


class Killed(BaseException):
    pass


class Steps:
    """Counts each write, flush to disk, rename and removal, and lets one of them fail."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int, failure: Callable[[], BaseException]) -> None:
        self.done, self.last, self.failure = 0, last, failure
        self.failed = False
        steps = self
        real_open, real_unlink = open, Path.unlink

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                # A kill may come in the middle.
                steps.step(lambda: super(File, self).write(bytes(data)[: len(data) // 2]))
                return super().write(data)

        def opened(path: Any, mode: str) -> Any:
            return File(path, "w") if mode == "wb" else real_open(path, mode)

        def unlink(path: Path, missing_ok: bool = False) -> None:
            if self.failed and failure is Killed:
                # Nobody is left to clean up.
                return
            if not path.name.endswith(".tmp"):
                self.step(lambda: None)
            real_unlink(path, missing_ok=missing_ok)

        patch.setattr(format_module, "open", opened, raising=False)
        patch.setattr(Path, "unlink", unlink)
        for name in ("fsync", "replace"):
            patch.setattr(os, name, self.stepping(getattr(os, name)))

    def step(self, half: Callable[[], Any]) -> None:
        if self.done == self.last:
            half()
            self.failed = True
            self.done += 1
            raise self.failure()
        self.done += 1

    def stepping(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.step(lambda: None)
            return function(*arguments, **options)

        return call


def full_disk() -> BaseException:
    return OSError(28, "No space left on device")


class TestWriting:
    @pytest.mark.parametrize("failure", [Killed, full_disk])
    @pytest.mark.parametrize("begun", [0, 2])
    def test_a_failure_at_any_step(self, tmp_path: Path, failure: Any, begun: int) -> None:
        """Also in a store that was complete, of which the index of before is removed at the end."""
        for directory in ("whole", "begun"):
            if begun:
                write_store(tmp_path / directory, SENTENCES[:begun])
        go_on(tmp_path / "whole")
        whole = content(tmp_path / "whole")
        last = 0
        while True:
            broken = tmp_path / "broken"
            shutil.rmtree(broken, ignore_errors=True)
            if begun:
                shutil.copytree(tmp_path / "begun", broken)
            with pytest.MonkeyPatch.context() as patch:
                steps = Steps(patch, last, failure)
                message = "was not refused"
                try:
                    go_on(broken)
                except Killed:
                    message = "was killed"
                except ConfigurationError as error:
                    message = str(error)
            if not steps.failed:
                break
            expected = "was killed" if failure is Killed else "No space left on device. What was committed before is"
            assert expected in message
            # What is committed is whole, and what can be opened is complete.
            for file in broken.glob("manifest.*.json"):
                for shard in Manifest.read(file).shards:
                    assert (broken / shard.file).read_bytes() == whole[shard.file]
            assert _opened(broken) in (begun, len(SENTENCES), "is not complete", "is not a teacher store")
            go_on(broken)
            assert content(broken) == whole
            last += 1
        # Each of the files is written, flushed, renamed, and its directory flushed.
        assert last == (4 * 10 if begun == 0 else 4 * 6 + 1)

    def test_a_disk_that_is_really_full(self, tmp_path: Path) -> None:
        """As the system says it: files of this process may not grow over 700 bytes."""
        write_store(tmp_path / "whole")
        write_store(tmp_path / "full", SENTENCES[:2], finish=False)
        before = content(tmp_path / "full")

        def child() -> bool:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
            try:
                write_store(tmp_path / "full", SENTENCES[2:])
            except ConfigurationError as error:
                return "File too large. What was committed before is intact" in str(error)
            return False

        assert _in_child(child)
        # A shard may be there that no manifest lists.
        assert before.items() <= content(tmp_path / "full").items()
        write_store(tmp_path / "full", SENTENCES[2:])
        assert content(tmp_path / "full") == content(tmp_path / "whole")

    def test_a_store_that_may_only_be_read(self) -> None:
        directory = Path(tempfile.mkdtemp())
        try:
            path = directory / "store"
            write_store(path)
            before = everything(path)
            for file in path.iterdir():
                file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
            path.chmod(0o555)
            directory.chmod(0o755)

            def child() -> bool:
                if os.geteuid() == 0:
                    # Who may do all is refused nothing.
                    os.setuid(65534)
                if everything(path) != before:
                    return False
                for writer in ("main", "second"):
                    try:
                        TeacherStoreWriter(str(path), teacher(), tables_of(), {}, writer)
                        return False
                    except ConfigurationError as error:
                        if f"cannot write the teacher store {path}: Permission denied" not in str(error):
                            return False
                return True

            assert _in_child(child)
        finally:
            path.chmod(0o755)
            shutil.rmtree(directory)


def _opened(path: Path) -> Any:
    """The number of sentences, or why the store does not open."""
    try:
        return len(TeacherStore.open(str(path)))
    except ConfigurationError as error:
        return next(what for what in ("is not complete", "is not a teacher store", str(error)) if what in str(error))


def _in_child(check: Callable[[], bool]) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(fork(check), 0)[1]) == 0


class TestWhileReading:
    """What happens to the files after the store was opened and read from."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> TeacherStore:
        store = write_store(tmp_path / "store", **WITH_K_BEST)
        assert store is not None
        store.get(SENTENCES[2].key)
        return store

    def read(self, store: TeacherStore, number: int) -> None:
        record = store.get(SENTENCES[number].key)
        assert record is not None
        np.testing.assert_array_equal(record.emissions, emissions_of(SENTENCES[number]))

    def test_a_shard_is_cut_short(self, store: TeacherStore) -> None:
        os.truncate(store.path / SHARD, 500)
        with pytest.raises(ConfigurationError, match=rf"{SHARD} is truncated: it ends before byte"):
            self.read(store, 3)
        with pytest.raises(ConfigurationError, match=rf"{SHARD} is truncated: it ends before byte"):
            store.get_batch([s.key for s in SENTENCES])
        self.read(store, 0)

    def test_a_shard_is_cut_short_before_it_is_first_read(self, store: TeacherStore) -> None:
        os.truncate(store.path / "shard.main.00000.safetensors", 500)
        with pytest.raises(
            ConfigurationError, match=r"00000.safetensors is truncated or was altered: it has 500 bytes"
        ):
            self.read(store, 0)

    def test_a_shard_is_altered(self, store: TeacherStore) -> None:
        raw = (store.path / SHARD).read_bytes()
        with open(store.path / SHARD, "r+b") as file:
            file.seek(len(raw) - 40)
            file.write(bytes(40))
        with pytest.raises(ConfigurationError, match=rf"{SHARD} was altered: the record .* does not have its checksum"):
            store.get_batch([s.key for s in SENTENCES])

    def test_a_shard_is_put_in_the_place_of_another(self, store: TeacherStore, tmp_path: Path) -> None:
        write_store(tmp_path / "other", seed=1, **WITH_K_BEST)
        for name in (SHARD, "shard.main.00000.safetensors"):
            os.replace(tmp_path / "other" / name, store.path / name)
        # That which was open is still the right one.
        self.read(store, 2)
        self.read(store, 3)
        with pytest.raises(ConfigurationError, match=r"00000.safetensors was altered"):
            self.read(store, 0)

    def test_all_is_deleted(self, store: TeacherStore) -> None:
        shutil.rmtree(store.path)
        self.read(store, 2)
        self.read(store, 3)
        with pytest.raises(ConfigurationError, match=r"00000.safetensors is missing"):
            self.read(store, 0)

    def test_the_index_is_cut_short(self, store: TeacherStore) -> None:
        store = TeacherStore.open(str(store.path))
        os.truncate(store.path / INDEX, 100)
        with pytest.raises(ConfigurationError, match=rf"{INDEX} is truncated: it ends before"):
            store.get(SENTENCES[0].key)
        reopened = write_store(store.path, [], **WITH_K_BEST)
        assert reopened is not None
        self.read(reopened, 1)

    def test_a_disk_that_fails(self, store: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(ConfigurationError, match=rf"{SHARD} cannot be read: Input/output error"):
            store.get(SENTENCES[2].key)


class TestDamage:
    """A small store, its files altered at random."""

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_an_error_that_names_the_file_or_the_same_content(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        path, raws, before = _original(tmp_path_factory)
        name = data.draw(st.sampled_from(sorted(raws)))
        try:
            (path / name).write_bytes(data.draw(_damaged(raws[name])))
            message = None
            try:
                found = everything(path)
            except ConfigurationError as error:
                message = str(error)
            assert name in message if message is not None else found == before
        finally:
            (path / name).write_bytes(raws[name])

    def test_without_damage(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path, _, before = _original(tmp_path_factory)
        assert everything(path) == before

    @pytest.mark.parametrize("value", [None, "x", [], {}, [[]], -1, 1e400, True], ids=str)
    def test_a_manifest_of_other_values(self, tmp_path: Path, value: Any) -> None:
        """With its checksum: somebody wrote it so."""
        write_store(tmp_path)
        file = tmp_path / "manifest.main.json"
        fields = json.loads(file.read_text())
        for name in fields["shards"][0]:
            shards = [{**fields["shards"][0], name: value}, *fields["shards"][1:]]
            _write_with_checksum(file, {**fields, "shards": shards})
            if name == "languages" and value == []:
                # Nor are there languages, which only a record misses.
                with pytest.raises(ConfigurationError, match=r"00000.safetensors was altered"):
                    everything(tmp_path)
                continue
            with pytest.raises(ConfigurationError):
                everything(tmp_path)

    def test_a_manifest_that_lists_a_file_elsewhere(self, tmp_path: Path) -> None:
        write_store(tmp_path / "store")
        file = tmp_path / "store" / "manifest.main.json"
        fields = json.loads(file.read_text())
        fields["shards"][0]["file"] = f"../{fields['shards'][0]['file']}"
        _write_with_checksum(file, fields)
        with pytest.raises(ConfigurationError, match=r"is not the manifest of its series: it names other files"):
            TeacherStore.open(str(tmp_path / "store"))

    def test_a_manifest_under_another_name(self, tmp_path: Path) -> None:
        write_store(tmp_path)
        shutil.copy(tmp_path / "manifest.main.json", tmp_path / "manifest.copy.json")
        with pytest.raises(ConfigurationError, match=r"manifest.copy.json is not the manifest of its series"):
            TeacherStore.open(str(tmp_path))

    @pytest.mark.parametrize(
        ("header", "what"),
        [
            (b"[" * 100_000, "maximum recursion"),
            (b"\xff", "can't decode"),
            (b"3", "none of safetensors"),
            (b'{"a": 3}', "none of safetensors"),
            (b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0]}}', "none of safetensors"),
            (b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, "x"]}}', "invalid literal"),
            (b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [1e999, 4]}}', "none of safetensors"),
            (b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}', "does not describe the arrays"),
            (
                b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},'
                b' "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}}',
                "overlap",
            ),
            (
                b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},'
                b' "b": {"dtype": "U8", "shape": [4], "data_offsets": [4, 9999999]}}',
                "does not have the size of its shape",
            ),
            (
                b'{"a": {"dtype": "U8", "shape": [4], "data_offsets": [-4, 0]},'
                b' "b": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
                "overlap",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_headers_that_have_their_checksum(self, header: bytes, what: str) -> None:
        raw = len(header).to_bytes(8, "little") + header
        arrays = {"a": ("U8", (4,)), "b": ("U8", (4,))}
        with pytest.raises(ConfigurationError, match=rf"^x was altered: .*{what}"):
            read_arrays(MemoryFile(raw + bytes(8), Path("x")), arrays, (), zlib.crc32(raw))

    @pytest.mark.parametrize("size", [9, 2**31, 2**63, 2**64 - 1])
    def test_a_header_longer_than_the_file(self, size: int) -> None:
        raw = size.to_bytes(8, "little") + bytes(8)
        with pytest.raises(ConfigurationError, match=r"its header is longer than the file"):
            read_arrays(MemoryFile(raw, Path("x")), {}, (), 0)


_made: Optional[Tuple[Path, Dict[str, bytes], List[Any]]] = None


def _original(factory: pytest.TempPathFactory) -> Tuple[Path, Dict[str, bytes], List[Any]]:
    """A store of two writers, its files, and all that is in it."""
    global _made
    if _made is None:
        path = factory.mktemp("damaged") / "store"
        write_store(path, SENTENCES[:3], encoding="float16", **WITH_K_BEST)
        write_store(path, SENTENCES[2:], encoding="float16", writer="second", **WITH_K_BEST)
        _made = path, content(path), everything(path)
    return _made


@st.composite
def _damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """Bytes flipped, cut out, put in, doubled; a header of another length; another number in the JSON."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "swap", "head", "digit", "any"]))
    if kind == "any" or not raw:
        return draw(st.binary(max_size=200))
    place = draw(st.integers(0, len(raw) - 1))
    length = draw(st.integers(1, 40))
    if kind == "flip":
        return raw[:place] + bytes([raw[place] ^ 1 << draw(st.integers(0, 7))]) + raw[place + 1 :]
    if kind == "cut":
        return raw[:place] + raw[place + length :]
    if kind == "insert":
        return raw[:place] + draw(st.binary(min_size=1, max_size=length)) + raw[place:]
    if kind == "swap":
        other = draw(st.integers(0, len(raw) - 1))
        moved = raw[other : other + length]
        return (raw[:place] + moved + raw[place + len(moved) :])[: len(raw)]
    if kind == "head":
        return draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little") + raw[8:]
    digits = [i for i, byte in enumerate(raw) if chr(byte).isdigit()]
    at = draw(st.sampled_from(digits)) if digits else place
    return raw[:at] + str(draw(st.integers(0, 9))).encode() + raw[at + 1 :]


def _write_with_checksum(file: Path, fields: Dict[str, Any]) -> None:
    import hashlib

    fields = {name: value for name, value in fields.items() if name != "checksum"}
    text = format_module._canonical(fields)
    line = f'\n "checksum": "{hashlib.sha256(text).hexdigest()}",'.encode()
    position = text.index(b'\n "complete": ')
    file.write_bytes(text[:position] + line + text[position:])
