"""Metrics of a tagger of several languages, right under distributed training."""

from structkd_plugin.metrics.accuracy_by_language import AccuracyByLanguage
from structkd_plugin.metrics.sentence_averages import SentenceAverages
from structkd_plugin.metrics.span_f1_by_language import SpanF1ByLanguage, SpanScores

__all__ = ["AccuracyByLanguage", "SentenceAverages", "SpanF1ByLanguage", "SpanScores"]
