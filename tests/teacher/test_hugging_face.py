"""Folders of Hugging Face as teachers: words pooled from subwords, long sentences in windows, nothing from outside."""

import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import RobertaProcessing
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertForTokenClassification,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForTokenClassification,
    RobertaTokenizerFast,
)

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.subwords.windows import windows
from structkd_plugin.teacher.sources import CapturedTeacher, HuggingFaceTeacher

from .foreign import LABELS, make_hugging_face, sentences


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hugging_face(tmp_path_factory.mktemp("hf") / "model")


def emissions(teacher: CapturedTeacher, some: List[Sentence]) -> List[np.ndarray]:
    teacher.eval()
    with torch.no_grad():
        return [record.emissions for record in teacher.records(some)]


def directly(path: Path, words: List[str], pooling: str) -> np.ndarray:
    """What transformers says of one sentence, computed without the code under test."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForTokenClassification.from_pretrained(path).eval()
    encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        subwords = model(**encoded).logits[0]
    rows = []
    for word in range(len(words)):
        own = subwords[[index for index, of in enumerate(encoded.word_ids()) if of == word]]
        rows.append(own[0] if pooling == "first" else own.mean(dim=0))
    return torch.stack(rows).log_softmax(dim=1).numpy()


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_short_sentences_are_what_transformers_says(folder: Path, pooling: str) -> None:
    """In a batch with others, of which they do not depend, nor on how much padding that makes."""
    some = sentences()
    for sentence, rows in zip(some, emissions(HuggingFaceTeacher(str(folder), pooling), some), strict=True):
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, directly(folder, list(sentence.words), pooling), atol=1e-5)
        np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, rtol=1e-5)


def test_what_else_is_in_the_batch_makes_no_difference(folder: Path) -> None:
    teacher = HuggingFaceTeacher(str(folder), max_length=24)
    some = sentences((5, 1, 40, 12, 3))
    together = emissions(teacher, some)
    for sentence, rows in zip(some, together, strict=True):
        np.testing.assert_allclose(emissions(teacher, [sentence])[0], rows, atol=1e-5)
    for one, other in zip(emissions(teacher, some[::-1])[::-1], together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_long_sentences_are_computed_in_windows(folder: Path, pooling: str) -> None:
    """Each word is what transformers says of it in the window that it is taken from."""
    max_length, overlap = 20, 7
    teacher = HuggingFaceTeacher(str(folder), pooling, max_length=max_length, window_overlap=overlap)
    [sentence] = sentences((50,))
    # In letters, but for the two words that are whole in the vocabulary.
    sizes = [1 if word in ("met", "in") else len(word) for word in sentence.words]
    cuts = windows(sizes, max_length - 2, overlap)
    assert len(cuts) > 5
    [rows] = emissions(teacher, [sentence])
    for start, end, own in cuts:
        expected = directly(folder, list(sentence.words[start:end]), pooling)
        for word in own:
            np.testing.assert_allclose(rows[word], expected[word - start], atol=1e-5)


def test_windows_are_near_the_whole(tmp_path: Path) -> None:
    """With the positions of a model that is not trained taken out, most of what is lost is near the cuts."""
    path = make_hugging_face(tmp_path / "model", positions=512, layers=1)
    model = BertForTokenClassification.from_pretrained(path)
    model.bert.embeddings.position_embeddings.weight.data.zero_()
    model.save_pretrained(path)
    some = sentences((60,))
    [whole], [windowed] = (
        emissions(HuggingFaceTeacher(str(path), max_length=length, window_overlap=length // 2), some)
        for length in (512, 150)
    )
    [blind] = emissions(HuggingFaceTeacher(str(path), max_length=12, window_overlap=0), some)
    assert np.abs(whole - windowed).mean() < np.abs(whole - blind).mean() / 2


def test_all_the_room_that_the_model_has_is_used(folder: Path, tmp_path: Path) -> None:
    assert HuggingFaceTeacher(str(folder)).max_length == 64
    [sentence] = [Sentence(("a",) * 62, None, "en")]
    np.testing.assert_allclose(
        emissions(HuggingFaceTeacher(str(folder)), [sentence])[0], directly(folder, ["a"] * 62, "first"), atol=1e-5
    )


def roberta(path: Path, **tokenizer: Any) -> Path:
    """A model whose positions begin after that of padding, with a byte-level tokenizer."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bpe = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    RobertaTokenizerFast(tokenizer_object=bpe, **tokenizer).save_pretrained(path)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(pieces) + 1,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=22,
        id2label=dict(enumerate(LABELS)),
    )
    RobertaForTokenClassification(config).save_pretrained(path)
    return path


