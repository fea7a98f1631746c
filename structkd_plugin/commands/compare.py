"""`allennlp compare`: whether systems are better than a baseline, and how sure that is."""

import argparse
import json
import os
import re
import sys
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple

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
from structkd_plugin.commands.file_arguments import add_reading_arguments, reader_settings
from structkd_plugin.complete_file import complete_text_file
from structkd_plugin.evaluation.comparison import (
    Comparison,
    Method,
    SystemComparison,
    common_trained_languages,
    compare,
    figure_names,
)
from structkd_plugin.evaluation.comparison_text import comparison_text, conclusion
from structkd_plugin.evaluation.evaluated_system import (
    EVALUATION_FILE,
    EvaluatedSystem,
    evaluate_system,
    is_evaluation,
    read_evaluation,
)
from structkd_plugin.evaluation.systems import is_archive
from structkd_plugin.metrics.language_metric import MACRO

_NAME_AND_PATHS = re.compile(r"([^=/]+)=(.+)")
# Below which p-values a difference is one, where nobody says.
_ALPHA = 0.05
_NOT_SIGNIFICANT, _ERROR, _BROKEN_OFF = 1, 2, 130


@Subcommand.register("compare")
class Compare(Subcommand):
    """The command line of `structkd_plugin.evaluation.comparison.compare`."""

    def add_subparser(self, parser: "argparse._SubParsersAction[Any]") -> argparse.ArgumentParser:
        """Add the command `compare` and its arguments."""
        description = (
            "Compare systems with a baseline on the same sentences: every language, their average, and all sentences, "
            "with intervals and p-values. Exits with 0, with 1 if --fail-unless-significant says so, and with 2 for "
            "wrong input."
        )
        subparser: argparse.ArgumentParser = parser.add_parser(
            self.name, description=description, help="Test whether systems are better than a baseline."
        )
        subparser.add_argument(
            "baseline",
            help="what the others are compared with: [NAME=]PATH[,PATH...], of archives, serialization directories, "
            f"predictions, or what `allennlp score` wrote to {EVALUATION_FILE}. Several paths, or a glob as in "
            "baseline='runs/baseline_*', are several seeds of one method, and need a name",
        )
        # Each may be given in pieces, as a shell makes of top={a,b}.
        subparser.add_argument("systems", nargs="+", metavar="system", help="what is compared with it, in the same way")
        subparser.add_argument(
            "--files",
            nargs="+",
            default=[],
            metavar="[LANG=]FILE",
            help="files with gold tags to evaluate on: paths or globs, each optionally with its language as in "
            f"en=test-en.conll; without, the {EVALUATION_FILE} of each system is read",
        )
        add_reading_arguments(subparser, GOLD_READER)
        add_evaluation_arguments(subparser, evaluations_are_read=True)
        subparser.add_argument(
            "--samples", type=int, default=10_000, help="samples of the bootstrap and of the randomisation"
        )
        subparser.add_argument("--seed", type=int, default=0, help="of the drawing of samples")
        subparser.add_argument(
            "--figure",
            default=MACRO,
            help="the figure that conclusions are about: macro, micro, a language, macro_trained or macro_zero_shot",
        )
        subparser.add_argument("--output", metavar="FILE.json", help="write all figures to FILE.json")
        subparser.add_argument(
            "--fail-unless-significant",
            nargs="?",
            type=float,
            const=_ALPHA,
            metavar="LEVEL",
            help="exit with 1 unless every system is better than the baseline in --figure with p < LEVEL "
            "(%(const)s where none is given)",
        )
        subparser.set_defaults(func=compare_from_args)
        return subparser


def compare_from_args(args: argparse.Namespace) -> None:
    """Run the command; wrong input ends the process with 2 and one sentence on the standard error stream."""
    try:
        alpha = _alpha(args.fail_unless_significant)
        check_for_gpu(args.cuda_device)
        comparison, notes = _comparison(args)
        if args.figure not in figure_names(comparison):
            raise ConfigurationError(
                f"there is no figure {args.figure!r}; --figure is one of {', '.join(figure_names(comparison))}"
            )
        if args.output is not None:
            conclusions = {
                system.name: conclusion(comparison, system, args.figure, alpha or _ALPHA)
                for system in comparison.systems
            }
            content = {**comparison.to_json(), "files": args.files, "notes": notes, "conclusions": conclusions}
            with complete_text_file(args.output, make_folder=True) as stream:
                json.dump(content, stream, indent=1, ensure_ascii=False, allow_nan=False)
                stream.write("\n")
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_ERROR)
    except (KeyboardInterrupt, SigTermReceived):
        print("broken off; nothing was written", file=sys.stderr)
        sys.exit(_BROKEN_OFF)
    for note in notes:
        print(f"note: {note}")
    print(comparison_text(comparison, args.figure, alpha or _ALPHA))
    failed = [system for system in comparison.systems if not _gains(system, args.figure, alpha)]
    if failed:
        for system in failed:
            print(
                f"no significant gain of {system.name} over {comparison.baseline} in {args.figure} at level {alpha:g}",
                file=sys.stderr,
            )
        sys.exit(_NOT_SIGNIFICANT)


