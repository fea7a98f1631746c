"""The tagger: its loss, its output, what it refuses, and the parts a configuration can swap."""

import copy
import math

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, Vocabulary
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenIndexer
from allennlp.models import Model
from allennlp.nn.util import move_to_device
from transformers import BertConfig, BertModel, BertTokenizerFast

from structkd_plugin import allennlp_compat
from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.metrics import AccuracyByLanguage, SpanF1ByLanguage
from structkd_plugin.readers import ConlluReader
from structkd_plugin.tagger import StructuredTagger
from structkd_plugin.teacher_batch import AcceptsTeachers, TeacherBatch, TeacherDescription, TeacherPotentials

SENTENCES = [
    ("en", ["Anna", "lives", "in", "Bern"], ["B-PER", "O", "O", "B-LOC"]),
    ("de", ["Peter", "Weiss", "geht"], ["B-PER", "I-PER", "O"]),
    ("en", ["rain"], ["O"]),
    ("de", ["Anna", "mag", "Regen", "in", "Bern"], None),
]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
MODEL = {
    "type": "structkd_tagger",
    "text_field_embedder": {"token_embedders": {"words": {"type": "embedding", "embedding_dim": 6}}},
    "encoder": {"type": "lstm", "bidirectional": True, "input_size": 6, "hidden_size": 5},
    "label_encoding": "BIO",
}


def make_instances(indexers=None):
    reader = ConlluReader(token_indexers=indexers or {"words": SingleIdTokenIndexer()})
    result = []
    for line, (language, words, tags) in enumerate(SENTENCES, start=1):
        gold = tags if tags is not None else [-1] * len(words)
        instance = reader.text_to_instance(words, gold, language, file="corpus.conllu", line=line)
        reader.apply_token_indexers(instance)
        result.append(instance)
    return result


@pytest.fixture
def instances():
    return make_instances()


@pytest.fixture
def vocab(instances):
    return Vocabulary.from_instances(instances, tokens_to_add={"labels": LABELS})


def make_batch(instances, vocab):
    batch = Batch(instances)
    batch.index_instances(vocab)
    return batch.as_tensor_dict()


def make_model(vocab, **changes):
    torch.manual_seed(0)
    config = {**copy.deepcopy(MODEL), **changes}
    return Model.from_params(Params(config), vocab=vocab)


