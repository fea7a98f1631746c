from copy import deepcopy

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader

from structkd_plugin.readers import MixtureReader

PARTS = {
    "labelled": {"type": "structkd_column", "scheme": "BIO", "language": "de"},
    "text": {"type": "structkd_plain_text", "pretokenized": True, "max_instances": 2},
}


def mixture(**more):
    return DatasetReader.from_params(Params(deepcopy({"type": "structkd_mixture", "readers": PARTS, **more})))


@pytest.fixture
def paths(write):
    return {
        "labelled": write("de.conll", "Hans B-PER\nlacht O\n\nGut O\n"),
        "text": {"nl": write("nl.txt", "a b c\nd\ne\n")},
    }


@pytest.mark.parametrize("as_params", [False, True], ids=["dict", "params"])
def test_all_parts_are_read_into_one_kind_of_instance(paths, as_params):
    reader = mixture(token_indexers={"words": {"type": "single_id"}})
    assert isinstance(reader, MixtureReader)
    instances = list(reader.read(Params(paths) if as_params else paths))
    assert [instance["tags"].labels for instance in instances] == [["B-PER", "O"], ["O"], [-1, -1, -1], [-1]]
    assert [instance["metadata"]["language"] for instance in instances] == ["de", "de", "nl", "nl"]
    assert all(list(instance["tokens"].token_indexers) == ["words"] for instance in instances)


def test_max_instances_counts_over_all_parts(paths):
    assert len(list(mixture(max_instances=3).read(paths))) == 3


def test_a_bare_path_and_text_go_to_the_first_part(paths):
    reader = mixture()
    assert [s.words for s in reader.sentences(paths["labelled"])] == [("Hans", "lacht"), ("Gut",)]
    assert reader.text_to_instance(["x"])["metadata"]["language"] == "de"


def test_parts_left_out_read_nothing(paths):
    assert [s.words[0] for s in mixture().sentences({"text": paths["text"]})] == ["a", "d"]


def test_tags_of_untagged_parts_are_left_out(paths):
    tags = [sentence.tags for sentence in mixture(untagged=["labelled"]).sentences(paths)]
    assert tags == [None, None, None, None]
    with pytest.raises(
        ConfigurationError, match="untagged of the mixture names a reader 'tagged', but it has 'labelled', 'te"
    ):
        mixture(untagged=["tagged"])


def test_a_path_for_no_part_is_one_sentence(paths):
    with pytest.raises(ConfigurationError) as error:
        list(mixture().read({"de": "x", **paths}))
    assert str(error.value) == "the data path names a reader 'de', but the mixture has 'labelled', 'text'"


@pytest.mark.parametrize("own", [{"shard": False}, {"token_indexers": {"t": {"type": "single_id"}}}], ids=str)
def test_what_a_part_cannot_do_is_refused(own):
    with pytest.raises(ConfigurationError, match="'b' of the mixture has token_indexers or shard of its own"):
        mixture(readers={"a": PARTS["text"], "b": {"type": "structkd_plain_text", **own}})


def test_a_reader_without_sentences_is_refused():
    with pytest.raises(
        ConfigurationError, match="'b' of the mixture is a SequenceTaggingDatasetReader, which yields no sen"
    ):
        mixture(readers={"a": PARTS["text"], "b": {"type": "sequence_tagging"}})


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="has no readers"):
        MixtureReader({})
