"""Inputs of a sentence a line: raw text, words between blanks, JSON objects."""

import json
import re
from typing import Callable, Dict, Iterator, Union

from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction.input_sentence import InputSentence, Problem
from structkd_plugin.prediction.json_sentences import excerpt, json_problem, sentence_of
from structkd_plugin.prediction.segmentation import split_sentences

# Not `\s`: a no-break space stands inside words.
_BLANKS = re.compile(r"[ \t]+")

Parsed = Iterator[Union[InputSentence, Problem]]


def text_sentences(line: str, number: int, language: str) -> Parsed:
    """The sentences of a line of raw text; none of a line without words."""
    for start, end, words in split_sentences(line, language):
        yield InputSentence(
            number,
            language,
            words,
            text=line[start:end],
            offset=start,
            carried={"line": number, "offset": start},
        )


def words_sentences(line: str, number: int, language: str) -> Parsed:
    """The sentence of a line of words between blanks; none of a blank line."""
    if line.strip():
        yield InputSentence(number, language, _BLANKS.split(line.strip(" \t")), carried={"line": number})


def json_sentences(line: str, number: int, language: str) -> Parsed:
    """The sentence that the JSON object on a line describes; none on a blank line."""
    if not line.strip():
        return
    try:
        inputs = json.loads(line)
        sentence = sentence_of(inputs, language)
    except ConfigurationError as error:
        yield Problem(number, error.message)
    except (ValueError, RecursionError) as error:
        yield Problem(number, f"the line is not valid JSON ({json_problem(error)}): {excerpt(line)}")
    else:
        yield InputSentence(
            number,
            sentence.language,
            sentence.words,
            text=sentence.text if "text" in inputs else None,
            carried=sentence.carried,
        )


LINE_INPUTS: Dict[str, Callable[[str, int, str], Parsed]] = {
    "text": text_sentences,
    "words": words_sentences,
    "jsonl": json_sentences,
}
