"""Putting a calibration into all manifests of a store, or taking it out."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import List, Optional

from allennlp.common.checks import ConfigurationError
from filelock import FileLock, Timeout

from structkd_plugin.teacher.format import START_LOCK, Calibration, Manifest, manifest_file, write_and_rename


def manifests_of(path: str) -> List[Manifest]:
    """
    The manifests of a store, by name.

    # Raises

    `ConfigurationError` : for a directory that is not a store, and a manifest that was altered.
    """
    return [Manifest.read(file) for file in _manifest_files(path)]


def clear_disagreement(path: str) -> None:
    """
    Take out calibrations that differ between the manifests of a store, as a kill leaves them, so that it can be opened.

    # Raises

    `ConfigurationError` : as in `set_calibration`.
    """
    found = manifests_of(path)
    if any(manifest.calibration != found[0].calibration for manifest in found):
        set_calibration(path, None)


def set_calibration(path: str, calibration: Optional[Calibration]) -> int:
    """
    Give every manifest of a store the same calibration.

    Each manifest is replaced as a whole; a kill in between leaves manifests that differ, which `TeacherStore.open`
    refuses, and which this mends when it is called again. No writer may be at work meanwhile.

    # Parameters

    path : `str`
        Directory of the store.
    calibration : `Calibration`, optional
        `None` takes out what there is.

    # Returns

    `int` : how many manifests had another one.

    # Raises

    `ConfigurationError` : for a directory that is not a store, a manifest that was altered, a store that is being
        written, and when writing fails.
    """
    directory = Path(path)
    files = _manifest_files(path)
    changed = 0
    with ExitStack() as locks:
        try:
            # No writer begins meanwhile, which would take over what there was.
            locks.enter_context(FileLock(str(directory / START_LOCK)).acquire(timeout=0))
            for file in files:
                writer = Manifest.read(file).writer
                locks.enter_context(FileLock(str(directory / f".lock.{writer}")).acquire(timeout=0))
            for file in files:
                # Read again: what was read before the lock was held may be of the past.
                manifest = Manifest.read(file)
                if manifest.calibration != calibration:
                    content = replace(manifest, calibration=calibration).to_bytes()
                    write_and_rename(file, content, manifest.writer)
                    changed += 1
        except Timeout:
            raise ConfigurationError(
                f"{path} is being written by another process. Wait for it; its calibration is as it was."
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the calibration of {path}: {error.strerror or error}. Run the same command again."
            ) from error
    return changed


def _manifest_files(path: str) -> List[Path]:
    files = sorted(Path(path).glob(manifest_file("*")))
    if not files:
        raise ConfigurationError(
            f"{path} is not a teacher store: it holds no {manifest_file('*')}. "
            "Make one with `allennlp cache-teacher ARCHIVE FILES... --output STORE`."
        )
    return files
