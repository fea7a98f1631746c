"""The command line of a comparison: evaluations that were written, archives and predictions, and what CI sees of it."""

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common.util import SigTermReceived

import structkd_plugin.commands.compare  # noqa: F401
from structkd_plugin.commands import compare
from structkd_plugin.commands.compare import named_paths
from structkd_plugin.evaluation.sentence_counts import SentenceCounts
from tests.evaluation.sentences import random_pair
from tests.teacher.training import make_archive, write_corpus

from .command_line import as_a_user, run


def write_evaluation(path: Path, counts: SentenceCounts, **content: Any) -> Path:
    """What `allennlp score` writes, without what no comparison reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "system": path.parent.name,
        "files": ["test.conll"],
        "metric": counts.metric,
        "convention": "strict" if counts.metric == "f1" else None,
        "languages": {language: {"zero_shot": None} for language in counts.languages},
        "per_sentence": {
            "languages": list(counts.languages),
            "language_of": counts.language_of.tolist(),
            "counts": counts.counts.tolist(),
        },
        **content,
    }
    path.write_text(json.dumps(whole), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Serialization directories that hold an evaluation."""
    path = tmp_path_factory.mktemp("runs")
    baseline, better = random_pair("f1", {"de": 80, "en": 90}, gain=0.15)
    for name, counts in (("base", baseline), ("better", better)):
        write_evaluation(path / name / "evaluation.json", counts)
    for seed in range(3):
        # The same sentences: only what is predicted differs.
        for name, counts in (("base", baseline), ("better", better)):
            changed = counts.counts.copy()
            changed[seed::7, 1] += 1
            write_evaluation(
                path / "seeds" / f"{name}_{seed}" / "evaluation.json",
                SentenceCounts("f1", counts.languages, counts.language_of, changed),
            )
    return path


