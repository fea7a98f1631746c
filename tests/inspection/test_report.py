"""What is said of a store and files, and whether training with them will work."""

import itertools
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Sequence
from xml.etree import ElementTree

import pytest
from allennlp.common.checks import ConfigurationError
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from structkd_plugin.inspection.page import inspection_page
from structkd_plugin.inspection.report import Inspection, inspect_store
from structkd_plugin.inspection.text import inspection_text
from structkd_plugin.teacher.calibrated import set_calibration
from structkd_plugin.teacher.capture import Source
from structkd_plugin.teacher.format import Calibration

from .synthetic import LABELS, PLAIN, READER, Corpus, legal, random_corpus, write, write_tagged


def inspect(store: str, *files: str, **options: Any) -> Inspection:
    sources = [Source(*reversed(file.split("="))) if "=" in file else Source(file, "en") for file in files]
    return inspect_store(store, sources, quiet=True, **options)


def decoded(corpus: Corpus) -> List[List[str]]:
    """The best tags by enumeration, well-formed ones where the teacher says so."""
    tags = []
    for sentence in corpus.sentences:
        ranked = (corpus.labels_of(path) for _, path in corpus.enumerated(sentence).ranked())
        tags.append(next(path for path in ranked if corpus.teacher.constraints is None or legal(path)))
    return tags


def top_labels(corpus: Corpus, gold: Sequence[Sequence[str]], temperature: float = 1.0) -> List[Any]:
    """Of every word the largest marginal, and whether its label is the gold one."""
    rows = []
    for sentence, tags in zip(corpus.sentences, gold, strict=True):
        for marginals, tag in zip(corpus.enumerated(sentence, temperature).marginals(), tags, strict=True):
            rows.append((marginals.max(), LABELS[int(marginals.argmax())] == tag))
    return rows


def ece(rows: Sequence[Any]) -> float:
    bins: Dict[int, List[Any]] = {}
    for probability, right in rows:
        bins.setdefault(min(int(probability * 20), 19), []).append(right - probability)
    return sum(abs(sum(differences)) for differences in bins.values()) / len(rows)


