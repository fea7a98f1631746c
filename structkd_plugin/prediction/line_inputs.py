"""Inputs of a sentence a line: raw text, words between blanks, JSON objects."""

import json
import re
from typing import Callable, Dict, Iterator, Union

from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction.input_sentence import InputSentence, Problem
from structkd_plugin.prediction.json_sentences import excerpt, json_problem, sentence_of
from structkd_plugin.prediction.segmentation import sentences_of
from structkd_plugin.tokenization import TextWord

# Not `\s`: a no-break space stands inside words.
_BLANKS = re.compile(r"[ \t]+")

Parsed = Iterator[Union[InputSentence, Problem]]


def text_sentences(line: str, number: int, language: str) -> Parsed:
    """The sentences of a line of raw text; none of a line without words."""
    for start, end, words in sentences_of(line, language):
        # Offsets count from the beginning of the sentence, as its text does.
        places = [TextWord(text, first - start, last - start) for text, first, last in words] if start else words
        yield InputSentence(
            number,
            language,
            [word.text for word in words],
            text=line[start:end],
            offset=start,
            places=places,
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
        placed = sentence_of(json.loads(line), language)
    except ConfigurationError as error:
        yield Problem(number, error.message)
    except (ValueError, RecursionError) as error:
        yield Problem(number, f"the line is not valid JSON ({json_problem(error)}): {excerpt(line)}")
    else:
        yield InputSentence(
            number,
            placed.language,
            [word.text for word in placed.words],
            text=placed.text,
            places=placed.words,
            carried=placed.carried,
        )


LINE_INPUTS: Dict[str, Callable[[str, int, str], Parsed]] = {
    "text": text_sentences,
    "words": words_sentences,
    "jsonl": json_sentences,
}
