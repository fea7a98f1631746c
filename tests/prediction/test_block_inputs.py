"""Column files and CoNLL-U as inputs: the sentences that the readers find, and every byte as it was but for the tag."""

from pathlib import Path
from typing import Any, List, Tuple

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structkd_plugin.prediction.column_input import ColumnFormat
from structkd_plugin.prediction.conllu_input import ConlluLabel, conllu_sentences
from structkd_plugin.prediction.input_sentence import InputSentence, Problem
from structkd_plugin.prediction.tagged_output import Place, TaggedOutput
from structkd_plugin.prediction.tagging import Tagging
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.readers.conllu_reader import ConlluReader
from structkd_plugin.readers.sentence_reader import SentenceReader

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LETTERS = st.text(alphabet="aÄ#:=|\u00a0\u2028\U0001f469-_1", min_size=1, max_size=4)
ENDS = st.sampled_from(["\n", "\r\n"])


def split(data: str) -> List[str]:
    return [line for line in data.replace("\n", "\n\0").split("\0") if line]


def read(reader: SentenceReader, data: str, folder: Path) -> Any:
    """What a reader finds in the file up to the first error: sentences and the error's line."""
    (folder / "file").write_bytes(data.encode())
    found: List[Tuple[Tuple[str, ...], Any, Any]] = []
    try:
        for sentence in reader.parse(str(folder / "file"), "de"):
            found.append((sentence.words, sentence.line, sentence.sentence_id))
    except ConfigurationError as error:
        return found, error.message.partition("file:")[2].partition(":")[0]
    return found, None


def taken(units: Any) -> Any:
    found = []
    for unit in units:
        if isinstance(unit, Problem):
            return found, str(unit.line)
        if unit.words:
            found.append((unit.words, unit.line, unit.carried.get("sentence_id")))
    return found, None


@st.composite
def column_files(draw: Any) -> str:
    end = draw(ENDS)
    columns = draw(st.integers(1, 3))
    blanks = st.sampled_from([" ", "\t", " \t "])
    lines = []
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["row"] * 5 + ["blank", "comment", "document", "odd"]))
        if kind == "row":
            words = draw(st.lists(LETTERS.filter(lambda word: word.strip()), min_size=columns, max_size=columns))
            lines.append(draw(blanks).join(words))
        elif kind == "odd":
            lines.append(draw(blanks).join(draw(st.lists(LETTERS, min_size=0, max_size=4))))
        else:
            others = {"blank": ["", " ", "\u00a0"], "document": ["-DOCSTART- -X-", "-DOCSTART-"]}
            lines.append(draw(st.sampled_from(others.get(kind, ["# sent_id = a b", "# c", "#", "# x y z w"]))))
    return end.join(lines) + draw(st.sampled_from(["", end, end + end]))


@pytest.mark.parametrize("settings_", [{}, {"word_column": 1}, {"delimiter": "\t"}, {"comment_prefix": "#"}])
@FEW
@given(data=column_files())
def test_columns_are_read_as_the_reader_reads_them(settings_: Any, data: str, tmp_path: Path) -> None:
    reader = ColumnReader(tag_column=None, **settings_)
    columns = ColumnFormat.of_reader(reader)
    assert (columns.tag_column, columns.word_column) == (None, settings_.get("word_column", 0))
    lines = split(data)
    width, _ = columns.width(lines)
    units = list(columns.sentences(lines, 1, "de", width))
    assert taken(units) == read(reader, data, tmp_path)


def written(
    output_format: str, columns: ColumnFormat, label: ConlluLabel, units: Any, tags: Any, width: int = 0
) -> str:
    output = TaggedOutput(output_format, ["T"], False, 0, columns, label)
    place = Place("file", output_format, width)
    return "".join(output.lines(unit, Tagging(tags(unit.words), (), None), place) for unit in units)


@FEW
@given(data=column_files(), tag_column=st.sampled_from([None, -1, 0, 1]))
def test_columns_keep_every_byte_but_the_tag(data: str, tag_column: Any) -> None:
    columns = ColumnFormat(tag_column=tag_column)
    lines = split(data)
    width, _ = columns.width(lines)
    units = list(columns.sentences(lines, 1, "de", width))
    if any(isinstance(unit, Problem) for unit in units):
        return
    label = ConlluLabel(3, "", False)
    out = split(written("conll", columns, label, units, lambda words: ("Q",) * len(words), width))
    assert len(out) == len(lines)
    place = columns._tag_place(width)
    rows = set()
    start = 0
    for unit in units:
        rows |= {start + row for row in unit.source.rows}
        start += len(unit.source.lines)
    for number, (before, after) in enumerate(zip(lines, out, strict=True)):
        if number not in rows:
            assert after == before
            continue
        body = before.rstrip("\r\n")
        if place is None:
            assert after == body + "\tQ" + before[len(body) :]
            continue
        begin, end = columns.fields(body)[place]
        assert after == before[:begin] + "Q" + before[end:]


