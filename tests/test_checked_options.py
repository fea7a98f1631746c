"""Every class a configuration names answers a misspelt option with what may have been meant."""

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from allennlp.training.callbacks import TrainerCallback

import structkd_plugin  # noqa: F401 (registers the components)
from structkd_plugin.objectives import Objective
from structkd_plugin.schedules import Schedule

EMBEDDER = {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 2, "num_embeddings": 3}}}


@pytest.mark.parametrize(
    ("base", "config", "extras", "message"),
    [
        (
            DatasetReader,
            {"type": "structkd_column", "tag_colum": 1},
            {},
            "structkd_column .* 'tag_colum'; .*'tag_column'",
        ),
        (DatasetReader, {"type": "structkd_conllu", "max_word": 9}, {}, "structkd_conllu .* 'max_word'; .*'max_words'"),
        (DatasetReader, {"type": "structkd_plain_text", "sampling": {"alhpa": 1}}, {}, "'alhpa'; did you mean 'alpha'"),
        (
            Model,
            {"type": "structkd_tagger", "text_field_embedder": EMBEDDER, "dropuot": 0.1},
            {"vocab": Vocabulary()},
            "structkd_tagger .* 'dropuot'; did you mean 'dropout'",
        ),
        (Objective, {"type": "k_best", "k": 3, "weighed": True}, {}, "k_best .* 'weighed'; did you mean 'weighted'"),
        (Objective, {"type": "emission", "zzz": 1}, {}, "emission .* 'zzz'; its options are temperature"),
        (Schedule, {"type": "linear", "begin": 1.0, "strat": 1.0}, {}, "linear .* 'begin'"),
        (
            TrainerCallback,
            {"type": "structkd_teacher", "stores": {"en": "x"}, "mising": "skip"},
            {"serialization_dir": "."},
            "structkd_teacher .* 'mising'; did you mean 'missing'",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) and "type" in value else "",
)
def test_a_misspelt_option_is_named_with_what_was_meant(base, config, extras, message):
    with pytest.raises(ConfigurationError, match=message):
        base.from_params(Params(config), **extras)


def test_options_that_exist_are_taken():
    reader = DatasetReader.from_params(Params({"type": "structkd_conllu", "label": "xpos", "max_words": 9}))
    assert reader._max_words == 9
    assert Objective.from_params(Params({"type": "posterior", "temperature": 2.0})).temperature == 2.0
