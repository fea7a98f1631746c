"""Token classification models of Hugging Face as teachers."""

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from transformers import AutoModelForTokenClassification, AutoTokenizer

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.subwords.room import room
from structkd_plugin.subwords.windows import windows
from structkd_plugin.tag_schemes import OUTSIDE, detect_scheme, is_scheme_tag
from structkd_plugin.teacher.fingerprint import teacher_fingerprint
from structkd_plugin.teacher.format import LOG_PROBABILITIES
from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher, no_tables, show

POOLINGS = ("first", "mean")
DETECT = "detect"

# Which numbers the model computes with, by their name in descriptions.
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# What a configuration says of its own history.
_HISTORY = ("_name_or_path", "transformers_version", "torch_dtype", "architectures", "_attn_implementation_autoset")


class _Frame(NamedTuple):
    """The special tokens that a tokenizer puts around a sentence, as (input id, token type)."""

    before: List[Tuple[int, int]]
    after: List[Tuple[int, int]]
    inner_type: int


@CapturedTeacher.register("huggingface")
class HuggingFaceTeacher(CapturedTeacher):
    """
    A folder with `config.json`, a fast tokenizer and `model.safetensors`: `{"type": "huggingface", "path": ...}`.

    Only that folder is read, and neither pickles nor code from it. A softmax tagger, it gives the log-probabilities of
    each word, from the subwords that the tokenizer makes of the very words of the file. A word of which it makes none,
    such as a lone zero-width space, stands as the unknown token: it has to be tagged, and the model knows that token.

    A sentence that the model has no room for is computed in overlapping windows, cut between words; a word is taken
    from the window where it has most context (`windows`). A single word without room is an error.

    # Parameters

    path : `str`
        The folder.
    pooling : `str`, optional (default = "first")
        What of its subwords is a word's: the emissions of the "first", as such models are usually trained, or the
        "mean" of the emissions of all; the log softmax comes after.
    label_encoding : `str`, optional (default = "detect")
        Scheme of the labels; null for labels of words. "detect" takes it from the labels' prefixes, and BIO where they
        could be IOB1 as well.
    max_length : `int`, optional (default = all that the model has room for)
        Most subwords a window, special tokens included.
    window_overlap : `int`, optional (default = a quarter of the room)
        How many subwords two windows share.
    dtype : `str`, optional (default = "float32")
        In which numbers the model computes: "float32", "bfloat16", "float16". The emissions are float32 in any case.
    cuda_device : `int`, optional (default = -1)
        Number of the GPU; −1 is the CPU.

    # Raises

    `ConfigurationError` : for a folder that is not such a model, and for options that are none.
    """

    def __init__(
        self,
        path: str,
        pooling: str = "first",
        label_encoding: Optional[str] = DETECT,
        max_length: Optional[int] = None,
        window_overlap: Optional[int] = None,
        dtype: str = "float32",
        cuda_device: int = -1,
    ) -> None:
        for name, value, choices in (("pooling", pooling, POOLINGS), ("dtype", dtype, tuple(_DTYPES))):
            if value not in choices:
                raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        self._model, self._tokenizer = _load(Path(path), _DTYPES[dtype])
        self._model.to("cpu" if cuda_device < 0 else f"cuda:{cuda_device}")
        labels = _labels(path, self._model.config)
        super().__init__(
            labels, LOG_PROBABILITIES, _detected(path, labels) if label_encoding == DETECT else label_encoding
        )
        self.pooling = pooling
        self._frame = self._special_tokens()
        self.max_length = self._checked_length(max_length)
        # How many subwords a window has room for.
        self._capacity = self.max_length - len(self._frame.before) - len(self._frame.after)
        self.window_overlap = self._capacity // 4 if window_overlap is None else window_overlap
        if not 0 <= self.window_overlap < self._capacity:
            raise ConfigurationError(
                f"window_overlap is {self.window_overlap}; it must be at least 0 and less than the {self._capacity} "
                "subwords that a window has room for"
            )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    def eval(self) -> None:
        """Put the model into evaluation mode."""
        self._model.eval()

    def tables(self) -> Dict[str, torch.Tensor]:
        """Zeros."""
        return no_tables(len(self.labels))

    def fingerprint(self) -> str:
        """Hash of parameters, labels, configuration, tokenizer, and how words are pooled and windowed."""
        config = self._model.config.to_diff_dict()
        tokenizer = json.loads(self._tokenizer.backend_tokenizer.to_str())
        for setting in ("padding", "truncation"):  # of the last call
            tokenizer.pop(setting, None)
        return teacher_fingerprint(
            self._model.state_dict(),
            self.labels,
            self.label_encoding,
            self.constraints,
            {
                "config": {name: value for name, value in config.items() if name not in _HISTORY},
                "tokenizer": tokenizer,
                "pooling": self.pooling,
                "max_length": self.max_length,
                "window_overlap": self.window_overlap,
            },
        )

    def emissions(self, sentences: Sequence[Sentence]) -> List[np.ndarray]:
        """The log-probabilities of `sentences`, as many windows at a time as there are sentences; float32, (T, L)."""
        words = self._subwords(sentences)
        cuts = [
            windows([len(subwords) for subwords in of_words], self._capacity, self.window_overlap) for of_words in words
        ]
        jobs = [(number, window) for number, found in enumerate(cuts) for window in found]
        emissions = [np.empty((len(sentence.words), len(self.labels)), dtype=np.float32) for sentence in sentences]
        # Without a padding token sentences are computed one by one.
        at_once = len(sentences) if self._tokenizer.pad_token_id is not None else 1
        for start in range(0, len(jobs), at_once):
            some = jobs[start : start + at_once]
            rows = self._forward([words[number][window.start : window.end] for number, window in some])
            for (number, window), of_window in zip(some, rows, strict=True):
                own = np.array(window.own, dtype=np.int64)
                emissions[number][own] = of_window[own - window.start]
        return emissions

    def _subwords(self, sentences: Sequence[Sentence]) -> List[List[List[int]]]:
        """For each sentence and word the input ids of its subwords, at least one."""
        texts = [list(sentence.words) for sentence in sentences]
        encoded = self._tokenizer(
            texts, is_split_into_words=True, add_special_tokens=False, truncation=False, padding=False, verbose=False
        )
        result = []
        for number, sentence in enumerate(sentences):
            found: List[List[int]] = [[] for _ in sentence.words]
            for index, word in zip(encoded["input_ids"][number], encoded.word_ids(number), strict=True):
                found[word].append(index)
            for word, subwords in zip(sentence.words, found, strict=True):
                if not subwords:
                    if self._tokenizer.unk_token_id is None:
                        raise ConfigurationError(
                            f"the tokenizer makes no subword of the word {word!r} of {show(sentence)}, and has no "
                            "unknown token to stand for it"
                        )
                    subwords.append(self._tokenizer.unk_token_id)
                if len(subwords) > self._capacity:
                    raise ConfigurationError(
                        f"the word {word[:40]!r} of {show(sentence)} has {len(subwords)} subwords, and the model has "
                        f"room for {self._capacity}. Take the sentence out of the files"
                    )
            result.append(found)
        return result

    def _forward(self, stretches: Sequence[List[List[int]]]) -> List[np.ndarray]:
        """The log-probabilities of stretches of words, given as subwords, computed as one batch; (words, L) each."""
        before, after, inner_type = self._frame
        padding = (self._tokenizer.pad_token_id or 0, self._tokenizer.pad_token_type_id)
        rows = [
            [*before, *((index, inner_type) for subwords in stretch for index in subwords), *after]
            for stretch in stretches
        ]
        longest = max(map(len, rows))
        # (B, S, 2)
        inputs = torch.tensor([row + [padding] * (longest - len(row)) for row in rows], device=self.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        arguments = {
            "input_ids": inputs[:, :, 0],
            # (B, S)
            "attention_mask": (torch.arange(longest, device=self.device) < lengths.unsqueeze(1)).long(),
        }
        if "token_type_ids" in self._tokenizer.model_input_names:
            arguments["token_type_ids"] = inputs[:, :, 1]
        # (B, S, L)
        emissions = self._model(**arguments).logits.float().cpu()
        result = []
        for stretch, rows_of_subwords in zip(stretches, emissions, strict=True):
            sizes = torch.tensor([len(subwords) for subwords in stretch])
            # (words,)
            firsts = len(before) + sizes.cumsum(0) - sizes
            if self.pooling == "first":
                pooled = rows_of_subwords[firsts]
            else:
                inside = rows_of_subwords[len(before) : len(before) + int(sizes.sum())]
                owners = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
                pooled = torch.zeros((len(sizes), inside.shape[1])).index_add_(0, owners, inside) / sizes.unsqueeze(1)
            result.append(pooled.log_softmax(dim=1).numpy())
        return result

    def _special_tokens(self) -> _Frame:
        """What the tokenizer puts around a sentence, told from one."""
        encoded = self._tokenizer(["a"], is_split_into_words=True, return_token_type_ids=True)
        tokens = list(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True))
        # Runs of special tokens (True) and others.
        runs = [
            (special, [token for token, _ in run])
            for special, run in groupby(zip(tokens, encoded.word_ids(), strict=True), key=lambda pair: pair[1] is None)
        ]
        shape = [special for special, _ in runs]
        if shape.count(False) != 1:
            raise ConfigurationError(
                "the tokenizer makes no subwords of the word 'a', so that it cannot be one of words"
            )
        inner = shape.index(False)
        return _Frame(
            [token for _, run in runs[:inner] for token in run],
            [token for _, run in runs[inner + 1 :] for token in run],
            runs[inner][1][0][1],
        )

    def _checked_length(self, wanted: Optional[int]) -> int:
        """Most subwords that the model is given, special tokens included."""
        most = room(self._model, self._tokenizer)
        least = len(self._frame.before) + len(self._frame.after) + 1
        if wanted is not None and not least <= wanted <= most:
            raise ConfigurationError(
                f"max_length is {wanted}; the model takes {most} subwords at most, and {least} are one word with the "
                "special tokens"
            )
        return most if wanted is None else wanted


