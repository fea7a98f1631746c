"""The first sentences of a file."""

import gzip

import pytest

from tests.study.programs import program

cut = program("cut")
COLUMNS = b"-DOCSTART- O\n\nA O\nb O\n\n\n \t\n# O\nd O\n\ne O\n"
CONLLU = "# sent_id = 1\n1\tä\t_\n\n# sent_id = 2\n1\tb\t_\n\n".encode()


@pytest.mark.parametrize(
    ("skip", "limit", "expected"),
    [
        (0, 1, b"-DOCSTART- O\n\nA O\nb O\n\n\n \t\n"),
        (0, 2, b"-DOCSTART- O\n\nA O\nb O\n\n\n \t\n# O\nd O\n\n"),
        (1, 1, b"# O\nd O\n\n"),
        (1, 0, b"# O\nd O\n\ne O\n"),
        (2, 5, b"e O\n"),
        (0, 3, COLUMNS),
        (0, 9, COLUMNS),
        (0, 0, COLUMNS),
    ],
)
def test_sentences_are_counted(skip, limit, expected, tmp_path):
    (tmp_path / "in.conll").write_bytes(COLUMNS)
    cut.main([str(skip), str(limit), "blocks", str(tmp_path / "in.conll"), str(tmp_path / "out.conll")])
    assert (tmp_path / "out.conll").read_bytes() == expected


def test_sentences_of_text_are_lines(tmp_path):
    (tmp_path / "in.txt.gz").write_bytes(gzip.compress(b"a b\n\n \nc\nd"))
    for skip, limit, expected in ((0, 0, b"a b\nc\nd"), (1, 1, b"c\n"), (0, 2, b"a b\nc\n"), (2, 2, b"d")):
        cut.main([str(skip), str(limit), "lines", str(tmp_path / "in.txt.gz"), str(tmp_path / "out.txt")])
        assert (tmp_path / "out.txt").read_bytes() == expected


def test_comments_stay_with_their_sentence(tmp_path):
    for name, content in (("a.conllu", CONLLU), ("a.conllu.gz", gzip.compress(CONLLU))):
        (tmp_path / name).write_bytes(content)
        cut.main(["0", "1", "blocks", str(tmp_path / name), str(tmp_path / "out.conllu")])
        assert (tmp_path / "out.conllu").read_text(encoding="utf-8") == "# sent_id = 1\n1\tä\t_\n\n"


def test_columns_may_be_called_text(tmp_path):
    (tmp_path / "in.txt").write_bytes(COLUMNS)
    cut.main(["0", "0", "blocks", str(tmp_path / "in.txt"), str(tmp_path / "out.txt")])
    assert (tmp_path / "out.txt").read_bytes() == COLUMNS


@pytest.mark.parametrize(
    ("content", "skip", "what"),
    [(COLUMNS, "3", "in.conll has no sentences after the first 3, which are skipped"), (b"", "0", "has no sentences$")],
)
def test_nothing_left_is_a_mistake(content, skip, what, tmp_path):
    file = tmp_path / "in.conll"
    file.write_bytes(content)
    with pytest.raises(SystemExit, match=what):
        cut.main([skip, "0", "blocks", str(file), str(tmp_path / "out.conll")])
