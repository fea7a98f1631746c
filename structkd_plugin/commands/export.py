"""`allennlp export`: write a tagger as files that run without torch and AllenNLP."""

import argparse
from typing import Any

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction.export import export
from structkd_plugin.prediction.sentence_tagger import SentenceTagger


@Subcommand.register("export")
class Export(Subcommand):
    """The command line of `structkd_plugin.prediction.export.export`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `export` and its arguments."""
        description = (
            "Write a tagger of word and character embeddings as an ONNX network and JSON, which "
            "structkd_plugin.prediction.exported runs with onnxruntime and numpy alone."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Write a tagger as files that run without torch."
        )
        subparser.add_argument("archive", help="the tagger: model.tar.gz or a serialization directory")
        subparser.add_argument("--output", required=True, help="folder to write, which must not be there yet")
        subparser.add_argument("-o", "--overrides", default="", help="JSON that overrides the archive's configuration")
        subparser.set_defaults(func=export_from_args)
        return subparser


def export_from_args(args: argparse.Namespace) -> None:
    """Run the command; what cannot be exported ends it with one sentence on the standard error stream."""
    try:
        sizes = export(SentenceTagger.from_path(args.archive, overrides=args.overrides), args.output)
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"{args.output}: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()))
