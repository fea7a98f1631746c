"""
Structure-level knowledge distillation of sequence labellers, as an AllenNLP plugin.

Importing it registers its components. Where AllenNLP is not installed it registers nothing, so that
`structkd_plugin.crf` is of use with torch alone.
"""

from importlib.util import find_spec

if find_spec("allennlp") is not None:
    try:
        from structkd_plugin import allennlp_compat, archive_safety, console

        console.install()
        allennlp_compat.apply()
        archive_safety.guard()

        from structkd_plugin import (  # noqa: F401
            frozen_encoders,
            objectives,
            predictors,
            random_state,
            readers,
            schedules,
            subwords,
            tagger,
            training_summary,
        )
        from structkd_plugin.commands import (  # noqa: F401
            cache_teacher,
            calibrate_teacher,
            compare,
            export,
            inspect_teacher,
            report,
            score,
            tag,
        )
        from structkd_plugin.teacher import callback, self_teacher, sources  # noqa: F401
    except ModuleNotFoundError as error:
        # AllenNLP takes this very error for a plugin that is not there: it logs a line and goes on without.
        raise ImportError(
            f"structkd_plugin cannot be loaded, because the module {error.name!r} is not installed: "
            "install requirements.txt as docs/installation.md says"
        ) from error
