import gzip
import logging

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers import ColumnReader


def read(reader, file, language="de"):
    """`word/tag` joined by spaces, one text per sentence."""
    return [
        " ".join(f"{word}/{tag}" for word, tag in zip(s.words, s.tags or ["-"] * len(s.words), strict=True))
        for s in reader.sentences({language: file})
    ]


TWO = ["Hans/B-PER lacht/O", "Gut/O"]


@pytest.mark.parametrize(
    "content",
    [
        "Hans B-PER\nlacht O\n\nGut O\n",
        "Hans B-PER\nlacht O\n\nGut O",
        "\n\n\nHans B-PER\nlacht O\n\n \n\t\n\nGut O\n\n\n",
        "Hans B-PER\r\nlacht O\r\n\r\nGut O\r\n",
        "\ufeffHans B-PER\nlacht O\n\nGut O\n",
        "  Hans \t B-PER\t\nlacht  O \n\u00a0\nGut O\n",
        "-DOCSTART- -X-\n\nHans B-PER\nlacht O\n\n-DOCSTART- O\n\nGut O\n",
        "-DOCSTART-\nHans B-PER\nlacht O\n-DOCSTART- -X- O O\nGut O\n",
        "# newdoc id = 1\n# text = Hans lacht\nHans B-PER\nlacht O\n\n# x y\nGut O\n",
        "#\nHans B-PER\nlacht O\n\n#\n\nGut O\n",
    ],
    ids=[
        "plain",
        "no-final-newline",
        "blank-lines",
        "crlf",
        "bom",
        "loose-white-space",
        "docstart",
        "docstart-without-blank-line",
        "comments",
        "bare-comments",
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_layouts_found_in_the_wild(write, content, packed):
    content = content.encode()
    file = write("a.conll", gzip.compress(content) if packed else content)
    assert read(ColumnReader(scheme="BIO"), file) == TWO


@pytest.mark.parametrize(
    ("arguments", "row"),
    [
        ({"word_column": 1, "tag_column": 2}, "1 {0} {1} - ann\n"),
        ({"word_column": -4, "tag_column": -3, "delimiter": "\t"}, "1\t{0}\t{1}\t\tann\n"),
        ({"word_column": 1, "tag_column": 0, "delimiter": ";"}, "{1};{0}\n"),
        ({"word_column": -1, "tag_column": 0}, "{1} {0}\n"),
    ],
    ids=["index-first", "from-the-right", "semicolon", "tag-first"],
)
def test_columns_may_stand_anywhere(write, arguments, row):
    content = row.format("Hans", "B-PER") + row.format("lacht", "O") + "\n" + row.format("Gut", "O")
    assert read(ColumnReader(scheme="BIO", **arguments), write("a.conll", content)) == TWO


def test_words_with_spaces_survive_a_declared_delimiter(write):
    file = write("a.tsv", "10 000\tO\n \u00a0x\tO\n")
    assert [s.words for s in ColumnReader(delimiter="\t").sentences(file)] == [("10 000", " \u00a0x")]


def test_a_no_break_space_splits_no_word(write):
    assert read(ColumnReader(), write("a.conll", "10\u00a0000 NUM\n\u00a0 SYM\n")) == ["10\u00a0000/NUM \u00a0/SYM"]


def test_a_hash_with_a_tag_is_a_word(write):
    file = write("a.conll", "# O\n#1 O\n\n# text = x\nThe O\n# O\n#eins O\n")
    assert read(ColumnReader(scheme="BIO"), file) == ["#/O #1/O", "The/O #/O #eins/O"]
    # Also where the file begins with words of that kind only.
    assert read(ColumnReader(scheme="BIO"), write("b.conll", "# O\n#1 O\n")) == ["#/O #1/O"]
    assert read(ColumnReader(tag_column=None), write("c.txt", "#\nx\n\n# a comment\ny\n")) == ["#/- x/-", "y/-"]


def test_a_declared_comment_is_one_anywhere_and_nothing_else_is(write):
    file = write("a.conll", "# x\nHans B-PER\n# y\nlacht O\n\n#x O\nGut O\n")
    assert read(ColumnReader(scheme="BIO", comment_prefix="# "), file) == ["Hans/B-PER lacht/O", "#x/O Gut/O"]
    file = write("b.conll", "%% x\n# O\nHans B-PER\n")
    assert read(ColumnReader(scheme="BIO", comment_prefix="%%"), file) == ["#/O Hans/B-PER"]


def test_sentence_ids_and_lines_are_kept(write):
    file = write("a.iob2", "# newdoc\n# sent_id = w-1\n# text = a b\n1\ta\tO\n2\tb\tO\n\n1\tc\tO\n")
    sentences = list(ColumnReader(word_column=1, tag_column=2, delimiter="\t").sentences(file))
    assert [(s.sentence_id, s.file, s.line) for s in sentences] == [("w-1", file, 4), (None, file, 7)]


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("IOB1", "I-PER I-PER B-PER O I-ORG"),
        ("IOB2", "B-PER I-PER B-PER O B-ORG"),
        ("BIOES", "B-PER E-PER S-PER O S-ORG"),
        ("BIOUL", "B-PER L-PER U-PER O U-ORG"),
        ("BMES", "B-PER E-PER S-PER O S-ORG"),
    ],
)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "detected"])
@pytest.mark.parametrize(
    ("target", "converted"),
    [("BIO", "B-PER I-PER B-PER O B-ORG"), ("BIOUL", "B-PER L-PER U-PER O U-ORG")],
    ids=["BIO", "BIOUL"],
)
def test_schemes_are_converted(write, source, tags, declared, target, converted):
    file = write("a.conll", "".join(f"w {tag}\n" for tag in tags.split()))
    reader = ColumnReader(scheme=target, input_scheme=source if declared else None)
    (sentence,) = reader.sentences(file)
    assert " ".join(sentence.tags) == converted


