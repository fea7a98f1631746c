"""The command line of an evaluation, in a process of its own and in this one."""

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
from allennlp.common.util import SigTermReceived
from allennlp.models.archival import archive_model

import structkd_plugin.commands.cache_teacher
import structkd_plugin.commands.score
from structkd_plugin.evaluation.sentence_counts import metric_of
from structkd_plugin.predictors import TaggerPredictor  # noqa: F401
from tests.teacher.training import write_corpus

from .command_line import as_a_user, run


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gold")
    for language in ("en", "de"):
        write_corpus(path / f"{language}.conll", language, 12, seed=2)
    return path


@pytest.fixture(scope="module")
def archive(teacher_archive: Path) -> Path:
    archive_model(teacher_archive, weights="best.th")
    return teacher_archive


@pytest.fixture(scope="module")
def evaluated(archive: Path, gold: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, float]:
    """What `allennlp evaluate` says, of files by language."""
    output = tmp_path_factory.mktemp("evaluated") / "metrics.json"
    assert run("evaluate", archive / "model.tar.gz", gold / "{language}.conll", "--output-file", output) is None
    return {name: value for name, value in json.loads(output.read_text()).items() if "/" in name}


@pytest.fixture(scope="module")
def predictions(archive: Path, gold: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `allennlp predict` writes of the gold files, one file for each language."""
    folder = tmp_path_factory.mktemp("predictions")
    for language in ("en", "de"):
        assert (
            run(
                "predict",
                archive / "model.tar.gz",
                gold / f"{language}.conll",
                "--use-dataset-reader",
                "--silent",
                "--output-file",
                folder / f"{language}.jsonl",
            )
            is None
        )
    return folder


def both(gold: Path) -> "list[str]":
    return [f"{language}={gold}/{language}.conll" for language in ("de", "en")]


def figures(*arguments: Any, output: Path) -> Dict[str, Any]:
    assert run("score", *arguments, "--quiet", "--output", output) is None
    return json.loads(output.read_text())


def test_as_a_user_runs_it(archive: Path, gold: Path, evaluated: Dict[str, float], tmp_path: Path) -> None:
    outputs = ["--output", tmp_path / "evaluation.json", "--output", tmp_path / "new" / "evaluation.md"]
    command = ["score", archive / "model.tar.gz", *both(gold), *outputs, "--errors", tmp_path / "errors.tsv"]
    completed = as_a_user(*command)
    assert completed.returncode == 0, completed.stderr
    found = json.loads((tmp_path / "evaluation.json").read_text())
    # The figures of the training's own metrics, to the last bit.
    assert found["scores"] == {name: evaluated[name] for name in found["scores"]}
    assert {f"f1/{name}" for name in ("de", "en", "macro", "micro")} < found["scores"].keys()
    lines = completed.stdout.splitlines()
    assert lines[0] == str(archive / "model.tar.gz")
    assert lines[1].startswith("F1 of spans, %, BIO, convention strict (seqeval's mode strict); 24 sentences, ")
    header = "language training sentences words gold predicted right precision recall F1"
    assert " ".join(lines[3].split()) == header
    rows = {line.split()[0]: line.split() for line in lines[4:] if line}
    assert rows["de"][1] == "trained"
    assert rows["micro"][-1] == f"{100 * found['scores']['f1/micro']:.2f}"
    assert rows["macro"][-1] == f"{100 * found['scores']['f1/macro']:.2f}"
    # Counts of sentences give the figures.
    counts = found["per_sentence"]
    sums = [sum(column) for column in zip(*counts["counts"], strict=True)]
    overall = found["overall"]
    assert sums == [overall[name] for name in ("correct", "predicted", "gold")]
    assert (tmp_path / "new" / "evaluation.md").read_text().startswith(f"# {archive}/model.tar.gz\n")
    errors = (tmp_path / "errors.tsv").read_text().splitlines()
    assert errors[0] == "language\tplace\twrong\twords"
    assert sum(int(line.split("\t")[2]) for line in errors[1:]) == round(
        (1 - overall["tag_accuracy"]) * overall["words"]
    )
    # Files are as others are, and nothing else was left.
    assert sorted(file.name for file in tmp_path.iterdir()) == ["errors.tsv", "evaluation.json", "new"]


def test_predictions_that_were_written_and_read_give_what_evaluate_gives(
    archive: Path, predictions: Path, gold: Path, evaluated: Dict[str, float], tmp_path: Path
) -> None:
    of_archive = figures(archive, *both(gold), output=tmp_path / "a.json")
    of_json = figures(predictions, *both(gold), "--trained-languages", "en,de", output=tmp_path / "b.json")
    assert of_json["scores"] == {name: evaluated[name] for name in of_json["scores"]}
    for name in ("languages", "types", "confusion", "lengths", "per_sentence", "span_errors", "groups"):
        assert of_json[name] == of_archive[name]
    # Probabilities were written with 6 decimals.
    assert of_json["calibration"]["entity"]["ece"] == pytest.approx(
        of_archive["calibration"]["entity"]["ece"], abs=1e-4
    )
    # The same as columns: word, gold, predicted, as conlleval takes them; of all files together.
    rows = []
    for language in ("de", "en"):
        tags = iter(line.split()[1] for line in (gold / f"{language}.conll").read_text().splitlines() if line)
        for line in (predictions / f"{language}.jsonl").read_text().splitlines():
            sentence = json.loads(line)
            rows += [
                f"{word} {next(tags)} {tag}" for word, tag in zip(sentence["words"], sentence["tags"], strict=True)
            ]
            rows.append("")
    (tmp_path / "columns").write_text("\n".join(rows), encoding="utf-8")
    of_columns = figures(tmp_path / "columns", *both(gold), output=tmp_path / "c.json")
    assert of_columns["scores"] == of_json["scores"]
    assert of_columns["calibration"] is None
    # Such a file is its own gold file too.
    own = figures(
        tmp_path / "columns",
        tmp_path / "columns",
        "--dataset-reader",
        '{"type": "structkd_column", "tag_column": -2}',
        output=tmp_path / "d.json",
    )
    assert own["scores"]["f1/micro"] == of_json["scores"]["f1/micro"]


def test_the_convention_is_said_and_makes_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "gold").write_text("a B-X\nb I-X\n")
    (tmp_path / "predicted").write_text("a I-X\nb I-X\n")
    for convention, value in (("strict", "0.00"), ("conlleval", "100.00")):
        arguments = ["score", tmp_path / "predicted", f"en={tmp_path}/gold", "--convention", convention, "--quiet"]
        assert run(*arguments) is None
        out = capsys.readouterr().out
        assert f"F1 of spans, %, BIO, convention {convention}" in out
        assert out.splitlines()[4].split()[-1] == value
        assert "note: the predicted tags of 1 of 1 sentences are ill-formed BIO" in out


def test_details_and_seen_entities(predictions: Path, gold: Path, corpora: Path, capsys: pytest.CaptureFixture) -> None:
    training = [f"en={corpora}/en.train.conll", f"de={corpora}/de.train.conll"]
    arguments = ["score", predictions, *both(gold), "--training-files", *training, "--trained-languages", "en"]
    assert run(*arguments, "--details", "--quiet") is None
    out = capsys.readouterr().out
    for title in (
        "By language",
        "By type",
        "Languages trained on, and others",
        "Seen in training: entities",
        "By length of the sentence, in words",
        "What is wrong with spans",
        "Confusions",
        "Calibration of words: ECE",
        "Calibration of predicted spans: ECE",
    ):
        assert f"\n{title}" in out
    assert next(line.split()[1] for line in out.splitlines() if line.startswith("de ")) == "zero-shot"
    assert run(*arguments, "--quiet") is None
    assert "By length" not in capsys.readouterr().out


def test_accuracy_of_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "gold").write_text("a NOUN\nb VERB\n")
    (tmp_path / "predicted").write_text("a NOUN\nb NOUN\n")
    found = figures(tmp_path / "predicted", f"en={tmp_path}/gold", output=tmp_path / "x.json")
    assert found["scores"] == {"accuracy/en": 0.5, "accuracy/macro": 0.5, "accuracy/micro": 0.5}
    assert found["convention"] is None
    assert found["types"]["NOUN"]["precision"] == 0.5
    totals = [sum(column) for column in zip(*found["per_sentence"]["counts"], strict=True)]
    assert metric_of("accuracy", np.array(totals)) == 0.5
    assert "accuracy of words, %; 1 sentences, 2 words" in capsys.readouterr().out


def test_twice_the_same(archive: Path, gold: Path, tmp_path: Path) -> None:
    for name in ("1.json", "2.json"):
        figures(archive, *both(gold), output=tmp_path / name)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-thing", "en=x"], "error: no-such-thing: there is no such file or folder"),
        (["{archive}", "en={gold}/nothing.conll"], "nothing.conll: there is no such file"),
        (["{archive}", "en={gold}/en.conll", "--output", "x.txt"], "--output x.txt: give a name that ends with .json"),
        (["{archive}", "en={gold}/en.conll", "--trained-languages", "en,,de"], "has an empty name"),
        (["{archive}", "en={gold}/en.conll", "--dataset-reader", "{"], "--dataset-reader is not JSON"),
        (["{archive}", "en={gold}/en.conll", "--batch-size", "0"], "batch_size must be at least 1"),
        (["{predictions}/en.jsonl", "de={gold}/de.conll"], "en.jsonl:1: word 1 is 'en0', where the gold sentence"),
        (["{archive}", "en={gold}/en.conll", "--output", "/proc/no/x.json"], "cannot write /proc/no/x.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    arguments: "list[str]", message: str, archive: Path, gold: Path, predictions: Path
) -> None:
    places = {"archive": archive, "gold": gold, "predictions": predictions}
    filled = [argument if argument == "{" else argument.format(**places) for argument in arguments]
    said = run("score", *filled, "--quiet")
    assert isinstance(said, str)
    assert said.startswith("error: ")
    assert message in said


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SigTermReceived])
def test_broken_off_nothing_is_left(
    archive: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: type
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise signal

    monkeypatch.setattr(structkd_plugin.commands.score, "evaluate", stop)
    (tmp_path / "errors.tsv").write_text("of before")
    files = ["--errors", tmp_path / "errors.tsv", "--output", tmp_path / "x.json"]
    assert run("score", archive, *both(gold), *files, "--quiet") == "broken off"
    assert [file.name for file in tmp_path.iterdir()] == ["errors.tsv"]
    assert (tmp_path / "errors.tsv").read_text() == "of before"
