"""Files of predictions: written as tools write them, read, and broken."""

import gzip
import json
from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.prediction_files import (
    COLUMNS,
    CONLLU,
    JSON_LINES,
    format_of,
    predictions_by_gold_file,
    read_predictions,
)
from structkd_plugin.prediction.tagging import PredictedEntity

LINE = {
    "text": "Ada slept",
    "words": ["Ada", "slept"],
    "tags": ["B-PER", "O"],
    "tag_probabilities": [0.9, 1],
    "entities": [{"label": "PER", "start_word": 0, "end_word": 1, "probability": 0.8}],
}
CONLLU_WORD = "1\tAda\t_\tPROPN\t_\t_\t_\t_\t_\tNER=B-PER\n2\tslept\t_\tVERB\t_\t_\t_\t_\t_\t_\n"


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (json.dumps(LINE), JSON_LINES),
        ("\n  " + json.dumps(LINE, indent=None), JSON_LINES),
        ("\ufeff" + json.dumps(LINE), JSON_LINES),
        ("{ O\n} O\n", COLUMNS),
        ("Ada B-PER\n", COLUMNS),
        ("Ada NNP B-PER I-PER\n", COLUMNS),
        ("-DOCSTART- -X- O O\n", COLUMNS),
        ("# sent_id = 3\nAda\tB-PER\n", COLUMNS),
        ("#\tO\n", COLUMNS),
        (CONLLU_WORD, CONLLU),
        ("# text = Ada slept\n" + CONLLU_WORD, CONLLU),
        ("1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_\n", CONLLU),
        ("a\tb\tc\td\te\tf\tg\th\ti\tO\n", COLUMNS),
    ],
)
def test_a_format_is_told_by_what_is_in_the_file_and_not_by_its_name(tmp_path, text, form):
    for name in ("x.conllu", "x.jsonl", "x"):
        assert format_of(written(tmp_path / name, text)) == form


def test_an_empty_file(tmp_path):
    with pytest.raises(ConfigurationError, match=r"x: the file has no predictions"):
        format_of(written(tmp_path / "x", "\n# a comment\n\n"))


