import gzip
import logging

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers import AspectReader

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<Reviews>\n<Review rid="1">\n<sentences>\n'
TAIL = "</sentences>\n</Review>\n</Reviews>\n"


def opinion(target, start, end, category="FOOD#QUALITY"):
    return f'<Opinion target="{target}" category="{category}" polarity="positive" from="{start}" to="{end}"/>\n'


def sentence(text, *opinions, name="1:0"):
    listed = f"<Opinions>\n{''.join(opinions)}</Opinions>\n" if opinions else ""
    return f'<sentence id="{name}">\n<text>{text}</text>\n{listed}</sentence>\n'


def tagged(reader, file, language="en"):
    return [" ".join(map("/".join, zip(s.words, s.tags, strict=True))) for s in reader.sentences({language: file})]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_terms_become_tags(write, packed):
    content = HEAD
    content += sentence(
        "Fish &amp; chips, great wine.",
        opinion("Fish &amp; chips", 0, 12),
        opinion("Fish &amp; chips", 0, 12, "FOOD#PRICES"),
        opinion("wine", 20, 24),
        opinion("NULL", 0, 0),
    )
    content += sentence("Überall laut.", name="1:1") + TAIL
    content = content.encode()
    file = write("a.xml", gzip.compress(content) if packed else content)
    assert tagged(AspectReader(), file) == [
        "Fish/B-ASPECT &/I-ASPECT chips/I-ASPECT ,/O great/O wine/B-ASPECT ./O",
        "Überall/O laut/O ./O",
    ]
    assert tagged(AspectReader(scheme="BIOES", label="T"), file)[0].startswith(
        "Fish/B-T &/I-T chips/E-T ,/O great/O wine/S-T"
    )
    first, second = AspectReader().sentences({"en": file})
    assert (first.sentence_id, first.line, second.sentence_id, second.line) == ("1:0", 6, "1:1", 15)


def test_terms_that_do_not_fit_the_words_are_expanded_and_counted_or_refused(write, caplog):
    file = write("a.xml", HEAD + sentence("Tapas tapas!", opinion("apas", 1, 5), opinion("tapas", 5, 10)) + TAIL)
    reader = AspectReader()
    with caplog.at_level(logging.WARNING, logger="structkd_plugin"):
        for _ in range(2):
            assert tagged(reader, file) == ["Tapas/B-ASPECT tapas/B-ASPECT !/O"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: changed 2 aspect term(s) that did not fit the words"
    ]
    with pytest.raises(ConfigurationError) as error:
        tagged(AspectReader(misaligned="error"), file)
    assert (
        str(error.value)
        == f"{file}:8: the target 'apas' is a part of 'Tapas'; correct it or set misaligned to \"expand\""
    )


def test_a_file_in_its_own_encoding(write):
    content = (HEAD + sentence("Schön hier.") + TAIL).replace("UTF-8", "ISO-8859-1").encode("latin-1")
    assert tagged(AspectReader(), write("a.xml", content), "de") == ["Schön/O hier/O ./O"]


def test_a_large_file_is_streamed_with_right_lines(write):
    file = write("a.xml", HEAD + "".join(sentence(f"Satz {i} .", name=str(i)) for i in range(3000)) + TAIL)
    sentences = list(AspectReader().sentences({"de": file}))
    assert [s.line for s in sentences] == [6 + 3 * i for i in range(3000)]
    assert sentences[-1].words == ("Satz", "2999", ".")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + sentence("a", opinion("soup", 0, 4)) + TAIL, ":8: the target 'soup' is nowhere in the sentence 'a'"),
        (
            HEAD + sentence("soup", '<Opinion target="soup" from="x" to="4"/>\n') + TAIL,
            ":8: the opinion has a target, but its `from` and `to` are not whole numbers",
        ),
        (
            HEAD + sentence("soup", '<Opinion target="soup"/>\n') + TAIL,
            ":8: the opinion has a target, but its `from` and `to` are not whole numbers",
        ),
        (HEAD + '<sentence id="1">\n</sentence>' + TAIL, ":6: the sentence that ends here has no text"),
        (HEAD + sentence(" ") + TAIL, ":6: the sentence has no words"),
        (HEAD + sentence("a"), ":8: this is no well-formed XML (no element found)"),
        (
            HEAD + "<sentence>\n<text>a & b</text>" + TAIL,
            ":6: this is no well-formed XML (not well-formed (invalid token))",
        ),
        (HEAD + TAIL, ": the file has no sentences; take it out of the data path"),
        ("", ": the file has no sentences; take it out of the data path"),
        (
            '<?xml version="1.0"?>\n<!DOCTYPE Reviews [\n<!ENTITY a "b">\n]>\n<Reviews/>',
            ":3: the XML declares entities or refers to other files, which is not read",
        ),
        (
            '<!DOCTYPE Reviews SYSTEM "http://example.org/r.dtd">\n<Reviews/>',
            ":1: the XML declares entities or refers to other files, which is not read",
        ),
    ],
)
def test_bad_input_is_one_sentence(write, content, message):
    file = write("a.xml", content)
    with pytest.raises(ConfigurationError) as error:
        tagged(AspectReader(), file)
    assert str(error.value) == file + message


def test_a_gzip_file_cut_short_is_one_sentence(write):
    file = write("a.xml.gz", gzip.compress((HEAD + sentence("a") * 999 + TAIL).encode())[:-9])
    with pytest.raises(ConfigurationError, match=r"a\.xml\.gz: the file cannot be read"):
        tagged(AspectReader(), file)


@pytest.mark.parametrize("arguments", [{"misaligned": "skip"}, {"label": ""}, {"scheme": "IO"}], ids=str)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ConfigurationError):
        AspectReader(**arguments)
