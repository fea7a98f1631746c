"""Corpora, an archive of a teacher and its store, made once."""

from pathlib import Path
from typing import Dict

import pytest

from .training import capture_training_data, make_archive, write_corpus


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    for language in ("en", "de"):
        write_corpus(path / f"{language}.train.conll", language, 16)
    write_corpus(path / "en.dev.conll", "en", 6, seed=1)
    return path


@pytest.fixture(scope="session")
def archive(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive") / "teacher", data)


@pytest.fixture(scope="session")
def stores(data: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, str]:
    path = tmp_path_factory.mktemp("stores")
    return {language: capture_training_data(archive, data, path / language, [language]) for language in ("en", "de")}
