"""`allennlp tag` as a user runs it: files and streams, errors, interruption, memory, and the figures of `evaluate`."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List, Tuple

import pytest
from allennlp.common.checks import ConfigurationError
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from structkd_plugin.commands import tag as command
from structkd_plugin.prediction.input_chunks import InputFile
from structkd_plugin.prediction.sentence_tagger import SentenceTagger
from tests.commands.command_line import ForkedCommand, as_a_user, run
from tests.teacher.training import config, train, write_corpus

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for language in ("en", "de"):
        write_corpus(folder / f"{language}.train.conll", language, 40)
        write_corpus(folder / f"{language}.dev.conll", language, 30, seed=1)
    return folder


@pytest.fixture(scope="module")
def spans_archive(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger of spans, trained for a moment."""
    settings = config(data)
    settings["trainer"].update({"num_epochs": 6, "optimizer": {"type": "adam", "lr": 0.05}})
    output = tmp_path_factory.mktemp("spans") / "run"
    train(settings, output)
    return output


@pytest.fixture(scope="module")
def upos_archive(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuple[Path, Path]:
    """A tagger of parts of speech, and the file it was trained on."""
    draw = random.Random(0)
    blocks = []
    for number in range(40):
        lines = [f"# sent_id = {number}"]
        for place in range(1, draw.randint(2, 7)):
            word, label = draw.choice(
                [("the", "DET"), ("cat", "NOUN"), ("sees", "VERB"), ("run", "NOUN"), ("run", "VERB")]
            )
            lines.append("\t".join([str(place), word, "_", label, *["_"] * 6]))
        blocks.append("\n".join(lines) + "\n\n")
    folder = tmp_path_factory.mktemp("upos")
    (folder / "train.conllu").write_text("".join(blocks))
    settings = config(folder)
    settings["dataset_reader"] = {"type": "structkd_conllu", "language": "en"}
    settings["train_data_path"] = str(folder / "train.conllu")
    del settings["validation_data_path"], settings["validation_data_loader"], settings["vocabulary"]
    settings["model"]["label_encoding"] = None
    settings["trainer"] = {"optimizer": {"type": "adam", "lr": 0.05}, "num_epochs": 4, "cuda_device": -1}
    train(settings, folder / "run")
    return folder / "run", folder / "train.conllu"


def metrics_of(archive: Path, file: Path, folder: Path) -> Any:
    assert run("evaluate", archive / "model.tar.gz", file, "--output-file", folder / "metrics.json") is None
    return json.loads((folder / "metrics.json").read_text())


def columns(file: Path) -> List[List[str]]:
    blocks = file.read_text().strip("\n").split("\n\n")
    return [[line.split()[-1] for line in block.split("\n")] for block in blocks]


@pytest.mark.parametrize("processes", [1, 2])
def test_f1_of_the_output_is_that_of_evaluate(spans_archive: Path, data: Path, tmp_path: Path, processes: int) -> None:
    gold, output = tmp_path / "gold.conll", tmp_path / "out.conll"
    # Some of the gold tags are none that the tagger has learnt.
    lines = (data / "de.dev.conll").read_text().split("\n")
    gold.write_text("\n".join(line.replace("PER", "LOC") if number % 3 else line for number, line in enumerate(lines)))
    arguments = [f"de={gold}", "--output", output, "--quiet", "--processes", processes]
    assert run("tag", spans_archive / "model.tar.gz", *arguments) is None
    before, after = gold.read_text().split("\n"), output.read_text().split("\n")
    assert [line.split()[:-1] for line in before] == [line.split()[:-1] for line in after]
    found = f1_score(columns(gold), columns(output), mode="strict", scheme=IOB2)
    assert 0 < found < 1
    metrics = metrics_of(spans_archive, gold, tmp_path)
    assert found == pytest.approx(metrics["f1/und"], abs=1e-6)


def test_accuracy_of_the_output_is_that_of_evaluate(upos_archive: Tuple[Path, Path], tmp_path: Path) -> None:
    archive, gold = upos_archive
    output = tmp_path / "out.conllu"
    assert run("tag", archive, gold, "--output", output, "--quiet") is None
    pairs = [
        (one.split("\t"), other.split("\t"))
        for one, other in zip(gold.read_text().split("\n"), output.read_text().split("\n"), strict=True)
    ]
    words = [(one, other) for one, other in pairs if len(one) == 10]
    assert all(one[:3] + one[4:] == other[:3] + other[4:] for one, other in words)
    assert [one for one, _ in pairs if len(one) < 10] == [other for _, other in pairs if len(other) < 10]
    accuracy = sum(one[3] == other[3] for one, other in words) / len(words)
    assert 0 < accuracy < 1
    assert accuracy == pytest.approx(metrics_of(archive, gold, tmp_path)["accuracy/en"], abs=1e-6)


def test_from_the_standard_input_to_the_standard_output_as_a_user_does(spans_archive: Path) -> None:
    done = as_a_user("tag", spans_archive, "--language", "en", "--k-best", 2, given="Ada saw Rome\n\nw1\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["words"] for line in lines] == [["Ada", "saw", "Rome"], ["w1"]]
    assert [line["line"] for line in lines] == [1, 3]
    assert {line["language"] for line in lines} == {"en"}
    assert [len(line["k_best"]) for line in lines] == [2, 2]
    assert "2 sentences, 4 words tagged" in done.stderr


def test_wrong_input_ends_with_one_sentence(spans_archive: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "in.jsonl").write_text('{"words": ["a"]}\n{"words": 1}\n{"words": ["b"]}\n')
    arguments = ["tag", spans_archive, tmp_path / "in.jsonl", "--quiet"]
    end = run(*arguments, "--output", tmp_path / "out.jsonl")
    assert end == f'error: {tmp_path}/in.jsonl:2: "words" is 1; give a list of strings'
    assert {file.name for file in tmp_path.iterdir()} == {"in.jsonl"}
    capfd.readouterr()
    assert run(*arguments) == end
    # What went to the standard output before are whole lines.
    assert [json.loads(line)["words"] for line in capfd.readouterr().out.splitlines()] == [["a"]]
    assert run(*arguments, "--output", tmp_path / "out.jsonl", "--on-error", "skip") is None
    assert "1 input(s) skipped" in capfd.readouterr().err
    assert [json.loads(line).get("words") for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        ["a"],
        None,
        ["b"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt"], "none.txt: there is no such file"),
        (["-", "--batch-size", "0"], "--batch-size is 0; give at least 1"),
        (["-", "--output-format", "conll", "--k-best", "2"], "--k-best and --all-labels are in JSON lines only"),
        (["-", "--dataset-reader", "["], "--dataset-reader is not JSON"),
        (["-", "--output", "/none/at/all"], "cannot write /none/at/all: No such file or directory"),
    ],
)
def test_wrong_arguments(spans_archive: Path, arguments: List[str], message: str) -> None:
    assert str(run("tag", spans_archive, *arguments, "--quiet")).startswith(f"error: {message}")


def test_no_spans_no_entities(upos_archive: Tuple[Path, Path]) -> None:
    end = run("tag", *upos_archive, "--output-format", "entities", "--quiet")
    assert str(end).startswith("error: the model's tags write no spans")


def test_a_format_that_no_name_tells(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a\n")
    with pytest.raises(ConfigurationError, match="the name does not tell the file's format"):
        command._inputs([str(tmp_path / "file")], None, None)


def test_files_and_languages(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.conllu", "x-es.txt"):
        (tmp_path / name).write_text("")
    found = command._inputs(
        [f"en={tmp_path}/[ab].txt", f"{tmp_path}/c.conllu", f"{tmp_path}/x-{{language}}.txt", "-"], None, None
    )
    assert found == [
        InputFile(f"{tmp_path}/a.txt", "en", "text"),
        InputFile(f"{tmp_path}/b.txt", "en", "text"),
        InputFile(f"{tmp_path}/c.conllu", "", "conllu"),
        InputFile(f"{tmp_path}/x-es.txt", "es", "text"),
        InputFile("-", "", "text"),
    ]
    assert command._inputs([], "de", "words") == [InputFile("-", "de", "words")]


@pytest.mark.parametrize(
    ("output", "format"),
    [
        (None, "jsonl"),
        ("a", "jsonl"),
        ("a.conll.gz", "conll"),
        ("a.conllu", "conllu"),
        ("a.tsv", "entities-tsv"),
        ("a.json", "jsonl"),
        ("a.iob2", "conll"),
    ],
)
def test_the_output_files_name_tells_its_format(output: Any, format: str) -> None:
    assert command._output_format(output) == format


def test_interruption_leaves_no_file(spans_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(SentenceTagger, "tag", interrupted)
    (tmp_path / "in.txt").write_text("Ada\n")
    end = run("tag", spans_archive, tmp_path / "in.txt", "--output", tmp_path / "out.jsonl", "--quiet")
    assert end == f"broken off; {tmp_path}/out.jsonl was not written: run the same command again"
    assert {file.name for file in tmp_path.iterdir()} == {"in.txt"}


def test_ctrl_c_ends_all_processes(spans_archive: Path, tmp_path: Path) -> None:
    child = ForkedCommand("tag", spans_archive, "--output", tmp_path / "out.jsonl", "--processes", 2, "--batch-size", 1)
    # The standard input stays open, so that the processes wait for more.
    child.stdin.write(b"Ada saw Rome\n" * 400)
    child.stdin.flush()
    waited = time.monotonic()
    while not list(tmp_path.glob(".out.jsonl.*.part")) and time.monotonic() < waited + 200:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(child.pid, signal.SIGINT)
    status, err = child.end()
    assert status == 1
    assert "broken off; " in err.splitlines()[-1]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def test_a_reader_that_has_enough(spans_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("Ada saw Rome\n" * 9000)
    child = ForkedCommand("tag", spans_archive, tmp_path / "in.txt", "--quiet")
    assert json.loads(child.stdout.readline())["words"] == ["Ada", "saw", "Rome"]
    child.stdout.close()
    status, err = child.end()
    assert status == 1
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


_MEMORY = """
import resource, sys
from allennlp.commands import main
program, archive, *files = sys.argv
for file in files:
    sys.argv = [program, "tag", archive, file, "--input-format", "words", "--quiet", "--output", file + ".jsonl"]
    main(prog="allennlp")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


# Where others use the processor too, it takes many minutes.
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_file(spans_archive: Path, tmp_path: Path) -> None:
    sizes = {"small": 20_000, "large": 120_000}
    for name, sentences in sizes.items():
        draw = random.Random(0)
        with (tmp_path / name).open("w") as file:
            for number in range(sentences):
                file.write(" ".join(f"w{draw.randrange(50_000)}" for _ in range(number % 12 + 1)) + "\n")
    # One process for both: its peak after the first file is what it needs for any.
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, spans_archive, *(tmp_path / name for name in sizes)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peaks = [int(line) / 1024 for line in done.stdout.split()]
    assert [sum(1 for _ in (tmp_path / f"{name}.jsonl").open()) for name in sizes] == list(sizes.values())
    # MiB; the further sentences are some 50 MB more of input and output.
    assert peaks[1] - peaks[0] < 20, peaks