@st.composite
def conllu_files(draw: Any, odd: bool = True) -> str:
    end = draw(ENDS)
    lines = []
    for _ in range(draw(st.integers(0, 4))):
        for _ in range(draw(st.integers(0, 2))):
            lines.append(draw(st.sampled_from(["# sent_id = s 1", "# text = a b", "#", "# newdoc", "# x = y = z"])))
        words = draw(st.integers(1, 4))
        joined = 0
        for number in range(1, words + 1):
            if joined < number < words and draw(st.integers(0, 4)) == 0:
                lines.append("\t".join([f"{number}-{number + 1}", "ab", *["_"] * 7, "SpaceAfter=No"]))
                joined = number + 1
            features = draw(st.sampled_from(["_", "Case=Nom|Number=Sing", "NER=B-X", "Foo=1|NER=O|Bar", "a=b=c|Zz=1"]))
            fields = [draw(LETTERS.filter(lambda word: word != "")) for _ in range(8)]
            row = [str(number), *fields, features]
            row[5] = draw(st.sampled_from(["_", "Case=Nom|Number=Sing", "NER=B-X"]))
            lines.append("\t".join(row))
            if draw(st.integers(0, 5)) == 0:
                lines.append("\t".join([f"{number}.1", "e", *["_"] * 8]))
        if odd and draw(st.integers(0, 9)) == 0:
            lines.insert(
                draw(st.integers(0, len(lines))), draw(st.sampled_from(["1\ta", "9\t" + "\t".join("a" * 9), "# c"]))
            )
        lines += [""] * draw(st.integers(1, 2))
    data = end.join(lines)
    return data + draw(st.sampled_from(["", end]))


@FEW
@given(data=conllu_files())
def test_conllu_is_read_as_the_reader_reads_it(data: str, tmp_path: Path) -> None:
    units = list(conllu_sentences(split(data), 1, "de"))
    assert taken(units) == read(ConlluReader(label=None), data, tmp_path)


@pytest.mark.parametrize("label", ["upos", "xpos", "feats", "feats:NER", "misc:NER"])
@FEW
@given(data=conllu_files(odd=False), tags=st.lists(st.sampled_from(["O", "B-X", "I-X"]), min_size=1, max_size=8))
def test_conllu_keeps_every_byte_but_the_tag(label: str, data: str, tags: List[str], tmp_path: Path) -> None:
    spans = ":" in label
    reader = ConlluReader(label=label, scheme="BIO" if spans else None, ill_formed="repair" if spans else "error")
    units = list(conllu_sentences(split(data), 1, "de"))
    if any(isinstance(unit, Problem) for unit in units):
        return
    place = ConlluLabel.of(reader, "BIO" if spans else None)

    def tags_of(words: Tuple[str, ...]) -> Tuple[str, ...]:
        return tuple(tags[number % len(tags)] for number in range(len(words)))

    before = split(data)
    expected = [tags_of(unit.words) for unit in units if unit.words]
    after = split(written("conllu", ColumnFormat(), place, units, tags_of))
    assert len(after) == len(before)
    for one, other in zip(before, after, strict=True):
        columns, others = one.split("\t"), other.split("\t")
        if len(columns) == 10:
            # The line's end is the last column's.
            assert columns.pop(place.column) != others.pop(place.column) or place.column < 10
            if place.column == 9:
                assert (len(one) - len(one.rstrip("\r\n"))) == len(other) - len(other.rstrip("\r\n"))
        assert columns == others
    if expected:
        (tmp_path / "out").write_bytes("".join(after).encode())
        unchecked = ConlluReader(label=label)
        found = [sentence.tags for sentence in unchecked.parse(str(tmp_path / "out"), "de")]
        absent = {"_": "O"} if spans else {}
        assert [tuple(absent.get(tag, tag) for tag in sentence or ()) for sentence in found] == expected


@pytest.mark.parametrize(
    ("key", "spans", "value", "tag", "expected"),
    [
        ("NER", True, "_", "O", "_"),
        ("NER", True, "_", "B-X", "NER=B-X"),
        ("NER", True, "SpaceAfter=No", "B-X", "SpaceAfter=No|NER=B-X"),
        ("NER", True, "NER=B-X|SpaceAfter=No", "O", "NER=O|SpaceAfter=No"),
        ("NER", True, "NER|Gloss=a=b", "B-X", "NER=B-X|Gloss=a=b"),
        ("Case", False, "Case=Nom", "_", "_"),
        ("Case", False, "Case=Nom|Number=Sing", "_", "Number=Sing"),
        ("Case", False, "Number=Sing", "_", "Number=Sing"),
        ("", False, "NOUN", "VERB", "VERB"),
    ],
)
def test_a_feature_among_others(key: str, spans: bool, value: str, tag: str, expected: str) -> None:
    assert ConlluLabel(9 if key else 3, key, spans).written(value, tag) == expected


def test_morphological_features_stay_sorted() -> None:
    assert ConlluLabel(5, "Gender", False).written("Case=Nom|Number=Sing", "Fem") == "Case=Nom|Gender=Fem|Number=Sing"


def test_where_a_reader_has_the_tags() -> None:
    assert ConlluLabel.of(ConlluReader(label="xpos"), None) == (4, "", False)
    assert ConlluLabel.of(ConlluReader(label="misc:Entity", scheme="BIO"), "BIO") == (9, "Entity", True)
    assert ConlluLabel.of(ConlluReader(label=None), "BIO") == (9, "NER", True)
    assert ConlluLabel.of(ColumnReader(), None) == (3, "", False)
    assert ColumnFormat.of_reader(ConlluReader()) == ColumnFormat()


def test_words_with_prefixes() -> None:
    columns = ColumnFormat(word_prefix=True)
    lines = ["de:Haus\tO\n", "\n", "en:a\tO\n", "\n", "de:\tO\n"]
    good, wrong, empty = columns.sentences(lines, 1, "de", 2)
    assert isinstance(good, InputSentence)
    assert good.words == ("Haus",)
    assert wrong == Problem(3, "the word 'en:a' does not begin with 'de:', as word_prefix promises")
    assert empty == Problem(5, "the word is empty")
    (undetermined,) = columns.sentences(lines[:1], 1, "und", 2)
    assert isinstance(undetermined, InputSentence)
    assert undetermined.words == ("Haus",)
