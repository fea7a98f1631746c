"""The configurations of a study's runs, which it writes, and the files that these import."""

import json
import os
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Set, Tuple

import plan

# Beside this file's folder: what adds sentences without tags to a configuration.
_UNLABELLED_CONFIG = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "unlabelled.libsonnet")
_IMPORT = re.compile(r"\bimport(?:str|bin)?\s+(['\"])(.+?)\1")


def task_text(study: plan.Study) -> str:
    """The Jsonnet of the task: that of the study file, reading the study's data."""
    folder = json.dumps(f"{study.folder}/data/", ensure_ascii=False)
    names = json.dumps(sorted(study.task_options), ensure_ascii=False)
    return "\n".join(
        [
            f"local task = import {_relative(study.task, study.folder)};",
            f"local unknown = [name for name in {names} if !std.objectHasAll(task, name)];",
            "assert unknown == [] : 'task_options has %s, which the task does not' % std.join(', ', unknown);",
            "task {",
            # A mapping adds to the task's own, as settings of its reader.
            *_hidden(study.task_options, merged=True),
            f"  file(language, split):: {folder} + language + '/' + split + {json.dumps(study.suffix)},",
            "}",
            "",
        ]
    )


def teacher_text(study: plan.Study, teachers: str, language: str) -> str:
    """The configuration of a teacher."""
    described = study.teachers[teachers]
    return _config_text(study, described.config, {"language": language, **described.options})


def student_text(study: plan.Study, row: plan.Row, seed: int) -> str:
    """The configuration of a student."""
    # Null: configurations that distil have stores of their own to begin with.
    options: Dict[str, Any] = {"languages": list(study.languages), "seed": seed, "stores": None, **row.options}
    if row.teachers is not None:
        # A folder where there is one for each language in it: shorter to read.
        more = row.unlabelled or row.recombined
        options["stores"] = study.stores(row) if more else f"{study.folder}/stores/{row.teachers}"
    parts = _more_parts(study, row)
    if not parts:
        return _config_text(study, row.config, options)
    if len(parts) == 1:
        ((options["unlabelled_reader"], options["unlabelled"]),) = parts.values()
    else:
        readers = {name: reader for name, (reader, _) in parts.items()}
        options["unlabelled_reader"] = {"type": "structkd_mixture", "readers": readers}
        options["unlabelled"] = {name: files for name, (_, files) in parts.items()}
    return _config_text(study, row.config, options, _UNLABELLED_CONFIG)


def _more_parts(study: plan.Study, row: plan.Row) -> Dict[str, Tuple[Mapping[str, Any], Dict[str, str]]]:
    """For each kind of further sentences of a row: their reader and, by language, their files."""
    parts: Dict[str, Tuple[Mapping[str, Any], Dict[str, str]]] = {}
    for kind, languages in ((plan.UNLABELLED, row.unlabelled), (plan.RECOMBINED, row.recombined)):
        for language in languages:
            ((file, reader),) = study.more_data(kind, language)
            parts.setdefault(kind, (reader, {}))[1][language] = file
    return parts


def teachers_together(study: plan.Study, teachers: str) -> str:
    """The description of all teachers of a kind as one, for languages that have none of their own."""
    return _together([study.teacher(teachers, language) for language in study.languages])


def students_together(study: plan.Study, speakers: str) -> str:
    """The description of all students of the rows that speak together as one teacher."""
    return _together([folder for row in study.speaking(speakers) for folder in study.students(row)])


def _together(folders: Sequence[str]) -> str:
    members = [{"type": "structkd", "path": f"{folder}/model.tar.gz"} for folder in folders]
    return json.dumps({"type": "ensemble", "members": members}, indent=2) + "\n"


def texts(study: plan.Study) -> Dict[str, str]:
    """The text of every configuration, by the name of its file without folder and ending."""
    found = {
        plan.teacher_name(teachers, language): teacher_text(study, teachers, language)
        for teachers in study.needed_teachers()
        for language in study.languages
    }
    for row in study.rows:
        found.update({plan.student_name(row.slug, seed): student_text(study, row, seed) for seed in row.seeds})
    return found


def files_of_row(row: plan.Row) -> List[str]:
    """The Jsonnet files that the configuration of a row is made of, apart from the task's."""
    # Below the current directory as the others: a moved checkout is no other study.
    more = [os.path.relpath(_UNLABELLED_CONFIG)] if row.unlabelled or row.recombined else []
    return [*imported_files(row.config), *more]


def imported_files(config: str) -> List[str]:
    """
    A Jsonnet file and all files that it imports, by whatever way, in the order in which they are met.

    # Parameters

    config : `str`
        Its path; imports are looked for beside the file that has them.
    """
    return list(_imported(os.path.normpath(config), set()))


def _imported(path: str, met: Set[str]) -> Iterator[str]:
    if path in met or not os.path.isfile(path):
        return
    met.add(path)
    yield path
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for match in _IMPORT.finditer("\n".join(line.partition("//")[0] for line in lines)):
        yield from _imported(os.path.normpath(os.path.join(os.path.dirname(path), match[2])), met)


def _config_text(study: plan.Study, config: str, options: Mapping[str, Any], *additions: str) -> str:
    imports = [f"(import {_relative(file, f'{study.folder}/configs')})" for file in (config, *additions)]
    lines = [
        f"{' + '.join(imports)} {{",
        "  task:: import '../task.libsonnet',",
    ]
    if study.frozen_encoder is not None:
        options = {"frozen_encoder": study.frozen_encoder, **options}
    return "\n".join(
        [
            "// Written by the study: change its file instead.",
            *lines,
            *_hidden(options),
            # Students and teachers are evaluated on their own, in more detail.
            "  evaluate_on_test: false,",
            "  test_data_path: null,",
            f"  trainer+: {{ cuda_device: {study.cuda_device} }},",
            "}",
            "",
        ]
    )


def _hidden(options: Mapping[str, Any], merged: bool = False) -> List[str]:
    return [
        f"  {name}{'+' if merged and isinstance(value, Mapping) else ''}:: {json.dumps(value, ensure_ascii=False)},"
        for name, value in options.items()
    ]


def _relative(file: str, folder: str) -> str:
    # Real paths: the folder of the runs may be a link to another disk, where `..` leads elsewhere.
    return json.dumps(os.path.relpath(os.path.realpath(file), os.path.realpath(folder)), ensure_ascii=False)
