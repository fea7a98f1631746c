"""Pretrained encoders that are not trained further: what they say of a sentence is computed once."""

from structkd_plugin.frozen_encoders.frozen_encoder import FrozenEncoder
from structkd_plugin.frozen_encoders.frozen_encoder_indexer import FrozenEncoderIndexer
from structkd_plugin.frozen_encoders.projection_embedder import ProjectionEmbedder
from structkd_plugin.frozen_encoders.universal_sentence_encoder import UniversalSentenceEncoder

__all__ = ["FrozenEncoder", "FrozenEncoderIndexer", "ProjectionEmbedder", "UniversalSentenceEncoder"]
