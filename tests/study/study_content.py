"""A small study file for the tests of what is made of it."""

BASELINE = {"name": "Baseline", "config": "training_configs/baseline.jsonnet", "teachers": "none"}
POSTERIOR = {"name": "Posterior", "config": "training_configs/posterior.jsonnet"}
TEXT = {"files": "fixtures/text/{language}.txt", "languages": ["en", "nl"]}
TEXT_ROW = {**POSTERIOR, "name": "Text", "unlabelled": True}
RECOMBINED = {"reader": {"type": "structkd_conllu", "label": None}, "sentences": 9}
TOP_WK = {"name": "Top-WK", "config": "training_configs/top_wk.jsonnet"}


def given(**changes):
    """The content of a small study file; `None` takes a key out."""
    content = {
        "name": "small",
        "task": "training_configs/upos.libsonnet",
        "corpus": "fixtures/upos",
        "files": "{corpus}/{language}/{split}.conllu",
        "languages": ["de", "en"],
        "zero_shot": ["nl"],
        "seeds": [1, 2],
        "teachers": {"crf": {"config": "training_configs/teacher.libsonnet", "options": {"epochs": 3}}},
        "students": {"options": {"epochs": 2}},
        "baseline": "Baseline",
        "rows": [BASELINE, POSTERIOR],
        **changes,
    }
    return {key: value for key, value in content.items() if value is not None}
