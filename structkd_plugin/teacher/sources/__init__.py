"""
The kinds of teachers that can be captured, behind one interface, and how one is found from what a command line names.

The only part of the data side that may import `structkd_plugin.crf`: the K best labellings of any teacher are computed
here, once, from its potentials.
"""

from structkd_plugin.teacher.sources.captured_teacher import CapturedTeacher
from structkd_plugin.teacher.sources.ensemble import EnsembleTeacher
from structkd_plugin.teacher.sources.hugging_face import HuggingFaceTeacher
from structkd_plugin.teacher.sources.stock_archive import StockArchiveTeacher
from structkd_plugin.teacher.sources.structkd_archive import StructkdArchiveTeacher

__all__ = [
    "CapturedTeacher",
    "EnsembleTeacher",
    "HuggingFaceTeacher",
    "StockArchiveTeacher",
    "StructkdArchiveTeacher",
]
