"""Aspect terms in the XML of SemEval-2016 task 5 (and SemEval-2015 task 12)."""

import logging
import zlib
from typing import Any, Iterator, List, NamedTuple, Optional, Set
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, Locator

from allennlp.common.checks import ConfigurationError
from allennlp.data.dataset_readers.dataset_reader import DatasetReader
from defusedxml.common import DefusedXmlException
from defusedxml.sax import make_parser

from structkd_plugin.readers.aspect_alignment import AspectTerm, aligned_spans
from structkd_plugin.readers.errors import data_error
from structkd_plugin.readers.sentence import Sentence
from structkd_plugin.readers.sentence_reader import SentenceReader
from structkd_plugin.readers.text_lines import open_binary
from structkd_plugin.tag_schemes import canonical_scheme, tags_of
from structkd_plugin.tokenization import text_words

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 16
# The target of an opinion about something the sentence does not name.
_NO_TARGET = "NULL"


class _MarkedSentence(NamedTuple):
    line: int
    sentence_id: Optional[str]
    text: str
    terms: List[AspectTerm]


@DatasetReader.register("structkd_aspect")
class AspectReader(SentenceReader):
    """
    A reader of sentences with aspect terms: `sentence` elements with a `text` and, within `Opinions`, `Opinion`
    elements with a `target` and its offsets `from` and `to` in characters of the text.

    Words are found by spaCy's rules for the language; opinions without a target (`NULL`) are left out, and the same
    target under several opinions counts once. XML names its own encoding.

    Registered as a `DatasetReader` with name "structkd_aspect".

    # Parameters

    scheme : `str`, optional (default=`"BIO"`)
        The scheme to write the terms in, see `structkd_plugin.tag_schemes`.
    label : `str`, optional (default=`"ASPECT"`)
        The label of every term: `B-ASPECT`.
    misaligned : `str`, optional (default=`"expand"`)
        What to do with terms that do not fit the words: `"expand"` them, by the rule of
        `structkd_plugin.readers.aspect_alignment.aligned_spans`, which is counted and logged, or `"error"`.
    **kwargs :
        See `SentenceReader`.
    """

    def __init__(self, scheme: str = "BIO", label: str = "ASPECT", misaligned: str = "expand", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if misaligned not in ("expand", "error"):
            raise ConfigurationError(f'misaligned is {misaligned!r}; choose "expand" or "error"')
        if not label:
            raise ConfigurationError("label is empty; name the label that aspect terms get")
        try:
            self._scheme = canonical_scheme(scheme)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        self._label = label
        self._refuse = misaligned == "error"
        self._reported_misaligned: Set[str] = set()

    def parse(self, file: str, language: str) -> Iterator[Sentence]:
        """The sentences of one file."""
        changed = 0
        for marked in _marked_sentences(file):
            words = text_words(marked.text, language)
            if not words:
                raise data_error(file, marked.line, "the sentence has no words")
            try:
                spans, misalignments = aligned_spans(marked.text, words, marked.terms, self._label)
            except ValueError as error:
                reason, line = error.args
                raise data_error(file, line, reason) from error
            if misalignments and self._refuse:
                first = misalignments[0]
                raise data_error(file, first.line, f'{first.reason}; correct it or set misaligned to "expand"')
            changed += len(misalignments)
            yield Sentence(
                words=tuple(word.text for word in words),
                tags=tuple(tags_of(spans, len(words), self._scheme)),
                language=language,
                file=file,
                line=marked.line,
                sentence_id=marked.sentence_id,
            )
        if changed and file not in self._reported_misaligned:
            self._reported_misaligned.add(file)
            logger.warning("%s: changed %d aspect term(s) that did not fit the words", file, changed)


def _marked_sentences(file: str) -> Iterator[_MarkedSentence]:
    parser = make_parser()
    handler = _SentenceHandler(file, parser)
    parser.setContentHandler(handler)
    try:
        with open_binary(file) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                parser.feed(chunk)
                yield from handler.taken()
            parser.close()
    except SAXParseException as error:
        raise data_error(file, error.getLineNumber(), f"this is no well-formed XML ({error.getMessage()})") from error
    except DefusedXmlException as error:
        raise data_error(
            file, parser.getLineNumber(), "the XML declares entities or refers to other files, which is not read"
        ) from error
    except (LookupError, ValueError) as error:
        # From the parser, which asks Python for encodings that it does not know.
        raise data_error(file, parser.getLineNumber(), f"the XML's encoding cannot be read ({error})") from error
    except (EOFError, zlib.error, OSError) as error:
        raise data_error(file, None, f"the file cannot be read ({error})") from error


class _SentenceHandler(ContentHandler):
    """Collects the sentences of an XML file while it is parsed."""

    def __init__(self, file: str, locator: Locator) -> None:
        super().__init__()
        self._file = file
        # The parser: SAX sets it by itself only where it opens the file by itself.
        self._locator = locator
        self._done: List[_MarkedSentence] = []
        self._sentence_id: Optional[str] = None
        self._text_line: Optional[int] = None
        # The pieces of the text element that is open, and the text of the last one that was closed.
        self._pieces: Optional[List[str]] = None
        self._text: Optional[str] = None
        self._terms: List[AspectTerm] = []

    def taken(self) -> List[_MarkedSentence]:
        """The sentences that ended since the last call."""
        done, self._done = self._done, []
        return done

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        if name == "sentence":
            self._sentence_id, self._text_line, self._text = attrs.get("id"), None, None
            self._terms = []
        elif name == "text":
            self._text_line, self._pieces = self._line(), []
        elif name == "Opinion" and attrs.get("target", _NO_TARGET) != _NO_TARGET:
            self._terms.append(self._term(attrs))

    def characters(self, content: str) -> None:
        if self._pieces is not None:
            self._pieces.append(content)

    def endElement(self, name: str) -> None:
        if name == "text":
            self._text, self._pieces = "".join(self._pieces or ()), None
        elif name == "sentence":
            if self._text is None or self._text_line is None:
                raise data_error(self._file, self._line(), "the sentence that ends here has no text")
            self._done.append(_MarkedSentence(self._text_line, self._sentence_id, self._text, self._terms))

    def _term(self, attributes: AttributesImpl) -> AspectTerm:
        try:
            start, end = int(attributes["from"]), int(attributes["to"])
        except (KeyError, ValueError) as error:
            raise data_error(
                self._file, self._line(), "the opinion has a target, but its `from` and `to` are not whole numbers"
            ) from error
        return AspectTerm(attributes["target"], start, end, self._line())

    def _line(self) -> int:
        return self._locator.getLineNumber() or 0
