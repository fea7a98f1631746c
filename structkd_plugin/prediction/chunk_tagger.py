"""Pieces of input files in, what is to be written of them out: all of the work that processes share."""

from typing import Iterator, List, NamedTuple, Optional, Union

from structkd_plugin.prediction.column_input import ColumnFormat
from structkd_plugin.prediction.conllu_input import ConlluLabel, conllu_sentences
from structkd_plugin.prediction.input_chunks import BLOCK_FORMATS, Chunk
from structkd_plugin.prediction.input_sentence import InputSentence, Problem, encoding_problem, split_line_end
from structkd_plugin.prediction.line_inputs import LINE_INPUTS
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.prediction.tagged_output import Place, TaggedOutput, Unwritable
from structkd_plugin.prediction.tagging import Tagging


class TagOptions(NamedTuple):
    """What is to be done with sentences; see `ChunkTagger`."""

    output_format: str = "jsonl"
    batch_size: int = 64
    k_best: int = 0
    all_labels: bool = False
    # Whether to go on after what cannot be tagged.
    skip: bool = False
    columns: ColumnFormat = ColumnFormat()


class TaggedChunk(NamedTuple):
    """What comes of a piece: its lines, what was counted, and what was wrong."""

    chunk: Chunk
    output: bytes
    sentences: int
    words: int
    # At most one, and nothing tagged behind it, where nothing is to be skipped.
    problems: List[Problem]


class ChunkTagger:
    """
    Tags pieces of files.

    # Parameters

    tagger : `SentenceTagger`
    options : `TagOptions`
    conllu : `ConlluLabel`
        Where CoNLL-U has the tags.
    """

    def __init__(self, tagger: SentenceTagger, options: TagOptions, conllu: ConlluLabel) -> None:
        self._tagger = tagger
        self._options = options
        self.output = TaggedOutput(
            options.output_format, tagger.labels, options.all_labels, options.k_best, options.columns, conllu
        )
        self._nothing = Tagging((), (), None if tagger.label_encoding is None else ())

    def tagged(self, chunk: Chunk) -> TaggedChunk:
        """
        What comes of a piece of a file.

        # Raises

        Nothing for what is wrong with the input: that is among the result's `problems`.
        """
        units: List[Union[InputSentence, Problem]] = []
        for unit in self._units(chunk):
            units.append(unit)
            if isinstance(unit, Problem) and not self._options.skip:
                break
        taggings = iter(self._taggings([unit for unit in units if isinstance(unit, InputSentence) and unit.words]))
        place = Place(chunk.file.name, chunk.file.format, chunk.width)
        lines: List[str] = []
        problems: List[Problem] = []
        sentences = words = 0
        for unit in units:
            if isinstance(unit, InputSentence):
                tagging = next(taggings) if unit.words else self._nothing
                try:
                    lines.append(self.output.lines(unit, tagging, place))
                    sentences += bool(unit.words)
                    words += len(unit.words)
                    continue
                except Unwritable as error:
                    unit = Problem(unit.line, str(error))
            problems.append(unit)
            if not self._options.skip:
                break
            lines.append(self.output.error(chunk.file.name, *unit))
        # The bytes of comments that are no UTF-8 come out as they were.
        output = "".join(lines).encode("utf-8", "surrogateescape")
        return TaggedChunk(chunk, output, sentences, words, problems)

    def _taggings(self, sentences: List[InputSentence]) -> Iterator[Tagging]:
        options = self._options
        json = options.output_format == "jsonl"
        return self._tagger.stream(
            [Words(sentence.words, sentence.language) for sentence in sentences],
            options.batch_size,
            label_probabilities=json and options.all_labels,
            k_best=options.k_best if json else 0,
            tag_probabilities=json,
            entities=options.output_format not in BLOCK_FORMATS,
        )

    def _units(self, chunk: Chunk) -> Iterator[Union[InputSentence, Problem]]:
        lines = _lines(chunk.data)
        language = chunk.file.language
        if chunk.file.format == "conllu":
            yield from conllu_sentences(lines, chunk.first, language)
        elif chunk.file.format == "conll":
            yield from self._options.columns.sentences(lines, chunk.first, language, chunk.width)
        else:
            parse = LINE_INPUTS[chunk.file.format]
            for number, raw in enumerate(lines, start=chunk.first):
                line, _ = split_line_end(raw)
                wrong: Optional[str] = encoding_problem(line)
                if wrong is not None:
                    yield Problem(number, wrong)
                else:
                    yield from parse(line, number, language)


def _lines(data: bytes) -> List[str]:
    """Lines with their ends; bytes that are no UTF-8 are escaped, which is seen by `encoding_problem`."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    last = lines.pop()
    found = [line + "\n" for line in lines]
    return [*found, last] if last else found
