"""Readers of labelled and unlabelled sentences; importing this package registers them."""

from structkd_plugin.readers.aspect_reader import AspectReader
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.readers.conllu_reader import ConlluReader
from structkd_plugin.readers.language_sampling import ExponentialSampling, LanguageSampling
from structkd_plugin.readers.mixture_reader import MixtureReader
from structkd_plugin.readers.plain_text_reader import PlainTextReader
from structkd_plugin.readers.recombined_reader import RecombinedReader
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_key import sentence_key
from structkd_plugin.readers.sentence_reader import SentenceReader
from structkd_plugin.readers.sharded_reader import ShardedReader

__all__ = [
    "AspectReader",
    "ColumnReader",
    "ConlluReader",
    "ExponentialSampling",
    "LanguageSampling",
    "MixtureReader",
    "PlainTextReader",
    "RecombinedReader",
    "Sentence",
    "SentenceReader",
    "ShardedReader",
    "sentence_key",
]