class TestAgainstGoldTags:
    def test_spans(self, tmp_path: Path) -> None:
        corpus = random_corpus(40, languages=("en", "de"))
        gold = corpus.sampled(legally=True)
        by_language = {}
        for language in ("en", "de"):
            chosen = [i for i, sentence in enumerate(corpus.sentences) if sentence.language == language]
            by_language[language] = chosen
            write_tagged(tmp_path / language, [corpus.sentences[i] for i in chosen], [gold[i] for i in chosen])
        store = write(corpus, tmp_path / "store")
        inspection = inspect(store, f"en={tmp_path}/en", f"de={tmp_path}/de", batch_size=6)
        guesses = decoded(corpus)
        quality = inspection.figures()["quality"]
        for language, chosen in by_language.items():
            expected = f1_score([gold[i] for i in chosen], [guesses[i] for i in chosen], mode="strict", scheme=IOB2)
            assert quality["scores"][f"f1/{language}"] == pytest.approx(expected)
        assert quality["scores"]["f1/micro"] == pytest.approx(f1_score(gold, guesses, mode="strict", scheme=IOB2))
        rows = top_labels(corpus, gold)
        assert quality["calibration"]["ece"] == pytest.approx(ece(rows), abs=1e-5)
        assert quality["calibration"]["mean_top_probability"] == pytest.approx(sum(p for p, _ in rows) / len(rows))
        assert quality["calibration"]["top_label_right"] == pytest.approx(sum(r for _, r in rows) / len(rows))
        assert quality["calibration_tempered"] is None
        pairs = list(zip(itertools.chain(*gold), itertools.chain(*guesses), strict=True))
        assert quality["confusion"] == [
            {"gold": a, "predicted": b, "words": pairs.count((a, b))} for a, b in sorted(set(pairs))
        ]
        coverage = inspection.figures()["coverage"]
        assert (coverage["sentences"], coverage["found"], coverage["missing"], coverage["labelled"]) == (40, 40, 0, 40)
        assert coverage["by_language"]["de"]["sentences"] == 20
        assert inspection.works
        assert "it has all 40 of the files" in inspection.verdict

    def test_words_with_a_calibration(self, tmp_path: Path) -> None:
        corpus = random_corpus(25, **PLAIN)
        gold = corpus.sampled(2.0)
        store = write(corpus, tmp_path / "store")
        set_calibration(store, Calibration(2.0, (0.5,)))
        inspection = inspect(store, write_tagged(tmp_path / "dev", corpus.sentences, gold))
        quality = inspection.figures()["quality"]
        pairs = list(zip(itertools.chain(*gold), itertools.chain(*decoded(corpus)), strict=True))
        assert quality["scores"]["accuracy/micro"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
        assert quality["calibration"]["ece"] == pytest.approx(ece(top_labels(corpus, gold)), abs=1e-5)
        tempered = ece(top_labels(corpus, gold, 2.0))
        assert quality["calibration_tempered"]["ece"] == pytest.approx(tempered, abs=1e-5)
        assert inspection.figures()["teacher"]["calibration"] == {"temperature": 2.0, "reliability": [0.5]}
        assert "temperature 2.0000" in inspection_text(inspection)

    def test_no_gold_tags(self, tmp_path: Path) -> None:
        corpus = random_corpus(5)
        store = write(corpus, tmp_path / "store", {"type": "structkd_plain_text", "pretokenized": True})
        (tmp_path / "raw").write_text("\n".join(" ".join(sentence.words) for sentence in corpus.sentences))
        inspection = inspect(store, str(tmp_path / "raw"))
        assert inspection.works
        assert inspection.quality is None
        assert inspection.figures()["coverage"]["found"] == 5
        assert "quality               left out: no sentence of the files is in the store with gold" in inspection_text(
            inspection
        )
        assert inspection.notes == (
            "5 sentences of the files have no gold tags, and are left out of the teacher's quality.",
        )

    def test_labels_that_the_teacher_has_not(self, tmp_path: Path) -> None:
        corpus = random_corpus(5)
        gold = decoded(corpus)
        gold[0] = ["B-Y"] + ["O"] * (len(gold[0]) - 1)
        inspection = inspect(write(corpus, tmp_path / "store"), write_tagged(tmp_path / "dev", corpus.sentences, gold))
        assert not inspection.works
        assert "labels that the teacher has not: B-Y; the teacher's are O, B-X, I-X" in inspection.verdict
        assert inspection.figures()["coverage"]["labels_unknown_to_teacher"] == {"B-Y": 1}
        assert inspection.quality is not None
        assert 0 < inspection.quality.scores["f1/en"] < 1

    def test_tags_of_another_scheme(self, tmp_path: Path) -> None:
        corpus = random_corpus(3)
        gold = [["NOUN"] * len(sentence.words) for sentence in corpus.sentences]
        dev = write_tagged(tmp_path / "dev", corpus.sentences, gold)
        store = write(corpus, tmp_path / "store")
        inspection = inspect(store, dev, reader_settings={"type": "structkd_column"})
        assert not inspection.works
        assert any("quality is left out: a sentence in language 'en' cannot be scored" in n for n in inspection.notes)
        assert inspection.figures()["quality"]["scores"] == {}
        assert "–" in inspection_text(inspection)


class TestCoverage:
    def test_missing_sentences(self, tmp_path: Path) -> None:
        corpus = random_corpus(6)
        known = Corpus(corpus.sentences[:4], corpus.tables, corpus.teacher)
        dev = write_tagged(tmp_path / "dev", corpus.sentences, decoded(corpus))
        inspection = inspect(write(known, tmp_path / "store"), dev)
        assert not inspection.works
        words = " ".join(corpus.sentences[4].words)
        line = 1 + sum(len(sentence.words) + 1 for sentence in corpus.sentences[:4])
        assert (
            f"2 of the 6 sentences of the files are not in the store, the first being {words!r} (en, {dev}:{line})"
            in (inspection.verdict)
        )
        assert "`allennlp cache-teacher`" in inspection.verdict
        assert '"skip"' in inspection.verdict
        assert inspection.quality is not None
        assert inspection.quality.sentences == 4

    def test_nothing_in_common(self, tmp_path: Path) -> None:
        """The same words in another language are other sentences."""
        corpus = random_corpus(3)
        dev = write_tagged(tmp_path / "dev", corpus.sentences, decoded(corpus))
        inspection = inspect(write(corpus, tmp_path / "store"), f"de={dev}")
        assert not inspection.works
        assert "3 of the 3 sentences of the files are not in the store" in inspection.verdict
        assert '"skip"' not in inspection.verdict
        assert inspection.quality is None
        assert inspection.figures()["coverage"]["by_language"]["de"]["first_missing"].endswith("dev:1)")


class TestSample:
    def test_statistics_are_of_a_sample_and_coverage_of_all(self, tmp_path: Path) -> None:
        corpus = random_corpus(60)
        dev = write_tagged(tmp_path / "dev", corpus.sentences, decoded(corpus))
        store = write(corpus, tmp_path / "store")
        first, again, other = (inspect(store, dev, sample=15, seed=seed).figures() for seed in (1, 1, 2))
        assert first == again != other
        assert first["distributions"]["sentences"] == first["quality"]["sentences"] == 15
        assert first["coverage"]["found"] == first["contents"]["sentences"] == 60
        assert "of 15 of 60 sentences" in inspection_text(inspect(store, sample=15))

    def test_a_sample_of_more_than_there_is_is_all(self, tmp_path: Path) -> None:
        corpus = random_corpus(12)
        dev = write_tagged(tmp_path / "dev", corpus.sentences, decoded(corpus))
        store = write(corpus, tmp_path / "store")
        assert inspect(store, dev, sample=100).figures() == inspect(store, dev).figures()

    def test_damage_outside_of_the_sample_is_found(self, tmp_path: Path) -> None:
        corpus = random_corpus(40)
        store = write(corpus, tmp_path / "store")
        file = tmp_path / "store" / "shard.main.00002.safetensors"
        content, emissions = file.read_bytes(), corpus.sentences[33].emissions.tobytes()
        assert content.count(emissions) == 1
        file.write_bytes(content.replace(emissions, emissions[:-1] + bytes([emissions[-1] ^ 1])))
        inspection = inspect(store, sample=1)
        assert not inspection.works
        assert f"{file} was altered: 1 of its 8 records" in inspection.verdict
        assert corpus.sentences[33].key in inspection.verdict

    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="sample must be at least 1, not 0"):
            inspect(str(tmp_path), sample=0)