def named_paths(arguments: Sequence[str]) -> Dict[str, List[str]]:
    """
    The systems that arguments name, in their order.

    # Parameters

    arguments : `Sequence[str]`
        Each `[NAME=]PATH[,PATH...]`, where a path may be a glob. A name that is given again has further paths.

    # Returns

    `Dict[str, List[str]]` : the paths by name; where no name is given it is that of the file or folder.

    # Raises

    `ConfigurationError` : for what does not exist, for several paths without a name, and for two systems of one name.
    """
    found: Dict[str, List[str]] = {}
    given = set()
    for argument in arguments:
        match = None if os.path.exists(argument) else _NAME_AND_PATHS.fullmatch(argument)
        paths = _paths(match[2] if match else argument)
        if match is None and len(paths) > 1:
            raise ConfigurationError(f"{argument} is several runs: give them a name, as in NAME={argument}")
        name = match[1] if match else _name_of(paths[0])
        if name in found and not (match and name in given):
            raise ConfigurationError(
                f"two systems are named {name}: give them names of their own, as in NAME={paths[0]}"
            )
        if match:
            given.add(name)
        for path in paths:
            if path in found.get(name, ()):
                raise ConfigurationError(f"{path} is given twice for {name}; give each run once")
            found.setdefault(name, []).append(path)
    return found


def _paths(text: str) -> List[str]:
    if os.path.exists(text):
        return [text]
    paths: List[str] = []
    for part in text.split(","):
        matches = [part] if os.path.exists(part) else sorted(glob(part))
        if not matches:
            what = "nothing matches this glob" if has_magic(part) else "there is no such file or folder"
            raise ConfigurationError(f"{part or text}: {what} (looked from {os.getcwd()})")
        paths += matches
    return paths


def _name_of(path: str) -> str:
    """`runs/top` of itself, and of model.tar.gz and evaluation.json in it; `top` of top.jsonl."""
    file = Path(os.path.abspath(path))
    if file.name in ("model.tar.gz", EVALUATION_FILE):
        return file.parent.name
    return file.name if file.is_dir() else re.sub(r"\.(tar\.gz|[^.]+)$", "", file.name)


def _comparison(args: argparse.Namespace) -> Tuple[Comparison, List[str]]:
    methods = named_paths([args.baseline, *args.systems])
    if len(methods) < 2:
        raise ConfigurationError(f"all paths are of {next(iter(methods))}; name a second system to compare it with")
    trained = named_languages(args.trained_languages)
    _check_scheme([path for paths in methods.values() for path in paths], args)
    systems = {name: [_evaluated(path, args, trained) for path in paths] for name, paths in methods.items()}
    everything = [system for of_method in systems.values() for system in of_method]
    if args.files and all(is_evaluation(system.path) for system in everything):
        raise ConfigurationError(
            f"every system is an {EVALUATION_FILE}, which is read as it is: leave --files out, or name the systems"
        )
    _check_conventions(everything, args.convention)
    notes = []
    languages = frozenset(everything[0].counts.languages)
    if trained is None:
        trained, note = common_trained_languages(
            {system.path: system.trained_languages for system in everything}, languages
        )
        notes += [note] if note else []
    compared = [Method(name, tuple(system.counts for system in of_method)) for name, of_method in systems.items()]
    comparison = compare(
        compared[0],
        compared[1:],
        trained_languages=trained,
        samples=args.samples,
        seed=args.seed,
        quiet=args.quiet,
    )
    return comparison, notes


def _evaluated(path: str, args: argparse.Namespace, trained: Optional[FrozenSet[str]]) -> EvaluatedSystem:
    if is_evaluation(path):
        return read_evaluation(path)
    if args.files:
        return evaluate_system(
            path,
            [source(file, args.language) for file in args.files],
            convention=args.convention or CONVENTION,
            scheme=args.scheme,
            trained_languages=trained,
            reader_settings=reader_settings(args),
            batch_size=args.batch_size,
            cuda_device=args.cuda_device,
            quiet=args.quiet,
        )
    if os.path.isfile(os.path.join(path, EVALUATION_FILE)):
        return read_evaluation(os.path.join(path, EVALUATION_FILE))
    raise ConfigurationError(
        f"{path} has no {EVALUATION_FILE}: say by --files what to evaluate it on, or write one by "
        f"`allennlp score {path} FILES --output {os.path.join(path, EVALUATION_FILE)}`"
    )


def _check_scheme(paths: Sequence[str], args: argparse.Namespace) -> None:
    if args.scheme is None:
        return
    if not args.files or all(is_evaluation(path) or is_archive(path) for path in paths):
        raise ConfigurationError(
            f"--scheme {args.scheme} says how predictions in files write spans, and no system is predictions that "
            "--files are compared with: leave it out"
        )


def _check_conventions(systems: Sequence[EvaluatedSystem], convention: Optional[str]) -> None:
    first = systems[0]
    for system in systems:
        if system.convention != first.convention and system.counts.metric == first.counts.metric:
            raise ConfigurationError(
                f"{first.path} counts spans by the convention {first.convention} and {system.path} by "
                f"{system.convention}; evaluate both by the same (--convention)"
            )
        if convention is not None and system.convention not in (None, convention):
            raise ConfigurationError(
                f"{system.path} was written by the convention {system.convention}, not {convention}; write it anew, "
                "or leave --convention out"
            )


def _alpha(value: Optional[float]) -> Optional[float]:
    if value is not None and not 0 < value < 1:
        raise ConfigurationError(f"--fail-unless-significant is a level between 0 and 1, not {value:g}")
    return value


def _gains(system: SystemComparison, figure: str, alpha: Optional[float]) -> bool:
    """Whether the gate lets a system pass; it lets all pass where there is none."""
    if alpha is None:
        return True
    found = system.figures[figure]
    return found is not None and found.bootstrap.difference > 0 and found.p < alpha
