"""A list of the sentences with wrong tags, to read."""

from typing import Iterable, Iterator, TextIO

from structkd_plugin.evaluation.tagged_sentence import TaggedSentence

HEADER = ("language", "place", "wrong", "words")


def listed(tagged: Iterable[TaggedSentence], output: TextIO) -> Iterator[TaggedSentence]:
    """
    The same sentences; those with wrong tags are written while they pass.

    # Parameters

    tagged : `Iterable[TaggedSentence]`
    output : `TextIO`
        Gets lines of tab-separated values: the language, file and line, how many tags are wrong, and the words, each
        wrong one as `word[gold→predicted]`.
    """
    print(*HEADER, sep="\t", file=output)
    for sentence in tagged:
        gold = sentence.gold
        if gold.tags is not None and sentence.tags != gold.tags and len(sentence.tags) == len(gold.tags):
            words = [
                word if tag == guess else f"{word}[{tag}→{guess}]"
                for word, tag, guess in zip(gold.words, gold.tags, sentence.tags, strict=True)
            ]
            wrong = sum(tag != guess for tag, guess in zip(gold.tags, sentence.tags, strict=True))
            place = "" if gold.file is None else f"{gold.file}:{gold.line}"
            print(gold.language, place, wrong, " ".join(words), sep="\t", file=output)
        yield sentence
