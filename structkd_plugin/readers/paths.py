"""Which files, in which language, a run's configuration names."""

import os
import re
from glob import escape, glob, has_magic
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Union

from allennlp.common.checks import ConfigurationError

_PLACE_OF_LANGUAGE = "{language}"

PathOrPaths = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


class DataFile(NamedTuple):
    """A file and the language it is in."""

    language: str
    file: str


def data_files(paths: Union[PathOrPaths, Mapping[str, PathOrPaths]], language: str) -> List[DataFile]:
    """
    The files that `paths` names, in the order in which they are to be read.

    # Parameters

    paths : `Union[str, List[str], Dict[str, Union[str, List[str]]]]`
        A path, a glob (`**` for any number of folders), a list of those, or such things by language. A path with
        `{language}` in it matches any language there and takes it from there: `data/{language}/train.conllu`; in a
        mapping, that is the language it stands under.
    language : `str`
        The language of files for which `paths` names none.

    # Returns

    `List[DataFile]` : the files of a glob sorted, everything else in the order given.

    # Raises

    `ConfigurationError` : where something matches no file, or a file or a language is named twice.
    """
    by_language: Dict[str, List[str]] = {}
    if isinstance(paths, Mapping):
        if not paths:
            raise ConfigurationError("the data path is an empty mapping; name a path for at least one language")
        for code in paths:
            _check_language(code, by_language)
            here = [path.replace(_PLACE_OF_LANGUAGE, code) for path in _listed(paths[code])]
            by_language[code] = [found.file for path in here for found in _matches(path, code)]
    else:
        for found in (found for path in _listed(paths) for found in _matches(path, language)):
            if found.language not in by_language:
                _check_language(found.language, by_language)
            by_language.setdefault(found.language, []).append(found.file)
    for code, files in by_language.items():
        for file in files:
            if files.count(file) > 1:
                raise ConfigurationError(f"{file}: the file is named twice for language {code!r}; name it once")
    return [DataFile(code, file) for code, files in by_language.items() for file in files]


def _check_language(code: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(code, str) or not code or code != code.strip():
        raise ConfigurationError(f"{code!r} is no language code; name each language by a word such as 'de'")
    for other in known:
        if _folded(other) == _folded(code):
            raise ConfigurationError(
                f"the language {code!r} is given twice (also as {other!r}); put its files into one list"
            )


def _folded(code: str) -> str:
    # Language codes do not differ by letter case or by the character between their parts (RFC 5646, 2.1.1).
    return code.lower().replace("_", "-")


def _listed(paths: Any) -> List[str]:
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    if not isinstance(listed, Sequence) or not all(isinstance(path, (str, os.PathLike)) for path in listed):
        raise ConfigurationError(f"{paths!r} is no data path; give a path, a glob, or a list of those")
    if not listed:
        raise ConfigurationError("a list of data paths is empty; name at least one file")
    return [os.fspath(path) for path in listed]


def _matches(path: str, language: str) -> List[DataFile]:
    # A file whose own name has brackets in it is itself, not a glob.
    if os.path.isfile(path):
        return [DataFile(language, path)]
    if os.path.isdir(path):
        raise ConfigurationError(f"{path}: this is a folder; name the files in it, for example by {path}/*")
    if _PLACE_OF_LANGUAGE in path:
        return _matches_by_language(path)
    files = sorted(file for file in glob(path, recursive=True) if os.path.isfile(file))
    if not files:
        what = "no file matches this glob" if has_magic(path) else "there is no such file"
        raise ConfigurationError(f"{path}: {what} (looked from {os.getcwd()})")
    return [DataFile(language, file) for file in files]


def _matches_by_language(path: str) -> List[DataFile]:
    before, *after = path.split(_PLACE_OF_LANGUAGE)
    if has_magic(path):
        raise ConfigurationError(f"{path}: a path with {_PLACE_OF_LANGUAGE} in it can have no other wildcards")
    pattern = re.compile(
        re.escape(before) + "(?P<language>[^/]+)" + "(?P=language)".join(re.escape(part) for part in after)
    )
    candidates = sorted(glob("*".join(escape(part) for part in (before, *after))))
    found = []
    for file in candidates:
        match = pattern.fullmatch(file)
        if match and os.path.isfile(file):
            found.append(DataFile(match["language"], file))
    if not found:
        raise ConfigurationError(f"{path}: no file matches with a language in place of {_PLACE_OF_LANGUAGE}")
    return found
