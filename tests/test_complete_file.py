"""Files that are there when they are complete: written, broken off at every point, refused, and streams as targets."""

import gzip
import os
import resource
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import SigTermReceived

from structkd_plugin.complete_file import complete_file, complete_text_file, path_beside
from tests.children import fork


def in_child(work: Callable[[], bool]) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1]) == 0


def contents(folder: Path) -> Dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def write(path: Any, text: str = "new\n", **options: bool) -> None:
    with complete_text_file(path, **options) as stream:
        stream.write(text)


def broken_off(path: Any, error: BaseException, **options: bool) -> None:
    with complete_file(path, **options) as stream:
        stream.write(b"half" * 10_000)
        raise error


def write_bytes(path: Any, pieces: List[bytes]) -> None:
    with complete_file(path) as stream:
        for piece in pieces:
            stream.write(piece)


def refusal(path: Any, **options: bool) -> str:
    with pytest.raises(ConfigurationError) as caught:
        write(path, **options)
    return str(caught.value)


class TestWriting:
    def test_the_file_is_as_before_until_all_is_written(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"old")
        with complete_file(str(file)) as stream:
            stream.write(b"a" * 100_000)
            stream.flush()
            assert file.read_bytes() == b"old"
            assert len(list(tmp_path.iterdir())) == 2
        assert contents(tmp_path) == {"file": b"a" * 100_000}

    def test_text_is_utf_8_with_the_ends_of_lines_that_were_written(self, tmp_path: Path) -> None:
        write(tmp_path / "file", "Köln\r\n名\n")
        assert contents(tmp_path) == {"file": "Köln\r\n名\n".encode()}

    def test_nothing_is_a_file_too(self, tmp_path: Path) -> None:
        write(tmp_path / "file", "")
        assert contents(tmp_path) == {"file": b""}

    def test_packed_by_its_name_and_twice_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a.gz", "b.gz"):
            with complete_file(tmp_path / name) as stream:
                stream.write(b"line\n" * 9)
        written = contents(tmp_path)
        assert gzip.decompress(written["a.gz"]) == b"line\n" * 9
        assert written["a.gz"] == written["b.gz"]

    @pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
    def test_permissions_are_those_of_any_new_file(self, tmp_path: Path, umask: int, mode: int) -> None:
        before = os.umask(umask)
        try:
            write(tmp_path / "file")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode

    @pytest.mark.parametrize("mode", [0o600, 0o660, 0o755])
    def test_a_file_that_was_there_keeps_its_permissions(self, tmp_path: Path, mode: int) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "file").chmod(mode)
        write(tmp_path / "file")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode

    def test_folders_are_made_where_that_is_wanted(self, tmp_path: Path) -> None:
        write(tmp_path / "a" / "b" / "file", make_folder=True)
        assert contents(tmp_path / "a" / "b") == {"file": b"new\n"}
        message = refusal(tmp_path / "c" / "file")
        assert message == (
            f"cannot write {tmp_path}/c/file: No such file or directory: there is no folder {tmp_path}/c"
        )
        assert not (tmp_path / "c").exists()

    def test_a_name_in_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write("file", make_folder=True)
        assert contents(tmp_path) == {"file": b"new\n"}

    def test_a_name_as_long_as_a_name_may_be(self, tmp_path: Path) -> None:
        for name in ("n" * 255, "名" * 85):
            write(tmp_path / name)
            assert (tmp_path / name).read_text() == "new\n"

    def test_two_that_write_at_once_do_not_mix(self, tmp_path: Path) -> None:
        with complete_text_file(tmp_path / "file") as one, complete_text_file(tmp_path / "file") as other:
            one.write("one")
            other.write("other")
        # The first block ends last.
        assert contents(tmp_path) == {"file": b"one"}

    def test_names_beside_are_hidden_and_differ(self, tmp_path: Path) -> None:
        names = {path_beside(tmp_path / "file") for _ in range(100)}
        assert len(names) == 100
        assert all(path.parent == tmp_path and path.name.startswith(".file.") for path in names)