def test_each_file_has_its_own_scheme(write):
    files = [write("a.conll", "x I-PER\ny B-PER\n"), write("b.conll", "x S-PER\ny S-PER\n")]
    assert [s.tags for s in ColumnReader(scheme="BIO").sentences(files)] == [("B-PER", "B-PER")] * 2


def test_a_changed_file_is_detected_anew(write):
    reader = ColumnReader(scheme="BIO")
    for content in ("x I-PER\ny B-PER\n", "x S-PER\ny S-PER\nz O\n"):
        assert [s.tags[:2] for s in reader.sentences(write("a.conll", content))] == [("B-PER", "B-PER")]


def test_labels_of_words_are_left_as_they_are(write):
    assert read(ColumnReader(), write("a.conll", "Hans I-PER\nlacht VERB|x\n")) == ["Hans/I-PER lacht/VERB|x"]


def test_repairs_are_counted_and_logged_once_per_file(write, caplog):
    file = write("a.conll", "a B-PER\n\nb O\nc I-PER\n\nd I-ORG\n\ne B-ORG\n")
    reader = ColumnReader(scheme="BIO", ill_formed="repair")
    with caplog.at_level(logging.WARNING, logger="structkd_plugin"):
        for _ in range(2):
            assert read(reader, file) == ["a/B-PER", "b/O c/B-PER", "d/B-ORG", "e/B-ORG"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: repaired the BIO tags of 2 sentence(s), the first on line 4"
    ]


def test_a_prefix_of_the_language_is_taken_off(write):
    file = write("de", "de:Hans B-PER\nde:: O\n\nde:10:30 O\n")
    reader = ColumnReader(scheme="BIO", word_prefix=True)
    assert read(reader, file) == ["Hans/B-PER :/O", "10:30/O"]
    assert read(reader, file, "und") == ["Hans/B-PER :/O", "10:30/O"]


def test_a_file_without_tags_is_unlabelled(write):
    file = write("a.conll", "Hans x\nlacht y\n")
    (sentence,) = ColumnReader(tag_column=None, scheme="BIO").sentences(file)
    assert sentence.tags is None


