import gzip

import pytest

from structkd_plugin.readers import PlainTextReader


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_each_line_is_a_sentence_without_labels(write, packed):
    content = "Hans lacht, z.B. laut.\n\n \u00a0\nGut!\r\n".encode()
    file = write("de.txt.gz", gzip.compress(content) if packed else content)
    first, second = PlainTextReader().sentences({"de": file})
    assert first.words == ("Hans", "lacht", ",", "z.B.", "laut", ".")
    assert (first.tags, first.language, first.file, first.line) == (None, "de", file, 1)
    assert (second.words, second.line) == (("Gut", "!"), 4)


def test_words_that_are_split_already_are_kept_exactly(write):
    file = write("a.txt", "  Hans  lacht,\t10\u00a0000\u2003x .\n")
    (sentence,) = PlainTextReader(pretokenized=True).sentences(file)
    assert sentence.words == ("Hans", "lacht,", "10\u00a0000\u2003x", ".")
