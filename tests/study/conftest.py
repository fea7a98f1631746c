"""Studies name their files from the repository's folder."""

import pytest

from tests.study.programs import ROOT


@pytest.fixture
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