def test_as_a_user_runs_it(runs: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "all.json"
    completed = as_a_user("compare", runs / "base", runs / "better", "--output", output, "--fail-unless-significant")
    assert completed.returncode == 0, completed.stderr
    lines = completed.stdout.splitlines()
    assert lines[0] == "better against base: F1 of spans, %"
    assert lines[-1].startswith("better is better than base on average: +")
    written = json.loads(output.read_text())
    figure = written["systems"][0]["figures"]["macro"]
    assert f"{100 * figure['difference']:+.2f} points" in lines[-1]
    assert figure["p"] == pytest.approx(1 / 10_001)
    assert written["conclusions"] == {"better": lines[-1]}
    assert [file.name for file in output.parent.iterdir()] == ["all.json"]


def test_gate(runs: Path, capsys: pytest.CaptureFixture) -> None:
    base, better = runs / "base", runs / "better"
    gate, few = "--fail-unless-significant", ("--samples", 999, "--quiet")
    assert run("compare", base, better, gate, *few) is None
    assert run("compare", base, better, gate, 0.00001, "--samples", 99, "--quiet") == 1
    assert "no significant gain of better over base in macro at level 1e-05\n" in capsys.readouterr().err
    # Worse is significant, but no gain.
    assert run("compare", better, base, gate, "--figure", "de", *few) == 1
    streams = capsys.readouterr()
    assert "no significant gain of base over better in de at level 0.05\n" in streams.err
    assert "base is worse than better in de" in streams.out
    # All have to gain.
    assert run("compare", base, better, f"same={base}/evaluation.json", gate, *few) == 1
    assert capsys.readouterr().err == "no significant gain of same over base in macro at level 0.05\n"
    # Without a gate nothing fails.
    assert run("compare", better, base, *few) is None


def test_several_seeds(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "all.json"
    seeds = runs / "seeds"
    arguments = [f"base={seeds}/base_*", f"better={seeds}/better_0,{seeds}/better_1", f"better={seeds}/better_2"]
    assert run("compare", *arguments, "--samples", 500, "--output", output, "--quiet") is None
    assert "better (3 seeds) against base (3 seeds): F1 of spans, %" in capsys.readouterr().out
    written = json.loads(output.read_text())
    assert written["baseline"] == {"name": "base", "runs": 3}
    figure = written["systems"][0]["figures"]["de"]
    assert len(figure["system"]["values"]) == 3
    assert figure["seeds"]["p"] < 0.05


def test_twice_the_same_and_not_by_chance(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    outputs = []
    for number, seed in enumerate((1, 1, 2)):
        file = tmp_path / f"{number}.json"
        command = [runs / "base", runs / "better", "--seed", seed, "--samples", 300, "--output", file, "--quiet"]
        assert run("compare", *command) is None
        outputs.append((capsys.readouterr().out, file.read_bytes()))
    assert outputs[0] == outputs[1] != outputs[2]


def test_zero_shot_languages(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    baseline, better = random_pair("accuracy", {"de": 20, "en": 20, "nl": 20}, gain=0.1)
    known = {"languages": {"de": {"zero_shot": False}, "en": {"zero_shot": False}, "nl": {"zero_shot": True}}}
    one = write_evaluation(tmp_path / "one.json", baseline, **known)
    two = write_evaluation(tmp_path / "two.json", better, **known)
    other = write_evaluation(tmp_path / "other.json", better, languages={"de": {"zero_shot": False}})
    unknown = write_evaluation(tmp_path / "unknown.json", better)
    options = ["--samples", 50, "--quiet"]

    def rows(*arguments: Any) -> List[str]:
        assert run("compare", *arguments, *options) is None
        return [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("m")]

    assert rows(one, two) == rows(one, unknown) == ["macro", "macro_trained", "macro_zero_shot", "micro"]
    assert rows(unknown, f"x={unknown}") == ["macro", "micro"]
    assert rows(one, other, "--trained-languages", "de,nl") == ["macro", "macro_trained", "macro_zero_shot", "micro"]
    assert run("compare", one, other, *options) is None
    assert "note: the systems were trained in different languages of these (de; de, en)" in capsys.readouterr().out


def test_names(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    (runs / "a=b,c").mkdir(exist_ok=True)
    (runs / "top.jsonl").write_text("")
    (runs / "base" / "model.tar.gz").write_text("")
    assert named_paths(["base", "better/", "top.jsonl", "a=b,c"]) == {
        "base": ["base"],
        "better": ["better/"],
        "top": ["top.jsonl"],
        "a=b,c": ["a=b,c"],
    }
    assert named_paths(["base/model.tar.gz", "better/evaluation.json"]) == {
        "base": ["base/model.tar.gz"],
        "better": ["better/evaluation.json"],
    }
    assert named_paths(["x=base,better", "y=seeds/better_?", "x=top.jsonl"]) == {
        "x": ["base", "better", "top.jsonl"],
        "y": ["seeds/better_0", "seeds/better_1", "seeds/better_2"],
    }
    # One match needs no name.
    assert named_paths(["be*r", "."]) == {"better": ["better"], runs.name: ["."]}


ERRORS: Dict[str, str] = {
    "{runs}/none {runs}/base": "{runs}/none: there is no such file or folder",
    "x={runs}/base,{runs}/none {runs}/base": "{runs}/none: there is no such file or folder",
    "x={runs}/base, {runs}/base": "{runs}/base,: there is no such file or folder",
    "{runs}/none_* {runs}/base": "{runs}/none_*: nothing matches this glob",
    "{runs}/seeds/base_* {runs}/base": "{runs}/seeds/base_* is several runs: give them a name, as in NAME=",
    "{runs}/base {runs}/base/evaluation.json": "two systems are named base",
    "x={runs}/base base={runs}/better {runs}/base": "two systems are named base",
    "x={runs}/base x={runs}/base": "{runs}/base is given twice for x",
    "x={runs}/base x={runs}/better": "all paths are of x; name a second system",
    "{runs}/base {runs}": "{runs} has no evaluation.json: say by --files what to evaluate it on, or write one by",
    "{runs}/base {runs}/better --figure fr": "there is no figure 'fr'; --figure is one of de, en, macro, micro",
    "{runs}/base {runs}/better --samples 0": "samples must be at least 1, not 0",
    "{runs}/base {runs}/better --trained-languages de,": "--trained-languages is languages with commas",
    "{runs}/base {runs}/better --fail-unless-significant 5": "--fail-unless-significant is a level between 0 and 1",
    "{runs}/base {runs}/better --convention conlleval": "was written by the convention strict, not conlleval",
    "{runs}/base {runs}/better --output {runs}/base/evaluation.json/x": "cannot write {runs}/base/evaluation.json/x",
    "{runs}/base/evaluation.json {runs}/better/evaluation.json --files x": "every system is an evaluation.json",
}


@pytest.mark.parametrize("arguments", ERRORS)
def test_errors(runs: Path, capsys: pytest.CaptureFixture, arguments: str) -> None:
    assert run("compare", *arguments.format(runs=runs).split(), "--quiet") == 2
    streams = capsys.readouterr()
    assert streams.err.startswith("error: ")
    assert ERRORS[arguments].format(runs=runs) in streams.err
    assert streams.out == ""


def test_usage_errors_have_the_same_status(runs: Path) -> None:
    assert run("compare", runs / "base") == 2
    assert run("compare", runs / "base", runs / "better", "--fail-unless-significant", "much") == 2


def evaluation(**inner: Any) -> str:
    """The text of an evaluation with something else in its counts by sentence."""
    of_sentences = {"languages": ["de", "en"], "language_of": [0, 1], "counts": [[1, 2, 2], [0, 1, 1]], **inner}
    return json.dumps({"metric": "f1", "convention": "strict", "per_sentence": of_sentences})


DAMAGED: Dict[str, str] = {
    "is not JSON: ": "{",
    "is no evaluation: write one by": "[1]",
    "is no evaluation: write one": '{"system": "x"}',
    "has no counts by sentence": '{"metric": "f1"}',
    "is damaged: metric is 'bleu', not one of accuracy, f1": '{"metric": "bleu", "per_sentence": {}}',
    "is damaged: per_sentence is no object": '{"metric": "f1", "per_sentence": 3}',
    "is damaged: 'languages' is missing": '{"metric": "f1", "per_sentence": {}}',
    "is damaged: per_sentence.counts has other things": evaluation(counts=[[1, 2, 2.5], [0, 0, 0]]),
    "is damaged: per_sentence.language_of has other": evaluation(language_of=["de", "en"]),
    "is damaged: per_sentence.language_of names a language that is not there": evaluation(language_of=[0, 2]),
    "is damaged: per_sentence has counts of shape (2, 2)": evaluation(counts=[[1, 2], [0, 0]]),
    "is damaged: per_sentence has counts of shape (1, 3)": evaluation(counts=[[1, 2, 2]]),
    "is damaged: per_sentence.counts of sentence 2 are [2, 1, 3]": evaluation(counts=[[1, 2, 2], [2, 1, 3]]),
    "is damaged: per_sentence.counts of sentence 1 are [-1, 2, 2]": evaluation(counts=[[-1, 2, 2], [0, 0, 0]]),
    "is damaged: per_sentence.languages is no list of": evaluation(languages=["de", "de"]),
    "is damaged: setting an array element": evaluation(counts=[[1, 2, 2], [1]]),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_damaged_evaluations(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture, message: str) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(DAMAGED[message])
    assert run("compare", runs / "base", f"x={file}", "--quiet") == 2
    assert capsys.readouterr().err.startswith(f"error: {file} {message}")


def test_conventions_and_metrics_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    spans, _ = random_pair("f1", {"en": 5})
    words, _ = random_pair("accuracy", {"en": 5})
    strict = write_evaluation(tmp_path / "strict.json", spans)
    conlleval = write_evaluation(tmp_path / "conlleval.json", spans, convention="conlleval")
    accuracy = write_evaluation(tmp_path / "accuracy.json", words)
    assert run("compare", strict, conlleval, "--quiet") == 2
    assert (
        f"{strict} counts spans by the convention strict and {conlleval} by conlleval; evaluate both by the same"
        in capsys.readouterr().err
    )
    assert run("compare", conlleval, strict, "--convention", "conlleval", "--quiet") == 2
    assert run("compare", strict, accuracy, "--quiet") == 2
    assert "strict is evaluated by f1 and accuracy by accuracy" in capsys.readouterr().err


def test_languages_in_another_order_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    counts, better = random_pair("accuracy", {"de": 8, "en": 8}, gain=0.1)
    one = write_evaluation(tmp_path / "one.json", counts)
    two = write_evaluation(tmp_path / "two.json", better)
    turned = json.loads(two.read_text())
    turned["per_sentence"]["languages"].reverse()
    turned["per_sentence"]["language_of"] = [1 - language for language in turned["per_sentence"]["language_of"]]
    (tmp_path / "turned").mkdir()
    (tmp_path / "turned" / "two.json").write_text(json.dumps(turned))
    shown = []
    for second in (two, tmp_path / "turned" / "two.json"):
        assert run("compare", one, second, "--samples", 50, "--quiet") is None
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SigTermReceived])
def test_breaking_off(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, interruption: type
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise interruption

    monkeypatch.setattr(compare, "compare", interrupted)
    assert run("compare", runs / "base", runs / "better", "--output", tmp_path / "x.json", "--quiet") == 130
    assert capsys.readouterr().err == "broken off; nothing was written\n"
    assert not (tmp_path / "x.json").exists()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Taggers that were not trained, and corpora."""
    path = tmp_path_factory.mktemp("archives")
    for language in ("en", "de"):
        write_corpus(path / f"{language}.train.conll", language, 16)
        write_corpus(path / f"{language}.test.conll", language, 12, seed=1)
    for seed in (1, 2, 3):
        make_archive(path / f"tagger_{seed}", path, seed=seed)
    return path


def test_archives_on_files(archives: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.json"
    files = [f"{language}={archives}/{language}.test.conll" for language in ("en", "de")]
    options = ["--files", *files, "--samples", 200, "--quiet", "--output", output]
    rest = f"rest={archives}/tagger_2,{archives}/tagger_3"
    assert run("compare", f"{archives}/tagger_1", rest, *options) is None
    written = json.loads(output.read_text())
    assert written["sentences"] == {"de": 12, "en": 12}
    assert written["baseline"] == {"name": "tagger_1", "runs": 1}
    assert [system["runs"] for system in written["systems"]] == [2]
    assert written["metric"] == "f1"


def test_an_evaluation_is_compared_with_an_archive(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    files = [f"{language}={archives}/{language}.test.conll" for language in ("en", "de")]
    assert run("score", archives / "tagger_1", *files, "--output", tmp_path / "evaluation.json") is None
    capsys.readouterr()
    output = tmp_path / "all.json"
    options = ["--files", *files, "--output", output, "--samples", 99, "--quiet"]
    assert run("compare", f"written={tmp_path}/evaluation.json", f"now={archives}/tagger_1", *options) is None
    for figure in json.loads(output.read_text())["systems"][0]["figures"].values():
        assert figure is None or (figure["difference"], figure["p"]) == (0, 1)
    # Predictions in a file: the gold tags themselves.
    predicted = f"perfect={archives}/en.test.conll"
    options[1:3] = files[:1]
    assert run("compare", f"{archives}/tagger_2", predicted, "--convention", "conlleval", *options) is None
    assert json.loads(output.read_text())["systems"][0]["figures"]["en"]["system"]["mean"] == 1
    # Other files, which are said to be other files.
    options[1:2] = [files[1], files[0]]
    assert run("compare", f"written={tmp_path}/evaluation.json", f"now={archives}/tagger_1", *options) == 2
    assert "in the same order" in capsys.readouterr().err


class TestScheme:
    """Predictions in files that write spans otherwise than the gold tags do."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Path:
        """Gold tags in BIO; and in BIOES, all of them, and without those of one sentence."""
        gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "I-LOC", "I-LOC"], ["B-PER", "B-PER", "O", "O"]]
        right = [["B-PER", "E-PER", "O", "S-LOC"], ["O", "B-LOC", "I-LOC", "E-LOC"], ["S-PER", "S-PER", "O", "O"]]
        for name, sentences in (("gold", gold), ("right", right), ("worse", [right[0], ["O"] * 4, right[2]])):
            blocks = ["".join(f"w{i} {tag}\n" for i, tag in enumerate(tags)) for tags in sentences]
            (tmp_path / name).write_text("\n".join(blocks))
        return tmp_path

    def arguments(self, files: Path) -> List[Any]:
        return ["compare", files / "worse", files / "right", "--files", f"en={files}/gold", "--samples", 9, "--quiet"]

    def means(self, files: Path, *options: Any) -> Dict[str, Any]:
        output = files / "all.json"
        assert run(*self.arguments(files), "--output", output, *options) is None
        written = json.loads(output.read_text())
        figure = written["systems"][0]["figures"]["en"]
        return {"metric": written["metric"], **{name: figure[name]["mean"] for name in ("baseline", "system")}}

    def test_is_that_of_score(self, files: Path) -> None:
        for options in (
            ["--scheme", "BIOES"],
            ["--scheme", "BIOES", "--convention", "conlleval"],
            ["--scheme", "none"],
        ):
            scores = {}
            for role, name in (("baseline", "worse"), ("system", "right")):
                arguments = [files / name, f"en={files}/gold", "--output", files / "score.json", "--quiet"]
                assert run("score", *arguments, *options) is None
                written = json.loads((files / "score.json").read_text())
                scores[role] = written["scores"][f"{written['metric']}/en"]
            compared = self.means(files, *options)
            assert compared.pop("metric") == written["metric"]
            assert compared == pytest.approx(scores, rel=1e-12)

    def test_makes_the_difference(self, files: Path, capsys: pytest.CaptureFixture) -> None:
        # Of 5 spans, the sentence in the middle has one.
        assert self.means(files, "--scheme", "BIOES") == {"metric": "f1", "baseline": pytest.approx(8 / 9), "system": 1}
        for options in ([], ["--scheme", "BIO"]):
            assert run(*self.arguments(files), *options) == 2
            assert "where predictions and gold tags are written in two schemes, name" in capsys.readouterr().err
        # The words whose tags are written alike in both.
        assert self.means(files, "--scheme", "none") == {
            "metric": "accuracy",
            "baseline": pytest.approx(5 / 12),
            "system": pytest.approx(7 / 12),
        }

    def test_is_of_files_and_not_of_the_archive_beside_them(self, archives: Path, tmp_path: Path) -> None:
        gold = (archives / "en.test.conll").read_text()
        (tmp_path / "perfect").write_text(gold.replace(" B-", " S-"))
        output = tmp_path / "all.json"
        arguments = [archives / "tagger_1", tmp_path / "perfect", "--files", f"en={archives}/en.test.conll"]
        options = ["--samples", 99, "--quiet", "--output", output]
        assert run("compare", *arguments, "--scheme", "BIOES", *options) is None
        assert json.loads(output.read_text())["systems"][0]["figures"]["en"]["system"]["mean"] == 1

    def test_has_to_be_of_something(self, runs: Path, archives: Path, capsys: pytest.CaptureFixture) -> None:
        file = f"en={archives}/en.test.conll"
        for arguments in (
            [runs / "base", runs / "better"],
            [archives / "tagger_1", archives / "tagger_2", "--files", file],
            [archives / "tagger_1", runs / "base" / "evaluation.json", "--files", file],
        ):
            assert run("compare", *arguments, "--scheme", "BIO", "--quiet") == 2
            assert capsys.readouterr().err.startswith(
                "error: --scheme BIO says how predictions in files write spans, and no system is predictions"
            )
