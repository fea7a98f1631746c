"""One sentence for a mistake of the person, where Python would show where in the program it was found."""

import functools
import json
import logging
import re
import sys
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import pairwise
from types import TracebackType
from typing import Any, Callable, List, Optional, Sequence, Type

from allennlp.common import Registrable
from allennlp.common import logging as allennlp_logging
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import SigTermReceived
from torch.multiprocessing.spawn import ProcessRaisedException

from structkd_plugin.console.log_output import IN_FILE_ONLY

logger = logging.getLogger(__name__)

Hook = Callable[[Type[BaseException], BaseException, Optional[TracebackType]], Any]

_HOW_TO_SEE_MORE = "(STRUCTKD_VERBOSE=1 before the command shows where in the program it was needed)"

_NOT_REGISTERED = re.compile(r"'(?P<name>[^']*)' is not a registered name for '(?P<kind>\w+)'")
_NO_CHOICE = re.compile(r"(?P<name>\S+) not in acceptable choices for (?P<key>\S+): \[(?P<choices>.*?)\]\. ")
_QUOTED = re.compile(r"'([^']*)'")
_DIRECTORY_EXISTS = re.compile(r"Serialization directory \((?P<path>.*)\) already exists and is not empty")
_NOTHING_TO_RECOVER = re.compile(r"--recover specified but serialization_dir \((?P<path>.*)\)")
_NO_GPU = "Experiment specified a GPU but none is available"
_FILE_NOT_FOUND = re.compile(r"file (?P<path>.*) not found")
_JSONNET = re.compile(r"(RUNTIME|STATIC) ERROR: (?P<what>.*)")
# A process of a distributed training hands its traceback on as a text.
_RAISED_IN_A_PROCESS = re.compile(r"^allennlp\.common\.checks\.ConfigurationError: (?P<message>.*)", re.M | re.S)
_PLACE, _PLACE_IN_A_TEXT = re.compile(r"\S+:\d+"), re.compile(r"\(?:?\d+:\d+")
_SPACES = re.compile(r"\s+")
_OF_THE_PLUGIN = "structkd_"
_FEW = 12


def install() -> None:
    """Have mistakes told in a sentence, also after AllenNLP puts its own hook in place for a training."""
    prepare = allennlp_logging.prepare_global_logging

    @functools.wraps(prepare)
    def prepare_and_hook(*arguments: Any, **options: Any) -> None:
        prepare(*arguments, **options)
        sys.excepthook = hook(sys.excepthook)

    allennlp_logging.prepare_global_logging = prepare_and_hook
    sys.excepthook = hook(sys.excepthook)


def hook(otherwise: Hook) -> Hook:
    """
    An exception hook that tells mistakes in a sentence on the standard error stream.

    # Parameters

    otherwise : `Hook`
        Is called for everything else.
    """

    def report(kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]) -> Any:
        sentence = sentence_of(error, sys.argv[1:])
        if sentence is None:
            return otherwise(kind, error, traceback)
        logger.critical("%s", sentence, exc_info=(kind, error, traceback), extra=IN_FILE_ONLY)
        print(sentence, file=sys.stderr)
        return None

    return report


def sentence_of(error: BaseException, arguments: Sequence[str]) -> Optional[str]:
    """
    What to tell a person of an error that ended a command.

    # Parameters

    error : `BaseException`
    arguments : `Sequence[str]`
        Of the command.

    # Returns

    `Optional[str]` : `None` for what is no mistake of the person, as far as can be told.
    """
    if isinstance(error, (KeyboardInterrupt, SigTermReceived)):
        return "broken off"
    found = _sentence(error, arguments)
    return None if found is None else f"error: {found}"


