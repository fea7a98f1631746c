"""`allennlp cache-teacher`: write to a teacher store what a trained tagger says of the sentences in files."""

import argparse
import json
import os
import re
from typing import Any, Dict, Mapping, Optional, Tuple

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.util import SigTermReceived

from structkd_plugin.teacher.capture import Source, capture
from structkd_plugin.teacher.format import ENCODINGS
from structkd_plugin.teacher.parts import Part, launched
from structkd_plugin.teacher.sources.resolve import load_teacher

_LANGUAGE_AND_PATH = re.compile(r"([A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*)=(.+)")


@Subcommand.register("cache-teacher")
class CacheTeacher(Subcommand):
    """The command line of `structkd_plugin.teacher.capture.capture`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `cache-teacher` and its arguments."""
        description = (
            "Write to a teacher store what a trained tagger says of the sentences in files. May be broken off at any "
            "moment: the same command goes on where it stopped."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Write a trained tagger's potentials to a teacher store."
        )
        subparser.add_argument(
            "archive",
            help="the teacher: model.tar.gz or a serialization directory of structkd_tagger, crf_tagger or "
            "simple_tagger, the folder of a Hugging Face token classification model, or a JSON or Jsonnet file that "
            "describes a teacher",
        )
        subparser.add_argument(
            "files",
            nargs="+",
            help="files to read: paths or globs, each optionally with its language as in en=train-en.conll; "
            "labelled or not, as the reader has it",
        )
        subparser.add_argument("--output", required=True, help="directory of the store; gone on with if it is one")
        subparser.add_argument("--language", help="language of files that are given without one")
        subparser.add_argument("--batch-size", type=int, default=64, help="sentences a forward pass")
        subparser.add_argument("--cuda-device", type=int, default=-1, help="number of the GPU; -1 is the CPU")
        subparser.add_argument(
            "--encoding", choices=sorted(ENCODINGS), default="float16", help="type of the stored emissions"
        )
        subparser.add_argument(
            "--k-best",
            type=int,
            default=0,
            metavar="K",
            help="store the K best legal labellings of each sentence too, for the objective k_best with labellings: "
            "legal; without, training computes them at every step; 2 K bytes a word, so that a large K costs disk",
        )
        subparser.add_argument(
            "--sentences-per-shard",
            type=int,
            metavar="N",
            help="sentences a file; a kill loses at most these. Without, from 2,048 up to 65,536 in large stores",
        )
        subparser.add_argument(
            "--writer",
            help="name of this writer, where several add to one store at the same time; `main` without, and for a part "
            "`part`, to which the number of the part is added",
        )
        subparser.add_argument(
            "--part",
            metavar="I/N",
            help="capture part I of N of the sentences, each of which is in one part; the store is complete when all "
            "parts are. Several processes that a launcher such as torchrun starts each take a part without this",
        )
        subparser.add_argument(
            "-o",
            "--overrides",
            default="",
            help="JSON or Jsonnet that overrides the archive's configuration, or "
            "the description of a teacher that is none",
        )
        subparser.add_argument(
            "--dataset-reader",
            help="JSON of a dataset reader to read the files with, where their format is not that of the archive's, "
            "or its reader is not one of this plugin's; words are tokenized and indexed as the teacher has it in "
            "any case",
        )
        subparser.add_argument("--quiet", action="store_true", help="print the last line only")
        subparser.set_defaults(func=capture_from_args)
        return subparser


def capture_from_args(args: argparse.Namespace) -> None:
    """Run the command; what is wrong with its input ends it with one sentence on the standard error stream."""
    try:
        part, cuda_device = share_of_work(args.part, args.cuda_device, os.environ)
        check_for_gpu(cuda_device)
        reader_settings = _json_object(args.dataset_reader)
        summary = capture(
            load_teacher(args.archive, cuda_device, args.overrides, reader_settings),
            [source(file, args.language) for file in args.files],
            args.output,
            batch_size=args.batch_size,
            encoding=args.encoding,
            k_best=args.k_best,
            sentences_per_shard=args.sentences_per_shard,
            writer=args.writer,
            part=part,
            quiet=args.quiet,
        )
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    except (KeyboardInterrupt, SigTermReceived):
        raise SystemExit(
            f"broken off; what {args.output} holds is safe, and the same command goes on from there"
        ) from None
    print(f"{args.output}: {'' if part is None else f'{part}: '}{summary}")


def share_of_work(part: Optional[str], cuda_device: int, environment: Mapping[str, str]) -> Tuple[Optional[Part], int]:
    """
    Which part of the sentences this process captures, on which device.

    # Parameters

    part : `str`, optional
        The argument `--part`.
    cuda_device : `int`
        The argument `--cuda-device`; where it asks for a GPU, processes that were launched together take one each.
    environment : `Mapping[str, str]`
        Of the process: what a launcher of several says in RANK, WORLD_SIZE and LOCAL_RANK.

    # Raises

    `ConfigurationError` : for a part that is none, and for one where a launcher has shared the work out already.
    """
    place = launched(environment)
    if place is None:
        return (None if part is None else Part.parse(part)), cuda_device
    if part is not None:
        raise ConfigurationError(
            f"--part {part} is given to a process that was launched as {place.part} (RANK and WORLD_SIZE of the "
            "environment): give no --part, or start the processes without a launcher."
        )
    return place.part, place.local_rank if cuda_device >= 0 else cuda_device


def source(file: str, language: Optional[str]) -> Source:
    """What an argument FILE names: `en=train.conll` or `train.conll`; a path that exists is a path."""
    match = None if os.path.exists(file) else _LANGUAGE_AND_PATH.fullmatch(file)
    return Source(match[2], match[1]) if match else Source(file, language)


def _json_object(text: Optional[str]) -> Optional[Dict[str, Any]]:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"--dataset-reader is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"--dataset-reader is the JSON of an object, not {text}")
    return value
