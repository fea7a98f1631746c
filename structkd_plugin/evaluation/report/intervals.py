"""Bootstrap intervals of a run's figures."""

from typing import Dict, List, NamedTuple

from structkd_plugin.evaluation.report.methods import TRAINED, ZERO_SHOT, Interval
from structkd_plugin.evaluation.report.runs import Run
from structkd_plugin.evaluation.significance import bootstrap_interval


class IntervalOptions(NamedTuple):
    """How intervals are computed: how many samples are drawn, of what seed, and the level of confidence."""

    samples: int = 10_000
    seed: int = 0
    level: float = 0.95


def intervals_of(run: Run, options: IntervalOptions) -> Dict[str, Interval]:
    """
    The intervals of the figures of a run's evaluation.

    # Parameters

    run : `Run`
    options : `IntervalOptions`

    # Returns

    `Dict[str, Interval]` : by language, and by the names of averages; empty where sentences were not counted apart.
    """
    counts = None if run.evaluation is None else run.evaluation.sentence_counts
    if run.evaluation is None or counts is None or not len(counts.counts):
        return {}
    trained = run.trained_languages
    flags = {language: row.get("zero_shot") for language, row in run.evaluation.languages.items()}
    zero_shot: List[str] = []
    for language in counts.languages:
        flag = flags.get(language)
        if flag or (flag is None and trained is not None and language not in trained):
            zero_shot.append(language)
    others = [language for language in counts.languages if language not in zero_shot]
    averages = {name: of for name, of in ((TRAINED, others), (ZERO_SHOT, zero_shot)) if zero_shot and of}
    found = bootstrap_interval(
        counts, samples=options.samples, seed=options.seed, level=options.level, averages=averages
    )
    return {name: (ends[0], ends[1]) for name, ends in found.items() if ends is not None}
