"""Predicting from JSON lines, plain text and files, as `allennlp predict` and as a library."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from allennlp.commands import main
from allennlp.commands.train import train_model
from allennlp.common.checks import ConfigurationError
from allennlp.common.params import Params

from structkd_plugin import predictors
from structkd_plugin.predictors import TaggerPredictor
from structkd_plugin.tokenization import text_words

ROOT = Path(__file__).parents[1]
FIELDS = ["text", "language", "words", "tags", "tag_probabilities", "entities"]

TRAINING_SENTENCES = """
Anna B-PER
Karlsson I-PER
wohnt O
in O
Köln B-LOC
. O

Heute O
regnet O
es O

In O
Köln B-LOC
lacht O
Anna B-PER
"""

COLUMNS = """# sent_id = a1
Anna B-PER
wohnt O

Köln X-UNKNOWN
e\u0301 O
regnet O
"""

LINES = [
    {"id": 7, "text": "Anna Karlsson wohnt in Köln.", "nothing": None, "weight": 0.123456789},
    {"words": ["In", "Köln", "lacht", "Anna"], "language": "de"},
    {"text": ""},
    {"text": "  Köln\u00a0\U0001f469\u200d\U0001f4bb Anna\u0301 \r\n Karlsson!"},
    {"words": []},
    {"text": " \u200b ", "id": "invisible"},
    {"text": "Heute \ud800 Anna"},
    {"words": ["New York", "lacht"], "id": [1, {"a": "ß"}]},
    {"text": "Es regnet in Köln", "language": "ko"},
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagger")
    data = folder / "train.txt"
    data.write_text(TRAINING_SENTENCES.lstrip(), "utf-8")
    embedder = {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 8}}}
    config = {
        "dataset_reader": {"type": "structkd_column", "scheme": "BIO", "language": "de"},
        # What a predictor reads is not always as well-formed as what a model is trained on.
        "validation_dataset_reader": {"type": "structkd_column", "language": "de"},
        "train_data_path": str(data),
        "model": {"type": "structkd_tagger", "label_encoding": "BIO", "text_field_embedder": embedder},
        "data_loader": {"batch_size": 1},
        "trainer": {"num_epochs": 30, "optimizer": {"type": "adam", "lr": 0.1}, "cuda_device": -1},
    }
    train_model(Params(config), str(folder / "run"))
    return folder / "run" / "model.tar.gz"


@pytest.fixture(scope="module")
def predictor(archive):
    return TaggerPredictor.from_path(archive)


@pytest.fixture
def predict(archive, tmp_path, monkeypatch):
    """`allennlp predict` in this process: contents of the input file, arguments → lines of the output file."""

    def run(content, *arguments):
        source, target = tmp_path / "input", tmp_path / "output"
        source.write_bytes(content if isinstance(content, bytes) else content.encode())
        command = ["allennlp", "predict", str(archive), str(source), "--output-file", str(target), "--silent"]
        monkeypatch.setattr(sys, "argv", [*command, *arguments])
        main()
        return [json.loads(line) for line in target.read_text("utf-8").splitlines()]

    return run


def json_lines(sentences):
    return "".join(json.dumps(sentence) + "\n" for sentence in sentences)


def check_offsets(output):
    assert len(output["words"]) == len(output["tags"]) == len(output["tag_probabilities"])
    for entity in output["entities"]:
        words = output["words"][entity["start_word"] : entity["end_word"]]
        assert entity["text"] == output["text"][entity["start"] : entity["end"]]
        assert "".join(entity["text"].split()) == "".join("".join(words).split())
        assert 0 < entity["probability"] <= 1


def test_predicting_in_a_process_of_its_own_as_a_user_does(archive, tmp_path, predict):
    source, target = tmp_path / "sentences.jsonl", tmp_path / "out.jsonl"
    source.write_text(json_lines(LINES), "utf-8")
    command = ["predict", str(archive), str(source), "--output-file", str(target), "--batch-size", "7"]
    done = subprocess.run(
        [sys.executable, "-m", "allennlp", *command], cwd=ROOT, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    written = target.read_bytes().decode("utf-8")
    assert "Köln" in written
    assert "Anna\u0301" in written
    assert "Köln" in done.stdout.decode("utf-8")
    outputs = [json.loads(line) for line in written.splitlines()]
    # Batches of one give the same, in the same order.
    for together, alone in zip(outputs, predict(json_lines(LINES), "--batch-size", "1"), strict=True):
        for name, close in (("tag_probabilities", 2e-6), ("entities", None)):
            if close is None:
                assert [e.pop("probability") for e in together[name]] == pytest.approx(
                    [e.pop("probability") for e in alone[name]], abs=2e-6
                )
            else:
                assert together.pop(name) == pytest.approx(alone.pop(name), abs=close)
        assert together == alone


def test_the_output_for_a_text(predictor):
    output = predictor.predict_json({"text": "Anna Karlsson wohnt in Köln.", "id": 7})
    assert list(output) == [*FIELDS, "id"]
    assert output["words"] == ["Anna", "Karlsson", "wohnt", "in", "Köln", "."]
    assert output["tags"] == ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert output["language"] == "de"
    assert output["id"] == 7
    assert [{**entity, "probability": None} for entity in output["entities"]] == [
        {
            "text": "Anna Karlsson",
            "label": "PER",
            "start": 0,
            "end": 13,
            "start_word": 0,
            "end_word": 2,
            "probability": None,
        },
        {"text": "Köln", "label": "LOC", "start": 23, "end": 27, "start_word": 4, "end_word": 5, "probability": None},
    ]


def test_json_lines_keep_their_order_offsets_and_fields(predict):
    outputs = predict(json_lines(LINES), "--batch-size", "4")
    for sentence, output in zip(LINES, outputs, strict=True):
        check_offsets(output)
        assert list(output)[: len(FIELDS)] == FIELDS
        assert output["language"] == sentence.get("language", "de")
        if "text" in sentence:
            assert output["text"] == sentence["text"]
            assert output["words"] == [word.text for word in text_words(sentence["text"], output["language"])]
        else:
            assert output["words"] == sentence["words"]
            assert output["text"] == " ".join(sentence["words"])
        others = {name: value for name, value in sentence.items() if name not in ("text", "words", "language")}
        assert {name: value for name, value in output.items() if name not in FIELDS} == others
    assert outputs[3]["entities"][0]["text"] == "Köln"


@pytest.mark.parametrize("sentence", [{"text": ""}, {"words": []}, {"text": " \u200b\r\n"}])
def test_a_sentence_without_words_does_not_reach_the_model(predictor, monkeypatch, sentence):
    monkeypatch.setattr(predictor._model, "forward_on_instances", None)
    text = sentence.get("text", "")
    assert predictor.predict_batch_json([sentence]) == [
        {"text": text, "language": "de", "words": [], "tags": [], "tag_probabilities": [], "entities": []}
    ]


def test_plain_text_is_tagged_line_by_line(predict):
    outputs = predict(b"\xef\xbb\xbf" + "Anna lacht\r\n\n   In Köln [sic]\nes".encode())
    assert [output["text"] for output in outputs] == ["Anna lacht", "   In Köln [sic]", "es"]
    assert outputs[0]["words"] == ["Anna", "lacht"]
    assert outputs[1]["entities"][0]["start"] == 6


def test_the_language_of_plain_text_can_be_given(predict):
    assert predict("don't\n")[0]["words"] == ["don't"]
    output = predict("don't\n", "--predictor-args", '{"language": "en"}')[0]
    assert (output["language"], output["words"]) == ("en", ["do", "n't"])


@pytest.mark.parametrize("batch_size", ["1", "7"])
def test_files_of_the_reader_are_tagged_whatever_their_gold_tags(predict, batch_size):
    outputs = predict(COLUMNS, "--use-dataset-reader", "--batch-size", batch_size)
    assert [output["text"] for output in outputs] == ["Anna wohnt", "Köln e\u0301 regnet"]
    assert [list(output) for output in outputs] == [[*FIELDS, "sentence_id"], FIELDS]
    assert outputs[0]["sentence_id"] == "a1"
    assert [tag for output in outputs for tag in output["tags"]] == ["B-PER", "O", "B-LOC", "O", "O"]
    for output in outputs:
        check_offsets(output)


def test_conllu_files_are_tagged_on_the_device_named(predict):
    """Another format than the archive's is an override of its reader; -1 is the CPU."""
    rows = [("1-2", "Zur"), ("1", "zu"), ("2", "der"), ("3", "Anna")]
    conllu = "# sent_id = c7\n" + "".join("\t".join([number, word, *["_"] * 8]) + "\n" for number, word in rows) + "\n"
    reader = {"validation_dataset_reader": {"type": "structkd_conllu", "label": None, "language": "de"}}
    arguments = ["--use-dataset-reader", "--overrides", json.dumps(reader), "--cuda-device", "-1"]
    (output,) = predict(conllu, *arguments)
    assert output["words"] == ["zu", "der", "Anna"]
    assert output["sentence_id"] == "c7"
    assert output["tags"][2] == "B-PER"
    check_offsets(output)


