"""`allennlp report`: runs side by side, as a page, as Markdown and as LaTeX tables."""

import argparse
from typing import Any

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.util import SigTermReceived

from structkd_plugin.commands.file_arguments import reader_settings


@Subcommand.register("report")
class Report(Subcommand):
    """The command line of `structkd_plugin.evaluation.report.reporting.report_of`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `report` and its arguments."""
        description = (
            "Compare trained runs on one page, with tables for a paper: figures by language with intervals, learning "
            "curves, calibration, confusion, what the configurations differ in, sizes. Reads the folders of the runs, "
            "and what `allennlp score RUN FILES --output RUN/evaluation.json` wrote there; where files are named here, "
            "evaluates the runs on them."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Compare trained runs on one page, with tables for a paper."
        )
        subparser.add_argument(
            "runs",
            nargs="*",
            metavar="RUN",
            help="folder of a run, or NAME=FOLDER,FOLDER for the seeds of a method; folders that differ in _seedN only "
            "are one method",
        )
        # What follows the folder may be files: an argument by position cannot stand on both sides of an option.
        subparser.add_argument(
            "--output",
            required=True,
            nargs="+",
            metavar=("DIR", "LANG=FILE"),
            help="folder to write index.html, report.md, tables.tex and report.json to; and, after it or among the "
            "runs, files to evaluate all runs on, as in en=test-en.conll",
        )
        subparser.add_argument("--baseline", metavar="NAME", help="the run, or method, that gaps begin at")
        subparser.add_argument(
            "--teachers",
            metavar="NAME,NAME",
            help="the teachers; each is one of the languages that it was trained on, and is evaluated in these",
        )
        subparser.add_argument("--title", default="Report", help="of the page")
        subparser.add_argument("--samples", type=int, default=10_000, help="bootstrap samples of an interval")
        subparser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
        subparser.add_argument("--level", type=float, default=0.95, help="of confidence of the intervals")
        subparser.add_argument(
            "--dataset-reader",
            help="JSON of a dataset reader to read the files with; by default that of each run",
        )
        subparser.add_argument("--batch-size", type=int, default=64, help="sentences computed at once")
        subparser.add_argument("--cuda-device", type=int, default=-1, help="number of the GPU; -1 is the CPU")
        subparser.add_argument("--quiet", action="store_true", help="show no progress")
        subparser.set_defaults(func=report_from_args)
        return subparser


def report_from_args(args: argparse.Namespace) -> None:
    """Run the command; what is wrong with its input ends it with one sentence on the standard error stream."""
    # Here, as matplotlib takes longer to import than many a command to run.
    from structkd_plugin.evaluation.report.arguments import split_arguments
    from structkd_plugin.evaluation.report.intervals import IntervalOptions
    from structkd_plugin.evaluation.report.reporting import ReportOptions, report_of
    from structkd_plugin.evaluation.report.self_evaluation import EvaluationOptions
    from structkd_plugin.evaluation.report.writing import PAGE, check_writable, write_report

    output, *rest = args.output
    try:
        methods, files = split_arguments([*args.runs, *rest])
        if not methods:
            raise ConfigurationError("there are no runs to report: name the folders that trainings were written to")
        check_for_gpu(args.cuda_device)
        options = ReportOptions(
            baseline=args.baseline,
            teachers=tuple(name for name in (args.teachers or "").split(",") if name),
            intervals=IntervalOptions(args.samples, args.seed, args.level),
            evaluation=EvaluationOptions(args.batch_size, args.cuda_device, reader_settings(args), args.quiet),
            title=args.title,
        )
        # Before what may take long.
        check_writable(output)
        document = report_of(methods, files, options)
        written = write_report(document, output)
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    except (KeyboardInterrupt, SigTermReceived):
        raise SystemExit(f"broken off; no file of {output} is half written") from None
    for section in document.sections:
        for warning in section.warnings:
            print(f"warning: {warning}")
    print(f"{output}: {len(written)} files; open {output}/{PAGE}")
