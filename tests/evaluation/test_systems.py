"""Systems: archives and files of predictions against the gold sentences."""

import json
from pathlib import Path
from typing import List

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer
from allennlp.models.archival import archive_model

from structkd_plugin.evaluation.evaluation import evaluate
from structkd_plugin.evaluation.known import known_of, vocabulary_words
from structkd_plugin.evaluation.systems import ArchivedSystem, PredictedFiles, open_system, trained_languages_of
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.source import Source
from structkd_plugin.teacher.capture import Source as CaptureSource

from ..teacher.training import make_archive, write_corpus

GOLD = "Ada B-PER\nslept O\n\nRome B-LOC\nI I-LOC\n"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        write_corpus(path / f"{language}.train.conll", language, 16)
    return path


@pytest.fixture(scope="module")
def archive(corpora: Path) -> Path:
    path = make_archive(corpora / "archive", corpora)
    archive_model(path, weights="best.th")
    return path


def files(tmp_path: Path, gold: str, predicted: str) -> "tuple[str, List[Source]]":
    (tmp_path / "gold.conll").write_text(gold)
    (tmp_path / "predicted").write_text(predicted)
    return str(tmp_path / "predicted"), [Source(str(tmp_path / "gold.conll"), "en")]


def test_the_source_is_where_captures_have_it() -> None:
    assert CaptureSource is Source