def test_json_lines(tmp_path):
    nothing = {"words": [], "tags": [], "tag_probabilities": [], "entities": []}
    plain = {"words": ["a"], "tags": ["I-X"]}
    unsure = {"words": ["a"], "tags": ["O"], "entities": [{"label": "X", "start_word": 0, "end_word": 1}]}
    lines = [json.dumps(one) for one in (LINE, nothing, plain, unsure)]
    file = written(tmp_path / "x", f"{lines[0]}\n{lines[1]}\n\n{lines[2]}\n{lines[3]}\n")
    first, second, third = read_predictions(file)
    assert first == (
        ("Ada", "slept"),
        ("B-PER", "O"),
        (0.9, 1.0),
        (PredictedEntity("PER", 0, 1, 0.8),),
        file,
        1,
    )
    # Ill-formed tags stay as they are.
    assert second == (("a",), ("I-X",), None, None, file, 4)
    assert (third.entities, third.line) == (None, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": None}, r'x:2: "words" is not a list of strings'),
        ({"tags": [1, 2]}, r'x:2: "tags" is not a list of strings'),
        ({"tags": ["O"]}, r"x:2: the sentence has 2 words but 1 tags"),
        ({"tag_probabilities": [0.5]}, r"x:2: the sentence has 2 words but 1 probabilities"),
        ({"tag_probabilities": [0.5, 1.5]}, r'x:2: "tag_probabilities" is not a list of numbers from 0 to 1'),
        ({"tag_probabilities": [float("nan"), 0]}, r'x:2: "tag_probabilities" is not'),
        ({"tag_probabilities": 1}, r'x:2: "tag_probabilities" is not'),
        ({"entities": {}}, r'x:2: "entities" is not a list'),
        ({"entities": [3]}, r"x:2: the entity 3 is no stretch of the 2 words"),
        ({"entities": [{"label": "X", "start_word": 1, "end_word": 1}]}, r"x:2: the entity .* is no stretch"),
        ({"entities": [{"label": "X", "start_word": 0, "end_word": 3}]}, r"x:2: the entity .* is no stretch"),
        ({"entities": [{"label": "X", "start_word": True, "end_word": 2}]}, r"x:2: the entity .* is no stretch"),
        (
            {"entities": [{"label": "X", "start_word": 0, "end_word": 1, "probability": "high"}]},
            r"x:2: the probability 'high' of an entity",
        ),
    ],
)
def test_json_lines_that_are_wrong(tmp_path, change, message):
    text = f"{json.dumps(LINE)}\n{json.dumps({**LINE, **change})}\n"
    with pytest.raises(ConfigurationError, match=message):
        list(read_predictions(written(tmp_path / "x", text)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"words": ["a"', r"x:2: the line is not JSON"),
        ("[1]", r"x:2: the line is not a JSON object"),
        ('{"words": ["a"]}', r'x:2: "tags" is missing; a prediction has the fields words and tags'),
    ],
)
def test_lines_that_are_no_predictions(tmp_path, line, message):
    with pytest.raises(ConfigurationError, match=message):
        list(read_predictions(written(tmp_path / "x", f"{json.dumps(LINE)}\n{line}\n")))


@pytest.mark.parametrize("columns", ["{word} {tag}", "{word} gold {tag}", "{word}\tNNP\tgold\t{tag}"])
def test_columns_have_the_word_first_and_the_predicted_tag_last(tmp_path, columns):
    rows = [columns.format(word=word, tag=tag) for word, tag in (("Ada", "I-X"), ("slept", "B-Y"))]
    file = written(tmp_path / "x", "\n".join([*rows, "", rows[0], ""]))
    assert [(one.words, one.tags, one.line) for one in read_predictions(file)] == [
        (("Ada", "slept"), ("I-X", "B-Y"), 1),
        (("Ada",), ("I-X",), 4),
    ]


def test_columns_packed(tmp_path):
    with gzip.open(tmp_path / "x.gz", "wt") as stream:
        stream.write("Ada O\n")
    (found,) = read_predictions(str(tmp_path / "x.gz"))
    assert found.words == ("Ada",)


def test_a_row_that_is_cut_off(tmp_path):
    with pytest.raises(ConfigurationError, match=r"x:2: the line has 2 column"):
        list(read_predictions(written(tmp_path / "x", "Ada NNP O\nslept O\n")))


def test_conllu(tmp_path):
    file = written(tmp_path / "x", CONLLU_WORD)
    assert [one.tags for one in read_predictions(file)] == [("PROPN", "VERB")]
    assert [one.tags for one in read_predictions(file, "misc:NER", spans=True)] == [("B-PER", "O")]


class TestFolders:
    @staticmethod
    def folder(path: Path, *names: str) -> str:
        for name in names:
            (path / name).write_text("")
        return str(path)

    def test_by_the_name_of_the_gold_file(self, tmp_path):
        folder = self.folder(tmp_path, "test-de.jsonl", "test-en.jsonl", ".hidden", "notes.txt")
        found = predictions_by_gold_file(folder, [("en", "a/test-en.conll"), ("de", "b/test-de.conll.gz")])
        assert found == {"a/test-en.conll": f"{folder}/test-en.jsonl", "b/test-de.conll.gz": f"{folder}/test-de.jsonl"}

    def test_by_the_language(self, tmp_path):
        # All gold files have one name, which says nothing.
        folder = self.folder(tmp_path, "de.conll", "en.conll", "test.conll")
        found = predictions_by_gold_file(folder, [("en", "en/test.conllu"), ("de", "de/test.conllu")])
        assert found == {"en/test.conllu": f"{folder}/en.conll", "de/test.conllu": f"{folder}/de.conll"}

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["fr.conll"], r"none has the predictions for x/gold.conll \(fr.conll\): name one 'gold' or 'en'"),
            ([], r"none has the predictions for x/gold.conll \(no files\)"),
            (["en.conll", "en.jsonl"], r"several could have the predictions .* \(en.conll, en.jsonl\)"),
        ],
    )
    def test_where_it_is_not_clear(self, tmp_path, names, message):
        with pytest.raises(ConfigurationError, match=message):
            predictions_by_gold_file(self.folder(tmp_path, *names), [("en", "x/gold.conll")])

    def test_one_file_for_two(self, tmp_path):
        folder = self.folder(tmp_path, "en.conll")
        with pytest.raises(ConfigurationError, match="as if it had the predictions for several gold files"):
            predictions_by_gold_file(folder, [("en", "a.conll"), ("en", "b.conll")])
