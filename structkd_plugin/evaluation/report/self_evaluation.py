"""Evaluations that are made for a report."""

import json
import time
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence

from allennlp.common.checks import ConfigurationError

from structkd_plugin.evaluation.evaluation import evaluate
from structkd_plugin.evaluation.report.arguments import LanguageFile
from structkd_plugin.evaluation.report.runs import Run
from structkd_plugin.evaluation.report.stored_evaluation import parse_evaluation
from structkd_plugin.evaluation.systems import open_system
from structkd_plugin.evaluation.tagged_sentence import TaggedSentence
from structkd_plugin.readers.source import Source


class EvaluationOptions(NamedTuple):
    """
    # Parameters

    batch_size : `int`, optional (default = 64)
    cuda_device : `int`, optional (default = -1)
        Number of the GPU; -1 is the CPU.
    reader_settings : `Dict[str, Any]`, optional
        Configuration of the files' reader; by default that of the run.
    quiet : `bool`, optional (default = `False`)
        Whether to show no progress.
    """

    batch_size: int = 64
    cuda_device: int = -1
    reader_settings: Optional[Dict[str, Any]] = None
    quiet: bool = False


class _Timed:
    """Sentences as they come, counting their words and the time that was waited for them."""

    def __init__(self, sentences: Iterator[TaggedSentence]) -> None:
        self._sentences = sentences
        self.seconds = 0.0
        self.words = 0

    def __iter__(self) -> Iterator[TaggedSentence]:
        while True:
            start = time.perf_counter()
            sentence = next(self._sentences, None)
            self.seconds += time.perf_counter() - start
            if sentence is None:
                return
            self.words += len(sentence.tags)
            yield sentence


def evaluated(run: Run, files: Sequence[LanguageFile], options: EvaluationOptions) -> Run:
    """
    The run with its evaluation on files, in place of one that its folder may hold.

    # Parameters

    run : `Run`
    files : `Sequence[LanguageFile]`
    options : `EvaluationOptions`

    # Raises

    `ConfigurationError` : if there is no model in its folder, or a file cannot be read.
    """
    missing = [key for key in ("dataset_reader", "model") if not isinstance(run.config.get(key), dict)]
    if missing:
        raise ConfigurationError(
            f"{run.path} cannot be evaluated: its config.json names no {' and no '.join(missing)}; leave the "
            "run or the files out"
        )
    system = open_system(run.path, options.cuda_device, options.reader_settings)
    sources = [Source(path, language) for language, path in files]
    sentences = _Timed(iter(system.tagged(sources, options.batch_size, options.quiet)))
    evaluation = evaluate(
        sentences,
        system.label_encoding,
        trained_languages=system.trained_languages,
        known_words=getattr(system, "known_words", None),
        known_entities=getattr(system, "known_entities", None),
    )
    counts = evaluation.sentence_counts
    record = {
        **json.loads(json.dumps(evaluation.to_json())),
        "per_sentence": {
            "languages": list(counts.languages),
            "language_of": counts.language_of.tolist(),
            "counts": counts.counts.tolist(),
        },
        "words_per_second": sentences.words / sentences.seconds if sentences.seconds else None,
    }
    return run.with_evaluation(parse_evaluation(record, run.path))
