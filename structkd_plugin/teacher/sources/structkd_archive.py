"""Archives of this plugin's own tagger as teachers."""

from typing import Any, Dict, Mapping

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import Archive

from structkd_plugin.crf import LinearChainCRFLayer
from structkd_plugin.teacher.fingerprint import teacher_fingerprint
from structkd_plugin.teacher.format import LOG_PROBABILITIES, POTENTIALS, TABLE_NAMES
from structkd_plugin.teacher.sources.archived_teacher import ArchivedTeacher
from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher

# What of a reader's settings decides how words become numbers.
_TOKENISATION_SETTINGS = ("token_indexers", "tokenizer")


@CapturedTeacher.register("structkd", constructor="from_path")
class StructkdArchiveTeacher(ArchivedTeacher):
    """
    A `structkd_tagger`, CRF or softmax: `{"type": "structkd", "path": ...}`.

    # Parameters

    archive : `Archive`
        As `load_archive` gives it.

    # Raises

    `ConfigurationError` : for an archive of another model.
    """

    def __init__(self, archive: Archive) -> None:
        if not self.takes(archive.model):
            raise ConfigurationError(
                f"the model of the archive is a {type(archive.model).__name__}, not a structkd_tagger"
            )
        model: Any = archive.model
        constraints = model.crf.constraints_in if model.crf.constrained else None
        super().__init__(
            archive,
            model.labels,
            # Forbidden transitions make a chain of a softmax tagger too.
            POTENTIALS if model.crf.learn_transitions or constraints == "everywhere" else LOG_PROBABILITIES,
            model.label_encoding,
            constraints,
        )

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether `model` is of this kind."""
        has_crf = isinstance(getattr(model, "crf", None), LinearChainCRFLayer)
        return has_crf and hasattr(model, "labels") and hasattr(model, "label_encoding")

    def read_with(self, settings: Dict[str, Any]) -> None:
        """Have the files read by another reader, which gets the archive's token indexers."""
        archived = self._archived_settings
        super().read_with({**settings, **{name: archived[name] for name in _TOKENISATION_SETTINGS if name in archived}})

    def fingerprint(self) -> str:
        """Hash of parameters, labels, constraint, vocabulary and the settings of the token indexers."""
        return teacher_fingerprint(
            self.model.state_dict(), self.labels, self.label_encoding, self.constraints, self._tokenisation()
        )

    def tables(self) -> Dict[str, torch.Tensor]:
        """The tables of the distribution that the tagger was trained as."""
        return {name: table.float().cpu() for name, table in zip(TABLE_NAMES, self.model.crf.tables(), strict=True)}

    def _emissions_of(self, output: Mapping[str, torch.Tensor]) -> torch.Tensor:
        # (B, T, L)
        emissions = output["emissions"].float()
        return emissions if self.model.crf.learn_transitions else emissions.log_softmax(dim=2)

    def _tokenisation(self) -> Dict[str, Any]:
        return {"reader": _tokenisation(self._archived_settings), **super()._tokenisation()}


def _tokenisation(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Of a reader's settings those that decide how words become numbers; readers may contain readers."""
    kept: Dict[str, Any] = {}
    for name, value in settings.items():
        if name in _TOKENISATION_SETTINGS:
            kept[name] = value
        elif isinstance(value, Mapping) and _tokenisation(value):
            kept[name] = _tokenisation(value)
    return kept
