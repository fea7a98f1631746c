"""The keys in which configurations differ."""

import copy
import random
from typing import Any, Dict

from structkd_plugin.evaluation.report.configurations import differences, flattened


def at(configuration: Any, path: str) -> Any:
    """The value at a dotted path, by walking it."""
    for name in path.split("."):
        configuration = configuration[int(name)] if isinstance(configuration, list) else configuration[name]
    return configuration


def random_configuration(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.random()
    if depth < 3 and kind < 0.4:
        return {name: random_configuration(draw, depth + 1) for name in draw.sample("abcde", draw.randint(0, 3))}
    if depth < 3 and kind < 0.6:
        return [random_configuration(draw, depth + 1) for _ in range(draw.randint(0, 3))]
    return draw.choice([None, True, 0, 1, 1.5, "x", "1"])


def test_paths_lead_to_values() -> None:
    draw = random.Random(1)
    for _ in range(100):
        configuration = {"r": random_configuration(draw)}
        paths = dict(flattened(configuration))
        assert paths
        for path, value in paths.items():
            assert at(configuration, path) == value


def test_one_change_is_the_one_difference() -> None:
    draw = random.Random(2)
    found = 0
    for _ in range(100):
        configuration: Dict[str, Any] = {"r": random_configuration(draw)}
        assert differences([configuration, copy.deepcopy(configuration)]) == {}
        path = draw.choice([path for path, _ in flattened(configuration)])
        other = copy.deepcopy(configuration)
        *parents, name = path.split(".")
        inner = at(other, ".".join(parents)) if parents else other
        if isinstance(inner, list):
            inner[int(name)] = "changed"
        else:
            inner[name] = "changed"
        (key,) = differences([configuration, other])
        assert key == path
        assert differences([configuration, other])[path][1] == '"changed"'
        found += 1
    assert found == 100


def test_what_is_not_there_and_what_is_null_differ() -> None:
    assert differences([{"a": None, "b": 1}, {"b": 1}, {"a": 2, "b": 1}]) == {"a": ["null", None, "2"]}


def test_types_differ() -> None:
    assert differences([{"a": 1, "b": {"type": "x"}}, {"a": "1", "b": "x"}]) == {
        "a": ["1", '"1"'],
        "b": [None, '"x"'],
        "b.type": ['"x"', None],
    }