class TestStore:
    def test_two_writers_with_a_sentence_in_common(self, tmp_path: Path) -> None:
        corpus = random_corpus(6)
        for writer, sentences in (("a", corpus.sentences[:4]), ("b", corpus.sentences[3:])):
            write(Corpus(sentences, corpus.tables, corpus.teacher), tmp_path, writer=writer)
        contents = inspect(str(tmp_path)).figures()["contents"]
        assert (contents["sentences"], contents["by_language"]["en"]["sentences"]) == (6, 7)
        assert [(part["writer"], part["sentences"], part["complete"]) for part in contents["writers"]] == [
            ("a", 4, True),
            ("b", 3, True),
        ]
        [note] = inspect(str(tmp_path)).notes
        assert note.startswith("1 records are of sentences that another writer captured too")

    def test_no_sentences(self, tmp_path: Path) -> None:
        inspection = inspect(write(random_corpus(0), tmp_path / "store"))
        assert "has no sentences" in inspection.verdict
        json.dumps(inspection.figures(), allow_nan=False)

    def test_manifests_that_disagree(self, tmp_path: Path) -> None:
        corpus = random_corpus(4)
        write(corpus, tmp_path, writer="a")
        set_calibration(str(tmp_path), Calibration(2.0, (0.5,)))
        saved = (tmp_path / "manifest.a.json").read_bytes()
        set_calibration(str(tmp_path), None)
        write(corpus, tmp_path, writer="b")
        (tmp_path / "manifest.a.json").write_bytes(saved)
        inspection = inspect(str(tmp_path))
        assert not inspection.works
        assert "has two calibrations" in inspection.verdict
        assert inspection.distributions is None
        assert "has two calibrations" in inspection_text(inspection)
        assert "has two calibrations" in inspection_page(inspection)

    def test_a_manifest_that_cannot_be_read(self, tmp_path: Path) -> None:
        store = write(random_corpus(2), tmp_path / "store")
        (tmp_path / "store" / "manifest.main.json").write_text("{}")
        inspection = inspect(store)
        assert "manifest.main.json is damaged" in inspection.verdict
        assert "nobody that can be read" in inspection_text(inspection)
        assert inspection.figures()["teacher"] is None
        assert "manifest.main.json is damaged" in inspection_page(inspection)

    def test_a_softmax_teacher_is_noted(self, tmp_path: Path) -> None:
        inspection = inspect(write(random_corpus(2, kind="log_probabilities"), tmp_path / "store"))
        assert inspection.works
        assert "softmax tagger" in inspection.notes[0]


