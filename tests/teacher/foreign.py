"""Teachers that are none of this plugin's: archives of AllenNLP's taggers, folders of Hugging Face; not trained."""

import json
from pathlib import Path
from typing import Any, List, Optional, Sequence

import allennlp_models.tagging  # noqa: F401 (registers crf_tagger)
import torch
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.models import Model
from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

from structkd_plugin.readers.sentence import Sentence

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS = ["Ada", "met", "Boris", "in", "Rome", "and", "slept", "there", ";", "why", "not", "?"]


def sentences(lengths: Sequence[int] = (5, 1, 12, 3)) -> List[Sentence]:
    """Sentences of these numbers of words, none of them the same."""
    return [
        Sentence(tuple(WORDS[(at + number) % len(WORDS)] for at in range(length)), None, "en", "some.txt", number + 1)
        for number, length in enumerate(lengths)
    ]


def stock_config(kind: str = "crf_tagger", **model: Any) -> Any:
    return {
        "dataset_reader": {
            "type": "sequence_tagging",
            "token_indexers": {"tokens": {"type": "single_id", "lowercase_tokens": True}},
        },
        "model": {
            "type": kind,
            "text_field_embedder": {"token_embedders": {"tokens": {"type": "embedding", "embedding_dim": 5}}},
            "encoder": {"type": "lstm", "input_size": 5, "hidden_size": 4, "bidirectional": True},
            **model,
        },
    }


def make_stock_archive(
    path: Path,
    kind: str = "crf_tagger",
    labels: Sequence[str] = LABELS,
    reader: Optional[Any] = None,
    seed: int = 1,
    **model: Any,
) -> Path:
    """A serialization directory; "label_encoding" is BIO unless told otherwise."""
    # The stock metric fails on tags that are drawn at random.
    settings = stock_config(kind, **{"label_encoding": "BIO", "calculate_span_f1": False, **model})
    settings["dataset_reader"] = reader or settings["dataset_reader"]
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(settings))
    corpus = path / "corpus.txt"
    corpus.write_text("\n".join("\t".join(f"{word}###{label}" for word in WORDS) for label in labels))
    instances = DatasetReader.from_params(Params(stock_config()["dataset_reader"])).read(str(corpus))
    vocabulary = Vocabulary.from_instances(instances)
    vocabulary.save_to_files(str(path / "vocabulary"))
    torch.manual_seed(seed)
    torch.save(Model.from_params(Params(settings["model"]), vocab=vocabulary).state_dict(), path / "best.th")
    return path


def make_hugging_face(
    path: Path,
    labels: Sequence[str] = LABELS,
    positions: int = 64,
    seed: int = 1,
    dtype: torch.dtype = torch.float32,
    layers: int = 2,
) -> Path:
    """A BERT whose tokenizer cuts most words into letters."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "met",
        "in",
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    path.mkdir(parents=True)
    (path / "vocab.txt").write_text("\n".join(pieces))
    BertTokenizerFast(str(path / "vocab.txt"), do_lower_case=False).save_pretrained(path)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=positions,
        initializer_range=0.5,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    BertForTokenClassification(config).to(dtype).save_pretrained(path)
    return path
