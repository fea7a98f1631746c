"""
Trains, or goes on with a training that was broken off: `train.py CONFIG FOLDER INPUT...`.

A training is gone on with only if everything it depends on, the INPUTs, is what it was begun with; else it begins anew.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

import versions

_TERMINATED = 128 + signal.SIGTERM


def fingerprint(paths: Sequence[str]) -> str:
    """
    Changes if the content of any file does, or a version that a training may depend on.

    # Parameters

    paths : `Sequence[str]`
        Files, and teacher stores, which are told by their manifests: these have checksums of all else.
    """
    digest = hashlib.sha256(json.dumps(versions.installed()).encode())
    for path in paths:
        files = sorted(Path(path).glob("manifest.*.json")) if Path(path).is_dir() else [Path(path)]
        for file in files:
            content = file.read_bytes()
            digest.update(f"{file} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def begun_file(folder: Path) -> Path:
    """Where it is noted what a training was begun with: beside its folder, which a new training empties."""
    return folder.with_name(f"{folder.name}.begun.json")


def begun(folder: Path) -> Dict[str, Any]:
    """What is noted there: `inputs`, `resumed`, `versions`; nothing, if nothing is, or a kill left half of it."""
    try:
        found: Dict[str, Any] = json.loads(begun_file(folder).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def how(folder: Path, inputs: str) -> Dict[str, Any]:
    """
    How to train: `recover`, and how often this training was `resumed`, this time included.

    # Parameters

    folder : `Path`
        The serialization directory.
    inputs : `str`
        What the inputs are now, as `fingerprint` has it.
    """
    noted = begun(folder)
    recover = (
        noted.get("inputs") == inputs and (folder / "config.json").exists() and any(folder.glob("model_state_*.th"))
    )
    return {"inputs": inputs, "recover": recover, "resumed": noted["resumed"] + 1 if recover else 0}


def main(arguments: Sequence[str]) -> int:
    """The exit status of the training."""
    config, directory, *paths = arguments
    folder = Path(directory)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    plan = how(folder, fingerprint(paths))
    if not plan["recover"]:
        # Before it is noted what this training begins with: else, broken off before AllenNLP empties the folder, it
        # would be gone on with from the checkpoint of another training.
        begun_file(folder).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    _note(folder, {"inputs": plan["inputs"], "resumed": plan["resumed"], "versions": versions.installed()})
    command = [sys.executable, "-m", "allennlp", "train", config, "--serialization-dir", directory]
    command += ["--recover" if plan["recover"] else "--force", "--file-friendly-logging"]
    print(*command, flush=True)
    terminated = []
    running: List[subprocess.Popen[bytes]] = []

    def terminate(*_: Any) -> None:
        terminated.append(True)
        for one in running:
            one.terminate()

    signal.signal(signal.SIGTERM, terminate)
    # The training holds the lock too, should this process be killed.
    process = subprocess.Popen(command, pass_fds=(lock,))
    running.append(process)
    if terminated:
        # Before it was among those that run.
        process.terminate()
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The training has been interrupted by the same key, and says so itself.
        process.wait()
        return 130
    if terminated:
        return _TERMINATED
    if status > 0 and plan["recover"]:
        # What cannot be gone on with is begun anew the next time.
        begun_file(folder).unlink()
    return status if status >= 0 else 128 - status


def _locked(folder: Path) -> int:
    """
    The descriptor of a lock on a training's folder, held until all processes that have it have ended.

    # Raises

    `SystemExit` : where another has it: a training whose Snakemake was killed goes on.
    """
    lock = os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SystemExit(
            f"error: another process is training {folder}: wait for it, or end it, and start again"
        ) from None
    except OSError:
        # A file system without locks, as some over a network: nothing is known of others.
        pass
    return lock


def _note(folder: Path, content: Dict[str, Any]) -> None:
    file = begun_file(folder)
    beside = file.with_name(file.name + ".tmp")
    beside.write_text(json.dumps(content) + "\n", encoding="utf-8")
    os.replace(beside, file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
