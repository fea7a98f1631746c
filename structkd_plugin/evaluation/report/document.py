"""What a report consists of, whatever it is written as."""

from dataclasses import dataclass, field
from typing import Any, List, NamedTuple, Sequence, Tuple, Union

from structkd_plugin.presentation.drawing import Drawing


class Cell(NamedTuple):
    """A cell of a table, and what is said of its figure in small letters, such as an interval."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """
    # Parameters

    key : `str`
        Names the table in the document.
    caption : `str`
    header : `Sequence[str]`
    rows : `Sequence[Sequence[Cell]]`
        As long as the header; the first cell names the row.
    texts : `bool`, optional (default = `False`)
        Whether the cells are texts, which may be long, and not figures.
    """

    key: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"table {self.key}: a row of {len(row)} cells under {len(self.header)} heads")


@dataclass(frozen=True)
class Picture:
    """A drawing, which is also a file `<key>.svg`; a wide one is not made smaller than can be read."""

    key: str
    caption: str
    drawing: Drawing
    wide: bool = False


@dataclass(frozen=True)
class Pictures:
    """Drawings side by side, as many in a row as fit."""

    pictures: Tuple[Picture, ...]


Item = Union[Table, Picture, Pictures]


@dataclass
class Section:
    """
    # Parameters

    key : `str`
        Names the section in the document, and its figures in the JSON.
    title : `str`
    reading : `str`
        How to read it.
    items : `List[Item]`
    warnings : `List[str]`
        Sentences on what is not to be trusted. What stands between backticks is code, here and in `notes`.
    notes : `List[str]`
        Sentences on what is not there, and what to run.
    figures : `Any`
        What is shown, unrounded, in types that JSON has.
    """

    key: str
    title: str
    reading: str
    items: List[Item] = field(default_factory=list)
    warnings: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    figures: Any = None

    @property
    def tables(self) -> List[Table]:
        """The tables among the items."""
        return [item for item in self.items if isinstance(item, Table)]

    @property
    def pictures(self) -> List[Picture]:
        """All drawings, in their order."""
        found: List[Picture] = []
        for item in self.items:
            if isinstance(item, Picture):
                found.append(item)
            elif isinstance(item, Pictures):
                found += item.pictures
        return found


@dataclass(frozen=True)
class Document:
    """A title, a sentence on what the document is of, and its sections."""

    title: str
    subject: str
    sections: Tuple[Section, ...]
