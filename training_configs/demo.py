"""
The whole way on small corpora: teachers, their stores, a student without and with distillation, a table, new text.

Run by `make demo`. Every step is a command that a user could type, and is printed as such. Steps that are done are not
done again, so that an interrupted demo goes on where it stopped.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from rich.console import Console
from rich.table import Table

LANGUAGES = ("de", "en", "es", "ru")
SENTENCES = (
    {"language": "en", "text": "The old teacher watches the light in the garden."},
    {"language": "es", "text": "La niña come pan sobre la mesa de la cocina."},
)
_STUDENT = """// Posterior distillation with a constant weight; the corpora are too small to leave the teachers again.
(import '{origin}') {{
  stores:: '{stores}',
  schedule:: {{ type: 'constant', value: 0.7 }},
}}
"""
_LINES_OF_A_FAILURE = 15


class Step(NamedTuple):
    """One command, and the file it leaves behind."""

    name: str
    command: List[str]
    product: Path


class StepFailed(Exception):
    """A command of the demo failed; says which one and where its output is."""


class Runner:
    """Runs steps, each once, with its output in a log of its own; stops them all if one fails or Ctrl-C is pressed."""

    def __init__(self, logs: Path, console: Console) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._console = console
        self._running: List[subprocess.Popen] = []
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, steps: Sequence[Step], at_once: int) -> None:
        """Run `steps`, `at_once` of them at a time."""
        pool = ThreadPoolExecutor(at_once)
        try:
            for done in [pool.submit(self._run_one, step) for step in steps]:
                done.result()
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _run_one(self, step: Step) -> None:
        log = self._logs / f"{step.name.replace(' ', '_')}.log"
        # Written last, since a step that is killed may leave its product half-finished.
        finished = log.with_suffix(".done")
        if finished.exists() and step.product.exists():
            self._console.print(f"[dim]{step.name}: done before[/dim]", highlight=False)
            return
        # One thread each: two side by side are faster than one with two.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        began = time.monotonic()
        with log.open("w") as output:
            with self._lock:
                if self._stopped:
                    return
                process = subprocess.Popen(step.command, stdout=output, stderr=subprocess.STDOUT, env=environment)
                self._running.append(process)
            code = process.wait()
        if self._stopped:
            return
        if code != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LINES_OF_A_FAILURE:])
            raise StepFailed(
                f"{step.name} failed with exit status {code}; its output is in {log} and ends with\n{tail}"
            )
        finished.touch()
        shown = shlex.join(["allennlp", *step.command[3:]])
        self._console.print(f"[green]{step.name}[/green] ({time.monotonic() - began:.0f} s)", highlight=False)
        self._console.print(f"  {shown}", style="dim", highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                if process.poll() is None:
                    process.terminate()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the demo; 0 if every step went well."""
    parser = argparse.ArgumentParser(prog="demo", description="Distil four teachers into one small tagger.")
    parser.add_argument(
        "--output", default="runs/demo", help="folder for everything that is made (default: %(default)s)"
    )
    parser.add_argument(
        "--at-once", type=int, default=os.cpu_count() or 1, help="commands side by side (default: cores)"
    )
    options = parser.parse_args(arguments)
    console = Console()
    if not Path("training_configs/teacher_en.jsonnet").exists():
        console.print("The demo uses training_configs/ and fixtures/: run it from the repository's folder.")
        return 1
    try:
        _demo(Path(options.output), max(1, options.at_once), console)
    except StepFailed as failure:
        console.print(f"[red]{failure}[/red]", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on from here.")
        return 130
    return 0


def _demo(output: Path, at_once: int, console: Console) -> None:
    began = time.monotonic()
    runner = Runner(output / "logs", console)
    console.rule("Teachers, one for each language, and the student without teachers")
    trained = [_train(f"training_configs/teacher_{code}.jsonnet", output / f"teacher_{code}") for code in LANGUAGES]
    runner.run([*trained, _train("training_configs/baseline.jsonnet", output / "baseline")], at_once)
    console.rule("What the teachers say of the training sentences, computed once")
    runner.run([_capture(code, output) for code in LANGUAGES], at_once)
    console.rule("The same student with the teachers")
    config = output / "student.jsonnet"
    origin = os.path.relpath("training_configs/posterior.jsonnet", output)
    stores = os.path.relpath(output / "stores")
    config.write_text(_STUDENT.format(origin=origin, stores=stores))
    runner.run([_train(str(config), output / "student")], at_once)
    console.rule("Accuracy on the test sentences, %")
    console.print(_table(output))
    console.rule("New sentences, tagged by the distilled student")
    sentences, tagged = output / "sentences.jsonl", output / "tagged.jsonl"
    sentences.write_text("".join(json.dumps(sentence, ensure_ascii=False) + "\n" for sentence in SENTENCES))
    archive = output / "student" / "model.tar.gz"
    predict = _allennlp("predict", str(archive), str(sentences), "--output-file", str(tagged), "--silent")
    runner.run([Step("predict", predict, tagged)], at_once)
    for line in tagged.read_text().splitlines():
        sentence = json.loads(line)
        pairs = zip(sentence["words"], sentence["tags"], strict=True)
        console.print(f"{sentence['language']}: " + " ".join(f"{word}/[cyan]{tag}[/cyan]" for word, tag in pairs))
    console.print(f"\nDone in {time.monotonic() - began:.0f} s. Everything is in {output}/.", highlight=False)


def _allennlp(*arguments: str) -> List[str]:
    return [sys.executable, "-m", "allennlp", *arguments]


def _train(config: str, directory: Path) -> Step:
    command = _allennlp("train", config, "--serialization-dir", str(directory), "--force", "--file-friendly-logging")
    return Step(f"train {directory.name}", command, directory / "model.tar.gz")


def _capture(language: str, output: Path) -> Step:
    store = output / "stores" / language
    files = f"{language}=fixtures/upos/{language}/train.conllu"
    archive = output / f"teacher_{language}" / "model.tar.gz"
    command = _allennlp("cache-teacher", str(archive), files, "--output", str(store))
    return Step(f"cache teacher {language}", command, store)


def _table(output: Path) -> Table:
    teachers = {code: _accuracies(output / f"teacher_{code}")[code] for code in LANGUAGES}
    baseline, distilled = _accuracies(output / "baseline"), _accuracies(output / "student")
    table = Table()
    table.add_column("")
    for column in (*LANGUAGES, "average"):
        table.add_column(column, justify="right")
    rows = {"teachers": teachers, "student, gold tags only": baseline, "student, distilled": distilled}
    for name, row in rows.items():
        values = [row[code] for code in LANGUAGES]
        values.append(sum(values) / len(values))
        table.add_row(name, *(f"{100 * value:.2f}" for value in values))
    return table


def _accuracies(directory: Path) -> Dict[str, float]:
    metrics = json.loads((directory / "metrics.json").read_text())
    prefix = "test_accuracy/"
    return {name[len(prefix) :]: value for name, value in metrics.items() if name.startswith(prefix)}


if __name__ == "__main__":
    sys.exit(main())
