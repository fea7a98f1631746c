"""
Trains, or goes on with a training that was broken off: `train.py CONFIG FOLDER INPUT...`.

A training is gone on with only if everything it depends on, the INPUTs, is what it was begun with; else it begins anew.
"""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Sequence


def fingerprint(paths: Sequence[str]) -> str:
    """
    Changes if the content of any file does.

    # Parameters

    paths : `Sequence[str]`
        Files, and teacher stores, which are told by their manifests: these have checksums of all else.
    """
    digest = hashlib.sha256()
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


def how(folder: Path, inputs: str) -> Dict[str, Any]:
    """
    How to train: `recover`, and how often this training was `resumed`, this time included.

    # Parameters

    folder : `Path`
        The serialization directory.
    inputs : `str`
        What the inputs are now, as `fingerprint` has it.
    """
    noted = begun_file(folder)
    begun = json.loads(noted.read_text()) if noted.exists() else {}
    recover = (
        begun.get("inputs") == inputs and (folder / "config.json").exists() and any(folder.glob("model_state_*.th"))
    )
    return {"inputs": inputs, "recover": recover, "resumed": begun["resumed"] + 1 if recover else 0}


def main(arguments: Sequence[str]) -> int:
    """The exit status of the training."""
    config, directory, *paths = arguments
    folder = Path(directory)
    plan = how(folder, fingerprint(paths))
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun_file(folder).write_text(json.dumps({"inputs": plan["inputs"], "resumed": plan["resumed"]}) + "\n")
    command = [sys.executable, "-m", "allennlp", "train", config, "--serialization-dir", directory]
    command += ["--recover" if plan["recover"] else "--force", "--file-friendly-logging"]
    print(*command, flush=True)
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # The training has been interrupted by the same key, and says so itself.
        process.wait()
        return 130
    if status > 0 and plan["recover"]:
        # What cannot be gone on with is begun anew the next time.
        begun_file(folder).unlink()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
