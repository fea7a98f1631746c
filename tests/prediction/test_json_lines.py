"""Lines written by hand are those of the standard library."""

import json
from typing import Any, Dict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from structkd_plugin.prediction.json_lines import json_line, prediction_line
from structkd_plugin.prediction.json_sentences import rounded

# Every float32 that a model may say, and those around what is written otherwise: 0, 0.0001, 0.999999, 1.
PROBABILITIES = st.one_of(
    st.floats(0, 1),
    st.floats(0, 1, width=32),
    st.floats(0, 0.00011),
    st.floats(0.99999, 1),
    st.integers(0, 2_000_000).map(lambda halves: halves / 2_000_000),
    st.just(float("nan")),
)
TEXTS = st.one_of(
    st.text(max_size=12), st.text(st.characters(), max_size=6), st.sampled_from(['"', "\\", "\x00", "\ud83d", "é"])
)
ENTITIES = st.fixed_dictionaries({"text": TEXTS, "label": TEXTS, "start": st.integers(), "probability": PROBABILITIES})
PREDICTIONS = st.fixed_dictionaries(
    {
        "text": TEXTS,
        "language": TEXTS,
        "words": st.lists(TEXTS, max_size=5),
        "tags": st.lists(TEXTS, max_size=5),
        "tag_probabilities": st.lists(PROBABILITIES, max_size=8),
    },
    optional={
        "label_probabilities": st.lists(st.dictionaries(TEXTS, PROBABILITIES, max_size=3), max_size=3),
        "entities": st.lists(ENTITIES, max_size=3),
        "k_best": st.lists(st.fixed_dictionaries({"tags": st.lists(TEXTS), "probability": PROBABILITIES}), max_size=2),
        "line": st.integers(),
        'a "name"': st.one_of(st.booleans(), st.none(), st.floats(), st.lists(st.integers(), max_size=2), TEXTS),
    },
)


@given(PREDICTIONS)
def test_a_line_is_what_json_writes(outputs: Dict[str, Any]) -> None:
    expected = json.dumps(rounded(outputs), ensure_ascii=False)
    try:
        expected.encode()
    except UnicodeEncodeError:
        expected = json.dumps(rounded(outputs))
    assert prediction_line(outputs) == expected + "\n"
    assert json_line(rounded(outputs)) == expected + "\n"


def test_all_numbers_of_six_decimals() -> None:
    numbers = (np.arange(0, 1_000_001, 7) / 1_000_000).tolist() + np.random.default_rng(0).random(20_000).tolist()
    line = prediction_line({"tag_probabilities": numbers})
    assert line == json.dumps({"tag_probabilities": [round(number, 6) for number in numbers]}) + "\n"


def test_half_a_character_is_escaped() -> None:
    assert prediction_line({"words": ["a\ud83d", "é"], "tag_probabilities": [0.5]}) == (
        '{"words": ["a\\ud83d", "\\u00e9"], "tag_probabilities": [0.5]}\n'
    )
