"""
What a person sees who runs `allennlp`: few lines, short bars, one sentence for a mistake.

All of it is put in place when the plugin is imported by the program `allennlp`, and nothing of it when it is imported
by another program, which has a console of its own. docs/console.md tells what changes and how to have all lines.
"""

import os
import sys
from pathlib import Path
from typing import Mapping

# As long as one of these says something, the person has chosen what to see.
_SWITCHES = ("STRUCTKD_VERBOSE", "ALLENNLP_DEBUG", "ALLENNLP_LOG_LEVEL")


def install() -> None:
    """Put everything in place, if this program is `allennlp` and nobody asked for all lines."""
    if not is_allennlp(sys.argv[0] if sys.argv else "") or asks_for_all(os.environ):
        return
    from structkd_plugin.console import error_sentences, log_output, progress_bars

    log_output.install()
    error_sentences.install()
    progress_bars.install()


def is_allennlp(program: str) -> bool:
    """Whether `program`, a path as `sys.argv` begins with, is the command `allennlp` or its module."""
    path = Path(program)
    return path.stem in ("allennlp", "allennlp-script") or path.parts[-2:] == ("allennlp", "__main__.py")


def asks_for_all(environment: Mapping[str, str]) -> bool:
    """Whether the environment asks for every line and for tracebacks."""
    return any(environment.get(name, "") not in ("", "0") for name in _SWITCHES)
