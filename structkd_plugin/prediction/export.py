"""Writes a tagger as files that run without torch and AllenNLP: an ONNX network, and JSON of everything else."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List

from allennlp.common.checks import ConfigurationError
from allennlp.data.token_indexers import SingleIdTokenIndexer, TokenCharactersIndexer
from allennlp.data.tokenizers import CharacterTokenizer

from structkd_plugin.complete_file import path_beside
from structkd_plugin.prediction.exported import FORMAT, FORMAT_VERSION, MANIFEST, NETWORK, VOCABULARY
from structkd_plugin.prediction.onnx_graph import network, refused, sizes_of_windows
from structkd_plugin.prediction.sentence_tagger import SentenceTagger


def export(tagger: SentenceTagger, output: str) -> Dict[str, int]:
    """
    Write a tagger to a folder that `structkd_plugin.prediction.exported.ExportedTagger` reads.

    # Parameters

    tagger : `SentenceTagger`
        Of word and character embeddings, with an LSTM, a GRU or no encoder.
    output : `str`
        A folder that is not there yet, or empty.

    # Returns

    `Dict[str, int]` : the size of each file in bytes.

    # Raises

    `ConfigurationError` : for a tagger with a part that cannot be exported, which is named, and for a folder that
        cannot be written.
    """
    folder = Path(output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{output} is there already: give the name of a new folder, or remove it")
    inputs = _inputs(tagger)
    contents = {
        NETWORK: network(tagger.model),
        VOCABULARY: _json({entry["namespace"]: _tokens(tagger, entry["namespace"]) for entry in inputs}),
    }
    manifest = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "labels": list(tagger.labels),
        "label_encoding": tagger.label_encoding,
        "inputs": inputs,
        **_tables(tagger),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    contents[MANIFEST] = _json(manifest)
    _write(folder, contents)
    return {name: len(content) for name, content in contents.items()}


def _inputs(tagger: SentenceTagger) -> List[Dict[str, Any]]:
    """How words become numbers: an entry for each token indexer."""
    windows = sizes_of_windows(tagger.model)
    entries = []
    for key, indexer in sorted(tagger.reader._token_indexers.items()):
        where = f"dataset_reader.token_indexers.{key}"
        if getattr(indexer, "_start_tokens", None) or getattr(indexer, "_end_tokens", None):
            raise ConfigurationError(f"this tagger cannot be exported: {where} has start_tokens or end_tokens")
        if type(indexer) is SingleIdTokenIndexer:
            if indexer.namespace is None or indexer._feature_name != "text":
                raise ConfigurationError(f"this tagger cannot be exported: {where} does not number the words' texts")
            namespace, lowercase, least = indexer.namespace, indexer.lowercase_tokens, 0
        elif type(indexer) is TokenCharactersIndexer:
            characters = indexer._character_tokenizer
            if type(characters) is not CharacterTokenizer or (
                characters._byte_encoding or characters._start_tokens or characters._end_tokens
            ):
                raise ConfigurationError(
                    f"this tagger cannot be exported: the character_tokenizer of {where} has other options than "
                    "lowercase_characters"
                )
            namespace, lowercase = indexer._namespace, characters._lowercase_characters
            least = max(indexer._min_padding_length, windows.get(key, 0))
        else:
            raise refused(where, indexer, "single_id or characters")
        entries.append(
            {
                "name": key,
                "of": "words" if type(indexer) is SingleIdTokenIndexer else "characters",
                "namespace": namespace,
                "lowercase": bool(lowercase),
                "least_characters": least,
            }
        )
    return entries


def _tokens(tagger: SentenceTagger, namespace: str) -> List[str]:
    """The tokens of a namespace by their numbers; 0 is for no token, 1 for any that is not in it."""
    vocabulary = tagger.model.vocab
    tokens = vocabulary.get_index_to_token_vocabulary(namespace)
    listed = [tokens[number] for number in range(len(tokens))]
    if listed[:2] != [vocabulary._padding_token, vocabulary._oov_token]:
        raise ConfigurationError(
            f"this tagger cannot be exported: the namespace {namespace!r} of its vocabulary has no numbers for padding "
            "and unknown tokens"
        )
    return listed


def _tables(tagger: SentenceTagger) -> Dict[str, Any]:
    """The transitions that decoding has; `null` where one is forbidden, as JSON has no infinity."""
    names = ("transitions", "start_transitions", "end_transitions")
    tables = tagger.model.crf.tables(decoding=True)
    return {name: _without_infinity(table.cpu().float().tolist()) for name, table in zip(names, tables, strict=True)}


def _without_infinity(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_infinity(value) for value in values]
    return None if values == float("-inf") else values


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode("utf-8")


def _write(folder: Path, contents: Dict[str, bytes]) -> None:
    """The whole folder, or nothing."""
    beside = path_beside(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        for name, content in contents.items():
            with (beside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        # An empty folder is replaced.
        os.replace(beside, folder)
    except OSError as error:
        raise ConfigurationError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
