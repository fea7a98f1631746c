"""
Archives that people exchange are checked before anything of them is unpacked or run.

AllenNLP 2.10.1 unpacks whatever an archive holds, evaluates its configuration as a Jsonnet program, calls whatever
function the configuration names by a dotted path, and leaves to torch's default how its weights are unpickled. Here
`guard` puts checks around the few functions that all of its commands come through; docs/safety.md says what they
refuse and what they do not.
"""

import functools
import gzip
import json
import logging
import os
import pickle
import pickletools
import posixpath
import re
import shutil
import tarfile
import tempfile
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Dict, Iterator, Optional, Set, Tuple, Union

import torch
from allennlp.common import Registrable
from allennlp.common.checks import ConfigurationError
from allennlp.data import vocabulary
from allennlp.models import archival
from allennlp.models.model import _DEFAULT_WEIGHTS
from allennlp.nn import util

logger = logging.getLogger(__name__)

_CONFIG = archival.CONFIG_NAME
_WEIGHTS = (archival._WEIGHTS_NAME, _DEFAULT_WEIGHTS)

# What torch.save names in a file of tensors, parameters, and lists and dictionaries of them; types and storages of
# torch come on top. No more than what torch.load(weights_only=True) knows.
_TENSOR_PARTS = frozenset(
    {
        "_codecs.encode",
        "collections.OrderedDict",
        "torch.Size",
        "torch.Tensor",
        "torch.device",
        "torch._utils._rebuild_nested_tensor",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_qtensor",
        "torch._utils._rebuild_sparse_tensor",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
    }
)
_STORAGE = re.compile(r"torch\.(cuda\.)?[A-Za-z0-9]+Storage")
_TORCH_TYPES = (torch.dtype, torch.layout, torch.memory_format, torch.qscheme)

