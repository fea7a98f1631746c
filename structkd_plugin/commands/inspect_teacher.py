"""`allennlp inspect-teacher`: check every byte of a teacher store, and show what its teacher is like."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import SigTermReceived

from structkd_plugin.commands.cache_teacher import source
from structkd_plugin.commands.file_arguments import add_file_arguments, reader_settings
from structkd_plugin.complete_file import complete_text_file
from structkd_plugin.inspection.page import inspection_page
from structkd_plugin.inspection.report import inspect_store
from structkd_plugin.inspection.text import inspection_text

# Of the page, where --output names a folder.
PAGE = "index.html"


@Subcommand.register("inspect-teacher")
class InspectTeacher(Subcommand):
    """The command line of `structkd_plugin.inspection.report.inspect_store`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `inspect-teacher` and its arguments."""
        description = (
            "Check every checksum of a teacher store, show what its teacher is like, compare it with files, and say "
            "whether training with it will work. Exits with 0 if it will, and with 1 if not."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Check a teacher store, and show how good its teacher is."
        )
        subparser.add_argument("store", help="directory of the store")
        add_file_arguments(subparser, "*", "files to compare with, such as the training or development data")
        subparser.add_argument(
            "--sample",
            type=int,
            metavar="N",
            help="take statistics of N sentences of the store and of N of the files; checksums and coverage are of all",
        )
        subparser.add_argument("--seed", type=int, default=0, help="of the drawing of the sample")
        subparser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
        subparser.add_argument(
            "--output", metavar="DIR|FILE.html", help=f"write a page with pictures to FILE.html, or to DIR/{PAGE}"
        )
        subparser.set_defaults(func=inspect_from_args)
        return subparser


def inspect_from_args(args: argparse.Namespace) -> None:
    """Run the command; ends the process with 1 where training with the store will not work."""
    try:
        inspection = inspect_store(
            args.store,
            [source(file, args.language) for file in args.files],
            reader_settings(args),
            sample=args.sample,
            seed=args.seed,
            batch_size=args.batch_size,
            quiet=args.quiet,
        )
        if args.json is not None:
            figures = json.dumps(inspection.figures(), indent=1, ensure_ascii=False, allow_nan=False)
            _write(Path(args.json), figures + "\n")
        if args.output is not None:
            output = Path(args.output)
            _write(output if output.suffix == ".html" else output / PAGE, inspection_page(inspection))
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    except (KeyboardInterrupt, SigTermReceived):
        raise SystemExit(f"broken off; {args.store} is as it was") from None
    print(inspection_text(inspection))
    if not inspection.works:
        sys.exit(1)


def _write(file: Path, text: str) -> None:
    with complete_text_file(file, make_folder=True) as stream:
        stream.write(text)
