"""Whether a training that was broken off is gone on with or begun anew."""

import errno
import json

import pytest

from tests.study.programs import program

program("versions")
train = program("train")


@pytest.fixture
def folder(tmp_path):
    """Of a training that was broken off after its first epoch."""
    folder = tmp_path / "student_seed1"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model_state_e0_b0.th").write_bytes(b"weights")
    train.begun_file(folder).write_text(json.dumps({"inputs": "same", "resumed": 0}))
    return folder


def test_it_is_gone_on_with(folder):
    assert train.how(folder, "same") == {"inputs": "same", "recover": True, "resumed": 1}


def test_other_inputs_begin_anew(folder):
    assert train.how(folder, "other") == {"inputs": "other", "recover": False, "resumed": 0}


@pytest.mark.parametrize("lost", ["config.json", "model_state_e0_b0.th", "../student_seed1.begun.json"])
def test_without_a_checkpoint_it_is_begun_anew(folder, lost):
    (folder / lost).unlink()
    assert not train.how(folder, "same")["recover"]


def test_the_fingerprint_is_of_contents(tmp_path):
    file, store = tmp_path / "a.jsonnet", tmp_path / "store"
    store.mkdir()
    file.write_text("1")
    (store / "manifest.main.json").write_text("1")
    paths = [str(file), str(store)]
    first = train.fingerprint(paths)
    file.write_text("1")
    (store / ".lock").write_text("")
    assert train.fingerprint(paths) == first
    (store / "manifest.main.json").write_text("2")
    second = train.fingerprint(paths)
    file.write_text("2")
    assert len({first, second, train.fingerprint(paths)}) == 3


@pytest.mark.parametrize("content", ["", '{"inputs": "sa', "[1"])
def test_a_note_that_cannot_be_read_is_none(folder, content):
    train.begun_file(folder).write_text(content)
    assert train.how(folder, "same") == {"inputs": "same", "recover": False, "resumed": 0}


def test_a_checkpoint_of_other_inputs_is_gone_before_anything_is_begun(folder, monkeypatch):
    """Else, broken off before AllenNLP empties the folder, it would be gone on with."""
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)

    def broken_off(command, **_):
        assert "--force" in command
        raise KeyboardInterrupt

    monkeypatch.setattr(train.subprocess, "Popen", broken_off)
    with pytest.raises(KeyboardInterrupt):
        train.main(["x.jsonnet", str(folder)])
    assert not folder.exists()
    assert not train.how(folder, train.fingerprint([]))["recover"]
    assert train.begun(folder)["versions"]["torch"]


def test_terminated_twice_it_is_still_gone_on_with(folder, monkeypatch):
    """As by a cluster's limit of time: AllenNLP ends with 1, as of a mistake."""
    handlers = []

    class Process:
        def __init__(self, command, **_):
            assert "--recover" in command

        def wait(self):
            handlers[0]()
            return 1

        def terminate(self):
            pass

    monkeypatch.setattr(train.subprocess, "Popen", Process)
    monkeypatch.setattr(train.signal, "signal", lambda _, handler: handlers.append(handler))
    train.begun_file(folder).write_text(json.dumps({"inputs": train.fingerprint([]), "resumed": 1}))
    assert train.main(["x.jsonnet", str(folder)]) == 128 + train.signal.SIGTERM
    assert train.how(folder, train.fingerprint([]))["recover"]


@pytest.mark.parametrize(("status", "kept"), [(1, False), (0, True)])
def test_what_cannot_be_gone_on_with_is_begun_anew_the_next_time(folder, tmp_path, monkeypatch, status, kept):
    commands = []

    class Process:
        def __init__(self, command, **_):
            commands.append(command)

        def wait(self):
            return status

    monkeypatch.setattr(train.subprocess, "Popen", Process)
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)
    train.begun_file(folder).write_text(json.dumps({"inputs": train.fingerprint([]), "resumed": 0}))
    assert train.main(["x.jsonnet", str(folder)]) == status
    assert "--recover" in commands[0]
    assert train.begun_file(folder).exists() == kept


def test_a_folder_is_trained_by_one_process(folder, monkeypatch):
    """As after a kill of Snakemake alone: what it had started goes on."""
    started = []
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)

    class Process:
        def __init__(self, command, pass_fds):
            started.append(pass_fds)

        def wait(self):
            with pytest.raises(SystemExit, match=f"another process is training {folder}"):
                train.main(["x.jsonnet", str(folder)])
            return 0

    monkeypatch.setattr(train.subprocess, "Popen", Process)
    assert train.main(["x.jsonnet", str(folder)]) == 0
    assert len(started) == 1
    assert len(started[0]) == 1


def test_terminated_before_it_knows_the_training_it_ends_it(folder, monkeypatch):
    handlers = []
    ended = []

    class Process:
        def __init__(self, command, **_):
            handlers[0]()

        def wait(self):
            return 1

        def terminate(self):
            ended.append(True)

    monkeypatch.setattr(train.subprocess, "Popen", Process)
    monkeypatch.setattr(train.signal, "signal", lambda _, handler: handlers.append(handler))
    assert train.main(["x.jsonnet", str(folder)]) == 128 + train.signal.SIGTERM
    assert ended == [True]


def test_a_file_system_without_locks_is_no_obstacle(folder, monkeypatch):
    def without_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    class Process:
        def __init__(self, command, **_):
            pass

        def wait(self):
            return 0

    monkeypatch.setattr(train.fcntl, "flock", without_locks)
    monkeypatch.setattr(train.subprocess, "Popen", Process)
    monkeypatch.setattr(train.signal, "signal", lambda *_: None)
    assert train.main(["x.jsonnet", str(folder)]) == 0
