"""JSON objects as lines. Most of what is written are words, tags and probabilities, and those are written by hand."""

import json
from json.encoder import encode_basestring
from typing import Iterable

from structkd_plugin.prediction.json_sentences import DECIMALS, JsonObject, rounded

_STRINGS = ("words", "tags")
_write = json.JSONEncoder(ensure_ascii=False).encode


def json_line(value: JsonObject) -> str:
    """An object as a line of JSON: letters as they are, unless there are lone surrogates, which JSON can carry."""
    line = _write(value)
    return (line if _is_text(line) else json.dumps(value)) + "\n"


def prediction_line(outputs: JsonObject) -> str:
    """
    What `json_line` writes of `rounded(outputs)`, in less time.

    # Parameters

    outputs : `Dict[str, Any]`
        As `prediction` gives it, its probabilities not rounded yet.
    """
    fields = []
    for name, value in outputs.items():
        if name in _STRINGS:
            written = f"[{', '.join(map(encode_basestring, value))}]"
        elif name == "tag_probabilities":
            written = f"[{_numbers(value)}]"
        elif type(value) is str:
            written = encode_basestring(value)
        elif type(value) is int:
            written = str(value)
        else:
            written = _write(rounded({name: value})[name])
        fields.append(f"{encode_basestring(name)}: {written}")
    line = f"{{{', '.join(fields)}}}"
    return line + "\n" if _is_text(line) else json_line(rounded(outputs))


def _numbers(probabilities: Iterable[float]) -> str:
    """Probabilities with 6 decimals, without zeros at the end."""
    # The bounds keep away from what JSON writes otherwise: 1.0 and 9.9e-05.
    return ", ".join(
        [f"{p:.6f}".rstrip("0") if 0.0001 <= p < 0.999999 else json.dumps(round(p, DECIMALS)) for p in probabilities]
    )


def _is_text(line: str) -> bool:
    """Whether there is no half of a character in it."""
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError:
            return False
    return True
