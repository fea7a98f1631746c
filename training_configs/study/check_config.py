"""Evaluates a configuration before anything is trained: `check_config.py FILE.jsonnet`; a mistake in it is an error."""

import sys
from typing import Sequence

import _jsonnet


def main(arguments: Sequence[str]) -> None:
    """
    Evaluate it.

    # Raises

    `SystemExit` : with Jsonnet's message.
    """
    (file,) = arguments
    try:
        _jsonnet.evaluate_file(file)
    except RuntimeError as mistake:
        message = str(mistake).splitlines()[0].removeprefix("RUNTIME ERROR: ")
        raise SystemExit(f"error: {file}: {message}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
