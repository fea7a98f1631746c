"""In what the configurations of several runs differ."""

import json
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple


def flattened(value: Any, path: str = "") -> Iterator[Tuple[str, Any]]:
    """Every value in a configuration that holds no others, with its dotted path; in a list, numbers are names."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flattened(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from flattened(inner, f"{path}.{number}" if path else str(number))
    elif path:
        yield path, value


def differences(configurations: Sequence[Mapping[str, Any]]) -> Dict[str, List[Optional[str]]]:
    """
    The keys that do not have the same value everywhere.

    # Parameters

    configurations : `Sequence[Mapping[str, Any]]`

    # Returns

    `Dict[str, List[Optional[str]]]` : by dotted path, sorted, the JSON of the value in each configuration; none where
        it is not set.
    """
    flat = [{key: json.dumps(value, ensure_ascii=False) for key, value in flattened(one)} for one in configurations]
    found = {key: [one.get(key) for one in flat] for key in sorted({key for one in flat for key in one})}
    return {key: values for key, values in found.items() if len(set(values)) > 1}