def test_positions_that_are_of_padding_are_no_room(tmp_path: Path) -> None:
    """And a byte-level tokenizer is told that words have a space before them."""
    teacher = HuggingFaceTeacher(str(roberta(tmp_path / "model")))
    assert teacher.max_length == 20
    [rows] = emissions(teacher, [Sentence(("abc",) * 30, None, "en")])
    assert np.isfinite(rows).all()
    # Special tokens, spaces and letters.
    assert [len(subwords) for subwords in teacher._subwords([Sentence(("abc", "d"), None, "en")])[0]] == [4, 2]


def test_a_word_without_subwords_stands_as_the_unknown_token(folder: Path) -> None:
    strange = Sentence(("Ada", "\u200b", "slept"), None, "en", "x.txt", 3)
    unknown = Sentence(("Ada", "[UNK]", "slept"), None, "en")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert 1 not in tokenizer(list(strange.words), is_split_into_words=True).word_ids()
    teacher = HuggingFaceTeacher(str(folder))
    assert emissions(teacher, [strange])[0].tobytes() == emissions(teacher, [unknown])[0].tobytes()
    teacher._tokenizer.unk_token = None
    with pytest.raises(ConfigurationError, match=r"no subword of the word '\\u200b' of 'Ada .*x.txt:3\)"):
        emissions(teacher, [strange])


def test_a_word_without_room_is_named(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the word 'Ada' of 'Ada met.*has 3 subwords, and .*room for 2"):
        emissions(HuggingFaceTeacher(str(folder), max_length=4), sentences((3,)))


def test_without_a_padding_token_one_by_one(folder: Path) -> None:
    teacher, some = HuggingFaceTeacher(str(folder)), sentences()
    expected = emissions(teacher, some)
    teacher._tokenizer.pad_token = None
    for one, other in zip(emissions(teacher, some), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("stored", "computed"), [("float16", "float32"), ("float32", "bfloat16")])
def test_half_precision(folder: Path, tmp_path: Path, stored: str, computed: str) -> None:
    """A model kept in half precision is computed in float32, unless told otherwise; emissions are float32."""
    path = make_hugging_face(tmp_path / "model", dtype=getattr(torch, stored))
    teacher, some = HuggingFaceTeacher(str(path), dtype=computed), sentences()
    assert next(teacher._model.parameters()).dtype == getattr(torch, computed)
    for one, other in zip(emissions(teacher, some), emissions(HuggingFaceTeacher(str(folder)), some), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=0.3)


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (LABELS, "detect", "BIO"),
        (LABELS, "IOB1", "IOB1"),
        (LABELS, None, None),
        (["O", "B-X", "I-X", "L-X", "U-X"], "detect", "BIOUL"),
        (["O", "B-X", "I-X", "E-X", "S-X"], "detect", "BIOES"),
        (["NOUN", "VERB", "X"], "detect", None),
        (["NOUN", "B-X"], "detect", None),
    ],
)
def test_label_encoding(tmp_path: Path, labels: List[str], given: Any, expected: Any) -> None:
    teacher = HuggingFaceTeacher(str(make_hugging_face(tmp_path / "m", labels, layers=1)), label_encoding=given)
    assert teacher.labels == labels
    assert (teacher.label_encoding, teacher.kind, teacher.constraints) == (expected, "log_probabilities", None)
    assert not any(table.any() for table in teacher.tables().values())