class TestReader:
    def test_one_that_is_not_known(self, tmp_path: Path) -> None:
        store = write(random_corpus(1), tmp_path / "store", {"type": "somebody's"})
        with pytest.raises(ConfigurationError, match=r"there is no reader for the files .*--dataset-reader"):
            inspect(store, str(tmp_path / "dev"))

    def test_one_of_allennlp(self, tmp_path: Path) -> None:
        store = write(random_corpus(1), tmp_path / "store", {"type": "sequence_tagging"})
        with pytest.raises(ConfigurationError, match="is not one of this plugin's readers"):
            inspect(store, str(tmp_path / "dev"))

    def test_parts_that_were_read_differently(self, tmp_path: Path) -> None:
        corpus = random_corpus(1)
        write(corpus, tmp_path / "store", writer="a")
        store = write(corpus, tmp_path / "store", {"type": "structkd_conllu"}, writer="b")
        dev = write_tagged(tmp_path / "dev", corpus.sentences, decoded(corpus))
        with pytest.raises(ConfigurationError, match="read by different readers: say with --dataset-reader"):
            inspect(store, dev)
        assert inspect(store, dev, reader_settings=READER).works


class Balanced(HTMLParser):
    """Knows which elements are open, and what there is in all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: List[str] = []
        self.seen: List[str] = []
        self.references: List[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_stands_by_itself(tmp_path: Path) -> None:
    corpus = random_corpus(30)
    gold = corpus.sampled(legally=True)
    gold[3] = ["B-<b>&"] + ["O"] * (len(gold[3]) - 1)
    store = write(corpus, tmp_path / "a<b>&")
    set_calibration(store, Calibration(1.5, (0.5,)))
    page = inspection_page(inspect(store, write_tagged(tmp_path / "dev", corpus.sentences, gold)))
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.references == []
    assert "b" not in parser.seen
    # The diagrams and the confusion.
    assert parser.seen.count("svg") == 3
    assert "B-&lt;b&gt;&amp;" in page
    drawings = [ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>") for part in page.split("<svg")[1:]]
    space = "{http://www.w3.org/2000/svg}"
    inspection = inspect(store, str(tmp_path / "dev"))
    assert inspection.quality is not None
    names = ("Reliability diagram", "Histogram of confidence", "Confusion of labels, teacher")
    assert [drawing.findtext(f"{space}title") for drawing in drawings] == list(names)
    for diagram in drawings[:2]:
        # A bar for each bin with words.
        bins = sum(1 for words in inspection.quality.bins["en"].words if words)
        bars = [group for group in diagram.iter(f"{space}g") if "-our-bar-" in group.get("id", "")]
        assert len(bars) == bins
