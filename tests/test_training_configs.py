"""Every configuration that is shipped can be built, and does what its name says."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from _jsonnet import evaluate_file
from allennlp.commands.train import TrainModel
from allennlp.common import Params
from allennlp.common.util import prepare_environment

import structkd_plugin  # noqa: F401 (registers the components)
from structkd_plugin.objectives import CrossEntropy, Emission, KBest, Posterior, WeightedSum
from structkd_plugin.teacher.teacher_entry import TeacherEntry

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "training_configs").glob("*.jsonnet"))
OBJECTIVES = {
    "emission": Emission,
    "token": Posterior,
    "top_k": KBest,
    "top_wk": KBest,
    "posterior": Posterior,
    "recombined": Posterior,
    "posterior_top_wk": WeightedSum,
    "cross_entropy": CrossEntropy,
    "self_distillation": CrossEntropy,
    "weak_teacher": Posterior,
    "several_teachers": Posterior,
    "zero_shot": Posterior,
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


def teachers_of(name):
    """By language the teachers that a configuration names."""
    stores = json.loads(evaluate_file(str(ROOT / "training_configs" / name)))["trainer"]["callbacks"][1]["stores"]
    return {language: TeacherEntry.list_of(given) for language, given in stores.items()}


def test_a_weaker_teacher_has_less_data_and_is_one_languages():
    raw = json.loads(evaluate_file(str(ROOT / "training_configs" / "weak_teacher_en.jsonnet")))
    assert raw["dataset_reader"]["sampling"] == {"max_per_language": 100}
    assert "sampling" not in raw["validation_dataset_reader"]
    paths = {
        language: [entry.path for entry in entries] for language, entries in teachers_of("weak_teacher.jsonnet").items()
    }
    assert paths == {"en": ["runs/weak_stores/en"], **{other: [f"runs/stores/{other}"] for other in ("de", "es", "ru")}}


def test_several_teachers_have_weights():
    for entries in teachers_of("several_teachers.jsonnet").values():
        assert [entry.weight for entry in entries] == [2, 1]


def test_recombined_sentences_are_of_the_training_files(build):
    path = ROOT / "training_configs" / "recombined.jsonnet"
    reader = build(path).trainer.data_loader.reader
    found = list(reader.all_sentences(json.loads(evaluate_file(str(path)))["train_data_path"]))
    made = [sentence for sentence in found if sentence.tags is None]
    assert Counter(sentence.language for sentence in made) == dict.fromkeys(("de", "en", "es", "ru"), 500)
    files = {sentence.file for sentence in found if sentence.tags is not None}
    assert {sentence.file for sentence in made} <= files
    assert {sentence.language for sentence in found if sentence.tags is not None} == {"de", "en", "es", "ru"}


class TestZeroShot:
    def test_the_target_has_text_and_the_teachers_of_the_others(self, build):
        trained = build(ROOT / "training_configs" / "zero_shot.jsonnet")
        reader = trained.trainer.data_loader.reader
        languages = {"labelled": set(), "text": set()}
        paths = json.loads(evaluate_file(str(ROOT / "training_configs" / "zero_shot.jsonnet")))["train_data_path"]
        for sentence in reader.all_sentences(paths):
            languages["text" if sentence.tags is None else "labelled"].add(sentence.language)
        assert languages == {"labelled": {"de", "en", "es"}, "text": {"ru"}}
        teachers = teachers_of("zero_shot.jsonnet")
        assert [entry.path for entry in teachers["ru"]] == [
            f"runs/stores/ru_from_{other}" for other in ("de", "en", "es")
        ]
        assert [entry.weight for entry in teachers["ru"]] == pytest.approx([1 / 3] * 3)
        assert [entry.path for entry in teachers["en"]] == ["runs/stores/en"]

    def test_no_tag_of_the_target_is_seen_before_the_test(self):
        raw = json.loads(evaluate_file(str(ROOT / "training_configs" / "zero_shot.jsonnet")))
        assert "ru" not in raw["validation_data_path"]
        assert raw["test_data_path"]["ru"] == "fixtures/upos/ru/test.conllu"

    @pytest.mark.parametrize("temperature", [0.1, 1, 5])
    def test_weights_are_the_softmax_of_similarities(self, temperature, tmp_path):
        similarities = {"de": 0.6, "en": 0.4, "es": -2.0}
        config = tmp_path / "weights.jsonnet"
        library = ROOT / "training_configs" / "similarity.libsonnet"
        config.write_text(f"(import '{library}').weights({json.dumps(similarities)}, {temperature})")
        weights = json.loads(evaluate_file(str(config)))
        masses = {language: math.exp(value / temperature) for language, value in similarities.items()}
        assert weights == pytest.approx({language: mass / sum(masses.values()) for language, mass in masses.items()})


def test_the_learning_rate_can_change_while_training(build, tmp_path):
    config = tmp_path / "decay.jsonnet"
    baseline = ROOT / "training_configs" / "baseline.jsonnet"
    config.write_text(f"(import '{baseline}') {{ learning_rate_scheduler:: {{ type: 'polynomial_decay' }} }}")
    trainer = build(config).trainer
    scheduler = trainer._learning_rate_scheduler
    assert scheduler.total_steps == 12 * len(trainer.data_loader)
    assert scheduler.end_learning_rate == 0.0
    assert build(baseline).trainer._learning_rate_scheduler is None


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
            "(import '{}/zero_shot.jsonnet') + {{ similarity_temperature:: 0 }}",
            "the temperature of the weights is 0, but must be above 0",
        ),
        (
            "(import '{}/posterior.jsonnet') + {{ hiden_size:: 7 }}",
            "no option hiden_size; the options are .*hidden_size",
        ),
        ("(import '{}/baseline.jsonnet') + {{ temperature:: 2 }}", "no option temperature"),
    ],
    ids=["task", "language", "temperature", "misspelt", "of-another-method"],
)
def test_what_is_required_or_misspelt_is_named(jsonnet, message, tmp_path):
    config = tmp_path / "incomplete.jsonnet"
    config.write_text(jsonnet.format(ROOT / "training_configs"))
    with pytest.raises(RuntimeError, match=message):
        evaluate_file(str(config))


class TestFrozenEncoder:
    @pytest.fixture
    def config(self, tmp_path):
        def written(options):
            file = tmp_path / "frozen.jsonnet"
            file.write_text(f"(import '{ROOT}/training_configs/baseline.jsonnet') {{ frozen_encoder:: {options} }}")
            return file

        return written

    def test_its_vectors_stand_beside_the_others(self, config, tmp_path, build):
        cache = tmp_path / "vectors"
        options = {"type": "universal_sentence_encoder", "pieces": "mean", "cache": str(cache), "size": 1280}
        trainer = build(config(json.dumps(options))).trainer
        plain = build(ROOT / "training_configs" / "baseline.jsonnet").trainer.model
        assert trainer.model.encoder.get_input_dim() == plain.encoder.get_input_dim() + 1280
        batch = next(iter(trainer.data_loader))
        assert math.isfinite(trainer.model(**batch)["loss"].item())
        assert cache.exists()

    def test_a_cache_is_no_must(self, config):
        raw = json.loads(evaluate_file(str(config("{ type: 'universal_sentence_encoder', size: 2560 }"))))
        assert raw["dataset_reader"]["token_indexers"]["frozen"] == {
            "type": "structkd_frozen_encoder",
            "encoder": {"type": "universal_sentence_encoder"},
            "cache": None,
        }

    def test_a_projection_makes_them_smaller(self, config, build):
        options = {"type": "universal_sentence_encoder", "pieces": "mean", "size": 1280, "projection": 24}
        trainer = build(config(json.dumps(options))).trainer
        plain = build(ROOT / "training_configs" / "baseline.jsonnet").trainer.model
        assert trainer.model.encoder.get_input_dim() == plain.encoder.get_input_dim() + 24
        assert math.isfinite(trainer.model(**next(iter(trainer.data_loader)))["loss"].item())

    def test_its_size_is_required(self, config):
        with pytest.raises(RuntimeError, match="size"):
            evaluate_file(str(config("{ type: 'universal_sentence_encoder' }")))


def test_the_best_labellings_may_be_the_stores(build, tmp_path):
    config = tmp_path / "legal.jsonnet"
    config.write_text(f"(import '{ROOT}/training_configs/top_wk.jsonnet') {{ k:: 3, labellings:: 'legal' }}")
    assert build(config).trainer.model.objective.legal_labellings == 3


def test_unlabelled_sentences_are_added_to_any_configuration(tmp_path):
    configs = ROOT / "training_configs"
    file = tmp_path / "more.jsonnet"
    file.write_text(
        f"(import '{configs}/posterior.jsonnet') + (import '{configs}/unlabelled.libsonnet') "
        "{ languages:: ['en'], unlabelled:: { en: 'more.txt', nl: 'nl.txt' }, "
        "sampling:: { type: 'at_least', sentences: 9 } }"
    )
    raw, plain = (json.loads(evaluate_file(str(path))) for path in (file, configs / "posterior.jsonnet"))
    assert raw["train_data_path"] == {
        "labelled": {"en": "fixtures/upos/en/train.conllu"},
        "unlabelled": {"en": "more.txt", "nl": "nl.txt"},
    }
    readers = raw["dataset_reader"].pop("readers")
    assert readers["unlabelled"] == {"type": "structkd_plain_text"}
    assert raw["dataset_reader"]["untagged"] == ["unlabelled"]
    # Validation and prediction read as without; what is indexed is the same.
    assert raw["validation_dataset_reader"] == plain["validation_dataset_reader"]
    assert readers["labelled"].pop("sampling") == {"type": "at_least", "sentences": 9}
    assert {**readers["labelled"], "token_indexers": raw["dataset_reader"]["token_indexers"]} == plain["dataset_reader"]