def test_a_device_that_is_not_there_is_named(predict):
    if torch.cuda.is_available():
        assert len(predict("Anna lacht.", "--cuda-device", "0")) == 1
        return
    # AllenNLP's sentence; before torch 2.7 torch's own comes first.
    with pytest.raises((ConfigurationError, RuntimeError), match=r"GPU|accelerator"):
        predict("Anna lacht.", "--cuda-device", "0")


def test_the_probability_of_every_label_on_request(predict):
    arguments = ["--predictor-args", json.dumps({"all_labels": True})]
    tagged, empty = predict('Anna lacht.\n{"text": ""}\n', *arguments)
    assert empty["label_probabilities"] == []
    assert len(tagged["label_probabilities"]) == len(tagged["words"])
    for tag, probability, labels in zip(
        tagged["tags"], tagged["tag_probabilities"], tagged["label_probabilities"], strict=True
    ):
        assert labels[tag] == probability
        assert sum(labels.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": 5}', '"text" is 5; give a string'),
        ('{"text": null}', '"text" is null; give a string'),
        ('{"text": "a", "words": ["a"]}', 'the sentence has both "text" and "words"; give one of them'),
        ('{"sentence": "a"}', 'the sentence has neither "text" nor "words", but ["sentence"]'),
        ("{}", 'the sentence has neither "text" nor "words", but nothing'),
        ('{"words": "Anna lacht"}', '"words" is "Anna lacht"; give a list of strings'),
        ('{"words": ["a", ""]}', 'word 2 of "words" is ""; give a string with letters'),
        ('{"words": ["a", "b", 3]}', 'word 3 of "words" is 3; give a string with letters'),
        ('{"text": "a", "language": 5}', '"language" is 5; give a code such as "de", or leave it out'),
        ('{"text": "a", "language": ""}', '"language" is ""; give a code such as "de", or leave it out'),
        ('{"text": "a", "tags": []}', 'the field "tags" is what the prediction is called; rename it in the input'),
        (
            '{"text": "a"',
            "begins with '{' but is not valid JSON (Expecting ',' delimiter at column 13): {\"text\": \"a\"",
        ),
        ('{"a": ' * 100_000, "begins with '{' but is not valid JSON"),
        ('{"text": ["' + 90 * "a" + '"]}', '"text" is ["' + 55 * "a" + "...; give a string"),
    ],
    ids=lambda value: value[:25],
)
def test_an_unusable_line_is_one_sentence_that_names_it(predictor, line, message):
    predictor = TaggerPredictor(predictor._model, predictor._dataset_reader)
    predictor.load_line("Anna lacht\n")
    with pytest.raises(ConfigurationError) as caught:
        predictor.load_line(line + "\n")
    assert caught.value.message.startswith(f"line 2 of the input (blank lines not counted): {message}")


