"""`allennlp calibrate-teacher`: fit a teacher's temperature to development data, and write it into its store."""

import argparse
from typing import Any

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import SigTermReceived

from structkd_plugin.commands.cache_teacher import source
from structkd_plugin.commands.file_arguments import add_file_arguments, reader_settings
from structkd_plugin.inspection.calibration import MISSING_POLICIES, fit_calibration
from structkd_plugin.inspection.labelled_files import reader_of
from structkd_plugin.teacher.calibrated import clear_disagreement, manifests_of, set_calibration
from structkd_plugin.teacher.store import TeacherStore


@Subcommand.register("calibrate-teacher")
class CalibrateTeacher(Subcommand):
    """The command line of `structkd_plugin.inspection.calibration.fit_calibration`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `calibrate-teacher` and its arguments."""
        description = (
            "Find the temperature under which a teacher finds the gold tags of development data most likely, and how "
            "often it is right where it is how sure; write both into its store. The data must be none that it was "
            "trained on. What is found is used where the callback structkd_teacher says `calibrated: true`."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Fit a teacher's temperature to development data."
        )
        subparser.add_argument("store", help="directory of the store; it must have the files' sentences")
        add_file_arguments(subparser, "*", "development data with gold tags")
        subparser.add_argument(
            "--missing",
            choices=MISSING_POLICIES,
            default="error",
            help="what becomes of sentences that the store has no record of",
        )
        subparser.add_argument("--dry-run", action="store_true", help="show what is found, and write nothing")
        subparser.add_argument("--remove", action="store_true", help="take the store's calibration out")
        subparser.set_defaults(func=calibrate_from_args)
        return subparser


def calibrate_from_args(args: argparse.Namespace) -> None:
    """Run the command; what is wrong with its input ends it with one sentence on the standard error stream."""
    try:
        if args.remove:
            _remove(args)
        else:
            _calibrate(args)
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    except (KeyboardInterrupt, SigTermReceived):
        raise SystemExit(
            f"broken off; if {args.store} was being written, it says so when it is opened: run the same command again"
        ) from None


def _remove(args: argparse.Namespace) -> None:
    if args.files or args.dry_run:
        raise ConfigurationError("--remove takes the calibration out and needs neither files nor --dry-run")
    changed = set_calibration(args.store, None)
    print(f"{args.store}: " + ("the calibration was taken out" if changed else "there was no calibration"))


def _calibrate(args: argparse.Namespace) -> None:
    if not args.files:
        raise ConfigurationError("name files with development data, or --remove to take the calibration out")
    settings = reader_settings(args)
    if not args.dry_run:
        clear_disagreement(args.store)
    store = TeacherStore.open(args.store)
    manifests = manifests_of(args.store)
    summary = fit_calibration(
        store,
        manifests[0],
        reader_of(manifests, settings),
        [source(file, args.language) for file in args.files],
        missing=args.missing,
        batch_size=args.batch_size,
        quiet=args.quiet,
    )
    print(f"{args.store}: {summary}")
    if args.dry_run:
        print("nothing was written (--dry-run)")
    else:
        set_calibration(args.store, summary.calibration)
        print("written; it is used where the callback structkd_teacher says `calibrated: true`")
