"""From what a command line names to a teacher."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, Optional

from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params, parse_overrides, with_overrides
from allennlp.models.archival import Archive, load_archive

from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher
from structkd_plugin.teacher.sources.stock_archive import StockArchiveTeacher
from structkd_plugin.teacher.sources.structkd_archive import StructkdArchiveTeacher

ARCHIVED_KINDS = (StructkdArchiveTeacher, StockArchiveTeacher)


def load_teacher(
    name: str, cuda_device: int = -1, overrides: str = "", reader: Optional[Dict[str, Any]] = None
) -> CapturedTeacher:
    """
    The teacher that `name` names, told by what is there.

    # Parameters

    name : `str`
        An archive (a path or an address), a serialization directory, the folder of a Hugging Face model, or a JSON or
        Jsonnet file that describes a teacher: `{"type": ..., ...}`.
    cuda_device : `int`, optional (default = -1)
        Number of the GPU; −1 is the CPU.
    overrides : `str`, optional (default = "")
        JSON or Jsonnet that overrides an archive's configuration, a description, or the options of a Hugging Face
        model.
    reader : `Dict[str, Any]`, optional
        Configuration of the reader of the files; needed where the teacher brings none of this plugin's.

    # Raises

    `ConfigurationError` : if it is none of these, or cannot be captured.
    """
    if "://" in name or _is_archive(name):
        return teacher_of_archive(load_archive(name, cuda_device=cuda_device, overrides=overrides), reader)
    description = _description(name, overrides)
    return _ready(CapturedTeacher.from_params(Params(description), cuda_device=cuda_device), reader)


def teacher_of_archive(archive: Archive, reader: Optional[Dict[str, Any]] = None) -> CapturedTeacher:
    """
    The teacher in an archive.

    # Parameters

    archive : `Archive`
        As `load_archive` gives it.
    reader : `Dict[str, Any]`, optional
        Configuration of a reader to be used instead of the archive's, for files of another format. How words become
        numbers is the archive's in any case.

    # Raises

    `ConfigurationError` : if the archive's model is not of a kind that can be captured, or there is no reader.
    """
    for kind in ARCHIVED_KINDS:
        if kind.takes(archive.model):
            return _ready(kind(archive), reader)
    raise ConfigurationError(
        f"the model of the archive is a {type(archive.model).__name__}, which shows no potentials that could be "
        "captured. Name an archive of a structkd_tagger, a crf_tagger or a simple_tagger."
    )


def _ready(teacher: CapturedTeacher, reader: Optional[Dict[str, Any]]) -> CapturedTeacher:
    """`teacher` with a reader of the files."""
    if reader is not None:
        teacher.read_with(reader)
    _ = teacher.reader
    return teacher


def _is_archive(name: str) -> bool:
    if not os.path.exists(name):
        raise ConfigurationError(f"{name}: there is no such archive")
    if os.path.isdir(name):
        return {"model", "dataset_reader"} <= _folder_config(name).keys()
    return tarfile.is_tarfile(name)


def _folder_config(name: str) -> Dict[str, Any]:
    """What config.json in a folder says; nothing where there is none."""
    try:
        config = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _description(name: str, overrides: str) -> Dict[str, Any]:
    """The description of a teacher that is no archive."""
    if os.path.isdir(name):
        if "model_type" not in _folder_config(name):
            raise ConfigurationError(
                f"{name} is no teacher: a serialization directory of AllenNLP has a config.json with `model` and "
                "`dataset_reader`, the folder of a Hugging Face model one with `model_type`"
            )
        description = {"type": "huggingface", "path": name}
        return with_overrides(description, parse_overrides(overrides)) if overrides else description
    try:
        found: Dict[str, Any] = Params.from_file(name, overrides).as_dict(quiet=True)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"{name} is neither an archive (model.tar.gz) nor JSON or Jsonnet that describes a teacher: {reason}"
        ) from None
    if not isinstance(found, dict) or "type" not in found:
        raise ConfigurationError(
            f"{name} describes no teacher: it has no `type`, which is one of "
            f"{', '.join(sorted(CapturedTeacher.list_available()))}"
        )
    return found
