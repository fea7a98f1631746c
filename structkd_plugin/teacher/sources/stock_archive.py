"""Archives of AllenNLP's own taggers as teachers: `crf_tagger` and `simple_tagger`."""

from typing import Any, Dict, Mapping, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models.archival import Archive
from allennlp.models.simple_tagger import SimpleTagger
from allennlp.modules.conditional_random_field.conditional_random_field import (
    ConditionalRandomField,
    allowed_transitions,
)

from structkd_plugin.teacher.fingerprint import teacher_fingerprint
from structkd_plugin.teacher.format import LOG_PROBABILITIES, POTENTIALS
from structkd_plugin.teacher.sources.archived_teacher import ArchivedTeacher
from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher, no_tables


@CapturedTeacher.register("allennlp", constructor="from_path")
class StockArchiveTeacher(ArchivedTeacher):
    """
    A `crf_tagger` or a `simple_tagger`: `{"type": "allennlp", "path": ...}`.

    Of a `crf_tagger` the emissions are what its CRF is given and the tables its CRF's parameters: the distribution that
    it decodes from, before its constraints, which hold in decoding alone. Label weights, with which some of its CRFs
    scale their loss, are no part of that, as they are none of its decoding. A `simple_tagger` gives log-probabilities.
    Its labels are those of its label namespace, its label encoding the one that its configuration declares.

    # Parameters

    archive : `Archive`
        As `load_archive` gives it.

    # Raises

    `ConfigurationError` : for an archive of another model, and constraints that are not those of the label encoding.
    """

    def __init__(self, archive: Archive) -> None:
        model: Any = archive.model
        if not self.takes(model):
            raise ConfigurationError(
                f"the model of the archive is a {type(model).__name__}, neither a crf_tagger nor a simple_tagger"
            )
        names = model.vocab.get_index_to_token_vocabulary(model.label_namespace)
        label_encoding = archive.config.duplicate().get("model").get("label_encoding")
        crf = getattr(model, "crf", None)
        super().__init__(
            archive,
            [names[i] for i in range(len(names))],
            LOG_PROBABILITIES if crf is None else POTENTIALS,
            label_encoding,
            None if crf is None else _constraints(crf, names, label_encoding),
        )
        if crf is not None:
            # Its decoder goes through every sentence in Python, for tags that nobody asks for here.
            crf.viterbi_tags = _no_tags

    @staticmethod
    def takes(model: Any) -> bool:
        """Whether `model` is of this kind; a `crf_tagger` is told by its parts, as allennlp-models may be absent."""
        is_crf_tagger = (
            isinstance(getattr(model, "crf", None), ConditionalRandomField)
            and hasattr(model, "tag_projection_layer")
            and hasattr(model, "label_namespace")
        )
        return is_crf_tagger or isinstance(model, SimpleTagger)

    def fingerprint(self) -> str:
        """Hash of parameters, labels, constraint, vocabulary and all settings of the archive's reader."""
        return teacher_fingerprint(
            self.model.state_dict(),
            self.labels,
            self.label_encoding,
            self.constraints,
            {"reader": self._archived_settings, **self._tokenisation()},
        )

    def tables(self) -> Dict[str, torch.Tensor]:
        """The parameters of the CRF; zeros for what it has not."""
        tables = no_tables(len(self.labels))
        if self.kind == POTENTIALS:
            crf = self.model.crf
            for name in tables:
                # Made without start and end tables, it scores as if they were 0.
                if hasattr(crf, name):
                    tables[name] = getattr(crf, name).detach().float().cpu()
        return tables

    def _emissions_of(self, output: Mapping[str, torch.Tensor]) -> torch.Tensor:
        # (B, T, L)
        emissions = output["logits"].float()
        return emissions if self.kind == POTENTIALS else emissions.log_softmax(dim=2)


def _no_tags(logits: torch.Tensor, mask: Any = None, top_k: Any = None) -> Any:
    """One empty tagging for each sentence, in the place of `ConditionalRandomField.viterbi_tags`."""
    return [[([], 0.0)] for _ in logits]


def _constraints(crf: ConditionalRandomField, names: Dict[int, str], label_encoding: Optional[str]) -> Optional[str]:
    """Where the CRF is constrained: "decoding", or none."""
    # (L + 2, L + 2), with the beginning and the end of a sentence
    allowed = crf._constraint_mask.detach().cpu() > 0
    if bool(allowed.all()):
        return None
    expected = torch.zeros_like(allowed)
    if label_encoding is not None:
        expected[tuple(torch.tensor(allowed_transitions(label_encoding, names)).T)] = True
    if not torch.equal(allowed, expected):
        raise ConfigurationError(
            f"the CRF of the archive forbids other transitions than its label_encoding ({label_encoding}) does; a "
            "teacher store knows constraints by the name of the encoding alone. Override model.label_encoding with "
            "the one that the model was trained with"
        )
    return "decoding"
