import logging

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.readers import ConlluReader


def line(word_id, form, upos="X", xpos="_", feats="_", misc="_"):
    return "\t".join([word_id, form, "_", upos, xpos, feats, "_", "_", "_", misc]) + "\n"


FRENCH = (
    "# newdoc id = d\n# sent_id = fr-1\n# text = Au bois, tu vas.\n"
    + line("1-2", "Au")
    + line("1", "à", "ADP")
    + line("2", "le", "DET", "Da", "Definite=Def|Gender=Masc", "NER=O|Gloss=a=b")
    + line("3", "bois", "NOUN", "Nc", "Gender=Masc", "NER=B-LOC|SpaceAfter=No")
    + line("3.1", "vas", "VERB")
    + line("3.2", "vas", "VERB")
    + line("4", "10 000", "NUM")
    + "\n\n"
    + line("0.1", "elle", "PRON")
    + line("1", "#", "SYM")
)


@pytest.mark.parametrize("final", ["", "\n", "\n \n\n"], ids=["no-final-newline", "newline", "blank-lines"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_words_are_the_syntactic_words(write, final, line_end):
    file = write("fr.conllu", (FRENCH.rstrip("\n") + final).replace("\n", line_end))
    first, second = ConlluReader().sentences({"fr": file})
    assert first.words == ("à", "le", "bois", "10 000")
    assert first.tags == ("ADP", "DET", "NOUN", "NUM")
    assert (first.language, first.file, first.line, first.sentence_id) == ("fr", file, 5, "fr-1")
    assert (second.words, second.tags, second.line, second.sentence_id) == (("#",), ("SYM",), 14, None)


@pytest.mark.parametrize(
    ("label", "tags"),
    [
        ("feats", ("_", "Definite=Def|Gender=Masc", "Gender=Masc", "_")),
        ("feats:Gender", ("_", "Masc", "Masc", "_")),
        ("misc:NER", ("_", "O", "B-LOC", "_")),
        ("misc:Gloss", ("_", "a=b", "_", "_")),
        (None, None),
    ],
    ids=str,
)
def test_labels(write, label, tags):
    first, _ = ConlluReader(label=label).sentences(write("fr.conllu", FRENCH))
    assert first.tags == tags


def test_xpos(write):
    (sentence,) = ConlluReader(label="xpos").sentences(write("a.conllu", line("1", "à", "ADP", "E")))
    assert sentence.tags == ("E",)


def test_spans_in_a_feature_are_repaired_and_converted(write, caplog):
    rows = [("1", "NER=I-PER"), ("2", "NER=B-LOC"), ("3", "SpaceAfter=No"), ("4", "_")]
    file = write("a.conllu", "".join(line(number, "w", misc=misc) for number, misc in rows))
    reader = ConlluReader(label="misc:NER", scheme="BIOES", ill_formed="repair")
    with caplog.at_level(logging.WARNING, logger="structkd_plugin"):
        (sentence,) = reader.sentences(file)
    assert sentence.tags == ("S-PER", "S-LOC", "O", "O")
    assert "repaired the BIO tags of 1 sentence(s), the first on line 1" in caplog.text


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (line("1", "a") + line("3", "b"), {}, ":2: the id '3' is out of order after word 1; {ids}"),
        (line("1", "a") + line("1", "b"), {}, ":2: the id '1' is out of order after word 1; {ids}"),
        (line("2", "a"), {}, ":1: the id '2' is out of order after word 0; {ids}"),
        (line("0", "a"), {}, ":1: the id '0' is out of order after word 0; {ids}"),
        (line("_", "a"), {}, ":1: the id '_' is out of order after word 0; {ids}"),
        (line("1", "a") + line("x", "b"), {}, ":2: the id 'x' is out of order after word 1; {ids}"),
        (line("1-1", "a") + line("1", "a"), {}, ":1: the id '1-1' is out of order after word 0; {ids}"),
        (line("1", "a") + line("1-2", "b"), {}, ":2: the id '1-2' is out of order after word 1; {ids}"),
        (
            line("1-2", "a") + line("1", "a") + line("2-3", "b"),
            {},
            ":3: the id '2-3' is out of order after word 1; {ids}",
        ),
        (line("1", "a") + line("1.2", "b"), {}, ":2: the id '1.2' is out of order after word 1; {ids}"),
        (line("1", "a") + line("2.1", "b"), {}, ":2: the id '2.1' is out of order after word 1; {ids}"),
        (
            line("1-3", "a") + line("1", "a") + line("2", "b") + "\n",
            {},
            ":4: the sentence ends with word 2, inside a multi-word token that goes to 3",
        ),
        (line("0.1", "a") + "\n" + line("1", "a"), {}, ":2: the sentence that ends here has no words"),
        (line("1", "a") + "\n" + line("0.1", "a"), {}, ":3: the sentence that ends here has no words"),
        ("1\ta\n", {}, ":1: the line has 2 tab-separated column(s) where CoNLL-U has 10"),
        (line("1", "a").replace("\t", " "), {}, ":1: the line has 1 tab-separated column(s) where CoNLL-U has 10"),
        (
            line("1", "a") + "# sent_id = 2\n" + line("1", "b"),
            {},
            ":2: a comment stands inside a sentence; put a blank line between sentences",
        ),
        (line("1", ""), {}, ":1: the word is empty"),
        (
            line("1", "a") + line("2", "b", upos="_"),
            {},
            ":2: the word 'b' has no upos; set label to null to read the file as unlabelled",
        ),
        (line("1", "a", misc="NER="), {"label": "misc:NER"}, ":1: misc:NER of word 'a' has no value"),
        (line("1", "a"), {"labels": ["NOUN"]}, ":1: tag 'X' is none of the declared labels (NOUN)"),
        (
            line("1", "a") + line("2", "b", misc="NER=PER"),
            {"label": "misc:NER", "scheme": "BIO"},
            ":2: tag 'PER' is neither O nor a prefix such as B, a hyphen and a label; "
            "correct it, or give null as `scheme` if words have plain labels",
        ),
        ("# only comments\n\n", {}, ": the file has no sentences; take it out of the data path"),
    ],
)
def test_bad_input_is_one_sentence(write, content, arguments, message):
    file = write("a.conllu", content)
    with pytest.raises(ConfigurationError) as error:
        list(ConlluReader(**arguments).sentences(file))
    ids = "ids count from 1 in every sentence, and a blank line stands between sentences"
    assert str(error.value) == file + message.replace("{ids}", ids)


@pytest.mark.parametrize("label", ["lemma", "", "upos:", "misc", "feats:", "xpos:X", "deps:X"])
def test_a_label_that_is_no_column_is_refused(label):
    with pytest.raises(ConfigurationError, match="choose upos, xpos, feats, feats:KEY, misc:KEY, or null"):
        ConlluReader(label=label)
