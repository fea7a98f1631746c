"""The console shows warnings, errors and what a command is run for; the file has everything."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

from structkd_plugin.console import asks_for_all, is_allennlp
from structkd_plugin.console.log_output import IN_FILE_ONLY, SHOWN, metrics_table, quieten

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A logger that writes to a console and to a file, quietened; with what the console got and the file."""
    console = io.StringIO()
    monkeypatch.setattr(sys, "stdout", console)
    logger = logging.Logger("test", logging.INFO)
    file = logging.FileHandler(tmp_path / "out.log")
    file.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(file)
    logger.addHandler(logging.StreamHandler(console))
    quieten(logger)
    yield logger, console, tmp_path / "out.log"
    file.close()


def test_only_what_says_something_is_shown(log: Any) -> None:
    logger, console, file = log
    logger.info("random_seed = 1")
    logger.warning("a %s warning", "small")
    logger.info("a summary\nof lines", extra=SHOWN)
    logger.critical("with a traceback", extra=IN_FILE_ONLY)
    logger.error("an error")
    assert console.getvalue() == "warning: a small warning\na summary\nof lines\nerror: an error\n"
    assert file.read_text().splitlines() == [
        "INFO random_seed = 1",
        "WARNING a small warning",
        "INFO a summary",
        "of lines",
        "CRITICAL with a traceback",
        "ERROR an error",
    ]


def test_a_warning_that_is_no_news_is_in_the_file_alone(log: Any) -> None:
    logger, console, file = log
    name = "allennlp.training.gradient_descent_trainer"
    for message in ("You provided a validation dataset but patience was set to None, meaning", "something else"):
        logger.handle(logger.makeRecord(name, logging.WARNING, "x.py", 1, message, (), None))
    assert console.getvalue() == "warning: something else\n"
    assert "patience" in file.read_text()


def test_quieter_than_quiet_is_the_same(log: Any) -> None:
    logger, console, _ = log
    quieten(logger)
    logger.warning("once")
    assert console.getvalue() == "warning: once\n"
    assert all(len(handler.filters) <= 1 for handler in logger.handlers)


def metrics_record(logger: logging.Logger, metrics: Any) -> logging.LogRecord:
    text = (json.dumps(metrics, indent=2),)
    return logger.makeRecord("allennlp.common.util", logging.INFO, "util.py", 1, "Metrics: %s", text, None)


def test_metrics_of_an_evaluation_are_a_table(log: Any) -> None:
    logger, console, file = log
    logger.handle(metrics_record(logger, {"accuracy/de": 0.95, "nll": 1.25, "loss": float("nan")}))
    assert console.getvalue() == "accuracy/de  0.9500\nnll          1.2500\nloss         nan\n"
    assert '"accuracy/de": 0.95' in file.read_text()


def test_metrics_of_a_training_are_those_of_the_test(log: Any) -> None:
    logger, console, _ = log
    logger.handle(metrics_record(logger, {"best_epoch": 3, "training_loss": 1.0}))
    assert console.getvalue() == ""
    logger.handle(metrics_record(logger, {"best_epoch": 3, "training_loss": 1.0, "test_f1/micro": 0.5}))
    assert console.getvalue() == "test_f1/micro  0.5000\n"
    assert metrics_table({}) == ""


@pytest.mark.parametrize(
    ("program", "it_is"),
    [
        ("/usr/bin/allennlp", True),
        ("allennlp", True),
        ("C:/env/Scripts/allennlp.exe", True),
        ("/env/lib/python3.12/site-packages/allennlp/__main__.py", True),
        ("/env/lib/python3.12/site-packages/pytest/__main__.py", False),
        ("train_allennlp.py", False),
        ("", False),
        ("-c", False),
    ],
)
def test_other_programs_are_left_alone(program: str, it_is: bool) -> None:
    assert is_allennlp(program) == it_is


@pytest.mark.parametrize(
    ("environment", "all_of_it"),
    [
        ({}, False),
        ({"STRUCTKD_VERBOSE": "1"}, True),
        ({"STRUCTKD_VERBOSE": "0"}, False),
        ({"STRUCTKD_VERBOSE": ""}, False),
        ({"ALLENNLP_DEBUG": "1"}, True),
        ({"ALLENNLP_LOG_LEVEL": "DEBUG"}, True),
    ],
)
def test_who_asks_for_all_gets_it(environment: Any, all_of_it: bool) -> None:
    assert asks_for_all(environment) == all_of_it


def test_a_program_that_imports_the_plugin_keeps_its_console() -> None:
    script = (
        "import logging, sys, warnings\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)\n"
        "filters, hook = list(warnings.filters), sys.excepthook\n"
        "from allennlp.common import logging as allennlp_logging\n"
        "from allennlp.common.tqdm import Tqdm\n"
        "prepare, bar = allennlp_logging.prepare_global_logging, Tqdm.tqdm\n"
        "import structkd_plugin\n"
        "logging.getLogger('mine').info('still here')\n"
        "assert sys.excepthook is hook and Tqdm.tqdm is bar\n"
        "assert allennlp_logging.prepare_global_logging is prepare\n"
    )
    completed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert completed.returncode == 0, completed.stderr
    assert "still here" in completed.stdout