def test_the_library_checks_its_input_too(predictor):
    with pytest.raises(ConfigurationError, match='"text" is 5'):
        predictor.predict_json({"text": 5})
    with pytest.raises(ConfigurationError, match=r'\["text"\] is not a JSON object'):
        predictor.predict_batch_json([["text"]])


def test_lines_are_readable_utf8_and_probabilities_short(predictor, monkeypatch):
    output = predictor.predict_json({"text": "Köln", "weight": 0.123456789})
    unrounded = json.dumps(output)
    line = predictor.dump_line(output)
    assert line.endswith("}\n")
    assert '"text": "Köln"' in line
    assert '"weight": 0.123456789' in line
    numbers = [*json.loads(line)["tag_probabilities"], *(e["probability"] for e in json.loads(line)["entities"])]
    assert numbers == [round(number, 6) for number in numbers]
    assert json.dumps(output) == unrounded
    # Half a character is not UTF-8, and neither is what a file in another encoding holds, unless it is ASCII.
    assert predictor.dump_line({**output, "text": "ö\ud800"}).isascii()
    monkeypatch.setattr(predictors.locale, "getpreferredencoding", lambda _: "ISO-8859-1")
    assert predictor.dump_line(output).isascii()
    assert json.loads(predictor.dump_line(output))["text"] == "Köln"
