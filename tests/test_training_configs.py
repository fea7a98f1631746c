"""Every configuration that is shipped can be built, and does what its name says."""

import json
from pathlib import Path

import pytest
from _jsonnet import evaluate_file
from allennlp.commands.train import TrainModel
from allennlp.common import Params
from allennlp.common.util import prepare_environment

import structkd_plugin  # noqa: F401 (registers the components)
from structkd_plugin.objectives import CrossEntropy, Emission, KBest, Posterior, WeightedSum

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "training_configs").glob("*.jsonnet"))
OBJECTIVES = {
    "emission": Emission,
    "token": Posterior,
    "top_k": KBest,
    "top_wk": KBest,
    "posterior": Posterior,
    "posterior_top_wk": WeightedSum,
    "cross_entropy": CrossEntropy,
    "self_distillation": CrossEntropy,
}


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds a configuration from a file or from Jsonnet, on a few sentences of each corpus."""
    monkeypatch.chdir(ROOT)

    def run(path):
        small = {f"{reader}.max_instances": 8 for reader in ("dataset_reader", "validation_dataset_reader")}
        params = Params.from_file(str(path), params_overrides=json.dumps(small))
        prepare_environment(params)
        built = TrainModel.from_params(params=params, serialization_dir=str(tmp_path / "run"), local_rank=0)
        params.assert_empty("the configuration")
        return built

    return run


def test_all_methods_are_there():
    names = {path.stem for path in CONFIGS}
    assert {*OBJECTIVES, "baseline", "softmax"} <= names
    assert {f"teacher_{language}" for language in ("de", "en", "es", "ru")} <= names


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configuration_is_built(config, build):
    trainer = build(config).trainer
    objective = OBJECTIVES.get(config.stem)
    callbacks = [type(callback).__name__ for callback in trainer._callbacks]
    assert (trainer.model.objective is None) == (objective is None)
    assert objective is None or isinstance(trainer.model.objective, objective)
    itself = config.stem == "self_distillation"
    assert ("TeacherCallback" in callbacks) == (objective is not None and not itself)
    assert ("SelfTeacherCallback" in callbacks) == itself
    assert trainer.model.crf.learn_transitions == (config.stem not in ("softmax", "token"))
    assert config.stem != "top_wk" or trainer.model.objective.weighted
    assert len(trainer.model.labels) == 17


def test_the_transition_table_has_its_own_learning_rate(build):
    trainer = build(ROOT / "training_configs" / "baseline.jsonnet").trainer
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert rates[id(trainer.model.crf.transitions)] == 0.01
    assert rates[id(trainer.model.emission_layer._module.weight)] == 0.003


def test_another_task_is_one_block(build, tmp_path):
    config = tmp_path / "entities.jsonnet"
    configs = ROOT / "training_configs"
    config.write_text(f"(import '{configs}/posterior.jsonnet') {{ task:: import '{configs}/ner.libsonnet' }}")
    model = build(config).trainer.model
    assert model.label_encoding == "BIO"
    assert sorted(model.labels) == sorted(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"])


@pytest.mark.parametrize(
    ("jsonnet", "message"),
    [
        ("(import '{}/base.libsonnet')", "set `task`"),
        ("(import '{}/teacher.libsonnet')", "set `language`"),
        (
            "(import '{}/posterior.jsonnet') + {{ hiden_size:: 7 }}",
            "no option hiden_size; the options are .*hidden_size",
        ),
        ("(import '{}/baseline.jsonnet') + {{ temperature:: 2 }}", "no option temperature"),
    ],
    ids=["task", "language", "misspelt", "of-another-method"],
)
def test_what_is_required_or_misspelt_is_named(jsonnet, message, tmp_path):
    config = tmp_path / "incomplete.jsonnet"
    config.write_text(jsonnet.format(ROOT / "training_configs"))
    with pytest.raises(RuntimeError, match=message):
        evaluate_file(str(config))
