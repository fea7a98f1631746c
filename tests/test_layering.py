"""Which part of the package may import which, held by walking the imports."""

import ast
import sys
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, List, Optional, Tuple

import pytest

PACKAGE = "structkd_plugin"
ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))

# A part is a module or a folder directly under the package. `ONLY` names all the other parts that one may import,
# `NEVER` what the parts without such a list must not.
ONLY: Dict[str, FrozenSet[str]] = {
    "crf": frozenset(),
    "objectives": frozenset({"crf", "teacher_batch", "checked_options"}),
    "tagger": frozenset({"crf", "objectives", "metrics", "teacher_batch", "tag_schemes", "checked_options"}),
    "schedules": frozenset({"checked_options"}),
    "teacher_batch": frozenset(),
    "tag_schemes": frozenset(),
    "checked_options": frozenset(),
    "complete_file": frozenset(),
    # Transformers on both sides, teachers and students, are given long sentences in the same windows.
    "subwords": frozenset({"checked_options"}),
    # Where what is stored meets what can be computed of it; the commands show it.
    "frozen_encoders": frozenset({"tokenization"}),
    "inspection": frozenset({"teacher", "crf", "metrics", "readers", "presentation"}),
    # The model comes to it in an archive.
    "prediction": frozenset({"complete_file", "crf", "readers", "tag_schemes", "tokenization"}),
    "evaluation": frozenset({"prediction", "metrics", "readers", "tag_schemes", "presentation", "complete_file"}),
    # Knows figures and labels, and nothing of where they come from.
    "presentation": frozenset(),
}
MODEL_SIDE = frozenset({"tagger", "objectives", "crf", "metrics", "predictors", "prediction", "evaluation"})
NEVER: Dict[str, FrozenSet[str]] = {
    "teacher": MODEL_SIDE | {"inspection"},
    "readers": frozenset({"inspection", "prediction", "evaluation"}),
    "metrics": frozenset({"teacher", "inspection", "prediction", "evaluation"}),
    "predictors": frozenset({"teacher", "inspection", "evaluation"}),
}
# A folder within a part may import these besides. The K best labellings of any teacher are computed where it is
# captured, from its potentials: the CRF is mathematics and imports nothing of the package, so that the data side stays
# without the model side. What reads a store, or feeds a training, has no need of it and may not.
ALSO: Dict[str, FrozenSet[str]] = {"teacher/sources": frozenset({"crf"})}
# Other people's packages, where not all are welcome: the mathematics must be useful without AllenNLP.
OTHERS: Dict[str, FrozenSet[str]] = {"crf": frozenset({"torch", "triton"})}


