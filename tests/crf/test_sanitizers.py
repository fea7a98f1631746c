"""The CPU kernels under sanitizers: memory that is not theirs, undefined behaviour, races, and what nobody wrote."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

from structkd_plugin.crf import cpu_kernels

DRIVER = Path(__file__).with_name("sanitized_driver.cpp")
# Without optimisation it compiles fastest, and what the sanitizers see is what is written. That the kernels may alias
# vectors and numbers is theirs; the rest is as in setup.py.
FLAGS = ["-std=c++17", "-O0", "-g1", "-pthread", "-fno-strict-aliasing", "-Wno-psabi", "-UNDEBUG"]
ADDRESSES = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
THREADS = ["-fsanitize=thread"]
WITHOUT = {"avx512": "", "avx2": "avx512", "plain": "avx512,avx2"}


def compiled(sanitizers: List[str], folder: Path) -> Path:
    """The driver, or the end of the test where there is no compiler with these sanitizers."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no g++ or clang++")
    trial = folder / "trial.cpp"
    trial.write_text("int main() { return 0; }")
    commands = [[compiler, *sanitizers, str(trial), "-o", str(folder / "trial")], [str(folder / "trial")]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"{' '.join(sanitizers)} does not work here: {' '.join(done.stderr.split())[:200]}")
    include = f"-I{cpu_kernels.SOURCE.parent}"
    command = [compiler, *FLAGS, *sanitizers, include, str(DRIVER), "-o", str(folder / "driver")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "driver"


def run(driver: Path, *arguments: int, variant: str) -> str:
    """What the driver prints. A variant that this machine cannot run makes way for the next."""
    environment = {**os.environ, "STRUCTKD_CPU_WITHOUT": WITHOUT[variant]}
    command = [str(driver), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{variant}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_and_undefined_behaviour(tmp_path):
    driver = compiled(ADDRESSES, tmp_path)
    ran = [run(driver, seed, 1000, 0, variant=variant) for seed, variant in enumerate(WITHOUT)]
    assert ran[-1].startswith("plain: 1000 batches")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_races(tmp_path):
    """In one variant: threads are not a matter of the instruction set."""
    driver = compiled(THREADS, tmp_path)
    run(driver, 0, 60, 1, variant="avx512")
