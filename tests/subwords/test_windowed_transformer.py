"""Words embedded in windows: short sentences as AllenNLP does, long ones as the transformer does with each window."""

import random
from pathlib import Path
from typing import Any, Dict, List, Sequence

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, Instance, Token, TokenIndexer, Vocabulary
from allennlp.data.fields import TextField
from allennlp.modules import TokenEmbedder
from transformers import AutoModel, AutoTokenizer

from structkd_plugin.subwords import WindowedTransformerEmbedder, WindowedTransformerIndexer
from structkd_plugin.subwords.windows import windows

from .transformers_of_tests import MAKERS, POSITIONS, SIZE, make_bert

# One, three and more subwords; `\u200b` is no subword of the BERT.
WORDS = ["met", "in", "Ada", "Rome", "a", "b", "why", "not", "\u200b"]
STOCK = "pretrained_transformer_mismatched"
OURS = "structkd_windowed_transformer"
MODES = ["first", "avg"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / name) for name, make in MAKERS.items()}


def drawn(lengths: Sequence[int], seed: int = 0, words: Sequence[str] = WORDS) -> List[List[str]]:
    draw = random.Random(seed)
    return [[draw.choice(words) for _ in range(length)] for length in lengths]


def tensors(indexer: TokenIndexer, sentences: List[List[str]]) -> Dict[str, torch.Tensor]:
    batch = Batch([Instance({"text": TextField([Token(word) for word in some], {"x": indexer})}) for some in sentences])
    batch.index_instances(Vocabulary())
    found: Any = batch.as_tensor_dict()["text"]
    return found["x"]


def indexer_of(name: str, model: str, **options: Any) -> TokenIndexer:
    return TokenIndexer.from_params(Params({"type": name, "model_name": model, **options}))


def embedder_of(name: str, model: str, **options: Any) -> Any:
    return TokenEmbedder.from_params(Params({"type": name, "model_name": model, **options})).eval()


def embed(
    model: str, sentences: List[List[str]], mode: str = "avg", name: str = OURS, **indexing: Any
) -> List[torch.Tensor]:
    """The vectors of each sentence's words, computed as one batch."""
    found = tensors(indexer_of(name, model, **indexing), sentences)
    with torch.no_grad():
        vectors = embedder_of(name, model, sub_token_mode=mode)(**found)
    assert vectors.shape == (len(sentences), max(map(len, sentences)), SIZE)
    return [vectors[number, : len(some)] for number, some in enumerate(sentences)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MAKERS)
def test_short_sentences_are_what_allennlp_makes_of_them(models: Dict[str, str], name: str, mode: str) -> None:
    sentences = drawn((4, 1, 5, 3))
    expected = embed(models[name], sentences, mode, STOCK)
    found = embed(models[name], sentences, mode)
    # A long one beside them, which changes how the batch is computed, changes nothing either.
    beside = embed(models[name], [*drawn((40,), seed=1), *sentences], mode)[1:]
    for one, other, third in zip(expected, found, beside, strict=True):
        # A mean is a sum in the one and in the other order.
        torch.testing.assert_close(other, one, rtol=0, atol=0 if mode == "first" else 1e-6)
        torch.testing.assert_close(third, one, rtol=0, atol=2e-6)