def make_teacher(batch, vocab, weights, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size, words = batch["tags"].shape
    labels = vocab.get_vocab_size("labels")
    shapes = [(size, words, labels), (size, labels, labels), (size, labels), (size, labels)]
    potentials = [torch.randn(shape, generator=generator) for shape in shapes]
    return TeacherPotentials(*potentials, torch.tensor(weights))


def test_loss_without_teachers_is_the_mean_negative_log_likelihood_of_labelled_sentences(instances, vocab):
    batch = make_batch(instances, vocab)
    model = make_model(vocab)
    output = model(**batch)
    student = model.crf(output["emissions"], output["mask"])
    nll = -student.log_prob(batch["tags"].clamp(min=0))
    torch.testing.assert_close(output["loss"], nll[:3].mean())
    assert model.get_metrics()["nll"] == pytest.approx(nll[:3].mean().item(), rel=1e-5)


def test_loss_weighs_gold_tags_and_teachers_sentence_by_sentence(instances, vocab):
    """Sentence 0 has two teachers, 1 one, 2 none, and 3 one but no gold tags."""
    batch = make_batch(instances, vocab)
    model = make_model(vocab, objective={"type": "cross_entropy"})
    first = make_teacher(batch, vocab, [0.5, 1.0, 0.0, 1.0], seed=1)
    second = make_teacher(batch, vocab, [0.5, 0.0, 0.0, 0.0], seed=2)
    batch["teacher"] = TeacherBatch([first, second], torch.tensor(0.3))
    output = model(**move_to_device(batch, torch.device("cpu")))
    student = model.crf(output["emissions"], output["mask"])
    nll = -student.log_prob(batch["tags"].clamp(min=0))
    one, two = (LinearChainCRF(*teacher[:4], mask=output["mask"]).cross_entropy(student) for teacher in (first, second))
    expected = [
        0.3 * (one[0] + two[0]) / 2 + 0.7 * nll[0],
        0.3 * one[1] + 0.7 * nll[1],
        nll[2],
        one[3],
    ]
    torch.testing.assert_close(output["loss"], torch.stack(expected).mean())
    metrics = model.get_metrics(reset=True)
    assert metrics["objective"] == pytest.approx((((one[0] + two[0]) / 2 + one[1] + one[3]) / 3).item(), rel=1e-5)
    assert metrics["nll"] == pytest.approx(nll[:3].mean().item(), rel=1e-5)
    assert metrics["objective/kl"] < metrics["objective"]
    assert model.get_metrics() == {}
    output["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_sentence_with_neither_gold_tags_nor_teacher_is_not_counted(instances, vocab):
    batch = make_batch(instances[3:], vocab)
    model = make_model(vocab, objective={"type": "posterior"})
    batch["teacher"] = TeacherBatch([make_teacher(batch, vocab, [0.0])], torch.tensor(1.0))
    loss = model(**batch)["loss"]
    assert loss == 0
    loss.backward()


@pytest.mark.parametrize("objective", ["posterior", "emission", "cross_entropy"])
def test_the_weight_travels_in_the_batch(instances, vocab, objective):
    batch = make_batch(instances[:3], vocab)
    model = make_model(vocab, objective={"type": objective})
    teacher = make_teacher(batch, vocab, [1.0] * 3)
    losses = {}
    for weight in (0.0, 0.5, 1.0):
        losses[weight] = model(**batch, teacher=TeacherBatch([teacher], torch.tensor(weight)))["loss"]
    torch.testing.assert_close(losses[0.0], model(**batch)["loss"])
    torch.testing.assert_close(losses[0.5], (losses[0.0] + losses[1.0]) / 2)


def test_constraints_everywhere_hold_for_the_teacher_too(instances, vocab):
    batch = make_batch(instances, vocab)
    model = make_model(vocab, constraints="everywhere", objective={"type": "cross_entropy"})
    batch["teacher"] = TeacherBatch([make_teacher(batch, vocab, [1.0] * 4)], torch.tensor(0.5))
    assert model(**batch)["loss"].isfinite()


def test_output_is_words_tags_and_probabilities(instances, vocab):
    model = make_model(vocab).eval()
    results = model.forward_on_instances(instances)
    for (language, words, _), result in zip(SENTENCES, results, strict=True):
        assert result["words"] == words
        assert result["language"] == language
        assert len(result["tags"]) == len(result["tag_probabilities"]) == len(words)
        assert all(0 < p <= 1 for p in result["tag_probabilities"])
        for entity in result["entities"]:
            assert result["tags"][entity["start"]] == f"B-{entity['label']}"
            # A span is at most as probable as the tag it begins with.
            assert 0 < entity["probability"] <= result["tag_probabilities"][entity["start"]] + 1e-6
    assert set(results[0]) == {
        "words",
        "language",
        "tags",
        "tag_probabilities",
        "label_probabilities",
        "entities",
    }
    alone = model.forward_on_instances(instances[1:2])[0]
    assert alone["tags"] == results[1]["tags"]
    assert alone["tag_probabilities"] == pytest.approx(results[1]["tag_probabilities"], abs=1e-6)


def test_decoded_tags_are_well_formed_and_reported_probabilities_are_of_well_formed_taggings(instances, vocab):
    model = make_model(vocab).eval()
    with torch.no_grad():
        model.crf.transitions.normal_(0, 5)
        output = model(**make_batch(instances, vocab))
        legal = model.distribution(output["emissions"], output["mask"])
    assert (legal.log_prob(output["predicted"]) > -math.inf).all()
    outside, inside = (vocab.get_token_index(label, "labels") for label in ("O", "I-PER"))
    ill_formed = torch.full_like(output["predicted"], outside)
    ill_formed[:, 0] = inside
    assert (legal.log_prob(ill_formed) == -math.inf).all()


def test_metrics_are_by_language(instances, vocab):
    model = make_model(vocab).eval()
    model(**make_batch(instances, vocab))
    metrics = model.get_metrics(reset=True)
    assert {"f1/en", "f1/de", "f1/macro", "f1/micro", "nll"} <= set(metrics)
    words = make_model(vocab, label_encoding=None).eval()
    words(**make_batch(instances, vocab))
    assert {"accuracy/en", "accuracy/de", "accuracy/macro"} <= set(words.get_metrics(reset=True))


@pytest.mark.parametrize("encoding", ["BIO", None])
def test_labelled_sentences_count_in_the_metric_whatever_the_mask(vocab, encoding):
    model = make_model(vocab, label_encoding=encoding)
    draw = torch.Generator().manual_seed(0)
    predicted, tags = torch.randint(len(LABELS), (2, 60, 7), generator=draw)
    tags[::5, 0] = -1
    # With holes, and with sentences of no word.
    mask = torch.rand(60, 7, generator=draw) < torch.rand(60, 1, generator=draw)
    languages = ["de", None, "en"] * 20
    model._count(predicted, tags, mask, [{"language": language} for language in languages])
    expected = AccuracyByLanguage() if encoding is None else SpanF1ByLanguage(encoding)
    for guess, truth, words, language in zip(predicted, tags, mask, languages, strict=True):
        if words.any() and (truth[words] >= 0).all():
            kept = ([[model.labels[i] for i in side[words]]] for side in (guess, truth))
            expected(*kept, [language or "und"])
    metrics = model._tag_metric.get_metric()
    assert metrics == expected.get_metric()
    assert len(metrics) >= 5


def test_training_batches_are_decoded_only_on_request(instances, vocab):
    batch = make_batch(instances, vocab)
    assert "predicted" not in make_model(vocab)(**batch)
    model = make_model(vocab, training_metrics=True)
    assert "predicted" in model(**batch)
    assert "f1/macro" in model.get_metrics(reset=True)


def test_a_softmax_tagger_has_no_tables(instances, vocab):
    model = make_model(vocab, transitions="none", label_encoding=None)
    batch = make_batch(instances[:1], vocab)
    output = model(**batch)
    log_q = torch.log_softmax(output["emissions"], 2).gather(2, batch["tags"].unsqueeze(2))
    torch.testing.assert_close(output["loss"], -log_q.sum())
    assert not any(name.startswith("crf.") for name, _ in model.named_parameters())


def test_a_word_piece_encoder_takes_the_place_of_word_vectors(tmp_path):
    """`pretrained_transformer_mismatched`, from a folder, without network."""
    allennlp_compat.apply()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "an", "##na", "lives", "in", "be", "##rn", "rain"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertModel(config).save_pretrained(tmp_path)
    part = {"type": "pretrained_transformer_mismatched", "model_name": str(tmp_path)}
    instances = make_instances({"words": TokenIndexer.from_params(Params(dict(part)))})
    vocab = Vocabulary.from_instances(instances, tokens_to_add={"labels": LABELS})
    model = make_model(
        vocab, text_field_embedder={"token_embedders": {"words": {**part, "last_layer_only": True}}}, encoder=None
    )
    loss = model(**make_batch(instances, vocab))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert [len(r["tags"]) for r in model.eval().forward_on_instances(instances)] == [len(s[1]) for s in SENTENCES]


def test_weights_survive_saving_and_loading(instances, vocab, tmp_path):
    model, other = make_model(vocab), make_model(vocab)
    torch.nn.init.normal_(other.crf.transitions)
    torch.save(model.state_dict(), tmp_path / "weights.th")
    other.load_state_dict(torch.load(tmp_path / "weights.th", weights_only=True))
    batch = make_batch(instances, vocab)
    assert torch.equal(model.eval()(**batch)["loss"], other.eval()(**batch)["loss"])


# ------------------------------------------------------------------------------------------------- refused


def description(**changes):
    fields = {
        "name": "stores/en",
        "languages": ("en",),
        "labels": tuple(LABELS),
        "kind": "potentials",
        "label_encoding": "BIO",
    }
    return TeacherDescription(**{**fields, **changes})


def test_the_tagger_accepts_teachers_that_fit(vocab):
    model = make_model(vocab, objective={"type": "k_best", "k": 2})
    assert isinstance(model, AcceptsTeachers)
    model.check_teachers([description(), description(labels=tuple(reversed(LABELS)))])


def test_reliability_reaches_the_objective(instances, vocab):
    """Of each of two teachers its own, and only where it teaches."""
    batch = make_batch(instances[:3], vocab)
    model = make_model(vocab, objective={"type": "posterior", "token_weighting": "reliability"})
    model.check_teachers([description(calibrated=True)])
    tables = torch.tensor([[0.3], [0.5], [0.0]]), torch.tensor([[0.1], [0.0], [0.0]])
    weights = [0.5, 1.0, 0.0], [0.5, 0.0, 0.0]
    slots = [
        make_teacher(batch, vocab, share, seed)._replace(reliability=table)
        for seed, (share, table) in enumerate(zip(weights, tables, strict=True))
    ]
    batch["teacher"] = TeacherBatch(slots, torch.tensor(1.0))
    output = model(**move_to_device(batch, torch.device("cpu")))
    student = model.crf(output["emissions"], output["mask"])
    one, two = (
        -(LinearChainCRF(*slot[:4], mask=output["mask"]).marginals * student.log_marginals).sum(dim=(1, 2))
        for slot in slots
    )
    nll = -student.log_prob(batch["tags"])
    expected = torch.stack([(0.3 * one[0] + 0.1 * two[0]) / 2, 0.5 * one[1], nll[2]])
    torch.testing.assert_close(output["loss"], expected.mean())
    assert model.get_metrics()["objective/token_weight"] == pytest.approx((0.5 * 0.3 + 0.5 + 0.5 * 0.1) / 2)


def test_the_log_says_which_teachers_labellings_are_computed(vocab, caplog):
    model = make_model(vocab, objective={"type": "k_best", "k": 2, "labellings": "legal"})
    with caplog.at_level("INFO", logger="structkd_plugin.tagger"):
        model.check_teachers([description(k_best=2), description(name="stores/de", k_best=1)])
    assert [record.message for record in caplog.records if record.name == "structkd_plugin.tagger"] == [
        "the 2 best legal labellings of teacher stores/de are computed at every step, as its store has 1 of a "
        "sentence; `allennlp cache-teacher --k-best 2` stores as many as the objective takes"
    ]


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        (None, {}, "the model has no objective"),
        (
            {"type": "posterior"},
            {"labels": ("O", "B-PER", "I-PER", "B-ORG")},
            r"lacks \['B-LOC', 'I-LOC'\] and has besides \['B-ORG'\]; .*tokens_to_add",
        ),
        (
            {"type": "posterior"},
            {"label_encoding": "IOB1"},
            "writes spans as IOB1, the student as BIO, .* have the readers of both convert",
        ),
        (
            {"type": "k_best", "k": 3},
            {"kind": "log_probabilities"},
            "k_best needs a teacher with transitions.*stores/en",
        ),
        (
            {"type": "weighted_sum", "objectives": [{"type": "k_best", "k": 3, "weighted": True}]},
            {"kind": "log_probabilities"},
            "needs a teacher with transitions",
        ),
        (
            {"type": "weighted_sum", "objectives": [{"type": "posterior", "token_weighting": "reliability"}]},
            {},
            "weighted_sum weighs words .* teacher stores/en is not calibrated: run `allennlp calibrate-teacher` on its",
        ),
    ],
    ids=[
        "no-objective",
        "labels-differ",
        "encodings-differ",
        "k_best-of-softmax",
        "sum-with-k_best-of-softmax",
        "reliability-of-uncalibrated",
    ],
)
def test_teachers_that_do_not_fit_are_refused(vocab, objective, changes, message):
    model = make_model(vocab, **({"objective": objective} if objective else {}))
    with pytest.raises(ConfigurationError, match=message):
        model.check_teachers([description(**changes)])


