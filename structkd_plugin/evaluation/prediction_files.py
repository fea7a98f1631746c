"""Files of predictions in any of the formats that taggers write, told by what is in them."""

import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

from structkd_plugin.prediction.tagging import PredictedEntity
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.readers.conllu_reader import ConlluReader
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.text_lines import text_lines
from structkd_plugin.tag_schemes import OUTSIDE

JSON_LINES, CONLLU, COLUMNS = "JSON lines", "CoNLL-U", "columns"
_CONLLU_COLUMNS = 10
# What the reader of CoNLL-U gives a word without a feature.
_ABSENT = "_"
_OBJECT = re.compile(r'\s*\{\s*"')


class Prediction(NamedTuple):
    """What a file says of one sentence; nothing of it is checked against gold tags, or mended."""

    words: Tuple[str, ...]
    tags: Tuple[str, ...]
    tag_probabilities: Optional[Tuple[float, ...]]
    entities: Optional[Tuple[PredictedEntity, ...]]
    file: str
    line: int


def format_of(file: str) -> str:
    """
    `JSON_LINES`, `CONLLU` or `COLUMNS`, by the first line with anything on it that is no comment.

    # Raises

    `ConfigurationError` : if the file cannot be read, or has no such line.
    """
    for _, line in text_lines(file):
        columns = line.split("\t")
        if not line.strip() or (line.startswith("#") and len(columns) < 2):
            continue
        if _OBJECT.match(line):
            return JSON_LINES
        if len(columns) == _CONLLU_COLUMNS and columns[0].split("-")[0].split(".")[0].isdecimal():
            return CONLLU
        return COLUMNS
    raise data_error(file, None, "the file has no predictions")


def read_predictions(file: str, label: str = "upos", spans: bool = False) -> Iterator[Prediction]:
    """
    The sentences of a file of predictions, in its order.

    # Parameters

    file : `str`
        JSON lines of `allennlp predict`; columns, of which the first has the word and the last one the predicted tag;
        or CoNLL-U. A sentence without words, which `allennlp predict` writes for an empty text, is left out.
    label : `str`, optional (default = "upos")
        Where tags are in CoNLL-U: the option of this name of `structkd_conllu`.
    spans : `bool`, optional (default = `False`)
        Whether tags write spans, so that a word of CoNLL-U without one is outside of them.

    # Raises

    `ConfigurationError` : naming file and line, for what is not of the format.
    """
    form = format_of(file)
    if form == JSON_LINES:
        yield from _json_lines(file)
        return
    # Without a scheme, tags are taken as they are, ill-formed ones too.
    reader = ConlluReader(label=label) if form == CONLLU else ColumnReader(word_column=0, tag_column=-1)
    for sentence in reader.sentences([file]):
        tags = sentence.tags or ()
        if spans and form == CONLLU:
            tags = tuple(OUTSIDE if tag == _ABSENT else tag for tag in tags)
        yield Prediction(sentence.words, tags, None, None, file, sentence.line or 1)


def predictions_by_gold_file(folder: str, gold: Sequence[Tuple[str, str]]) -> Dict[str, str]:
    """
    Which file of a folder has the predictions for which gold file: that named as the gold file, or else that named by
    the language, whatever follows the first dot of the names.

    # Parameters

    folder : `str`
    gold : `Sequence[Tuple[str, str]]`
        Language and path of each file.

    # Returns

    `Dict[str, str]` : gold path → path of predictions.

    # Raises

    `ConfigurationError` : where there is none, or more than one.
    """
    files = sorted(file for file in Path(folder).iterdir() if file.is_file() and not file.name.startswith("."))
    found: Dict[str, str] = {}
    for language, path in gold:
        same_name = [file for file in files if _stem(file.name) == _stem(Path(path).name)]
        same_language = [file for file in files if _stem(file.name) == language]
        # One name for the gold files of several languages says nothing.
        shared = sum(_stem(Path(other).name) == _stem(Path(path).name) for _, other in gold) > 1
        candidates = same_language if shared or not same_name else same_name
        if len(candidates) != 1:
            shown = ", ".join(file.name for file in (candidates or files)[:6]) or "no files"
            problem = "several could have" if candidates else "none has"
            raise data_error(
                folder,
                None,
                f"of the files in this folder {problem} the predictions for {path} ({shown}): name one "
                f"{_stem(Path(path).name)!r} or {language!r} and what ending you like",
            )
        found[path] = str(candidates[0])
    reused = [file for file in found.values() if list(found.values()).count(file) > 1]
    if reused:
        raise data_error(
            reused[0], None, "the file is named as if it had the predictions for several gold files; split it"
        )
    return found


def _stem(name: str) -> str:
    return name.split(".")[0]


def _json_lines(file: str) -> Iterator[Prediction]:
    for number, line in text_lines(file):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise data_error(file, number, f"the line is not JSON ({error})") from None
        if not isinstance(value, dict):
            raise data_error(file, number, "the line is not a JSON object with words and tags")
        prediction = _prediction(file, number, value)
        if prediction.words or prediction.tags:
            yield prediction


def _prediction(file: str, line: int, value: Dict[str, Any]) -> Prediction:
    words, tags = (_strings(file, line, value, name) for name in ("words", "tags"))
    if len(words) != len(tags):
        raise data_error(file, line, f"the sentence has {len(words)} words but {len(tags)} tags")
    probabilities = value.get("tag_probabilities")
    if probabilities is not None:
        if not isinstance(probabilities, list) or not all(map(_is_probability, probabilities)):
            raise data_error(file, line, '"tag_probabilities" is not a list of numbers from 0 to 1')
        if len(probabilities) != len(words):
            raise data_error(file, line, f"the sentence has {len(words)} words but {len(probabilities)} probabilities")
        probabilities = tuple(map(float, probabilities))
    entities = value.get("entities")
    if entities is not None:
        if not isinstance(entities, list):
            raise data_error(file, line, '"entities" is not a list')
        found = [_entity(file, line, entity, len(words)) for entity in entities]
        # Those of a tool that says where entities are but not how sure it is are read from the tags.
        entities = None if None in found else tuple(entity for entity in found if entity is not None)
    return Prediction(words, tags, probabilities, entities, file, line)


def _strings(file: str, line: int, value: Dict[str, Any], name: str) -> Tuple[str, ...]:
    strings = value.get(name)
    if not isinstance(strings, list) or not all(isinstance(one, str) for one in strings):
        raise data_error(
            file,
            line,
            f'"{name}" is {"missing" if name not in value else "not a list of strings"}; a prediction has the fields '
            "words and tags, as `allennlp predict` writes them",
        )
    return tuple(strings)


def _entity(file: str, line: int, value: Any, length: int) -> Optional[PredictedEntity]:
    fields = value if isinstance(value, dict) else {}
    label, start, end = (fields.get(name) for name in ("label", "start_word", "end_word"))
    # Not `isinstance`: `true` is a number in Python.
    if not (isinstance(label, str) and type(start) is int and type(end) is int and 0 <= start < end <= length):
        raise data_error(
            file,
            line,
            f"the entity {json.dumps(value, ensure_ascii=False)} is no stretch of the {length} words: it needs label, "
            "start_word and end_word, the end exclusive",
        )
    probability = fields.get("probability")
    if probability is None:
        return None
    if not _is_probability(probability):
        raise data_error(file, line, f"the probability {probability!r} of an entity is no number from 0 to 1")
    return PredictedEntity(label, start, end, float(probability))


def _is_probability(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