# The opcodes of a pickle that fetch something by name, of which torch.save writes GLOBAL alone.
_OTHER_NAMES = frozenset({"INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})

# torch before 1.6 wrote five pickles: a magic number, a protocol, the system, the objects, the keys of the storages.
_LEGACY_PICKLES = 5

_CHUNK = 1 << 20  # a MiB
# A larger archive that shrank to less than a 200th is no model: parameters barely shrink, vocabularies to a fifth.
_SUSPECT_SIZE = 1 << 30
_SUSPECT_RATIO = 200

_INSTEAD = "do not use it, and ask who gave it to you for one that `allennlp train` wrote"


def check_archive(path: Union[str, "os.PathLike[str]"]) -> None:
    """
    Refuse an archive that could do more than describe a model; nothing of it is unpacked, unpickled or run.

    `load_archive` does so by itself wherever the plugin is loaded. Of a folder, which is not unpacked, only
    the configuration and the weights are looked at.

    # Parameters

    path : `Union[str, os.PathLike[str]]`
        A `model.tar.gz` or a serialization directory.

    # Raises

    `ConfigurationError` : naming the archive, what in it is refused and why.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        _check_folder(path)
    else:
        with _unpacked_tar(path) as tar:
            _check_model_tar(tar, path)


def check_weights(path: Union[str, "os.PathLike[str]"]) -> None:
    """
    Refuse a file of `torch.save` that needs more than tensors to load, without unpickling it.

    # Parameters

    path : `Union[str, os.PathLike[str]]`

    # Raises

    `ConfigurationError` : naming what else the file calls.
    """
    with open(path, "rb") as file:
        _check_weights(file, os.fspath(path))


def guard() -> None:
    """Have AllenNLP check what it loads; guarding twice is the same as once."""
    # Every command reaches these by the names that their own modules look up when called, so that it does not matter
    # who has imported `load_archive` before.
    for owner, name, checked in (
        (archival, "cached_path", _cached_archive),
        (archival, "extracted_archive", _extracted_archive),
        (archival, "_load_model", _load_model),
        (util, "read_state_dict", _read_state_dict),
        (vocabulary, "cached_path", _cached_vocabulary),
        (Registrable, "resolve_class_name", classmethod(_resolve_class_name)),
    ):
        setattr(owner, name, checked)


# --- What is checked ---


def _check_folder(path: str) -> None:
    config = Path(path, _CONFIG)
    if config.is_file():
        _check_config(config.read_bytes(), path)
    for name in _WEIGHTS:
        weights = Path(path, name)
        if weights.is_file():
            check_weights(weights)
            # The other one is not read where the first is there.
            break


def _check_model_tar(tar: tarfile.TarFile, path: str) -> None:
    _check_members(tar, path)
    checked: Set[str] = set()
    for member in tar:
        # Some file systems do not tell capitals from small letters.
        name = posixpath.normpath(member.name).casefold()
        if name != _CONFIG and name not in _WEIGHTS:
            continue
        if name in checked:
            raise _refusal(path, f"{name} is in it twice, so that it is not clear which of them counts")
        checked.add(name)
        file = tar.extractfile(member)
        if file is None:
            continue
        if name == _CONFIG:
            _check_config(file.read(), path)
        else:
            _check_weights(file, f"{path}!{name}")


def _check_members(tar: tarfile.TarFile, path: str) -> None:
    for member in tar:
        name = member.name
        if re.match(r"[/\\]|[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name) or "\0" in name:
            raise _refusal(path, f"its member {name!r} would be written outside of its folder")
        if member.issym() or member.islnk():
            raise _refusal(path, f"its member {name!r} is a link (to {member.linkname!r})")
        if member.issparse() or not (member.isreg() or member.isdir()):
            raise _refusal(path, f"its member {name!r} is neither a plain file nor a folder")


def _check_config(content: bytes, where: str) -> None:
    try:
        config = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refusal(
            where,
            f"its {_CONFIG} is not plain JSON, as `allennlp train` writes it, but could be a program ({error})",
        ) from None
    if _runs_code_of_others(config):
        raise _refusal(
            where,
            f"its {_CONFIG} sets trust_remote_code, which has transformers run a program from the model's repository",
            "take the setting out of the file if you know that program",
        )


def _runs_code_of_others(config: Any) -> bool:
    if isinstance(config, dict):
        return bool(config.get("trust_remote_code")) or any(map(_runs_code_of_others, config.values()))
    return isinstance(config, list) and any(map(_runs_code_of_others, config))


def _check_weights(file: IO[bytes], where: str) -> None:
    """The same reader as torch.load's gets the pickle out of the file, so that no other is loaded than is checked."""
    try:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04":
            records = torch._C.PyTorchFileReader(file)
            # torch before 2.6 runs these even where it is told to load weights only.
            if "constants.pkl" in records.get_all_records():
                raise _refusal(where, "it is a program (TorchScript), not tensors alone")
            _check_pickle(records.get_record("data.pkl"), where)
            return
        if tarfile.is_tarfile(file):
            raise _refusal(where, "it is in the tar format of the first versions of torch, which cannot be read safely")
        file.seek(0)
        for _ in range(_LEGACY_PICKLES):
            _check_pickle(file, where)
    except (ValueError, OverflowError, MemoryError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refusal(
            where, f"it is damaged, or not a file that torch.save wrote ({reason})", "copy it again from where it was"
        ) from None


def _check_pickle(pickled: Union[bytes, IO[bytes]], where: str) -> None:
    texts = ["", ""]
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL" or opcode.name in _OTHER_NAMES:
            # Most pickles other than torch's have a name on the stack: the last two texts, if only for the message.
            name = ".".join(texts) if opcode.name == "STACK_GLOBAL" else str(argument).replace(" ", ".", 1)
            if opcode.name in _OTHER_NAMES or not _makes_tensors(name):
                raise _refusal(where, f"it needs more than tensors to load: it calls {name[:100]!r}")
        elif isinstance(argument, str):
            texts = [texts[-1], argument]


def _makes_tensors(name: str) -> bool:
    if name in _TENSOR_PARTS or _STORAGE.fullmatch(name) or name in _allowed_by_the_user():
        return True
    module, _, attribute = name.rpartition(".")
    return module == "torch" and isinstance(getattr(torch, attribute, None), _TORCH_TYPES)


def _allowed_by_the_user() -> Iterator[str]:
    """The names given to `torch.serialization.add_safe_globals`."""
    for entry in torch.serialization.get_safe_globals():
        yield entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"


def _refusal(where: str, why: str, instead: str = _INSTEAD) -> ConfigurationError:
    return ConfigurationError(f"{where} was not loaded, because {why}; {instead}")


# --- Reading a .tar.gz ---


@contextmanager
def _unpacked_tar(path: str) -> Iterator[tarfile.TarFile]:
    """
    The tar in a .tar.gz, in a file without a name, so that it is decompressed once to be checked and unpacked.

    The same open file is for both: nobody can exchange it in between.
    """
    with tempfile.TemporaryFile() as content:
        try:
            _decompress(path, content)
            content.seek(0)
            with tarfile.open(fileobj=content, mode="r:") as tar:
                tar.getmembers()
                yield tar
        except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
            raise _refusal(
                path,
                f"it is damaged, or no .tar.gz ({error})",
                "copy it again from where it was",
            ) from None


def _decompress(path: str, target: IO[bytes]) -> None:
    compressed = os.path.getsize(path)
    size = 0
    with gzip.open(path) as source:
        while chunk := source.read(_CHUNK):
            size += target.write(chunk)
            if size > _SUSPECT_SIZE and size > _SUSPECT_RATIO * compressed:
                raise _refusal(
                    path,
                    f"its {compressed / _CHUNK:.1f} MiB are more than {_SUSPECT_RATIO} times as much when unpacked, "
                    "as no model's are",
                )
            # Now and then: what is decompressed so far is still to be unpacked.
            if size % (64 * _CHUNK) < _CHUNK and size > (free := shutil.disk_usage(tempfile.gettempdir()).free):
                raise _refusal(
                    path,
                    f"{tempfile.gettempdir()} has only {free / _CHUNK:,.0f} MiB left, and its first "
                    f"{size / _CHUNK:,.0f} MiB are still to be unpacked there",
                    "make room there, or set TMPDIR to a folder on a larger disk",
                )


# --- What stands in for functions of AllenNLP and torch ---

_archival_cached_path = archival.cached_path
_vocabulary_cached_path = vocabulary.cached_path
_original_load_model = archival._load_model
_original_read_state_dict = util.read_state_dict
_original_resolve_class_name = Registrable.resolve_class_name.__func__  # type: ignore[attr-defined]
_original_torch_load = torch.load

# How many threads are loading, or how deep one is.
_loading = 0
_lock = threading.Lock()


def _cached_archive(archive_file: Any, *arguments: Any, **options: Any) -> str:
    """Where `load_archive` finds the archive; a folder is checked here, as it is not unpacked later."""
    path: str = _archival_cached_path(archive_file, *arguments, **options)
    if os.path.isdir(path):
        _check_folder(path)
    return path


@contextmanager
def _extracted_archive(resolved_archive_file: Any, cleanup: bool = True) -> Iterator[str]:
    """AllenNLP's `extracted_archive`, of an archive that was checked."""
    path = os.fspath(resolved_archive_file)
    folder: Optional[str] = None
    try:
        with _unpacked_tar(path) as tar:
            _check_model_tar(tar, path)
            folder = tempfile.mkdtemp()
            logger.info("extracting archive file %s to temp dir %s", path, folder)
            # Python's own filter as well, where it has one; until Python 3.14 it is not the default.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            try:
                tar.extractall(folder)
            except OSError as error:
                raise _refusal(path, f"it cannot be unpacked into {folder} ({error})", "make room there") from None
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        # The initializer `pretrained` loads weights right here.
        with _weights_alone():
            yield folder
    finally:
        if cleanup:
            logger.info("removing temporary unarchived model dir at %s", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _cached_vocabulary(directory: Any, *arguments: Any, **options: Any) -> str:
    """Where a vocabulary is found that is not a folder, but an archive that is unpacked for it."""
    # What comes after the mark is a member.
    path: str = _vocabulary_cached_path(str(directory).partition("!")[0])
    if os.path.isfile(path) and tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            _check_members(tar, path)
    return _vocabulary_cached_path(directory, *arguments, **options)


def _load_model(*arguments: Any, **options: Any) -> Any:
    """AllenNLP's `_load_model`; whatever the parts of a model load for themselves are tensors too."""
    with _weights_alone():
        return _original_load_model(*arguments, **options)


def _read_state_dict(path: Any, *arguments: Any, **options: Any) -> Dict[str, torch.Tensor]:
    """AllenNLP's `read_state_dict`, of a file with tensors alone."""
    check_weights(path)
    with _weights_alone():
        try:
            return _original_read_state_dict(path, *arguments, **options)
        except pickle.UnpicklingError as error:
            # The first line of torch's message tells how to load it in spite of that.
            reason = str(error).rstrip().splitlines()[-1] if str(error) else type(error).__name__
            raise _refusal(str(path), f"it needs more than tensors to load ({reason})") from None


def _resolve_class_name(cls: Any, name: str) -> Tuple[Any, Optional[str]]:
    """
    AllenNLP's `Registrable.resolve_class_name`.

    A dotted path may name any class or function of any module, which AllenNLP then calls with whatever arguments the
    configuration has. Here it names a class of the kind that is wanted.
    """
    found, constructor = _original_resolve_class_name(cls, name)
    if name not in Registrable._registry[cls] and not _is_a(found, cls):
        raise ConfigurationError(
            f"the configuration names {name!r} as a {cls.__name__}, which it is not; do not use an archive that does so"
        )
    return found, constructor


def _is_a(found: Any, wanted: type) -> bool:
    # What torch itself has of a kind is none of AllenNLP's classes.
    kinds = [kind for kind in (torch.nn.Module, torch.optim.Optimizer) if issubclass(wanted, kind)]
    return isinstance(found, type) and issubclass(found, (wanted, *kinds))


@contextmanager
def _weights_alone() -> Iterator[None]:
    """
    Have torch.load unpickle tensors alone, unless it is told something else.

    That is its default from torch 2.6 on, which an environment variable changes. Only for as long as something is
    loaded, in whatever threads: before 2.6 other libraries may count on the default.
    """
    global _loading, _original_torch_load
    with _lock:
        if _loading == 0:
            _original_torch_load = torch.load
            torch.load = functools.partial(torch.load, weights_only=True)
        _loading += 1
    try:
        yield
    finally:
        with _lock:
            _loading -= 1
            if _loading == 0:
                torch.load = _original_torch_load
