"""The first sentences of a file."""

import gzip

import pytest

from tests.study.programs import program

cut = program("cut")
COLUMNS = b"-DOCSTART- O\n\nA O\nb O\n\n\n \t\n# O\nd O\n\ne O\n"
CONLLU = "# sent_id = 1\n1\tä\t_\n\n# sent_id = 2\n1\tb\t_\n\n".encode()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, b"-DOCSTART- O\n\nA O\nb O\n\n"),
        (2, b"-DOCSTART- O\n\nA O\nb O\n\n\n \t\n# O\nd O\n\n"),
        (3, COLUMNS),
        (9, COLUMNS),
        (0, COLUMNS),
    ],
)
def test_sentences_are_counted(limit, expected):
    assert b"".join(cut.first_sentences(COLUMNS.splitlines(keepends=True), limit)) == expected


def test_comments_stay_with_their_sentence(tmp_path):
    for name, content in (("a.conllu", CONLLU), ("a.conllu.gz", gzip.compress(CONLLU))):
        (tmp_path / name).write_bytes(content)
        cut.main(["1", str(tmp_path / name), str(tmp_path / "out.conllu")])
        assert (tmp_path / "out.conllu").read_text(encoding="utf-8") == "# sent_id = 1\n1\tä\t_\n\n"