def test_a_vocabulary_without_labels_is_refused():
    with pytest.raises(ConfigurationError, match=r"no labels in the namespace 'labels'.*tokens_to_add"):
        make_model(Vocabulary())


def test_both_names_of_an_encoding_are_known(vocab):
    assert make_model(vocab, label_encoding="IOB2").label_encoding == "BIO"


def test_what_has_no_weight_has_no_say(instances, vocab):
    """An objective may be infinite where the student forbids what a teacher allows."""
    batch = make_batch(instances[:3], vocab)
    model = make_model(vocab, objective={"type": "cross_entropy"})
    with torch.no_grad():
        model.crf.transitions[:, 1] = -math.inf
        model.crf.start_transitions[1] = -math.inf
    teacher = TeacherBatch([make_teacher(batch, vocab, [1.0] * 3)], torch.tensor(0.0))
    batch["tags"] = torch.zeros_like(batch["tags"])
    assert model(**batch, teacher=teacher)["loss"].isfinite()


def test_a_teacher_without_an_objective_is_refused(instances, vocab):
    batch = make_batch(instances, vocab)
    teacher = TeacherBatch([make_teacher(batch, vocab, [1.0] * 4)], torch.tensor(1.0))
    with pytest.raises(ConfigurationError, match=r"set model\.objective"):
        make_model(vocab)(**batch, teacher=teacher)


