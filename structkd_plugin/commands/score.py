"""`allennlp score`: how good the tags of a tagger, or of files, are against gold tags."""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Container, Dict, FrozenSet, Optional, Sequence, TextIO, Tuple

from allennlp.commands.subcommand import Subcommand
from allennlp.common.checks import ConfigurationError, check_for_gpu
from allennlp.common.util import SigTermReceived

from structkd_plugin.commands.cache_teacher import source
from structkd_plugin.commands.evaluation_arguments import (
    CONVENTION,
    GOLD_READER,
    add_evaluation_arguments,
    named_languages,
)
from structkd_plugin.commands.file_arguments import add_file_arguments, reader_settings
from structkd_plugin.complete_file import complete_text_file
from structkd_plugin.evaluation.evaluation import Evaluation, evaluate
from structkd_plugin.evaluation.known import known_of
from structkd_plugin.evaluation.systems import System, open_system
from structkd_plugin.evaluation.tables import evaluation_markdown, evaluation_text
from structkd_plugin.evaluation.wrong_sentences import listed
from structkd_plugin.readers.source import Source

_OUTPUTS = (".json", ".md")


@Subcommand.register("score")
class ScoreCommand(Subcommand):
    """The command line of `structkd_plugin.evaluation.evaluation.evaluate`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `score` and its arguments."""
        description = (
            "Compare the tags of a trained tagger, or of files of predictions, with gold tags: accuracy of words or F1 "
            "of spans by language, type, length, seen and unseen, with confusions and calibration. "
            "docs/evaluation.md defines every figure."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Evaluate a tagger, or files of predictions, in detail."
        )
        subparser.add_argument(
            "system",
            help="model.tar.gz or a serialization directory of structkd_tagger; or predictions of the gold sentences "
            "in their order: JSON lines of `allennlp predict`, columns (word first, predicted tag last) or CoNLL-U, "
            "or a folder with one such file for each gold file, named as it or by its language",
        )
        add_file_arguments(subparser, "+", "files with gold tags", GOLD_READER)
        add_evaluation_arguments(subparser)
        subparser.add_argument(
            "--training-files",
            nargs="+",
            metavar="FILE",
            help="files that the system was trained on, to tell seen words and entities from unseen ones; without, "
            "words are seen that are in the vocabulary of the archive, if it has one of words",
        )
        subparser.add_argument("--details", action="store_true", help="show all tables")
        subparser.add_argument(
            "--output",
            action="append",
            default=[],
            metavar="FILE.json|FILE.md",
            help="write all figures to FILE.json, or all tables to FILE.md; may be given twice",
        )
        subparser.add_argument("--errors", metavar="FILE.tsv", help="write the sentences with wrong tags to FILE.tsv")
        subparser.set_defaults(func=score_from_args)
        return subparser


def score_from_args(args: argparse.Namespace) -> None:
    """Run the command; what is wrong with its input ends it with one sentence on the standard error stream."""
    try:
        for output in args.output:
            if Path(output).suffix not in _OUTPUTS:
                raise ConfigurationError(f"--output {output}: give a name that ends with {' or '.join(_OUTPUTS)}")
        check_for_gpu(args.cuda_device)
        system = open_system(args.system, args.cuda_device, reader_settings(args), args.scheme)
        sources = [source(file, args.language) for file in args.files]
        with ExitStack() as stack:
            errors = None
            if args.errors is not None:
                errors = stack.enter_context(complete_text_file(args.errors, make_folder=True))
            evaluation = score(
                system,
                sources,
                convention=args.convention,
                trained_languages=named_languages(args.trained_languages),
                training_sources=[source(file, args.language) for file in args.training_files or ()],
                batch_size=args.batch_size,
                errors=errors,
                quiet=args.quiet,
            )
        for output in args.output:
            with complete_text_file(output, make_folder=True) as stream:
                if Path(output).suffix == ".json":
                    stream.write(evaluation_json(evaluation, system.name, args.files))
                else:
                    stream.write(evaluation_markdown(evaluation, system.name))
    except ConfigurationError as error:
        raise SystemExit(f"error: {error}") from error
    except (KeyboardInterrupt, SigTermReceived):
        raise SystemExit("broken off") from None
    print(evaluation_text(evaluation, system.name, args.details))


def score(
    system: System,
    sources: Sequence[Source],
    *,
    convention: str = CONVENTION,
    trained_languages: Optional[FrozenSet[str]] = None,
    training_sources: Sequence[Source] = (),
    batch_size: int = 64,
    errors: Optional[TextIO] = None,
    quiet: bool = False,
) -> Evaluation:
    """
    The evaluation of a system.

    # Parameters

    system : `System`
    sources : `Sequence[Source]`
        Files with gold tags.
    convention : `str`, optional (default = "strict")
        What counts as a span.
    trained_languages : `FrozenSet[str]`, optional
        The languages it was trained on, where it does not say, or is wrong.
    training_sources : `Sequence[Source]`, optional
        The files it was trained on; without them, what the system itself knows as seen.
    batch_size : `int`, optional (default = 64)
        Sentences that are computed at once.
    errors : `TextIO`, optional
        Gets the sentences with wrong tags.
    quiet : `bool`, optional (default = `False`)
        Whether to show no progress.
    """
    tagged = system.tagged(sources, batch_size, quiet)
    words: Optional[Container[str]] = system.known_words
    entities: Optional[Container[Tuple[str, ...]]] = None
    if training_sources:
        words, entities = known_of(system.gold(training_sources), system.label_encoding, convention)
    return evaluate(
        tagged if errors is None else listed(tagged, errors),
        system.label_encoding,
        trained_languages=system.trained_languages if trained_languages is None else trained_languages,
        known_words=words,
        known_entities=entities,
        convention=convention,
    )


def evaluation_json(evaluation: Evaluation, name: str, files: Sequence[str]) -> str:
    """An evaluation with the counts of every sentence, as JSON with a line for each part."""
    counts = evaluation.sentence_counts
    parts: Dict[str, Any] = {
        "system": name,
        "files": list(files),
        **evaluation.to_json(),
        "per_sentence": {
            "languages": list(counts.languages),
            "language_of": counts.language_of.tolist(),
            "counts": counts.counts.tolist(),
        },
    }
    lines = [
        f" {json.dumps(part)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for part, value in parts.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"