class TestArchives:
    @pytest.mark.parametrize("name", ["model.tar.gz", "."])
    def test_an_archive(self, archive: Path, corpora: Path, name: str) -> None:
        system = open_system(str(archive / name))
        assert isinstance(system, ArchivedSystem)
        assert system.label_encoding == "BIO"
        assert system.trained_languages == {"en", "de"}
        assert system.known_words is not None
        assert "Ada" in system.known_words
        assert "ada" not in system.known_words
        sources = [Source(f"{corpora}/{language}.train.conll", language) for language in ("en", "de")]
        found = list(system.tagged(sources, batch_size=3, quiet=True))
        gold = list(ColumnReader().sentences({source.language: source.path for source in sources}))
        assert [one.gold for one in found] == gold
        # Batches change nothing but the last bits.
        again = list(system.tagged(sources, batch_size=32, quiet=True))
        assert [one.tags for one in found] == [one.tags for one in again]
        assert all(one.entities is not None and len(one.tag_probabilities or ()) == len(one.tags) for one in found)

    def test_another_reader_of_gold_files(self, archive: Path, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("B-PER Ada\n")
        settings = {"type": "structkd_column", "word_column": 1, "tag_column": 0}
        (found,) = open_system(str(archive), reader_settings=settings).tagged([Source(str(tmp_path / "x"))], quiet=True)
        assert (found.gold.words, found.gold.tags) == (("Ada",), ("B-PER",))

    def test_a_scheme_that_is_not_the_taggers(self, archive: Path) -> None:
        with pytest.raises(ConfigurationError, match="writes spans as BIO, which --scheme BIOES cannot change"):
            open_system(str(archive), scheme="BIOES")
        assert open_system(str(archive), scheme="IOB2").label_encoding == "BIO"

    @pytest.mark.parametrize(
        ("config", "languages"),
        [
            ({"train_data_path": {"en": "x", "de": ["y"]}}, {"en", "de"}),
            ({"train_data_path": "data/{language}/train.conll"}, None),
            ({"train_data_path": "x"}, None),
            ({"train_data_path": "x", "dataset_reader": {"language": "fr"}}, {"fr"}),
            ({}, None),
            ({"train_data_path": {"en": "x"}, "dataset_reader": "structkd_conllu"}, {"en"}),
            (
                {
                    "dataset_reader": {"type": "structkd_mixture", "readers": {"a": {}, "b": {"language": "nl"}}},
                    "train_data_path": {"a": {"en": "x"}, "b": "y"},
                },
                {"en", "nl"},
            ),
            (
                {
                    "dataset_reader": {"type": "structkd_mixture", "readers": {"a": {}}},
                    "train_data_path": "data/{language}.conll",
                },
                None,
            ),
            (
                {
                    "dataset_reader": {"type": "structkd_recombined", "reader": {"language": "nl"}},
                    "train_data_path": "x",
                },
                {"nl"},
            ),
            (
                {
                    "dataset_reader": {
                        "type": "structkd_mixture",
                        "readers": {"a": {}, "b": {"type": "structkd_conllu"}, "c": {"type": "structkd_plain_text"}},
                        "untagged": ["b"],
                    },
                    "train_data_path": {"a": {"en": "x"}, "b": {"nl": "y"}, "c": {"de": "z"}},
                },
                {"en"},
            ),
            (
                {
                    "dataset_reader": {"type": "structkd_mixture", "readers": {"c": "structkd_plain_text"}},
                    "train_data_path": {"c": {"de": "z"}},
                },
                {"de"},
            ),
        ],
    )
    def test_trained_languages(self, config, languages) -> None:
        assert trained_languages_of(config) == languages

    def test_words_of_a_vocabulary(self) -> None:
        class Reader:
            def __init__(self, **indexers):
                self._token_indexers = indexers

        vocabulary = Vocabulary({"words": {"ada": 1}, "characters": {"a": 1}})
        words = SingleIdTokenIndexer("words", lowercase_tokens=True)
        characters = TokenCharactersIndexer("characters", min_padding_length=3)
        known = vocabulary_words(Reader(characters=characters, words=words), vocabulary)
        assert known is not None
        assert "Ada" in known
        assert "Rome" not in known
        assert vocabulary_words(Reader(characters=characters), vocabulary) is None
        assert vocabulary_words(Reader(words=SingleIdTokenIndexer("tokens")), vocabulary) is None

    def test_what_training_files_have(self) -> None:
        sentences = [Sentence(("Ada", "Byron", "slept"), ("B-PER", "I-PER", "O"), "en"), Sentence(("x",), None, "en")]
        assert known_of(sentences, "BIO", "strict") == ({"Ada", "Byron", "slept", "x"}, {("Ada", "Byron")})
        assert known_of(sentences, None, "strict") == ({"Ada", "Byron", "slept", "x"}, None)
        with pytest.raises(ConfigurationError, match="f:2: tag 'X' is not of the scheme BIO"):
            known_of([Sentence(("a",), ("X",), "en", "f", 2)], "BIO", "strict")


class TestPredictedFiles:
    @pytest.mark.parametrize(
        "predicted",
        [
            GOLD,
            GOLD.replace(" ", " NNP "),
            '{"words": ["Ada", "slept"], "tags": ["B-PER", "O"]}\n'
            '{"words": ["Rome", "I"], "tags": ["B-LOC", "I-LOC"]}\n',
        ],
    )
    def test_of_any_format(self, tmp_path: Path, predicted: str) -> None:
        path, sources = files(tmp_path, GOLD, predicted)
        system = open_system(path)
        assert isinstance(system, PredictedFiles)
        assert system.label_encoding == "BIO"
        tagged = list(system.tagged(sources, quiet=True))
        assert [one.tags for one in tagged] == [one.gold.tags for one in tagged] == [("B-PER", "O"), ("B-LOC", "I-LOC")]
        assert evaluate(tagged, system.label_encoding).overall.score.value == 1.0

    def test_ill_formed_tags_stay_as_they_are_on_both_sides(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, "a B-X\nb I-Y\n", "a I-X\nb B-Y\n")
        system = open_system(path)
        (tagged,) = system.tagged(sources, quiet=True)
        assert (tagged.gold.tags, tagged.tags) == (("B-X", "I-Y"), ("I-X", "B-Y"))
        assert system.label_encoding == "BIO"

    def test_the_scheme_is_that_of_the_gold_tags(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, "a B-X\nb I-X\n", "a I-X\nb I-X\n")
        system = open_system(path)
        # Predictions alone look like another one.
        assert system.label_encoding == "IOB1"
        system.tagged(sources, quiet=True)
        assert system.label_encoding == "BIO"

    def test_gold_tags_are_converted_to_a_scheme_that_is_named(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, GOLD, "Ada S-PER\nslept O\n\nRome B-LOC\nI E-LOC\n")
        with pytest.raises(ConfigurationError, match=r"gold.conll:1: .* 'S-PER' is not of the scheme BIO.* name that"):
            evaluate(open_system(path).tagged(sources, quiet=True), "BIO")
        system = open_system(path, scheme="BIOES")
        tagged = list(system.tagged(sources, quiet=True))
        assert [one.gold.tags for one in tagged] == [("S-PER", "O"), ("B-LOC", "E-LOC")]
        assert evaluate(tagged, system.label_encoding).overall.score.value == 1.0

    def test_labels_of_words(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, "a B-X\n", "a O\n")
        assert open_system(path, scheme="none").label_encoding is None
        path, sources = files(tmp_path, "a O\nb NOUN\n", "a O\nb O\n")
        system = open_system(path)
        system.tagged(sources, quiet=True)
        assert system.label_encoding is None

    def test_a_reader_decides_on_columns_and_scheme(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, "B-X a\n", "a B-X\n")
        settings = {"type": "structkd_column", "word_column": 1, "tag_column": 0, "scheme": "BIOES"}
        system = open_system(path, reader_settings={**settings, "token_indexers": {"x": {"type": "no such"}}})
        assert system.label_encoding == "BIOES"
        (tagged,) = system.tagged(sources, quiet=True)
        assert tagged.gold.tags == ("S-X",)
        with pytest.raises(ConfigurationError, match="there is no such dataset reader"):
            open_system(path, reader_settings={"type": "nonsense"})

    def test_conllu_of_upos_and_of_the_column_of_the_gold_reader(self, tmp_path: Path) -> None:
        line = "1\tAda\t_\tPROPN\tNNP\t_\t_\t_\t_\tNER=B-PER\n2\tx\t_\tX\tY\t_\t_\t_\t_\t_\n\n"
        (tmp_path / "gold.conllu").write_text(line)
        (tmp_path / "predicted.conllu").write_text(line)
        path, sources = str(tmp_path / "predicted.conllu"), [Source(str(tmp_path / "gold.conllu"), "en")]
        for label, encoding, tags in (
            ("upos", None, ("PROPN", "X")),
            ("xpos", None, ("NNP", "Y")),
            ("misc:NER", "BIO", ("B-PER", "O")),
        ):
            settings = {"type": "structkd_conllu", "label": label, **({"scheme": encoding} if encoding else {})}
            system = open_system(path, reader_settings=settings)
            (tagged,) = system.tagged(sources, quiet=True)
            assert tagged.tags == tagged.gold.tags == tags
            assert system.label_encoding == encoding
        (tagged,) = open_system(path).tagged(sources, quiet=True)
        assert tagged.tags == ("PROPN", "X")

    def test_a_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "predictions"
        folder.mkdir()
        for language, tag in (("de", "B-X"), ("en", "O")):
            (tmp_path / language).mkdir()
            (tmp_path / language / "test.conll").write_text(f"{language} B-X\n")
            (folder / f"{language}.conll").write_text(f"{language} {tag}\n")
        system = open_system(str(folder))
        assert system.label_encoding == "BIO"
        for sources in (
            [Source(f"{tmp_path}/{{language}}/test.conll")],
            [Source(f"{tmp_path}/en/test.conll", "en"), Source(f"{tmp_path}/de/test.conll", "de")],
        ):
            found = {one.gold.language: one.tags for one in system.tagged(sources, quiet=True)}
            assert found == {"en": ("O",), "de": ("B-X",)}

    @pytest.mark.parametrize(
        ("predicted", "message"),
        [
            (
                "Ada B-PER\nslept O\n",
                r"predicted: the predictions end after 1 sentences, where the gold sentence .*gold.conll:4 follows "
                r"\('Rome I'\)",
            ),
            (
                GOLD + "\nmore O\n",
                r"predicted:7: sentence 3 of the predictions \('more'\) has no gold sentence: the gold files end",
            ),
            (
                GOLD.replace("Rome", "Roma"),
                r"predicted:4: word 1 is 'Roma', where the gold sentence .*gold.conll:4 has 'Rome'; ",
            ),
            (
                GOLD.replace("I I-LOC\n", ""),
                r"predicted:4: the sentence has 1 words, where the gold sentence .*gold.conll:4 has 2 \('Rome I'\)",
            ),
            ("", r"predicted: the file has no predictions"),
        ],
    )
    def test_predictions_of_other_sentences(self, tmp_path: Path, predicted: str, message: str) -> None:
        path, sources = files(tmp_path, GOLD, predicted)
        with pytest.raises(ConfigurationError, match=message):
            list(open_system(path).tagged(sources, quiet=True))

    def test_an_empty_gold_file(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, "\n", GOLD)
        with pytest.raises(ConfigurationError, match=r"gold.conll: the file has no sentences"):
            list(open_system(path).tagged(sources, quiet=True))

    def test_prefixes_of_no_scheme(self, tmp_path: Path) -> None:
        path, sources = files(tmp_path, "a M-X\nb U-X\n", "a M-X\nb U-X\n")
        with pytest.raises(ConfigurationError, match="the gold tags look like spans, but no scheme has the tags"):
            open_system(path).tagged(sources, quiet=True)

    def test_probabilities_and_entities_are_kept(self, tmp_path: Path) -> None:
        entity = {"label": "PER", "start_word": 0, "end_word": 1, "probability": 0.5}
        line = {"words": ["Ada"], "tags": ["B-PER"], "tag_probabilities": [0.75], "entities": [entity]}
        path, sources = files(tmp_path, "Ada B-PER\n", json.dumps(line))
        (tagged,) = open_system(path).tagged(sources, quiet=True)
        assert tagged.tag_probabilities == (0.75,)
        assert tagged.entities == (("PER", 0, 1, 0.5),)


def test_there_is_nothing_at_a_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing: there is no such file or folder"):
        open_system(str(tmp_path / "nothing"))
