"""Which arguments are runs, which are files, and which runs are one method."""

from pathlib import Path
from typing import Any, List, Tuple

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.report.arguments import LanguageFile, MethodPaths, split_arguments


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a_seed1", "a_seed2", "a-seed3", "b_s1", "b", "teacher_es", "x/b", "y/b", "x/a_seed1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "en.conll").touch()
    (tmp_path / "de=x.conll").touch()
    (tmp_path / "runs" / "b" / "model.tar.gz").touch()
    return tmp_path


def methods(*arguments: str) -> List[Tuple[str, Tuple[str, ...]]]:
    return [tuple(method) for method in split_arguments(arguments)[0]]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["runs/b"], [("b", ("runs/b",))]),
        (["runs/b/"], [("b", ("runs/b/",))]),
        (["runs/b/model.tar.gz"], [("b", ("runs/b",))]),
        (["runs/teacher_es"], [("teacher_es", ("runs/teacher_es",))]),
        (["runs/a_seed2", "runs/b", "runs/a_seed1"], [("a", ("runs/a_seed2", "runs/a_seed1")), ("b", ("runs/b",))]),
        (["runs/a_seed1", "runs/a-seed3"], [("a", ("runs/a_seed1", "runs/a-seed3"))]),
        (["runs/b_s1"], [("b", ("runs/b_s1",))]),
        (["M=runs/a_seed1,runs/b"], [("M", ("runs/a_seed1", "runs/b"))]),
        (["M=runs/b", "runs/x/b"], [("M", ("runs/b",)), ("b", ("runs/x/b",))]),
        # Two folders of one name are two methods, however alike they are.
        (["runs/x/b", "runs/y/b"], [("x/b", ("runs/x/b",)), ("y/b", ("runs/y/b",))]),
        (["b=runs/x/b", "runs/y/b"], [("b", ("runs/x/b",)), ("y/b", ("runs/y/b",))]),
        (["runs/a_seed1", "runs/x/a_seed1"], [("runs/a", ("runs/a_seed1",)), ("x/a", ("runs/x/a_seed1",))]),
    ],
)
def test_runs(tree: Path, arguments: List[str], expected: Any) -> None:
    assert methods(*arguments) == expected


def test_files_are_told_from_runs_in_any_order(tree: Path) -> None:
    found = split_arguments(["en=en.conll", "runs/b", "pt-BR=*.conll"])
    assert found == (
        [MethodPaths("b", ("runs/b",))],
        [LanguageFile("en", "en.conll"), LanguageFile("pt-BR", "*.conll")],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/none"], "runs/none: there is no such folder"),
        (["en.conll"], "en.conll is a file: give the folder"),
        (["de=x.conll"], "de=x.conll is a file"),
        (["M=runs/b,runs/none"], "runs/none: there is no such folder"),
        (["en=none.conll"], "en=none.conll: none.conll is neither the folder of a run nor a file"),
        (["M=runs/b", "M=runs/x/b"], "M=runs/x/b: a method needs a name of its own"),
        (["=runs/b"], "=runs/b: a method needs a name"),
        (["runs/b", "M=runs/b/"], "the run runs/b/ is given twice, for 'b' and for 'M'"),
        (["runs/b", "runs/../runs/b"], "is given twice"),
    ],
)
def test_what_is_neither(tree: Path, arguments: List[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        split_arguments(arguments)
    assert message in str(error.value)