# Every one is exactly one sentence that begins with the file and the line.
@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (
            "a O\nb O O\n",
            {},
            ":2: the line has 3 column(s) where the file's first row has 2; "
            "correct the line, or declare the file's `delimiter` or `comment_prefix`",
        ),
        (
            "a O\n# a comment\nb O\n",
            {},
            ":2: the line has 3 column(s) where the file's first row has 2; "
            "correct the line, or declare the file's `delimiter` or `comment_prefix`",
        ),
        ("\na O\n", {"tag_column": 3}, ":2: tag_column is 3, but the line has 2 column(s)"),
        ("a O\n", {"word_column": -3}, ":1: word_column is -3, but the line has 2 column(s)"),
        (
            "a\nb\n",
            {},
            ":1: the line has 1 column(s), so that word_column and tag_column are the same; "
            "give null as tag_column for unlabelled files",
        ),
        ("a\tO\n\tO\n", {"delimiter": "\t"}, ":2: the word is empty"),
        ("a\tO\nb\t\n", {"delimiter": "\t"}, ":2: the word 'b' has an empty tag"),
        (
            "a O\nb I-PER\n",
            {"input_scheme": "BIO"},
            ":2: tag 'I-PER' between 'O' and the sentence's end breaks the scheme BIO; "
            'correct the file or set ill_formed to "repair"',
        ),
        (
            "a O\n\na O\nb E-PER\n",
            {"input_scheme": "BIO", "ill_formed": "repair"},
            ":4: tag 'E-PER' is not of the scheme BIO, whose tags are O, B-LABEL, I-LABEL",
        ),
        (
            "a O\nb X-PER\n",
            {},
            ":2: tag 'X-PER' is neither O nor a prefix such as B, a hyphen and a label; "
            "correct it, or give null as `scheme` if words have plain labels",
        ),
        (
            "a B-PER\nb M-PER\nc I-PER\n",
            {},
            ": no scheme has the tags 'B-PER', 'M-PER', 'I-PER' together; the schemes are BIO, IOB1, BIOUL, BIOES, "
            "BMES; correct the file or declare its `input_scheme`",
        ),
        (
            "a B-PER\nb B-LOC\n",
            {"labels": ["O", "B-PER"]},
            ":2: tag 'B-LOC' is none of the declared labels (B-PER, O)",
        ),
        ("de:a O\nb O\n", {"word_prefix": True}, ":2: the word 'b' does not begin with 'de:', as word_prefix promises"),
        ("de:a O\nde: O\n", {"word_prefix": True}, ":2: the word is empty behind its prefix 'de:'"),
        ("-DOCSTART- O\n\n", {}, ": the file has no sentences; take it out of the data path"),
    ],
)
def test_bad_input_is_one_sentence(write, content, arguments, message):
    file = write("a.conll", content)
    with pytest.raises(ConfigurationError) as error:
        read(ColumnReader(**{"scheme": "BIO", **arguments}), file)
    assert str(error.value) == file + message


def test_undecodable_bytes_are_one_sentence(write):
    file = write("a.conll", "gut O\nschön O\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"a\.conll:2: byte 4 of the line is not utf-8 text"):
        read(ColumnReader(), file)
    assert read(ColumnReader(encoding="latin-1"), file) == ["gut/O schön/O"]


def test_a_prefix_of_no_language_is_one_sentence(write):
    file = write("a.conll", "a O\n")
    with pytest.raises(ConfigurationError, match="does not begin with a language and a colon, as word_prefix"):
        read(ColumnReader(word_prefix=True), file, "und")


@pytest.mark.parametrize(
    "arguments",
    [
        {"delimiter": ""},
        {"comment_prefix": ""},
        {"word_column": 1, "tag_column": 1},
        {"scheme": "BILOU"},
        {"scheme": "BIO", "input_scheme": "IO"},
        {"input_scheme": "BIO"},
        {"ill_formed": "ignore"},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ConfigurationError):
        ColumnReader(**arguments)
