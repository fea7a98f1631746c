import gzip

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers.text_lines import text_lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"a\r\nb\r", ["a", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"a\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        ("a\u2028b\x85c\x0bd\re\n".encode(), ["a\u2028b\x85c\x0bd\re"]),
        (b"", []),
    ],
    ids=["plain", "no-final-newline", "crlf", "crlf-cut", "bom", "bom-inside", "other-breaks", "empty"],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_lines_of(write, content, lines, packed):
    file = write("text", gzip.compress(content) if packed else content)
    assert list(text_lines(file)) == list(enumerate(lines, start=1))


def test_undecodable_bytes_are_one_sentence_with_file_and_line(write):
    file = write("latin.txt", "gut\nschön\n".encode("latin-1"))
    with pytest.raises(ConfigurationError) as error:
        list(text_lines(file))
    assert str(error.value) == (
        f"{file}:2: byte 4 of the line is not utf-8 text (0xf6); declare the file's `encoding` or convert the file"
    )
    assert list(text_lines(file, "latin-1")) == [(1, "gut"), (2, "schön")]


def test_a_gzip_file_cut_short_is_one_sentence_with_its_name(write):
    packed = gzip.compress(b"a line\n" * 1000)
    file = write("cut.gz", packed[:-12])
    with pytest.raises(ConfigurationError, match=r"cut\.gz:\d+: the file cannot be read"):
        list(text_lines(file))


def test_a_missing_file_is_one_sentence_with_its_name(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.txt: the file cannot be read"):
        list(text_lines(str(tmp_path / "none.txt")))
