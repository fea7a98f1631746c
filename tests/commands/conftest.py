"""An archive of a teacher and its corpora, made once."""

from pathlib import Path

import pytest

from tests.teacher.training import make_archive, write_corpus


@pytest.fixture(scope="session")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        write_corpus(path / f"{language}.train.conll", language, 16)
    return path


@pytest.fixture(scope="session")
def teacher_archive(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("archive") / "teacher", corpora)
