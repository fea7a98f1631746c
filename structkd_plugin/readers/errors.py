"""How readers say what is wrong with a file."""

from typing import Optional

from allennlp.common.checks import ConfigurationError


def data_error(file: Optional[str], line: Optional[int], message: str) -> ConfigurationError:
    """
    The error for bad input: one sentence that begins with the file and the line, as an editor opens them.

    # Parameters

    file : `Optional[str]`
        The file; `None` for input that came from elsewhere.
    line : `Optional[int]`
        Counted from 1; `None` where the whole file is meant.
    message : `str`
        What is wrong and what to do about it.

    # Returns

    `ConfigurationError` : to be raised.
    """
    place = ":".join(str(part) for part in (file, line) if part is not None)
    return ConfigurationError(f"{place}: {message}" if place else message)
