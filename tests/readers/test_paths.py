import os

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers.paths import data_files


@pytest.fixture
def corpus(write, tmp_path, monkeypatch):
    for name in ("de/train.conll", "de/train2.conll", "nl/train.conll", "nl/nl-dev.conll", "odd/a[1].conll"):
        write(name, "x O\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("de/train.conll", ["und de/train.conll"]),
        ("de/*.conll", ["und de/train.conll", "und de/train2.conll"]),
        ("**/train.conll", ["und de/train.conll", "und nl/train.conll"]),
        (["nl/train.conll", "de/*.conll"], ["und nl/train.conll", "und de/train.conll", "und de/train2.conll"]),
        (
            {"nl": "nl/train.conll", "de": ["de/t*.conll"]},
            ["nl nl/train.conll", "de de/train.conll", "de de/train2.conll"],
        ),
        ("{language}/train.conll", ["de de/train.conll", "nl nl/train.conll"]),
        ("{language}/{language}-dev.conll", ["nl nl/nl-dev.conll"]),
        ({"nl": "{language}/train.conll"}, ["nl nl/train.conll"]),
        ("odd/a[1].conll", ["und odd/a[1].conll"]),
    ],
    ids=str,
)
def test_files_of(paths, expected):
    assert [f"{found.language} {found.file}" for found in data_files(paths, "und")] == expected
    if isinstance(paths, dict):
        assert data_files(Params(paths), "und") == data_files(paths, "und")


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("de/none.conll", "de/none.conll: there is no such file (looked from {here})"),
        ("fr/*.conll", "fr/*.conll: no file matches this glob (looked from {here})"),
        (["de/train.conll", "fr/*.conll"], "fr/*.conll: no file matches this glob (looked from {here})"),
        ("{language}/none.conll", "{language}/none.conll: no file matches with a language in place of {language}"),
        ("{language}/*.conll", "{language}/*.conll: a path with {language} in it can have no other wildcards"),
        ("de", "de: this is a folder; name the files in it, for example by de/*"),
        (["de/*.conll", "de/train.conll"], "de/train.conll: the file is named twice for language 'und'; name it once"),
        (
            {"de": "de/train.conll", "DE": "nl/train.conll"},
            "the language 'DE' is given twice (also as 'de'); put its files into one list",
        ),
        (
            {"pt-BR": "de/train.conll", "pt_br": "nl/train.conll"},
            "the language 'pt_br' is given twice (also as 'pt-BR'); put its files into one list",
        ),
        ({"": "de/train.conll"}, "'' is no language code; name each language by a word such as 'de'"),
        ({}, "the data path is an empty mapping; name a path for at least one language"),
        ([], "a list of data paths is empty; name at least one file"),
        ({"de": []}, "a list of data paths is empty; name at least one file"),
        (
            {"de": {"nl": "de/train.conll"}},
            "{'nl': 'de/train.conll'} is no data path; give a path, a glob, or a list of those",
        ),
        ([{"de": "x"}], "[{'de': 'x'}] is no data path; give a path, a glob, or a list of those"),
        (7, "7 is no data path; give a path, a glob, or a list of those"),
    ],
    ids=str,
)
def test_a_wrong_path_is_one_sentence(paths, message):
    with pytest.raises(ConfigurationError) as error:
        data_files(paths, "und")
    assert str(error.value) == message.replace("{here}", os.getcwd())