def _load(folder: Path, dtype: torch.dtype) -> Tuple[Any, Any]:
    """The model and the tokenizer in a folder."""
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"{folder} is no folder of a Hugging Face model: it has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise ConfigurationError(
            f"{folder} has no model.safetensors. Weights in pickles (*.bin, *.pt) are not loaded, as loading one runs "
            "whatever code is in it: have whoever trusts them load the model and save it again with "
            "save_pretrained(folder, safe_serialization=True)"
        )
    if (folder / "adapter_config.json").exists():
        raise ConfigurationError(
            f"{folder} holds an adapter to a model that is elsewhere. Merge the two, and save the whole model"
        )
    try:
        model, info = AutoModelForTokenClassification.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            torch_dtype=dtype,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, use_fast=True, trust_remote_code=False
        )
        # What such models are trained with: a word in the middle of a text, not one that goes on another.
        if getattr(tokenizer, "add_prefix_space", True) is False:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, use_fast=True, trust_remote_code=False, add_prefix_space=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{folder} cannot be loaded as a token classification model: {reason}") from error
    if info["missing_keys"]:
        raise ConfigurationError(
            f"{folder} is not a trained token classification model: its weights lack "
            f"{', '.join(sorted(info['missing_keys'])[:4])}"
        )
    if not tokenizer.is_fast:
        raise ConfigurationError(f"{folder} has no fast tokenizer (tokenizer.json), which tells words from subwords")
    return model, tokenizer


def _labels(path: str, config: Any) -> List[str]:
    names = {int(index): str(label) for index, label in config.id2label.items()}
    labels = [names.get(index, "") for index in range(config.num_labels)]
    if not all(labels) or all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        raise ConfigurationError(
            f"{path} does not name its labels: give config.json an id2label with the name of each, as in "
            '{"0": "O", "1": "B-PER"}'
        )
    return labels


def _detected(path: str, labels: Sequence[str]) -> Optional[str]:
    """The scheme that the labels write spans in, or none."""
    if not all(map(is_scheme_tag, labels)) or set(labels) == {OUTSIDE}:
        return None
    try:
        return detect_scheme([label] for label in labels)
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}. Give the `label_encoding`, or null for labels of words") from None
