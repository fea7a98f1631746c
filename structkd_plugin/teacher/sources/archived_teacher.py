"""What teachers in AllenNLP archives have in common: a model, and a reader that makes instances of words."""

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data.batch import Batch
from allennlp.data.fields.text_field import TextField
from allennlp.data.instance import Instance
from allennlp.data.tokenizers.token_class import Token
from allennlp.models.archival import Archive, load_archive
from allennlp.modules.encoder_base import _EncoderBase
from allennlp.nn.util import get_text_field_mask, move_to_device

from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sharded_reader import ShardedReader
from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher, show


class ArchivedTeacher(CapturedTeacher):
    """
    A model in an archive of AllenNLP.

    Words become instances by the archive's own reader, of whatever kind that is, so that they are indexed as in its
    training; where the reader is one of this plugin's, it reads the files too.

    # Parameters

    archive : `Archive`
        As `load_archive` gives it.
    labels, kind, label_encoding, constraints
        As `CapturedTeacher` has them.
    """

    def __init__(
        self,
        archive: Archive,
        labels: Sequence[str],
        kind: str,
        label_encoding: Optional[str],
        constraints: Optional[str],
    ) -> None:
        settings = _reader_settings(archive)
        super().__init__(labels, kind, label_encoding, constraints, archive.validation_dataset_reader, settings)
        self.model: Any = archive.model
        self._archived_reader: Any = archive.validation_dataset_reader
        self._archived_settings = settings

    @classmethod
    def from_path(
        cls, path: str, overrides: Optional[Dict[str, Any]] = None, cuda_device: int = -1
    ) -> "ArchivedTeacher":
        """
        The teacher in an archive or serialization directory.

        # Parameters

        path : `str`
            `model.tar.gz` or a directory.
        overrides : `Dict[str, Any]`, optional
            What to change in the archive's configuration.
        cuda_device : `int`, optional (default = -1)
            Number of the GPU; −1 is the CPU.
        """
        # Each kind is made of its archive alone.
        return cls(load_archive(path, cuda_device=cuda_device, overrides=overrides or ""))  # type: ignore[call-arg]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def eval(self) -> None:
        """Put the model into evaluation mode."""
        self.model.eval()

    def emissions(self, sentences: Sequence[Sentence]) -> List[np.ndarray]:
        """The emissions of `sentences`, computed as one batch; float32, (T, L) each."""
        batch = Batch([self._instance(sentence) for sentence in sentences])
        batch.index_instances(self.model.vocab)
        # Some encoders, as ELMo's, go on from the batch before unless told otherwise.
        for module in self.model.modules():
            if isinstance(module, _EncoderBase):
                module.reset_states()
        tensors = move_to_device(batch.as_tensor_dict(), self.device)
        # (B, T, L)
        rows = self._emissions_of(self.model(**tensors)).cpu().numpy()
        lengths = get_text_field_mask(tensors["tokens"]).sum(dim=1).tolist()
        for sentence, length in zip(sentences, lengths, strict=True):
            if length != len(sentence.words):
                raise ConfigurationError(
                    f"the teacher sees {length} of the {len(sentence.words)} words of {show(sentence)}. Set the "
                    "`max_length` of its token indexer so that it sees all."
                )
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    def _emissions_of(self, output: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """What the model gave, as emissions: float32, (B, T, L)."""
        raise NotImplementedError

    def _tokenisation(self) -> Dict[str, Any]:
        """How words become numbers, for the fingerprint."""
        vocabulary = self.model.vocab
        return {
            "vocabulary": {
                namespace: list(vocabulary.get_token_to_index_vocabulary(namespace).items())
                for namespace in sorted(vocabulary.get_namespaces())
            }
        }

    def _instance(self, sentence: Sentence) -> Instance:
        reader = self._archived_reader
        if isinstance(reader, ShardedReader):
            instance = reader.text_to_instance(
                sentence.words, None, sentence.language, sentence.file, sentence.line, sentence.sentence_id
            )
        else:
            instance = _instance_of_words(reader, sentence)
        reader.apply_token_indexers(instance)
        return instance


def _reader_settings(archive: Archive) -> Dict[str, Any]:
    """The configuration of the reader that `Archive.validation_dataset_reader` is."""
    config = archive.config.duplicate().as_dict(quiet=True)
    settings: Dict[str, Any] = config.get("validation_dataset_reader") or config["dataset_reader"]
    return settings


def _instance_of_words(reader: Any, sentence: Sentence) -> Instance:
    """The instance that a reader not of this plugin makes of words alone: some take tokens, others strings."""
    as_readers_take_them: List[Callable[[str], Any]] = [Token, str]
    reason = "it changes them"
    for word_of in as_readers_take_them:
        try:
            instance: Instance = reader.text_to_instance([word_of(word) for word in sentence.words])
        except (TypeError, AttributeError, AssertionError, ConfigurationError) as error:
            reason = str(error)
            continue
        field = instance.fields.get("tokens")
        if isinstance(field, TextField) and [token.text for token in field.tokens] == list(sentence.words):
            return instance
    raise ConfigurationError(
        f"the archive's reader, a {type(reader).__name__}, cannot make an instance with the field `tokens` of the "
        f"words {show(sentence)} alone: {reason}"
    )