def test_an_objective_without_a_teacher_is_said_once(instances, vocab, caplog):
    model = make_model(vocab, objective={"type": "posterior"})
    batch = make_batch(instances, vocab)
    for _ in range(2):
        model(**batch)
    assert sum("add the callback structkd_teacher" in record.message for record in caplog.records) == 1


def test_ill_formed_gold_tags_are_named_where_they_cannot_be_learnt(vocab):
    reader = ConlluReader(token_indexers={"words": SingleIdTokenIndexer()})
    bad = reader.text_to_instance(["in", "Bern"], ["O", "I-LOC"], "en", file="corpus.conll", line=17)
    reader.apply_token_indexers(bad)
    batch = make_batch([bad], vocab)
    assert make_model(vocab)(**batch)["loss"].isfinite()
    with pytest.raises(
        ConfigurationError, match=r"corpus\.conll:17: the gold tags of 'in Bern' are not well-formed BIO"
    ):
        make_model(vocab, constraints="everywhere")(**batch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transitions": "some"}, "model.transitions must be one of learned, none, not 'some'"),
        ({"constraints": "never"}, "model.constraints must be one of decoding, everywhere"),
        (
            {"label_encoding": "BMES"},
            "model.label_encoding does not fit the labels: label 'I-.*' is not of the encoding",
        ),
        ({"label_encoding": "BILOU"}, "model.label_encoding: unknown scheme 'BILOU'"),
        ({"encoder": {"type": "lstm", "input_size": 7, "hidden_size": 5}}, "model.encoder .* set its input_size to 6"),
        (
            {"feedforward": {"input_dim": 9, "num_layers": 1, "hidden_dims": 4, "activations": "relu"}},
            "model.feedforward .* set its input_dim to 10",
        ),
        ({"dropuot": 0.1}, "dropuot"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_configuration_that_does_not_fit_is_refused(vocab, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        make_model(vocab, **changes)


def test_the_registered_name():
    assert Model.by_name("structkd_tagger") is StructuredTagger
