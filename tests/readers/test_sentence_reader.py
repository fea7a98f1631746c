"""What readers of all formats share."""

import logging
from collections import Counter

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader

from structkd_plugin.readers import ExponentialSampling, PlainTextReader, SentenceReader


class CountingReader(SentenceReader):
    """Reads lines as one-word sentences, and counts what it has read."""

    lines_read = 0

    def parse(self, file, language):
        for sentence in PlainTextReader(pretokenized=True).parse(file, language):
            self.lines_read += 1
            yield sentence


def numbered(write, language, count):
    return write(f"{language}.txt", "".join(f"{language}{i}\n" for i in range(count)))


def test_sentences_are_streamed_when_sampling_is_not_asked_for(write):
    reader = CountingReader()
    paths = {"de": numbered(write, "de", 5), "nl": numbered(write, "nl", 5)}
    stream = reader.sentences(paths)
    assert next(stream).words == ("de0",)
    assert reader.lines_read == 1
    assert [s.words[0] for s in stream] == ["de1", "de2", "de3", "de4", *(f"nl{i}" for i in range(5))]


def test_sampling_draws_by_language(write):
    reader = CountingReader(sampling=ExponentialSampling(alpha=0.0, seed=3))
    paths = {"de": numbered(write, "de", 9), "nl": numbered(write, "nl", 3)}
    words = [sentence.words[0] for sentence in reader.sentences(paths)]
    assert Counter(word[:2] for word in words) == {"de": 6, "nl": 6}
    assert Counter(words)["nl0"] == 2
    assert words == [sentence.words[0] for sentence in reader.sentences(paths)]


def test_long_sentences_are_refused_or_skipped_and_counted_once(write, caplog):
    file = write("a.txt", "one two\none two three\none\n1 2 3 4\n")
    with pytest.raises(ConfigurationError) as error:
        list(PlainTextReader(max_words=2).sentences(file))
    assert str(error.value) == (
        f"{file}:2: the sentence has 3 words, more than max_words (2); "
        'set long_sentences to "skip" to leave out such sentences'
    )
    reader = PlainTextReader(max_words=2, long_sentences="skip")
    with caplog.at_level(logging.WARNING, logger="structkd_plugin"):
        for _ in range(2):
            assert [sentence.line for sentence in reader.sentences(file)] == [1, 3]
    assert [record.getMessage() for record in caplog.records] == [f"{file}: skipped 2 sentence(s) of over 2 words"]


@pytest.mark.parametrize("content", ["", "\n \n\t\n", b"\xef\xbb\xbf"], ids=["empty", "blank", "bom"])
def test_a_file_without_sentences_is_an_error(write, content):
    file = write("a.txt", content)
    with pytest.raises(ConfigurationError) as error:
        list(PlainTextReader().sentences(file))
    assert str(error.value) == f"{file}: the file has no sentences; take it out of the data path"


def test_a_file_all_of_whose_sentences_are_skipped_is_not_empty(write):
    reader = PlainTextReader(max_words=1, long_sentences="skip", sampling=ExponentialSampling(alpha=0))
    paths = {"de": write("de.txt", "1 2\n"), "nl": write("nl.txt", "1\n2\n")}
    assert [sentence.language for sentence in reader.sentences(paths)] == ["nl", "nl"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"encoding": "utf-16"},
        {"encoding": "latin-99"},
        {"encoding": "base64"},
        {"max_words": 0},
        {"long_sentences": "split"},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ConfigurationError, match=next(iter(arguments)) + "|line by line"):
        PlainTextReader(**arguments)


@pytest.mark.parametrize("kind", ["column", "conllu", "aspect", "plain_text"])
def test_a_config_builds_every_reader_with_everything_they_share(kind):
    shared = {
        "token_indexers": {"tokens": {"type": "single_id"}},
        "language": "de",
        "encoding": "latin-1",
        "max_words": 100,
        "long_sentences": "skip",
        "sampling": {"alpha": 0.5, "max_per_language": {"de": 10}, "seed": 1},
        "shard": False,
        "max_instances": 7,
    }
    reader = DatasetReader.from_params(Params({"type": f"structkd_{kind}", **shared}))
    assert isinstance(reader, SentenceReader)
    assert reader.language == "de"
    with pytest.raises((ConfigurationError, TypeError), match="max_wrods"):
        DatasetReader.from_params(Params({"type": f"structkd_{kind}", "max_wrods": 1}))
