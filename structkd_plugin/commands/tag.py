"""`allennlp tag`: tag files of any size with a trained tagger."""

import argparse
import gc
import os
import sys
from functools import partial
from typing import Any, List, Optional

from allennlp.commands.subcommand import Subcommand
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.util import SigTermReceived
from allennlp.data import DatasetReader

from structkd_plugin.commands.cache_teacher import source
from structkd_plugin.commands.file_arguments import reader_settings
from structkd_plugin.prediction.chunk_tagger import TagOptions
from structkd_plugin.prediction.input_chunks import INPUT_FORMATS, STANDARD_INPUT, InputFile, format_of
from structkd_plugin.prediction.sentence_tagger import SentenceTagger
from structkd_plugin.prediction.tag_files import tag_files
from structkd_plugin.prediction.tagged_output import OUTPUT_FORMATS
from structkd_plugin.readers.paths import data_files

# What the name of an output file tells of its format.
_OUTPUT_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conllu",
    ".tsv": "entities-tsv",
}


@Subcommand.register("tag")
class Tag(Subcommand):
    """The command line of `structkd_plugin.prediction.tag_files.tag_files`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `tag` and its arguments."""
        description = (
            "Tag files of any size with a trained structkd_tagger. The output is in the order of the input, and a "
            "file of it is there when it is complete."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Tag files with a trained tagger."
        )
        subparser.add_argument("archive", help="model.tar.gz or a serialization directory of a structkd_tagger")
        subparser.add_argument(
            "inputs",
            nargs="*",
            metavar="input",
            help="paths or globs, each optionally with its language as in en=a.txt; - or none for the standard input",
        )
        subparser.add_argument("--output", metavar="FILE", help="where to write; the standard output without")
        subparser.add_argument(
            "--input-format",
            choices=INPUT_FORMATS,
            help="raw text, words between blanks (a sentence a line), JSON lines, columns, CoNLL-U; by default what "
            "the file's name tells, and text for the standard input",
        )
        subparser.add_argument(
            "--output-format",
            choices=OUTPUT_FORMATS,
            help="by default what the name of --output tells, and jsonl for the standard output",
        )
        subparser.add_argument(
            "--language", help="of inputs that are given without one; the language of the model's reader by default"
        )
        subparser.add_argument(
            "--k-best", type=int, default=0, metavar="K", help="write the K most probable taggings too (jsonl)"
        )
        subparser.add_argument(
            "--all-labels", action="store_true", help="write the probability of every label of each word too (jsonl)"
        )
        subparser.add_argument(
            "--processes", type=int, default=1, metavar="N", help="tag in N processes, of one thread each, on the CPU"
        )
        subparser.add_argument("--batch-size", type=int, default=64, help="sentences computed at once")
        subparser.add_argument("--cuda-device", type=int, default=-1, help="number of the GPU; -1 is the CPU")
        subparser.add_argument(
            "--on-error",
            choices=("stop", "skip"),
            default="stop",
            help="what to do where an input cannot be tagged: stop, or go on without it, which is reported",
        )
        subparser.add_argument(
            "--dataset-reader",
            help="JSON of a dataset reader that says where column files and CoNLL-U have words and tags; by default "
            "the model's",
        )
        subparser.add_argument(
            "-o", "--overrides", default="", help="JSON or Jsonnet that overrides the archive's configuration"
        )
        subparser.add_argument("--quiet", action="store_true", help="show no progress")
        subparser.set_defaults(func=tag_from_args)
        return subparser


def tag_from_args(args: argparse.Namespace) -> None:
    """Run the command; what is wrong with its input ends it with one sentence on the standard error stream."""
    to_file = args.output not in (None, STANDARD_INPUT)
    try:
        check_for_gpu(args.cuda_device)
        settings = reader_settings(args)
        output_format = args.output_format or _output_format(args.output)
        opened = partial(SentenceTagger.from_path, args.archive, args.cuda_device, args.overrides)
        # Names of files first: a model takes seconds to load.
        named = _inputs(args.inputs, args.language, args.input_format)
        tagger = opened()
        # What stays for good is not to be looked through again and again for what can go.
        gc.freeze()
        summary = tag_files(
            tagger,
            [file if file.language else file._replace(language=tagger.reader.language) for file in named],
            args.output,
            TagOptions(output_format, args.batch_size, args.k_best, args.all_labels, args.on_error == "skip"),
            reader=None if settings is None else DatasetReader.from_params(Params(settings)),
            processes=args.processes,
            reopen=opened,
            quiet=args.quiet,
        )
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    except (KeyboardInterrupt, SigTermReceived):
        left = f"{args.output} was not written" if to_file else "what was written are whole lines"
        raise SystemExit(f"broken off; {left}: run the same command again") from None
    except BrokenPipeError:
        # Whoever read the standard output has enough; the interpreter must not try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    finally:
        gc.unfreeze()
    print(f"{args.output}: {summary}" if to_file else summary, file=sys.stderr)


def _inputs(arguments: List[str], language: Optional[str], input_format: Optional[str]) -> List[InputFile]:
    """The files that arguments name; of a language that is not given, that is the empty string."""
    found = []
    for argument in arguments or [STANDARD_INPUT]:
        path, of_file = source(argument, language)
        if path == STANDARD_INPUT:
            found.append(InputFile(path, of_file or "", input_format or format_of(path)))
            continue
        for file in data_files(path, of_file or "und"):
            given = file.language if of_file or "{language}" in path else ""
            found.append(InputFile(file.file, given, input_format or format_of(file.file)))
    return found


def _output_format(output: Optional[str]) -> str:
    name = (output or "").lower().removesuffix(".gz")
    return next((found for suffix, found in _OUTPUT_SUFFIXES.items() if name.endswith(suffix)), "jsonl")