class TestLinks:
    def test_what_a_link_points_to_is_written(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "file").write_text("old")
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "second").symlink_to("../there/file")
        (tmp_path / "here" / "first").symlink_to("second")
        write(tmp_path / "here" / "first")
        assert contents(tmp_path / "there") == {"file": b"new\n"}
        assert [link.is_symlink() for link in (tmp_path / "here").iterdir()] == [True, True]

    def test_a_link_to_what_is_not_there_yet(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("file")
        write(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_text() == "new\n"

    def test_a_circle(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        assert refusal(tmp_path / "a").startswith(f"cannot write {tmp_path}/a: Too many levels of symbolic links")
        assert (tmp_path / "a").is_symlink()


class TestErrors:
    @pytest.mark.parametrize("kind", [ValueError, OSError, KeyboardInterrupt, SigTermReceived, SystemExit])
    @pytest.mark.parametrize("name", ["file", "file.gz", "new/folder/file"])
    def test_nothing_is_left_and_the_error_is_what_it_was(self, tmp_path: Path, kind: type, name: str) -> None:
        for before in ([], [b"old"]):
            for content in before:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(content)
            there = sorted(tmp_path.rglob("*"))
            error = kind("of the reading side")
            with pytest.raises(kind) as caught:
                broken_off(tmp_path / name, error, make_folder=True)
            assert caught.value is error
            assert sorted(tmp_path.rglob("*")) == there
            assert all((tmp_path / name).read_bytes() == content for content in before)

    def test_a_folder_that_somebody_else_uses_is_left(self, tmp_path: Path) -> None:
        def use_it() -> None:
            with complete_file(tmp_path / "a" / "b" / "x", make_folder=True):
                (tmp_path / "a" / "other").touch()
                raise ValueError("half")

        with pytest.raises(ValueError, match="half"):
            use_it()
        assert contents(tmp_path / "a") == {"other": b""}

    def test_ctrl_c_at_every_system_call(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An interruption before and after each: the file is the old one or the new one, and nothing is beside it."""
        names = ("stat", "access", "fchmod", "fsync", "replace")
        for name in names:
            for early in (True, False):
                file = tmp_path / "file"
                file.write_text("old")
                file.chmod(0o640)
                original: Any = getattr(os, name)

                def interrupted(*args: Any, original: Any = original, early: bool = early, **options: Any) -> Any:
                    if not early:
                        original(*args, **options)
                    raise KeyboardInterrupt

                with monkeypatch.context() as patched:
                    patched.setattr(os, name, interrupted)
                    with pytest.raises(KeyboardInterrupt):
                        write(file)
                expected = b"new\n" if (name, early) == ("replace", False) else b"old"
                assert contents(tmp_path) == {"file": expected}, (name, early)

    def test_a_kill_leaves_the_old_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("old")

        def child() -> bool:
            with complete_text_file(tmp_path / "file") as stream:
                stream.write("half")
                stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        assert os.waitpid(fork(child), 0)[1] == signal.SIGKILL
        assert (tmp_path / "file").read_text() == "old"
        # What the dead one left is in nobody's way.
        write(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "new\n"

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        for path in (tmp_path / "folder", f"{tmp_path}/folder/", f"{tmp_path}/folder/."):
            assert refusal(path) == f"cannot write {path}: Is a directory"
        assert contents(tmp_path / "folder") == {}
        assert refusal(f"{tmp_path}/none/", make_folder=True).startswith(f"cannot write {tmp_path}/none/: No such file")
        assert refusal("").startswith("cannot write : No such file")

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("old")
        for path in (tmp_path / "file" / "x", tmp_path / "file" / "y" / "x"):
            for make_folder in (False, True):
                assert refusal(path, make_folder=make_folder) == f"cannot write {path}: Not a directory"
        assert contents(tmp_path) == {"file": b"old"}

    def test_a_file_that_becomes_a_folder_meanwhile(self, tmp_path: Path) -> None:
        def meanwhile() -> None:
            with complete_text_file(tmp_path / "file") as stream:
                stream.write("x")
                (tmp_path / "file").mkdir()

        with pytest.raises(ConfigurationError, match=r"cannot write .*/file: Is a directory"):
            meanwhile()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_no_permission(self, tmp_path: Path) -> None:
        (tmp_path / "closed").mkdir()
        (tmp_path / "closed" / "file").write_text("old")
        (tmp_path / "open").mkdir()
        (tmp_path / "open" / "file").write_text("old")
        (tmp_path / "open" / "file").chmod(0o444)
        (tmp_path / "closed").chmod(0o555)
        (tmp_path / "open").chmod(0o777)

        def child() -> bool:
            if os.geteuid() == 0:
                # Who may do all is refused nothing. Folders above are closed to others: they are entered before.
                os.chdir(tmp_path)
                os.setuid(65534)
            else:
                os.chdir(tmp_path)
            said = [refusal(name) for name in ("closed/file", "closed/new", "open/file")]
            assert said[0].startswith("cannot write closed/file: Permission denied")
            assert said[1] == f"cannot write closed/new: Permission denied in the folder {tmp_path}/closed"
            assert said[2] == "cannot write open/file: Permission denied"
            # A folder cannot be made either.
            assert refusal("closed/a/b", make_folder=True).startswith("cannot write closed/a/b: Permission denied")
            return True

        try:
            opened = [folder for folder in tmp_path.parents if not folder.stat().st_mode & stat.S_IXOTH]
            modes = [(folder, stat.S_IMODE(folder.stat().st_mode)) for folder in (tmp_path, *opened)]
            for folder, mode in modes:
                folder.chmod(mode | 0o555)
            assert in_child(child)
        finally:
            (tmp_path / "closed").chmod(0o755)
            for folder, mode in modes:
                folder.chmod(mode)
        assert contents(tmp_path / "closed") == contents(tmp_path / "open") == {"file": b"old"}

    @pytest.mark.parametrize("name", ["file", "file.gz"])
    def test_a_disk_that_gets_full(self, tmp_path: Path, name: str) -> None:
        """As the system says it: files of this process may not grow over 700 bytes."""
        (tmp_path / name).write_text("old")

        def child() -> bool:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
            # All at once, little by little, and in the last moment.
            for pieces in ([os.urandom(90_000)], [os.urandom(100) for _ in range(900)], [os.urandom(900)]):
                with pytest.raises(ConfigurationError) as caught:
                    write_bytes(tmp_path / name, pieces)
                assert str(caught.value) == f"cannot write {tmp_path}/{name}: File too large"
            with pytest.raises(ConfigurationError, match="File too large"):
                write(tmp_path / name, os.urandom(900).hex())
            return contents(tmp_path) == {name: b"old"}

        assert in_child(child)

    def test_a_device_that_is_full(self) -> None:
        assert refusal("/dev/full") == "cannot write /dev/full: No space left on device"


class TestStreams:
    def test_a_named_pipe_has_what_is_written_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        read: List[str] = []

        def reading() -> None:
            with open(tmp_path / "pipe") as stream:
                read.extend(stream)

        reader = threading.Thread(target=reading)
        reader.start()
        with complete_text_file(tmp_path / "pipe") as stream:
            stream.write("one\n")
            stream.flush()
            waited = time.monotonic()
            stream.write("two\n")
        reader.join(timeout=60)
        assert (read, time.monotonic() - waited < 60) == (["one\n", "two\n"], True)
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    def test_a_pipe_that_nobody_reads_any_more(self, tmp_path: Path) -> None:
        end, start = os.pipe()
        os.close(end)
        assert refusal(f"/dev/fd/{start}") == f"cannot write /dev/fd/{start}: Broken pipe"
        os.close(start)

    def test_a_device(self) -> None:
        write("/dev/null")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    def test_the_standard_output_by_no_name(self, capsysbinary: pytest.CaptureFixture) -> None:
        for path in (None, "-"):
            with complete_file(path) as stream:
                assert stream is sys.stdout.buffer
                stream.write(b"line\n")
        assert capsysbinary.readouterr().out == b"line\nline\n"

    @pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "{file}"])
    @pytest.mark.parametrize("redirected", [True, False])
    def test_the_standard_output_by_its_name(self, tmp_path: Path, name: str, redirected: bool) -> None:
        """What is printed before and after stands where it was printed, in a pipe and in a file."""
        file = tmp_path / "file"
        file.touch()
        read, written = os.pipe()

        def child() -> bool:
            os.dup2(os.open(file, os.O_WRONLY) if redirected else written, 1)
            sys.stdout = os.fdopen(1, "w")
            print("before")
            write(name.format(file=file), "inside\n")
            print("after")
            sys.stdout.flush()
            return True

        assert in_child(child)
        os.close(written)
        with os.fdopen(read, "rb") as stream:
            printed = stream.read()
        inside = redirected or name != "{file}"
        assert (file.read_bytes() if redirected else printed) == b"before\n" + b"inside\n" * inside + b"after\n"
        if not inside:
            assert file.read_text() == "inside\n"
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
