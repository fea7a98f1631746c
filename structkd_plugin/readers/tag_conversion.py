"""From the tags of a file to the tags of a run: detected, checked, repaired where asked, converted."""

import logging
import os
from typing import Dict, Iterable, List, Optional, Sequence, Set, Tuple

from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers.errors import data_error
from structkd_plugin.tag_schemes import (
    canonical_scheme,
    convert,
    detect_scheme,
    first_violation,
    is_scheme_tag,
    repair,
    split_tag,
)

logger = logging.getLogger(__name__)

TagsAndLines = Tuple[Sequence[str], Sequence[int]]


class TagConversion:
    """
    What a run wants of tags; `for_file` is the same for one file.

    # Parameters

    scheme : `Optional[str]`, optional (default=`None`)
        The scheme to convert spans to; `None` for tags that are a label per word and are left as they are.
    input_scheme : `Optional[str]`, optional (default=`None`)
        The scheme of the files; `None` detects it, file by file.
    ill_formed : `str`, optional (default=`"error"`)
        What to do with tags that break their scheme: `"error"` or `"repair"`, which is counted and logged.
    labels : `Optional[List[str]]`, optional (default=`None`)
        All the tags that may come out; `None` allows any.
    """

    def __init__(
        self,
        scheme: Optional[str] = None,
        input_scheme: Optional[str] = None,
        ill_formed: str = "error",
        labels: Optional[List[str]] = None,
    ) -> None:
        if ill_formed not in ("error", "repair"):
            raise ConfigurationError(f'ill_formed is {ill_formed!r}; choose "error" or "repair"')
        if input_scheme is not None and scheme is None:
            raise ConfigurationError(
                "input_scheme is given without scheme; name the scheme to convert to, which may be the same"
            )
        try:
            self.scheme = None if scheme is None else canonical_scheme(scheme)
            self.input_scheme = None if input_scheme is None else canonical_scheme(input_scheme)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        self.ill_formed = ill_formed
        self.labels = None if labels is None else frozenset(labels)
        # What was detected for a file of this name, size and time of change; and the files already reported.
        self._detected: Dict[Tuple[str, int, int], str] = {}
        self._reported: Set[str] = set()

    def for_file(self, file: str, sentences: Iterable[TagsAndLines] = ()) -> "FileTags":
        """
        The conversion for one file.

        # Parameters

        file : `str`
            Its name, for messages.
        sentences : `Iterable[Tuple[Sequence[str], Sequence[int]]]`
            The tags of the whole file with their lines, read only where the scheme is to be detected.

        # Raises

        `ConfigurationError` : if no scheme fits the file.
        """
        source = self.input_scheme
        if self.scheme is not None and source is None:
            status = os.stat(file)
            version = (file, status.st_size, status.st_mtime_ns)
            if version not in self._detected:
                self._detected[version] = _detected_scheme(file, sentences)
            source = self._detected[version]
        return FileTags(self, file, source)

    def first_report(self, file: str) -> bool:
        """Whether nothing was logged of `file` before; files are read anew for every epoch."""
        if file in self._reported:
            return False
        self._reported.add(file)
        return True


class FileTags:
    """
    The tags of one file on their way into a run.

    # Parameters

    conversion : `TagConversion`
        What the run wants.
    file : `str`
        The file's name, for messages.
    source : `Optional[str]`
        The scheme the file is in; `None` for labels of words.
    """

    def __init__(self, conversion: TagConversion, file: str, source: Optional[str]) -> None:
        self._conversion = conversion
        self._file = file
        self.source = source
        # Sentences that were repaired, and the line of the first.
        self.repaired = 0
        self._first_repair: Optional[int] = None

    def converted(self, tags: Sequence[str], lines: Sequence[int]) -> Tuple[str, ...]:
        """
        A sentence's tags as the run wants them.

        # Parameters

        tags : `Sequence[str]`
            One tag per word, as in the file.
        lines : `Sequence[int]`
            The line of each word.

        # Raises

        `ConfigurationError` : naming the line of the first tag that is wrong.
        """
        source, target = self.source, self._conversion.scheme
        converted = list(tags)
        if source is not None and target is not None:
            converted = self._well_formed(converted, lines, source)
            if source != target:
                converted = convert(converted, source, target)
        labels = self._conversion.labels
        for tag, line in zip(converted, lines, strict=True):
            if labels is not None and tag not in labels:
                raise data_error(
                    self._file, line, f"tag {tag!r} is none of the declared labels ({', '.join(sorted(labels))})"
                )
        return tuple(converted)

    def report(self) -> None:
        """Log, once the file has been read, how much of it was repaired."""
        if self.repaired and self._conversion.first_report(self._file):
            logger.warning(
                "%s: repaired the %s tags of %d sentence(s), the first on line %s",
                self._file,
                self.source,
                self.repaired,
                self._first_repair,
            )

    def _well_formed(self, tags: List[str], lines: Sequence[int], scheme: str) -> List[str]:
        try:
            violation = first_violation(tags, scheme)
        except ValueError as error:
            raise data_error(self._file, _line_of_stranger(tags, lines, scheme), str(error)) from error
        if violation is None:
            return tags
        if self._conversion.ill_formed == "error":
            raise data_error(
                self._file,
                lines[violation.word],
                f'{violation.reason}; correct the file or set ill_formed to "repair"',
            )
        self.repaired += 1
        if self._first_repair is None:
            self._first_repair = lines[violation.word]
        return repair(tags, scheme)


def _detected_scheme(file: str, sentences: Iterable[TagsAndLines]) -> str:
    try:
        return detect_scheme(_checked(file, tags, lines) for tags, lines in sentences)
    except ValueError as error:
        raise data_error(file, None, f"{error}; correct the file or declare its `input_scheme`") from error


def _checked(file: str, tags: Sequence[str], lines: Sequence[int]) -> Sequence[str]:
    for tag, line in zip(tags, lines, strict=True):
        if not is_scheme_tag(tag):
            raise data_error(
                file,
                line,
                f"tag {tag!r} is neither O nor a prefix such as B, a hyphen and a label; "
                "correct it, or give null as `scheme` if words have plain labels",
            )
    return tags


def _line_of_stranger(tags: Sequence[str], lines: Sequence[int], scheme: str) -> int:
    for tag, line in zip(tags, lines, strict=True):
        try:
            split_tag(tag, scheme)
        except ValueError:
            return line
    return lines[0]
