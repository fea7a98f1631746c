"""What is to be reported: folders of runs, grouped into methods by their names, and files to evaluate on."""

import glob
import os
import re
from collections import Counter
from typing import Dict, List, NamedTuple, Sequence, Tuple

from allennlp.common.checks import ConfigurationError

_SEED = re.compile(r"(.+)[_-](?:seed|s)[_-]?\d+")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
# What the folder of a run may be given as.
_ARCHIVE = "model.tar.gz"

_Group = Tuple[str, str]


class MethodPaths(NamedTuple):
    """A method and the folders of its runs, which differ in their seeds."""

    name: str
    paths: Tuple[str, ...]


class LanguageFile(NamedTuple):
    """A file, or a glob of files, in a language."""

    language: str
    path: str


def split_arguments(arguments: Sequence[str]) -> Tuple[List[MethodPaths], List[LanguageFile]]:
    """
    Tell runs from files, and put runs together that are one method.

    # Parameters

    arguments : `Sequence[str]`
        `PATH` of a run, `NAME=PATH,PATH` of the runs of a method, or `LANGUAGE=FILE`. Runs without a name that stand in
        one folder and differ in a number after `_seed`, `-seed` or `_s` only are one method.

    # Returns

    `Tuple[List[MethodPaths], List[LanguageFile]]` : in the order in which they were given.

    # Raises

    `ConfigurationError` : for what is neither; for a run that is given twice; for two methods of one name.
    """
    # By folder and the name that the runs share; the folder is empty where the user gave the name.
    groups: Dict[_Group, List[str]] = {}
    files: List[LanguageFile] = []
    for argument in arguments:
        name, equals, rest = argument.partition("=")
        if not equals or os.path.exists(argument):
            path = _folder(argument)
            stem = os.path.basename(os.path.abspath(path))
            match = _SEED.fullmatch(stem)
            group = (os.path.dirname(os.path.abspath(path)), match[1] if match else stem)
            groups.setdefault(group, []).append(path)
        elif any(os.path.isdir(path) or path.endswith(_ARCHIVE) for path in rest.split(",")):
            if not name or ("", name) in groups:
                raise ConfigurationError(
                    f"{argument}: a method needs a name of its own; write the runs of one as NAME=PATH,PATH"
                )
            groups["", name] = [_folder(path) for path in rest.split(",")]
        elif _LANGUAGE.fullmatch(name) and (os.path.isfile(rest) or glob.glob(rest)):
            files.append(LanguageFile(name, rest))
        else:
            raise ConfigurationError(
                f"{argument}: {rest} is neither the folder of a run nor a file; write runs as PATH or NAME=PATH,PATH, "
                "and files as LANG=FILE"
            )
    names = _names(list(groups))
    methods = [MethodPaths(names[group], tuple(paths)) for group, paths in groups.items()]
    _check_once(methods)
    return methods, files


def _folder(path: str) -> str:
    if os.path.basename(path) == _ARCHIVE:
        path = os.path.dirname(path) or "."
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise ConfigurationError(
            f"{path} is a file: give the folder that a training was written to, and files to evaluate on as LANG=FILE"
        )
    raise ConfigurationError(f"{path}: there is no such folder; give the folder that a training was written to")


def _names(groups: Sequence[_Group]) -> Dict[_Group, str]:
    """The name that was given, or the last part of the path, or as many parts as tell it from the others."""
    names = {group: group[1] for group in groups if not group[0]}
    paths = {group: os.path.join(*group).split(os.sep) for group in groups if group[0]}
    for parts in range(1, 1 + max(map(len, paths.values()), default=0)):
        shown = {group: os.sep.join(path[-parts:]) for group, path in paths.items() if group not in names}
        numbers = Counter([*names.values(), *shown.values()])
        names.update({group: name for group, name in shown.items() if numbers[name] == 1})
    return names


def _check_once(methods: Sequence[MethodPaths]) -> None:
    seen: Dict[str, str] = {}
    for method in methods:
        for path in method.paths:
            real = os.path.realpath(path)
            if real in seen:
                raise ConfigurationError(f"the run {path} is given twice, for {seen[real]!r} and for {method.name!r}")
            seen[real] = method.name
