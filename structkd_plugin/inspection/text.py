"""An inspection as lines for a terminal."""

from typing import List, Sequence

from structkd_plugin.inspection.quality import merged
from structkd_plugin.inspection.report import Inspection

_WIDTH = 22
# Labels that are shown before the rest is counted.
_LABELS = 12


def inspection_text(inspection: Inspection) -> str:
    """
    What was found, aligned; the last line is the verdict.

    # Returns

    `str` : lines without one at the end that is empty.
    """
    return "\n".join(
        [
            inspection.path,
            *teacher_lines(inspection),
            *content_lines(inspection),
            *language_table(inspection),
            *quality_lines(inspection),
            *distribution_lines(inspection),
            *(f"note: {note}" for note in inspection.notes),
            "",
            inspection.verdict,
        ]
    )


def teacher_lines(inspection: Inspection) -> List[str]:
    """Who the teacher is."""
    manifest = inspection.manifest
    if manifest is None:
        return []
    teacher, calibration = manifest.teacher, manifest.calibration
    labels = ", ".join(teacher.labels[:_LABELS])
    if len(teacher.labels) > _LABELS:
        labels += f" and {len(teacher.labels) - _LABELS} more"
    kind = "a CRF" if teacher.kind == "potentials" else "a softmax tagger"
    k_best = "none"
    if teacher.k_best:
        k_best = f"{teacher.k_best}, {'well-formed ' + teacher.k_best_scheme if teacher.k_best_scheme else 'of all'}"
    return [
        _line("teacher", f"{teacher.fingerprint[:16]}…, {kind} ({teacher.kind})"),
        _line("labels", f"{len(teacher.labels)}: {labels}"),
        _line(
            "label encoding",
            f"{teacher.label_encoding}, held to in {teacher.constraints or 'nothing'}"
            if teacher.label_encoding
            else "none, a label for each word",
        ),
        _line("stored as", f"{teacher.encoding}; best labellings: {k_best}"),
        _line("calibration", "none" if calibration is None else f"temperature {calibration.temperature:.4f}"),
    ]


def content_lines(inspection: Inspection) -> List[str]:
    """How much there is, and who wrote it."""
    found = inspection.verification
    size = f"{found.bytes_on_disk / 1e6:,.1f} MB on disk"
    parts = ", ".join(
        f"{part.writer} ({sum(part.sentences.values()):,} in {len(part.shards):,} shards, "
        f"{'complete' if part.complete else 'NOT complete'})"
        for part in found.manifests
    )
    intact = "every checksum is right" if not found.problems else f"{len(found.problems)} problems, see below"
    return [
        _line("contents", f"{inspection.sentences:,} sentences, {sum(found.words.values()):,} words; {size}"),
        _line("written by", parts or "nobody that can be read"),
        _line("integrity", intact),
    ]


def language_table(inspection: Inspection) -> List[str]:
    """By language: what is stored and, where files were given, what of them is found and how good the teacher is."""
    header, rows = language_rows(inspection)
    return ["", *_table(header, rows)]


def language_rows(inspection: Inspection) -> "tuple[List[str], List[List[str]]]":
    """The columns of the table by language, and its rows, the last one for all."""
    found, coverage, quality = inspection.verification, inspection.coverage, inspection.quality
    languages = sorted({*found.sentences, *(coverage.languages if coverage else ())})
    header = ["language", "sentences", "words"]
    if coverage:
        header += ["in files", "found", "missing", "with gold"]
    if quality:
        header += [f"{quality.metric_name} %", "ECE %"] + (["ECE % tempered"] if quality.tempered_bins else [])
    rows = []
    for language in [*languages, "all"]:
        total = language == "all"
        row = [language]
        for counts in (found.sentences, found.words):
            row.append(f"{sum(counts.values()) if total else counts.get(language, 0):,}")
        if coverage:
            of_language = coverage.languages.get(language)
            for what in ("sentences", "found", "missing", "labelled"):
                row.append(f"{coverage.total(what) if total else getattr(of_language, what, 0):,}")
        if quality:
            score = quality.scores.get(f"{quality.metric_name}/{'micro' if total else language}")
            row.append("–" if score is None else f"{100 * score:.2f}")
            for bins in (quality.bins, quality.tempered_bins):
                if bins:
                    here = merged(bins) if total else bins.get(language)
                    row.append("–" if here is None else f"{100 * here.ece:.2f}")
        rows.append(row)
    return header, rows


def quality_lines(inspection: Inspection) -> List[str]:
    """How good and how sure the teacher is, against gold tags."""
    quality = inspection.quality
    if quality is None:
        if inspection.coverage is None:
            return []
        return ["", _line("quality", "left out: no sentence of the files is in the store with gold tags")]
    bins = merged(quality.bins)
    lines = ["", _line("gold tags", f"of {quality.sentences:,} sentences, {quality.words:,} words")]
    macro = quality.scores.get(f"{quality.metric_name}/macro")
    if macro is not None:
        micro = quality.scores[f"{quality.metric_name}/micro"]
        lines.append(_line(quality.metric_name, f"{100 * micro:.2f} % micro, {100 * macro:.2f} % macro"))
    lines.append(
        _line(
            "top label",
            f"right {100 * bins.accuracy:.2f} %, mean probability {100 * bins.confidence:.2f} %, ECE "
            f"{100 * bins.ece:.2f} % ({len(bins.words)} bins)",
        )
    )
    if quality.tempered_bins:
        tempered = merged(quality.tempered_bins)
        lines.append(
            _line("  tempered", f"mean probability {100 * tempered.confidence:.2f} %, ECE {100 * tempered.ece:.2f} %")
        )
    wrong = sorted(
        ((words, gold, guess) for (gold, guess), words in quality.confusion.items() if gold != guess),
        key=lambda item: (-item[0], item[1], item[2]),
    )
    if wrong:
        shown = ", ".join(f"{gold} as {guess} {words:,}" for words, gold, guess in wrong[:4])
        lines.append(_line("confused most", shown))
    return lines


def distribution_lines(inspection: Inspection) -> List[str]:
    """What the distributions are like."""
    statistics, manifest = inspection.distributions, inspection.manifest
    if statistics is None or manifest is None:
        return []
    sampled = statistics.sentences < inspection.sentences
    of = f"{statistics.sentences:,} of {inspection.sentences:,} sentences" if sampled else "all sentences"
    lines = ["", _line("distributions", f"of {of}")]
    lines.append(_line("entropy", f"{statistics.entropy_per_word:.4f} nats a word"))
    if manifest.teacher.label_encoding is not None:
        scheme = manifest.teacher.label_encoding
        lines.append(
            _line("legal mass", f"{100 * statistics.legal_mass:.2f} % is on labellings well-formed in {scheme}")
        )
    mass = ", ".join(f"{k}: {100 * share:.2f} %" for k, share in statistics.k_best_mass.items())
    lines.append(_line("mass of the K best", mass))
    agreement = {k: share for k, share in statistics.agreement.items() if k in (2, 5, 10)}
    if agreement:
        same = ", ".join(f"{k}: {100 * share:.2f} %" for k, share in agreement.items())
        lines.append(_line("words as in the best", same))
    stored = statistics.stored_labellings
    if stored is not None:
        right = stored.sentences - stored.wrong
        lines.append(
            _line("stored labellings", f"{right:,} of {stored.sentences:,} are the {stored.k} best of what is stored")
        )
    return lines


def _line(name: str, value: str) -> str:
    return f"{name:{_WIDTH}}{value}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *rows]
    ]