def imports(source: str, package: str) -> Iterator[Tuple[int, str]]:
    """
    Every module that a source may import, with the line: at its top, in a function, or for the type checker only.

    # Parameters

    source : `str`
    package : `str`
        The package of the source, to which relative imports are relative.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            # `from structkd_plugin import tagger` imports a module too.
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}" if origin == PACKAGE else origin


def part_of(module: str) -> Optional[str]:
    names = module.split(".")
    return names[1] if len(names) > 1 else None


def violations(path: Path, source: str) -> List[str]:
    """One sentence for each import in the source of the file `path` (relative to the root) that is not allowed."""
    part = path.parts[1].removesuffix(".py")
    package = ".".join(path.parts[:-1])
    found = []
    for line, module in imports(source, package):
        other = part_of(module)
        if module.split(".")[0] != PACKAGE:
            top = module.split(".")[0]
            allowed = part not in OTHERS or top in OTHERS[part] or top in sys.stdlib_module_names
        elif other == part or other in ALSO.get("/".join(path.parts[1:-1]), ()):
            allowed = True
        elif part in ONLY:
            allowed = other in ONLY[part]
        else:
            allowed = other not in NEVER.get(part, frozenset())
        if not allowed:
            found.append(f"{path.as_posix()}:{line}: {part} may not import {module}")
    return sorted(set(found))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT / PACKAGE).as_posix())
def test_imports_follow_the_layers(path: Path) -> None:
    assert violations(path.relative_to(ROOT), path.read_text(encoding="utf-8")) == []


def test_every_rule_is_about_a_part_that_exists() -> None:
    parts = {path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    named = {*ONLY, *NEVER, *OTHERS}.union(*ONLY.values(), *NEVER.values(), *ALSO.values())
    assert named <= parts
    assert {path.relative_to(ROOT / PACKAGE).parent.as_posix() for path in FILES} >= ALSO.keys()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("crf/x.py", "import allennlp.common"),
        ("crf/x.py", "import numpy as np"),
        ("crf/x.py", "from structkd_plugin.tag_schemes import spans_of"),
        ("crf/x.py", "import structkd_plugin"),
        ("crf/x.py", "def f():\n    from structkd_plugin import objectives"),
        ("crf/x.py", "from ..objectives import Objective"),
        ("crf/x.py", "from .. import objectives"),
        ("objectives/x.py", "from structkd_plugin.schedules import Schedule"),
        ("objectives/x.py", "from structkd_plugin.tagger import StructkdTagger"),
        ("objectives/x.py", "from structkd_plugin.teacher.store import TeacherStore"),
        ("tagger.py", "from structkd_plugin.teacher.store import TeacherStore"),
        ("tagger.py", "from . import teacher"),
        ("tagger.py", "from structkd_plugin.readers.sentence import Sentence"),
        ("metrics/x.py", "import structkd_plugin.teacher"),
        ("predictors.py", "from structkd_plugin.teacher import store"),
        ("schedules.py", "from structkd_plugin.teacher_batch import TeacherBatch"),
        ("checked_options.py", "from structkd_plugin.tagger import StructkdTagger"),
        ("subwords/x.py", "from structkd_plugin.teacher.sources import CapturedTeacher"),
        ("complete_file.py", "from structkd_plugin.prediction.tag_files import tag_files"),
        ("teacher_batch.py", "from structkd_plugin.crf import LinearChainCRF"),
        ("teacher/x.py", "from structkd_plugin.crf import LinearChainCRF"),
        ("teacher/sources.py", "from structkd_plugin.crf import LinearChainCRF"),
        ("teacher/sources/x.py", "from structkd_plugin.tagger import StructuredTagger"),
        ("teacher/x.py", "from structkd_plugin.inspection.report import inspect_store"),
        ("inspection/x.py", "from structkd_plugin.tagger import StructuredTagger"),
        ("inspection/x.py", "from structkd_plugin.commands.cache_teacher import source"),
        ("prediction/x.py", "from structkd_plugin.evaluation.tagged_sentence import TaggedSentence"),
        ("evaluation/x.py", "from structkd_plugin.teacher.store import TeacherStore"),
        ("presentation/x.py", "from structkd_plugin.metrics.reliability import ReliabilityBins"),
        ("teacher/x.py", "from structkd_plugin.metrics import SpanF1ByLanguage"),
        (
            "teacher/x.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from structkd_plugin.tagger import X",
        ),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    found = violations(Path(PACKAGE, path), source)
    assert len(found) == 1
    assert f"{PACKAGE}/{path}:{len(source.splitlines())}: " in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("crf/x.py", "import math\nimport torch.nn.functional as F\nfrom .reference import log_partition"),
        ("objectives/x.py", "from allennlp.common import Registrable\nfrom ..crf import LinearChainCRF"),
        ("tagger.py", "from .teacher_batch import TeacherBatch\nfrom structkd_plugin import crf"),
        ("teacher/x.py", "from structkd_plugin import teacher_batch\nfrom structkd_plugin.schedules import Schedule"),
        ("teacher/sources/x.py", "from structkd_plugin.crf import LinearChainCRF"),
        ("readers/x.py", "import conllu\nfrom structkd_plugin.tag_schemes import spans_of"),
    ],
)
def test_an_allowed_import_is_not_found(path: str, source: str) -> None:
    assert violations(Path(PACKAGE, path), source) == []
