"""What an instance holds, whoever makes it."""

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, Token, Vocabulary
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer

from structkd_plugin.readers import ColumnReader, PlainTextReader, sentence_key


def test_a_labelled_instance(write):
    file = write("de.conll", "# sent_id = s-1\nHans B-PER\nlacht O\n")
    reader = ColumnReader(scheme="BIO")
    (instance,) = reader.read({"de": file})
    assert [token.text for token in instance["tokens"]] == ["Hans", "lacht"]
    assert instance["tags"].labels == ["B-PER", "O"]
    assert instance["metadata"].metadata == {
        "words": ["Hans", "lacht"],
        "language": "de",
        "key": sentence_key("de", ["Hans", "lacht"]),
        "file": file,
        "line": 2,
        "sentence_id": "s-1",
    }


def test_an_unlabelled_instance_shares_a_batch_with_a_labelled_one(write):
    labelled = list(ColumnReader(scheme="BIO").read({"de": write("de.conll", "Hans B-PER\nlacht O\n\nGut O\n")}))
    unlabelled = list(PlainTextReader(pretokenized=True).read({"de": write("de.txt", "Hans lacht laut\n")}))
    assert unlabelled[0]["tags"].labels == [-1, -1, -1]
    instances = labelled + unlabelled
    vocab = Vocabulary.from_instances(instances)
    assert set(vocab.get_token_to_index_vocabulary("labels")) == {"B-PER", "O"}
    batch = Batch(instances)
    batch.index_instances(vocab)
    tensors = batch.as_tensor_dict()
    assert tensors["tags"].shape == (3, 3)
    assert tensors["tags"][2].tolist() == [-1, -1, -1]


def test_text_to_instance_without_tags_has_no_field_of_them():
    reader = ColumnReader(language="nl")
    instance = reader.text_to_instance(["Jan", Token("lacht")])
    assert set(instance.fields) == {"tokens", "metadata"}
    assert instance["metadata"]["words"] == ["Jan", "lacht"]
    assert instance["metadata"]["language"] == "nl"


def test_token_indexers_are_applied_by_read_and_by_apply_token_indexers_only(write):
    indexers = {"words": SingleIdTokenIndexer(), "characters": TokenCharactersIndexer(min_padding_length=1)}
    reader = PlainTextReader(token_indexers=indexers)
    instance = reader.text_to_instance(["Jan"])
    with pytest.raises(ValueError, match="token_indexers have not been set"):
        _ = instance["tokens"].token_indexers
    reader.apply_token_indexers(instance)
    assert instance["tokens"].token_indexers == indexers
    (read,) = reader.read(write("a.txt", "Jan"))
    assert read["tokens"].token_indexers == indexers


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        ("Jan lacht", None, "a.txt:3: 'Jan lacht' is a text; give the list of its words"),
        ([], None, "a.txt:3: the sentence has no words"),
        (["Jan", ""], None, "a.txt:3: word 2 of the sentence is empty"),
        (["Jan", "lacht"], ["O"], "a.txt:3: the sentence has 2 words but 1 tags"),
    ],
    ids=["text", "no-words", "empty-word", "tags"],
)
def test_a_wrong_sentence_is_one_sentence(words, tags, message):
    with pytest.raises(ConfigurationError) as error:
        PlainTextReader().text_to_instance(words, tags, file="a.txt", line=3)
    assert str(error.value) == message


@pytest.mark.parametrize("arguments", [{"max_instances": 0}, {"language": " "}], ids=str)
def test_arguments_that_read_nothing_are_refused(arguments):
    with pytest.raises(ConfigurationError, match=r"max_instances is 0|language is empty"):
        PlainTextReader(**arguments)


def test_max_instances_counts_sentences(write):
    reader = PlainTextReader(max_instances=2)
    assert len(list(reader.read(write("a.txt", "a\nb\nc\n")))) == 2