def _sentence(error: BaseException, arguments: Sequence[str]) -> Optional[str]:
    if isinstance(error, ConfigurationError):
        return _of_configuration(str(error))
    if isinstance(error, json.JSONDecodeError):
        return f"{_shortened(error.doc)} is not JSON: {error.msg}, line {error.lineno} column {error.colno}"
    if isinstance(error, ModuleNotFoundError):
        return _of_module(error, arguments)
    if isinstance(error, OSError):
        missing = _FILE_NOT_FOUND.fullmatch(str(error))
        if missing:
            return f"there is no file {missing['path']}"
        # Without a file it is no mistake of a person.
        named = error.filename and error.strerror
        return f"{error.filename}: {error.strerror} {_HOW_TO_SEE_MORE}" if named else None
    if isinstance(error, RuntimeError) and _JSONNET.match(str(error)):
        return _of_jsonnet(str(error), arguments)
    if isinstance(error, ProcessRaisedException):
        raised = _RAISED_IN_A_PROCESS.search(str(error))
        return None if raised is None else _of_configuration(raised["message"])
    return None


def _of_configuration(message: str) -> str:
    if found := _NOT_REGISTERED.search(message):
        return unknown_name(found["name"], f"the name of a {found['kind']} is", _registered(found["kind"]))
    if found := _NO_CHOICE.match(message):
        return unknown_name(found["name"], f"{found['key']} of the configuration is", _QUOTED.findall(found["choices"]))
    if found := _DIRECTORY_EXISTS.search(message):
        return (
            f"{found['path']} is there already and not empty: --recover goes on with the training in it, --force "
            "removes it first; or give another folder"
        )
    if found := _NOTHING_TO_RECOVER.search(message):
        return f"there is no training in {found['path']} to --recover: leave that out to begin one"
    if message.startswith(_NO_GPU):
        return (
            "a GPU is asked for, and this machine has none: --cuda-device -1 is the CPU, and for a training "
            "-o '{\"trainer.cuda_device\": -1}'"
        )
    return message.strip()


def unknown_name(name: str, start: str, names: Sequence[str]) -> str:
    """
    What to say of a component that nobody has registered.

    # Parameters

    name : `str`
    start : `str`
        What the sentence begins with, before the name.
    names : `Sequence[str]`
        Those that are registered.
    """
    close = get_close_matches(name, names, n=1)
    if close:
        return f"{start} {name!r}, which is not registered; did you mean {close[0]!r}?"
    # AllenNLP has dozens of models.
    shown = names if len(names) <= _FEW else [known for known in names if known.startswith(_OF_THE_PLUGIN)]
    which = f"; there is {', '.join(sorted(shown))}" if shown else ""
    return f"{start} {name!r}, which is not registered{which}; your own need --include-package with their module"


def _registered(kind: str) -> List[str]:
    """The names that are registered under a base class of this name."""
    return [name for base, names in Registrable._registry.items() if base.__name__ == kind for name in names]


def _of_module(error: ModuleNotFoundError, arguments: Sequence[str]) -> Optional[str]:
    """Of a module that `--include-package` names; any other that is missing is a matter of installation."""
    given = [after for before, after in pairwise(arguments) if before == "--include-package"]
    given += [argument.partition("=")[2] for argument in arguments if argument.startswith("--include-package=")]
    for package in given:
        if error.name is not None and (package == error.name or package.startswith(f"{error.name}.")):
            known = "structkd_plugin"
            hint = f"; did you mean {known}?" if get_close_matches(package, [known]) and find_spec(known) else ""
            return f"--include-package {package}: there is no module {error.name}{hint}"
    return None


def _of_jsonnet(message: str, arguments: Sequence[str]) -> str:
    lines = [_SPACES.sub(" ", line).strip() for line in message.splitlines()]
    match = _JSONNET.match(lines[0])
    assert match is not None
    what, places = match["what"], [line.split()[0] for line in lines[1:] if line]
    # A text has no name, so that its places are numbers alone.
    if _PLACE_IN_A_TEXT.match(what) or (places and _PLACE_IN_A_TEXT.match(places[0])):
        which = "-o" if "-o" in arguments else "--overrides"
        return f"{which} is no JSON or Jsonnet, or fails: {what}"
    return what if not places or _PLACE.match(what) else f"{what} ({places[0]})"


def _shortened(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
