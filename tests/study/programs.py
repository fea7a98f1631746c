"""The programs of a study, which are in no package, and Snakemake, which runs them."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "training_configs" / "study"
_OWN = ROOT / ".venv-study" / "bin" / "snakemake"
SNAKEMAKE: Optional[str] = str(_OWN) if _OWN.exists() else shutil.which("snakemake")

needs_snakemake = pytest.mark.skipif(
    SNAKEMAKE is None, reason="there is no snakemake, neither in .venv-study (`make study`) nor on the path"
)


def program(name: str) -> ModuleType:
    """A module beside the Snakefile."""
    # As a program finds its neighbours: by the name they import each other with.
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(FOLDER / f"{name}.py"):
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
