"""Words for transformers: their subwords, in windows where a sentence has more of them than there is room for."""

from structkd_plugin.subwords.windowed_embedder import WindowedTransformerEmbedder
from structkd_plugin.subwords.windowed_indexer import WindowedTransformerIndexer

__all__ = ["WindowedTransformerEmbedder", "WindowedTransformerIndexer"]
