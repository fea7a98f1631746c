"""Whatever is in a file: sentences come out, or one error that names the file; nothing else, and it ends."""

import gzip
from pathlib import Path
from typing import Any, Dict

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st

from structkd_plugin.readers import AspectReader, ColumnReader, ConlluReader, PlainTextReader

COLUMNS = """-DOCSTART- O

# sent_id = 1
Ada B-PER
Lovelace I-PER
schläft O

why O
"""
CONLLU = "".join(
    f"# sent_id = {number}\n1-2\tIm\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tIn\tin\tADP\tXX\tCase=Dat\t3\tcase\t_\tNER=B-LOC\n2\tdem\tder\tDET\tXX\t_\t3\tdet\t_\tNER=I-LOC\n"
    "3\tHaus\tHaus\tNOUN\tXX\t_\t0\troot\t_\tNER=O\n3.1\tnull\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n"
    for number in range(2)
)
ASPECT = """<?xml version="1.0" encoding="UTF-8"?>
<Reviews><Review rid="1"><sentences>
<sentence id="1:0"><text>Great pizza, süße Musik &amp; wine</text>
<Opinions><Opinion target="pizza" category="F" polarity="positive" from="6" to="11"/>
<Opinion target="NULL" category="F" polarity="positive" from="0" to="0"/></Opinions></sentence>
<sentence id="1:1"><text>Never again</text></sentence>
</sentences></Review></Reviews>
"""
READERS: Dict[str, Any] = {
    "columns": (ColumnReader, {}, COLUMNS),
    "columns as they are": (ColumnReader, {"tag_column": None, "comment_prefix": "#"}, COLUMNS),
    "columns in BIOUL": (ColumnReader, {"scheme": "BIOUL", "ill_formed": "repair"}, COLUMNS),
    "upos": (ConlluReader, {}, CONLLU),
    "names in CoNLL-U": (ConlluReader, {"label": "misc:NER", "scheme": "BIO"}, CONLLU),
    "aspects": (AspectReader, {"language": "de"}, ASPECT),
    "text": (PlainTextReader, {"language": "en"}, COLUMNS),
    "words": (PlainTextReader, {"pretokenized": True}, COLUMNS),
}


def read(name: str, path: Path, raw: bytes) -> bool:
    """Whether sentences come out; what comes instead is one error that begins with the file."""
    path.write_bytes(raw)
    kind, options, _ = READERS[name]
    message = None
    try:
        sentences = list(kind(**options).sentences(str(path)))
    except ConfigurationError as error:
        message = str(error)
    if message is not None:
        assert message.startswith(f"{path}:")
        assert "\n" not in message.strip()
        return False
    for sentence in sentences:
        assert sentence.words
        assert all(sentence.words)
        assert sentence.tags is None or len(sentence.tags) == len(sentence.words)
    return bool(sentences)


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read(name: str, tmp_path: Path) -> None:
    assert read(name, tmp_path / "file", READERS[name][2].encode())
    assert read(name, tmp_path / "file", gzip.compress(READERS[name][2].encode()))


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files(name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = READERS[name][2].encode()
    path = tmp_path_factory.getbasetemp() / "damaged"
    for _ in range(data.draw(st.integers(1, 3))):
        place, length = data.draw(st.integers(0, len(raw))), data.draw(st.integers(0, 12))
        put_in = data.draw(
            st.one_of(
                st.binary(max_size=8),
                st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass")),
                st.sampled_from(
                    [b"\n", b"\r", b"\t", b" ", b"\0", b"\n\n", b"\xc2\xa0", b"\xe2\x80\xa8", b"&", b"<", b"-"]
                ),
                st.sampled_from([b"9" * 5000, b"I-X", b"B-", b"<!DOCTYPE x>", b"&#0;", b"&#xD800;", b"</text>"]),
            )
        )
        raw = raw[:place] + put_in + raw[place + length :]
    read(name, path, raw)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=25, deadline=None)
@given(raw=st.binary(max_size=120), packed=st.sampled_from(["no", "yes", "cut"]))
def test_random_bytes(name: str, tmp_path_factory: pytest.TempPathFactory, raw: bytes, packed: str) -> None:
    if packed != "no":
        raw = gzip.compress(raw)
    read(name, tmp_path_factory.getbasetemp() / "random", raw[:-5] if packed == "cut" else raw)


@pytest.mark.parametrize("encoding", ["TF-8", "base64", "utf-7", "shift_jis", "x" * 500])
def test_xml_in_an_encoding_that_cannot_be_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(ASPECT.replace("UTF-8", encoding))
    with pytest.raises(ConfigurationError, match=rf"^{path}:1: (the XML's encoding cannot be read|this is no well-fo)"):
        list(AspectReader(language="de").sentences(str(path)))


def test_a_line_without_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("Ada\n\0\n")
    with pytest.raises(ConfigurationError, match=r"file:2: the line has characters but no words; take it out"):
        list(PlainTextReader(language="en").sentences(str(tmp_path / "file")))


BOMB = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 9))


@pytest.mark.parametrize(
    "declared",
    [
        f'<!DOCTYPE x [<!ENTITY l0 "lol">{BOMB}]>',
        '<!DOCTYPE x [<!ENTITY l8 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://localhost:9/x.dtd"> %p; <!ENTITY l8 "">]>',
        f'<!DOCTYPE x [<!ENTITY l8 "{"x" * 100_000}">]>',
    ],
    ids=["bomb", "file", "address", "long"],
)
def test_xml_that_declares_entities_is_refused(declared: str, tmp_path: Path) -> None:
    raw = ASPECT.replace("<Reviews>", f"{declared}<Reviews>").replace("Never", "&l8;")
    path = tmp_path / "file"
    path.write_text(raw)
    with pytest.raises(ConfigurationError, match=r"declares entities or refers to other files, which is not read"):
        list(AspectReader(language="de").sentences(str(path)))
