"""Commands of `allennlp`: in this process, in a fork of it, and in a process of their own as a user runs them."""

import functools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Optional, Tuple

import allennlp.commands
import pytest
from allennlp.common.plugins import import_plugins

from tests.children import fork

ROOT = Path(__file__).resolve().parents[2]

# Every command looks for five hundred modules of AllenNLP and its plugins, which takes as long as most commands of the
# tests run. In one process they are found once.
_import_plugins_once = functools.cache(import_plugins)


def main_of(*arguments: Any) -> None:
    """A command in this process, which may end it by `SystemExit`."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["allennlp", *map(str, arguments)])
        patched.setattr(allennlp.commands, "import_plugins", _import_plugins_once)
        allennlp.commands.main(prog="allennlp")


def run(*arguments: Any) -> Optional[object]:
    """What the command exits with, none where it ends by itself."""
    try:
        main_of(*arguments)
    except SystemExit as end:
        return end.code
    return None


def as_a_user(*arguments: Any, given: str = "") -> "subprocess.CompletedProcess[str]":
    """A command in a process of its own, in the repository, where `.allennlp_plugins` names the plugin."""
    return subprocess.run(
        [sys.executable, "-m", "allennlp", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


class ForkedCommand:
    """
    A command in a fork of this process, with streams of its own, in a group of processes of its own.

    It is for what needs another process, such as a signal or a pipe that breaks: a fork has imported all there is.

    # Parameters

    arguments : `Any`
        Of `allennlp`.
    """

    def __init__(self, *arguments: Any) -> None:
        read_input, write_input = os.pipe()
        read_output, write_output = os.pipe()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)

        def work() -> bool:
            os.setsid()
            os.dup2(read_input, 0)
            os.dup2(write_output, 1)
            os.dup2(errors.fileno(), 2)
            for descriptor in (read_input, write_input, read_output, write_output):
                os.close(descriptor)
            sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            # Tests in the background of a shell have it ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            end = run(*arguments)
            if isinstance(end, str):
                print(end, file=sys.stderr)
            # As the interpreter does at its end.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0 if end is None else end if isinstance(end, int) else 1)

        self.pid = fork(work)
        os.close(read_input)
        os.close(write_output)
        self.stdin: BinaryIO = os.fdopen(write_input, "wb")
        self.stdout: BinaryIO = os.fdopen(read_output, "rb")
        self._errors = errors

    def end(self) -> Tuple[int, str]:
        """Wait for it, with no more input; its exit status and what it wrote to the standard error stream."""
        self.stdin.close()
        _, status = os.waitpid(self.pid, 0)
        self.stdout.close()
        self._errors.seek(0)
        with self._errors as errors:
            return os.waitstatus_to_exitcode(status), errors.read().decode()
