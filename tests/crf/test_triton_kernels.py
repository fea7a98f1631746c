"""The GPU kernels: on a GPU where there is one, otherwise in Triton's interpreter, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton, which there is for Linux only")

ROOT = Path(__file__).resolve().parents[2]
CHECKS = Path("tests", "crf", "triton_checks.py")

if torch.cuda.is_available():
    pytest.register_assert_rewrite("tests.crf.triton_checks")
    from tests.crf.triton_checks import *  # noqa: F403
else:

    def test_kernels_in_the_interpreter():
        """Another test may have imported Triton in this process, and then it is too late to ask for the interpreter."""
        environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTEST_ADDOPTS": ""}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        assert " passed" in run.stdout