def test_fingerprint_is_of_what_decides_on_the_answers(folder: Path, tmp_path: Path) -> None:
    original = HuggingFaceTeacher(str(folder))
    original._model.save_pretrained(tmp_path / "again")
    original._tokenizer.save_pretrained(tmp_path / "again")
    emissions(original, sentences())
    assert HuggingFaceTeacher(str(tmp_path / "again")).fingerprint() == original.fingerprint()
    retokenized = tmp_path / "retokenized"
    original._model.save_pretrained(retokenized)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained(retokenized)
    activation = tmp_path / "activation"
    original._model.save_pretrained(activation)
    original._tokenizer.save_pretrained(activation)
    config = json.loads((activation / "config.json").read_text())
    (activation / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    others = [
        HuggingFaceTeacher(str(retokenized)),
        HuggingFaceTeacher(str(activation)),
        HuggingFaceTeacher(str(make_hugging_face(tmp_path / "seed", seed=2))),
        HuggingFaceTeacher(str(make_hugging_face(tmp_path / "labels", labels=LABELS[::-1]))),
        HuggingFaceTeacher(str(folder), "mean"),
        HuggingFaceTeacher(str(folder), max_length=20),
        HuggingFaceTeacher(str(folder), window_overlap=3),
        HuggingFaceTeacher(str(folder), label_encoding=None),
        HuggingFaceTeacher(str(folder), dtype="bfloat16"),
    ]
    assert len({original.fingerprint(), *(teacher.fingerprint() for teacher in others)}) == 10


class TestRefusals:
    def test_pickled_weights(self, folder: Path, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model")
        torch.save(HuggingFaceTeacher(str(path))._model.state_dict(), path / "pytorch_model.bin")
        assert HuggingFaceTeacher(str(path)).fingerprint() == HuggingFaceTeacher(str(folder)).fingerprint()
        (path / "model.safetensors").unlink()
        with pytest.raises(ConfigurationError, match=r"no model.safetensors. Weights in pickles .* are not loaded"):
            HuggingFaceTeacher(str(path))

    @pytest.mark.filterwarnings("ignore")
    def test_a_model_without_a_trained_classifier(self, folder: Path, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model")
        BertModel.from_pretrained(path).save_pretrained(path)
        config = json.loads((folder / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigurationError, match=r"its weights lack classifier.bias, classifier.weight"):
            HuggingFaceTeacher(str(path))

    def test_labels_without_names(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model", labels=["LABEL_0", "LABEL_1"])
        with pytest.raises(ConfigurationError, match=r"does not name its labels: give config.json an id2label"):
            HuggingFaceTeacher(str(path))

    def test_labels_of_the_same_name(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model", labels=["O", "B-X", "B-X"])
        with pytest.raises(ConfigurationError, match="several labels of the name 'B-X'"):
            HuggingFaceTeacher(str(path))

    def test_labels_that_do_not_fit_the_weights(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model")
        config = json.loads((path / "config.json").read_text())
        config["id2label"] = {"0": "O", "1": "B-X"}
        (path / "config.json").write_text(json.dumps(config))
        with pytest.raises(
            ConfigurationError, match=r"cannot be loaded as a token classification model: .*size mismatch"
        ):
            HuggingFaceTeacher(str(path))

    def test_prefixes_of_no_scheme(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model", labels=["O", "M-X", "U-X"])
        with pytest.raises(ConfigurationError, match="Give the `label_encoding`, or null"):
            HuggingFaceTeacher(str(path))

    def test_code_in_the_folder(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model")
        config = json.loads((path / "config.json").read_text())
        config.update(model_type="mine", auto_map={"AutoConfig": "mine.Config"})
        (path / "config.json").write_text(json.dumps(config))
        (path / "mine.py").write_text("raise SystemExit('it ran')")
        with pytest.raises(ConfigurationError, match="cannot be loaded as a token classification model"):
            HuggingFaceTeacher(str(path))

    def test_an_adapter(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model")
        (path / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
        with pytest.raises(ConfigurationError, match="holds an adapter to a model that is elsewhere"):
            HuggingFaceTeacher(str(path))

    def test_a_tokenizer_that_does_not_know_words(self, tmp_path: Path) -> None:
        path = make_hugging_face(tmp_path / "model")
        nothing = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        nothing.normalizer = normalizers.Replace("a", "")
        for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
            (path / file).unlink()
        PreTrainedTokenizerFast(tokenizer_object=nothing).save_pretrained(path)
        with pytest.raises(ConfigurationError, match="makes no subwords of the word 'a'"):
            HuggingFaceTeacher(str(path))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"pooling": "last"}, "pooling must be one of first, mean, not 'last'"),
            ({"dtype": "int8"}, "dtype must be one of float32, bfloat16, float16, not 'int8'"),
            ({"max_length": 65}, "max_length is 65; the model takes 64 subwords at most, and 3 are one word"),
            ({"max_length": 2}, "max_length is 2; "),
            ({"window_overlap": 62}, "window_overlap is 62; it must be at least 0 and less than the 62"),
            ({"window_overlap": -1}, "window_overlap is -1"),
            ({"label_encoding": "BILUX"}, "unknown scheme 'BILUX'"),
            ({"label_encoding": "BIOES"}, None),
            ({"poling": "mean"}, "has no option 'poling'; did you mean 'pooling'"),
        ],
    )
    def test_options(self, folder: Path, options: Any, message: Any) -> None:
        description = Params({"type": "huggingface", "path": str(folder), **options})
        if message is None:
            # These labels are labels of this scheme too.
            assert CapturedTeacher.from_params(description).label_encoding == "BIOES"
            return
        with pytest.raises(ConfigurationError, match=message):
            CapturedTeacher.from_params(description)
