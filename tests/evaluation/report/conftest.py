"""Folders of runs as they are in practice: a baseline, a student with seeds, teachers, one that knows no Dutch."""

from pathlib import Path

import pytest

from structkd_plugin.evaluation.report.arguments import MethodPaths
from structkd_plugin.evaluation.report.document import Document
from structkd_plugin.evaluation.report.intervals import IntervalOptions
from structkd_plugin.evaluation.report.reporting import ReportOptions, report_of

from .folders import evaluation, write_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    shares = {"de": 0.80, "en": 0.82, "nl": 0.4}
    write_run(path / "baseline", evaluated=evaluation(shares, seed=1))
    for seed in (1, 2):
        better = {language: share + 0.08 for language, share in shares.items()}
        write_run(path / f"student_seed{seed}", evaluated=evaluation(better, seed=1 + seed), random_seed=seed)
    for language in ("de", "en"):
        write_run(path / f"teacher_{language}", [language], evaluated=evaluation({language: 0.97}, [language], 9))
    write_run(path / "a<b>&_%", test={"de": 0.5, "en": 0.6, "macro": 0.55, "micro": 0.56})
    return path


def paths_of(runs: Path, *names: str) -> "list[MethodPaths]":
    return [MethodPaths(name, tuple(sorted(map(str, runs.glob(f"{name}*"))))) for name in names]


@pytest.fixture(scope="session")
def document(runs: Path) -> Document:
    """A report of everything."""
    options = ReportOptions("baseline", ("teacher_de", "teacher_en"), IntervalOptions(200), title="A <report> & 100 %")
    names = ("baseline", "student", "teacher_de", "teacher_en", "a<b>&_%")
    return report_of(paths_of(runs, *names), options=options)