def directly(model: str, subwords: List[int]) -> torch.Tensor:
    """What transformers says of subwords with special tokens around them; (subwords, D)."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = torch.tensor([tokenizer.build_inputs_with_special_tokens(subwords)])
    with torch.no_grad():
        return AutoModel.from_pretrained(model).eval()(input_ids=ids).last_hidden_state[0, 1:-1]


def subwords_of(model: str, sentence: List[str]) -> List[List[int]]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [tokenizer.encode(word, add_special_tokens=False) for word in sentence]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MAKERS)
def test_long_sentences_are_computed_in_windows(models: Dict[str, str], name: str, mode: str) -> None:
    """Each word is what transformers says of it in the window where it has most context."""
    max_length, overlap = 18, 6
    [sentence] = drawn((40,), words=WORDS[:-1])
    subwords = subwords_of(models[name], sentence)
    cuts = windows([len(some) for some in subwords], max_length - 2, overlap)
    assert len(cuts) > 4
    [found] = embed(models[name], [sentence], mode, max_length=max_length, window_overlap=overlap)
    for start, end, own in cuts:
        rows = directly(models[name], [one for some in subwords[start:end] for one in some])
        for word in own:
            before = sum(map(len, subwords[start:word]))
            of_word = rows[before : before + len(subwords[word])]
            expected = of_word[0] if mode == "first" else of_word.mean(dim=0)
            torch.testing.assert_close(found[word], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_all_the_room_that_the_model_has_is_used(models: Dict[str, str], name: str) -> None:
    fits, longer = ["a"] * (POSITIONS - 2), ["a"] * (POSITIONS - 1)
    indexer = indexer_of(OURS, models[name])
    assert int(tensors(indexer, [fits])["windows"].max()) == 0
    assert int(tensors(indexer, [longer])["windows"].max()) == 1
    [found] = embed(models[name], [fits])
    torch.testing.assert_close(found, embed(models[name], [fits], name=STOCK)[0], rtol=0, atol=1e-6)
    [found] = embed(models[name], [longer])
    # Both windows are full.
    window = directly(models[name], subwords_of(models[name], ["a"])[0] * (POSITIONS - 2))
    torch.testing.assert_close(found[0], window[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[-1], window[-1], rtol=0, atol=1e-5)


def test_allennlp_fails_on_a_long_sentence_or_cuts_within_words_without_context(models: Dict[str, str]) -> None:
    """What this is for. With `max_length`, a change of one segment is not seen in the next, however near."""
    model = models["bert"]
    with pytest.raises((IndexError, RuntimeError)):
        embed(model, [["a"] * 40], name=STOCK)
    sentence = ["a"] * 40
    changed = [*sentence[:15], "b", *sentence[16:]]
    stock = embedder_of(STOCK, model, max_length=18)
    vectors = []
    for some in (sentence, changed):
        with torch.no_grad():
            vectors.append(stock(**tensors(indexer_of(STOCK, model, max_length=18), [some]))[0])
    assert torch.equal(vectors[0][16], vectors[1][16])
    ours = [embed(model, [some], max_length=18)[0] for some in (sentence, changed)]
    assert not torch.allclose(ours[0][16], ours[1][16], atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MAKERS)
def test_the_batch_makes_no_difference(models: Dict[str, str], name: str, mode: str) -> None:
    sentences = drawn((3, 60, 1, 25, 90, 8, 2), seed=2)
    together = embed(models[name], sentences, mode)
    for sentence, expected in zip(sentences, together, strict=True):
        torch.testing.assert_close(embed(models[name], [sentence], mode)[0], expected, rtol=0, atol=1e-5)
    for one, other in zip(embed(models[name], sentences[::-1], mode)[::-1], together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_words_without_subwords_are_zeros(models: Dict[str, str]) -> None:
    model = models["bert"]
    for mode in MODES:
        for sentence in (["\u200b"], ["\u200b", "Ada", "\u200b", "met"], [*["Ada", "\u200b"] * 20]):
            [found] = embed(model, [sentence], mode)
            for word, vector in zip(sentence, found, strict=True):
                assert bool((vector == 0).all()) == (word == "\u200b")
        # As AllenNLP does where it can.
        [found] = embed(model, [["\u200b", "Ada"]], mode)
        torch.testing.assert_close(found, embed(model, [["\u200b", "Ada"]], mode, STOCK)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_word_longer_than_a_window_is_the_mean_of_its_parts(models: Dict[str, str], mode: str) -> None:
    model, room = models["bert"], POSITIONS - 2
    long = "abcdefghijklmnopqrstuvwxyz" * 2
    [found] = embed(model, [["met", long, "in"]], mode, window_overlap=0)
    [sub] = subwords_of(model, [long])
    assert len(sub) == 52
    [met], [within] = subwords_of(model, ["met", "in"])
    # The parts have 22, 22 and 8 subwords; beside the first there is no room, with the last is what follows it.
    parts = [directly(model, sub[:room]), directly(model, sub[room : 2 * room])]
    # The last window begins as early as whole parts allow.
    last = directly(model, [*sub[2 * room :], within])
    expected = torch.cat([*parts, last[:8]])
    torch.testing.assert_close(found[1], expected[0] if mode == "first" else expected.mean(dim=0), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0], directly(model, [met])[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[2], last[8], rtol=0, atol=1e-5)
    # Every letter of it counts.
    changed = long[:-1] + "!"
    [other] = embed(model, [["met", changed, "in"]], "avg", window_overlap=0)
    [same] = embed(model, [["met", long, "in"]], "avg", window_overlap=0)
    assert not torch.allclose(other[1], same[1], atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_the_gradient_reaches_all_windows(models: Dict[str, str], mode: str) -> None:
    """That of the sum of all vectors is what differences say."""
    model = models["bert"]
    found = tensors(indexer_of(OURS, model, max_length=12), drawn((30, 4)))
    embedder = embedder_of(OURS, model, sub_token_mode=mode).double()
    table = embedder._matched_embedder.transformer_model.embeddings.word_embeddings.weight
    weights = torch.randn(2, 30, SIZE, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    (embedder(**found) * weights).sum().backward()
    used = int(found["token_ids"][0, 5])
    for column in (0, 7):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                table[used, column] += step
                values.append(float((embedder(**found) * weights).sum()))
                table[used, column] -= step
        assert float(table.grad[used, column]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_options_are_those_of_the_stock_embedder(models: Dict[str, str]) -> None:
    model = models["bert"]
    embedder = embedder_of(OURS, model, train_parameters=False, last_layer_only=False)
    assert embedder.get_output_dim() == SIZE
    assert {name for name, one in embedder.named_parameters() if one.requires_grad} == {
        name for name, _ in embedder.named_parameters() if "_scalar_mix" in name
    }
    # What one saved, the other loads.
    stock = embedder_of(STOCK, model, last_layer_only=False)
    embedder.load_state_dict(stock.state_dict())


class TestRefusals:
    @pytest.mark.parametrize("max_length", [2, 0, -1, POSITIONS + 1])
    def test_an_impossible_length(self, models: Dict[str, str], max_length: int) -> None:
        with pytest.raises(ConfigurationError, match=rf"max_length is {max_length}; .* takes {POSITIONS} subwords"):
            indexer_of(OURS, models["bert"], max_length=max_length)

    @pytest.mark.parametrize("overlap", [-1, POSITIONS - 2])
    def test_an_impossible_overlap(self, models: Dict[str, str], overlap: int) -> None:
        with pytest.raises(ConfigurationError, match=rf"window_overlap is {overlap}; .* less than the {POSITIONS - 2}"):
            indexer_of(OURS, models["bert"], window_overlap=overlap)

    def test_an_unknown_mode(self, models: Dict[str, str]) -> None:
        with pytest.raises(ConfigurationError, match="must be one of first, avg, not 'last'"):
            embedder_of(OURS, models["bert"], sub_token_mode="last")

    def test_a_misspelt_option(self, models: Dict[str, str]) -> None:
        with pytest.raises(ConfigurationError, match="did you mean 'window_overlap'"):
            indexer_of(OURS, models["bert"], window_overlaps=3)
        with pytest.raises(ConfigurationError, match="has no option 'max_length'"):
            embedder_of(OURS, models["bert"], max_length=20)

    def test_the_stock_indexer(self, models: Dict[str, str]) -> None:
        with pytest.raises(ConfigurationError, match=f"needs the token indexer {OURS}"):
            embedder_of(OURS, models["bert"])(**tensors(indexer_of(STOCK, models["bert"]), [["Ada"]]))

    def test_an_indexer_of_another_model(self, models: Dict[str, str], tmp_path: Path) -> None:
        roomy = make_bert(tmp_path / "roomy", positions=40)
        with pytest.raises(ConfigurationError, match=f"windows of 40 subwords, and the transformer takes {POSITIONS}"):
            embedder_of(OURS, models["bert"])(**tensors(indexer_of(OURS, roomy), [["a"] * 60]))


def test_a_class_can_be_made_without_a_configuration(models: Dict[str, str]) -> None:
    indexer = WindowedTransformerIndexer(models["bert"])
    assert indexer.get_padding_lengths(indexer.get_empty_token_list()) == dict.fromkeys(
        ["token_ids", "type_ids", "mask", "wordpiece_mask", "windows", "owners"], 0
    )
    assert WindowedTransformerEmbedder(models["bert"]).get_output_dim() == SIZE
