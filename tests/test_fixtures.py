"""The fixture corpora are what their generator writes, valid in their formats, and their parts are disjoint."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List, Set, Tuple
from xml.etree import ElementTree

import conllu
import pytest

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LANGUAGES = ("en", "de", "es", "ru")
UPOS_FILES = sorted(FIXTURES.glob("upos/*/*.conllu"))
NER_FILES = sorted(FIXTURES.glob("ner/*/*.conll"))
SIZES = {"upos": {"train": 400, "dev": 100, "test": 200}, "ner": {"train": 700, "dev": 100, "test": 200}}
UPOS = {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT"} | {
    "SCONJ",
    "VERB",
}
BIO = {"O", *(f"{place}-{label}" for place in "BI" for label in ("PER", "LOC", "ORG"))}


def name(path: Path) -> str:
    return "-".join(path.relative_to(FIXTURES).with_suffix("").parts)


def column_sentences(path: Path) -> Iterator[List[Tuple[str, str]]]:
    for block in path.read_text(encoding="utf-8").rstrip("\n").split("\n\n"):
        yield [(word, tag) for word, tag in (line.split("\t") for line in block.split("\n"))]


def word_sequences(path: Path) -> List[Tuple[str, ...]]:
    if path.suffix == ".conll":
        return [tuple(word for word, _ in sentence) for sentence in column_sentences(path)]
    parsed = conllu.parse(path.read_text(encoding="utf-8"))
    return [tuple(token["form"] for token in sentence if isinstance(token["id"], int)) for sentence in parsed]


def test_generator_reproduces_every_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(FIXTURES / "make_corpora.py"), str(tmp_path)], check=True)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(FIXTURES)
        for folder in ("upos", "ner", "text", "aspect")
        for path in (FIXTURES / folder).rglob("*")
        if path.is_file()
    }
    assert written == kept
    for path in sorted(written):
        assert (tmp_path / path).read_bytes() == (FIXTURES / path).read_bytes(), path


def test_every_language_has_every_part() -> None:
    expected = {f"{task}-{code}-{part}" for task in ("upos", "ner") for code in LANGUAGES for part in SIZES[task]}
    expected |= {"upos-nl-test", "ner-nl-test"}
    assert {name(path) for path in UPOS_FILES + NER_FILES} == expected


@pytest.mark.parametrize("path", UPOS_FILES, ids=name)
def test_conllu_is_valid(path: Path) -> None:
    sentences = conllu.parse(path.read_text(encoding="utf-8"))
    assert len(sentences) == SIZES["upos"][path.stem]
    identifiers = [sentence.metadata["sent_id"] for sentence in sentences]
    assert len(set(identifiers)) == len(identifiers)
    for line in path.read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("# ") or (line.count("\t") == 9 and "" not in line.split("\t")), line
    for sentence in sentences:
        words = [token for token in sentence if isinstance(token["id"], int)]
        assert [token["id"] for token in words] == list(range(1, len(words) + 1))
        assert 5 <= len(words) <= 14
        assert {token["upos"] for token in words} <= UPOS
        assert written_text(sentence) == sentence.metadata["text"]


def written_text(sentence: conllu.TokenList) -> str:
    """The text that the tokens spell, each multi-word token in place of its words."""
    text, covered = "", 0
    for token in sentence:
        if isinstance(token["id"], tuple):
            first, _, covered = token["id"]
            assert covered == first + 1
        elif token["id"] <= covered:
            continue
        text += token["form"] + ("" if (token["misc"] or {}).get("SpaceAfter") == "No" else " ")
    return text.rstrip(" ")


@pytest.mark.parametrize(
    ("code", "form", "parts"),
    [("es", "del", ["de", "el"]), ("de", "im", ["in", "dem"]), ("en", "don't", ["do", "n't"])],
    ids=["es", "de", "en"],
)
def test_contractions_are_multi_word_tokens(code: str, form: str, parts: List[str]) -> None:
    sentences = conllu.parse((FIXTURES / "upos" / code / "train.conllu").read_text(encoding="utf-8"))
    found = [
        [word["form"].lower() for word in sentence[index + 1 : index + 3]]
        for sentence in sentences
        for index, token in enumerate(sentence)
        if isinstance(token["id"], tuple) and token["form"].lower() == form
    ]
    assert found
    assert all(words == parts for words in found)


@pytest.mark.parametrize("path", NER_FILES, ids=name)
def test_columns_are_well_formed_bio(path: Path) -> None:
    sentences = list(column_sentences(path))
    assert len(sentences) == SIZES["ner"][path.stem]
    for sentence in sentences:
        previous = "O"
        for word, tag in sentence:
            assert word.strip() == word != ""
            assert tag in BIO
            assert not tag.startswith("I-") or previous[2:] == tag[2:], sentence
            previous = tag


@pytest.mark.parametrize("task", ["upos", "ner"])
@pytest.mark.parametrize("code", LANGUAGES)
def test_parts_share_no_sentence(task: str, code: str) -> None:
    seen: Set[Tuple[str, ...]] = set()
    for path in sorted((FIXTURES / task / code).iterdir()):
        sentences = word_sequences(path)
        assert len(set(sentences)) == len(sentences)
        assert not seen & set(sentences)
        seen |= set(sentences)


@pytest.mark.parametrize("code", LANGUAGES)
def test_text_is_unseen_sentences(code: str) -> None:
    lines = (FIXTURES / "text" / f"{code}.txt").read_text(encoding="utf-8").splitlines()
    assert len(set(lines)) == len(lines) == 400
    assert all(re.fullmatch(r"\S+( \S+)+", line) for line in lines)
    labelled = {
        sentence.metadata["text"]
        for path in (FIXTURES / "upos" / code).iterdir()
        for sentence in conllu.parse(path.read_text(encoding="utf-8"))
    }
    assert not labelled & set(lines)


def test_same_form_has_other_parts_of_speech_elsewhere() -> None:
    """What makes one multilingual tagger harder to train than four monolingual ones."""
    tags = {
        code: {
            (token["form"].lower(), token["upos"])
            for sentence in conllu.parse((FIXTURES / "upos" / code / "test.conllu").read_text(encoding="utf-8"))
            for token in sentence
        }
        for code in ("en", "de", "es")
    }
    assert {("was", "AUX"), ("an", "DET"), ("will", "AUX")} <= tags["en"]
    assert {("was", "PRON"), ("an", "ADP"), ("es", "PRON"), ("die", "DET"), ("die", "PRON")} <= tags["de"]
    assert {("es", "AUX"), ("como", "SCONJ"), ("la", "DET"), ("la", "PRON")} <= tags["es"]


def test_aspect_targets_are_where_they_say() -> None:
    sentences = list(ElementTree.parse(FIXTURES / "aspect" / "en" / "train.xml").iter("sentence"))
    assert 28 <= len(sentences) <= 35
    opinions = 0
    for sentence in sentences:
        text = sentence.findtext("text")
        assert text
        found = sentence.findall("Opinions/Opinion")
        assert bool(found) != (sentence.get("OutOfScope") == "TRUE")
        for opinion in found:
            start, end = int(opinion.attrib["from"]), int(opinion.attrib["to"])
            assert opinion.attrib["polarity"] in ("positive", "negative", "neutral")
            assert re.fullmatch("[A-Z]+#[A-Z_]+", opinion.attrib["category"])
            expected = "NULL" if start == end == 0 else text[start:end]
            assert opinion.attrib["target"] == expected
            opinions += 1
    assert opinions >= 30
