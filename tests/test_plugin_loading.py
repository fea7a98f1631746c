"""What is registered when AllenNLP loads the plugin, and what happens where something is not installed."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Set, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Put before a script: the given packages are as if they were not installed.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

MISSING = {missing!r}

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""

# Imported by no part of the plugin that everybody needs.
OPTIONAL = ["allennlp_models", "hypothesis", "onnx", "onnxruntime", "triton", "wandb"]

OTHER_THAN_TORCH = [
    *["allennlp", "allennlp_models", "conllu", "defusedxml", "filelock", "numpy", "regex", "rich", "safetensors"],
    *["seqeval", "spacy", "tqdm", "transformers"],
]

LOAD_PLUGINS = """
import json, logging
logging.basicConfig(level=logging.INFO)
from allennlp.common.plugins import import_plugins
from allennlp.common.registrable import Registrable
import_plugins()
print(json.dumps([[base.__name__, name] for base, names in Registrable._registry.items() for name in names]))
"""

USE_THE_CRF = """
import torch
from structkd_plugin.crf import LinearChainCRF
crf = LinearChainCRF(torch.zeros(1, 3, 2), torch.zeros(2, 2))
print(crf.log_partition.exp().item())
assert not set(MISSING) & set(sys.modules)
"""


def run(script: str, *, without: "list[str]", cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=without) + script],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


def registered_in_the_sources() -> Set[Tuple[str, str]]:
    """The base class and the name of everything under the package that is decorated as registered."""
    found = set()
    for path in (ROOT / "structkd_plugin").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in getattr(node, "decorator_list", []):
                match decorator:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id=base), attr="register"),
                        args=[ast.Constant(value=name), *_],
                    ):
                        found.add((base, name))
    return found


def test_the_plugins_file_names_the_plugin_and_nothing_else() -> None:
    # AllenNLP would take a comment for the name of a module.
    assert (ROOT / ".allennlp_plugins").read_text() == "structkd_plugin\n"


def test_everything_is_registered_also_where_what_is_optional_is_missing() -> None:
    loaded = run(LOAD_PLUGINS, without=OPTIONAL)
    assert loaded.returncode == 0, loaded.stderr
    assert "Plugin structkd_plugin available" in loaded.stderr
    assert "could not be loaded" not in loaded.stderr
    registered = {tuple(entry) for entry in json.loads(loaded.stdout.splitlines()[-1])}
    expected = registered_in_the_sources()
    assert {("Model", "structkd_tagger"), ("TrainerCallback", "structkd_teacher")} <= expected
    assert expected <= registered


def test_what_is_needed_and_missing_stops_the_command_with_a_sentence() -> None:
    loaded = run(LOAD_PLUGINS, without=["allennlp_models", "conllu"])
    assert loaded.returncode != 0
    sentence = loaded.stderr.splitlines()[-1]
    assert sentence.startswith("ImportError: structkd_plugin cannot be loaded, because the module 'conllu' is not")
    assert "docs/installation.md" in sentence


def test_the_crf_needs_nothing_but_torch() -> None:
    used = run(USE_THE_CRF, without=OTHER_THAN_TORCH)
    assert used.returncode == 0, used.stderr
    assert float(used.stdout) == pytest.approx(2**3)
