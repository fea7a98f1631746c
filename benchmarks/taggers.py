"""What the benchmarks of whole taggers share: synthetic sentences, models, the command line."""

import argparse
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from allennlp.data import Batch, Instance, Token, Vocabulary
from allennlp.data.fields import MetadataField, SequenceLabelField, TextField
from allennlp.data.token_indexers import SingleIdTokenIndexer
from allennlp.models import Model
from allennlp.modules.seq2seq_encoders import LstmSeq2SeqEncoder
from allennlp.modules.text_field_embedders import BasicTextFieldEmbedder
from allennlp.modules.token_embedders import Embedding

import structkd_plugin  # noqa: F401 (its repairs of AllenNLP)
from benchmarks import measure


class Size(NamedTuple):
    """Of the embeddings, and of each direction of the BiLSTM."""

    embedding: int
    hidden: int


# What the training configurations make (their `word_size` and `hidden_size`), and a tagger of the usual size.
STUDENT, USUAL = Size(48, 48), Size(100, 256)
BATCH_SIZE = 32
SHORTEST, LONGEST = 5, 40
WORDS = 2000
# Parts of speech, as many as Universal Dependencies has; entities of four types.
LABELS = {17: [f"POS{i}" for i in range(17)], 9: ["O"] + [f"{b}-{t}" for t in ("A", "B", "C", "D") for b in "BI"]}
# How the labels write spans.
ENCODING = {17: None, 9: "BIO"}


def instances(sentences: int, labels: Sequence[str], seed: int = 0) -> List[Instance]:
    """Random words with random labels, well-formed BIO where there are spans; lengths uniform."""
    draw = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=draw))

    indexers = {"tokens": SingleIdTokenIndexer()}
    made = []
    for _ in range(sentences):
        words = [f"w{number(0, WORDS)}" for _ in range(number(SHORTEST, LONGEST + 1))]
        tags: List[str] = []
        for _ in words:
            tag = labels[number(0, len(labels))]
            if tag.startswith("I-") and (not tags or tags[-1][1:] != tag[1:]):
                tag = "B" + tag[1:]
            tags.append(tag)
        text = TextField([Token(word) for word in words], indexers)  # type: ignore[arg-type]
        metadata = MetadataField({"words": words, "language": "en"})
        made.append(Instance({"tokens": text, "tags": SequenceLabelField(tags, text), "metadata": metadata}))
    return made


def vocabulary(labels: Sequence[str]) -> Vocabulary:
    """All words, and the labels in their order."""
    return Vocabulary({"tokens": {f"w{i}": 1 for i in range(WORDS)}}, tokens_to_add={"labels": list(labels)})


def batches(made: Sequence[Instance], vocab: Vocabulary, size: int = BATCH_SIZE) -> List[Dict[str, Any]]:
    """Tensors as a data loader gives them, sentences of like length together."""
    ordered = sorted(made, key=lambda instance: len(instance["tokens"]))  # type: ignore[arg-type]
    found = []
    for start in range(0, len(ordered), size):
        batch = Batch(ordered[start : start + size])
        batch.index_instances(vocab)
        found.append(batch.as_tensor_dict())
    return found


def tagger(kind: str, vocab: Vocabulary, size: Size = USUAL, **options: Any) -> Model:
    """A `structkd_tagger` or `crf_tagger`: embeddings of words, a BiLSTM, a CRF."""
    torch.manual_seed(0)
    embedding = Embedding(size.embedding, vocab=vocab, vocab_namespace="tokens")
    return Model.by_name(kind)(
        vocab=vocab,
        text_field_embedder=BasicTextFieldEmbedder({"tokens": embedding}),
        encoder=LstmSeq2SeqEncoder(size.embedding, size.hidden, bidirectional=True),
        **options,
    )


def describe(*sizes: Size) -> str:
    """The size of it all, for the reader of a table."""
    models = " or ".join(
        f"embeddings of {size.embedding} and a BiLSTM of {size.hidden} units in each direction" for size in sizes
    )
    return f"{models}; batches of {BATCH_SIZE} sentences of {SHORTEST} to {LONGEST} words"


def run(
    name: str,
    description: Optional[str],
    measured: Callable[[int, int, int], List[Dict[str, Any]]],
    table: Callable[[Sequence[Dict[str, Any]]], str],
    sizes: Sequence[Size],
    argv: Optional[Sequence[str]] = None,
) -> int:
    """
    The command line of a benchmark of taggers: print the table, write the results where asked.

    # Parameters

    name : `str`
        Of the results file.
    measured : `Callable[[int, int, int], List[Dict[str, Any]]]`
        Rows from the numbers of threads, sentences and repetitions.
    table : `Callable[[Sequence[Dict[str, Any]]], str]`
        The rows as Markdown.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few sentences and repetitions")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(argv)
    found, warning = measure.environment(), measure.warn_of_load()
    rows: List[Dict[str, Any]] = []
    for threads in options.threads:
        rows += measured(threads, *((64, 2) if options.quick else (320, 7)))
    print(f"{measure.environment_line(found)}.\n{describe(*sizes)}.\n\n{table(rows)}")
    if options.output:
        result = {"environment": found, "warning": warning, "rows": rows}
        measure.write_json(measure.result_path(name, ".json", options.output), result)
    return 0
