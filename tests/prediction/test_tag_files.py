"""Files of every format tagged into every format, whole or not at all, by one process or several."""

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from allennlp.common.checks import ConfigurationError

from structkd_plugin.prediction import tag_files as module
from structkd_plugin.prediction.chunk_tagger import ChunkTagger, TagOptions
from structkd_plugin.prediction.input_chunks import InputFile, format_of
from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.prediction.tag_files import tag_files
from structkd_plugin.readers.column_reader import ColumnReader
from structkd_plugin.readers.conllu_reader import ConlluReader
from structkd_plugin.tag_schemes import spans_of

from ..teacher.training import make_archive, write_corpus

SENTENCES = ["Ada met Rome .", "Karl", "w1 Bonn Anna w0"]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> SentenceTagger:
    folder = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        write_corpus(folder / f"{language}.train.conll", language, 16)
    return SentenceTagger.from_path(str(make_archive(folder / "archive", folder)))


def tagged(
    tagger: SentenceTagger, folder: Path, contents: Dict[str, Any], format: str = "jsonl", **options: Any
) -> str:
    """The output for files by their names."""
    files = []
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        files.append(InputFile(str(folder / name), "de", format_of(name)))
    extra = {name: options.pop(name) for name in ("reader", "processes", "reopen") if name in options}
    options = {"batch_size": 2, **options}
    tag_files(tagger, files, str(folder / "output"), TagOptions(format, **options), quiet=True, **extra)
    return (folder / "output").read_bytes().decode()


def tags_of(tagger: SentenceTagger, sentences: List[str]) -> List[List[str]]:
    return [list(tagging.tags) for tagging in tagger.tag([Words(tuple(one.split()), "de") for one in sentences])]


def as_format(format: str) -> str:
    if format == "text":
        return "".join(f"{one}\n" for one in SENTENCES)
    if format == "words":
        return "\n".join(SENTENCES) + "\n\n"
    if format == "jsonl":
        return "".join(json.dumps({"words": one.split(), "language": "de"}) + "\n" for one in SENTENCES)
    if format == "conll":
        return "".join("".join(f"{word}\tB-PER\n" for word in one.split()) + "\n" for one in SENTENCES)
    return "".join(
        "".join("\t".join([str(number), word, *["_"] * 8]) + "\n" for number, word in enumerate(one.split(), start=1))
        + "\n"
        for one in SENTENCES
    )


SUFFIXES = {"text": ".txt", "jsonl": ".jsonl", "conll": ".conll", "conllu": ".conllu"}


@pytest.mark.parametrize("output", ["jsonl", "conll", "conllu", "entities", "entities-tsv"])
@pytest.mark.parametrize("input", SUFFIXES)
def test_every_format_into_every_format(tagger: SentenceTagger, tmp_path: Path, input: str, output: str) -> None:
    found = tagged(tagger, tmp_path, {"file" + SUFFIXES[input]: as_format(input)}, output)
    expected = tags_of(tagger, SENTENCES)
    if output == "jsonl":
        lines = [json.loads(line) for line in found.splitlines()]
        assert [line["tags"] for line in lines] == expected
        assert [line["words"] for line in lines] == [one.split() for one in SENTENCES]
        assert {line["language"] for line in lines} == {"de"}
        return
    if output in ("conll", "conllu"):
        (tmp_path / "again").write_text(found)
        reader = ColumnReader() if output == "conll" else ConlluReader(label="misc:NER", scheme="BIO")
        sentences = list(reader.parse(str(tmp_path / "again"), "de"))
        assert [list(sentence.tags or ()) for sentence in sentences] == expected
        assert [" ".join(sentence.words) for sentence in sentences] == SENTENCES
        return
    spans = [
        (span.label, span.start, span.end, number)
        for number, tags in enumerate(expected)
        for span in spans_of(tags, "BIO")
    ]
    assert len(spans) > 2
    if output == "entities":
        entities = [json.loads(line) for line in found.splitlines()]
    else:
        header, *rows = (line.split("\t") for line in found.splitlines())
        entities = [dict(zip(header, row, strict=True)) for row in rows]
    for entity, (label, start, end, number) in zip(entities, spans, strict=True):
        words = SENTENCES[number].split()
        assert (entity["label"], int(entity["start_word"]), int(entity["end_word"])) == (label, start, end)
        assert entity["text"] == " ".join(words[start:end])
        assert SENTENCES[number][int(entity["start"]) : int(entity["end"])] == entity["text"]
        assert 0 < float(entity["probability"]) <= 1
        assert entity["file"].endswith(SUFFIXES[input])
        assert entity["language"] == "de"


def test_text_and_words(tagger: SentenceTagger, tmp_path: Path) -> None:
    text = "\ufeff  Karl, Rome.\r\n\n \u200b\nAda"
    lines = [json.loads(line) for line in tagged(tagger, tmp_path, {"a.txt": text}).splitlines()]
    assert [(line["text"], line["line"], line["offset"]) for line in lines] == [("Karl, Rome.", 1, 2), ("Ada", 4, 0)]
    assert lines[0]["words"] == ["Karl", ",", "Rome", "."]
    path = tmp_path / "b"
    path.write_text("Karl,\tRome.\n\nAda\n")
    tag_files(tagger, [InputFile(str(path), "de", "words")], str(tmp_path / "out.jsonl"), quiet=True)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(line["words"], line["line"]) for line in lines] == [(["Karl,", "Rome."], 1), (["Ada"], 3)]


def test_offsets_of_entities_in_raw_text_count_from_the_lines_beginning(tagger: SentenceTagger, tmp_path: Path) -> None:
    text = "   " + " ".join(["Karl", "Rome", "Bonn"] * 4) + "\n"
    found = [json.loads(line) for line in tagged(tagger, tmp_path, {"a.txt": text}, "entities").splitlines()]
    assert found
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for entity in found)
    (line,) = tagged(tagger, tmp_path, {"a.txt": text}).splitlines()
    whole = json.loads(line)
    for entity, other in zip(whole["entities"], found, strict=True):
        assert whole["text"][entity["start"] : entity["end"]] == entity["text"]
        assert entity["start"] + whole["offset"] == other["start"]


def test_json_lines_carry_what_they_know(tagger: SentenceTagger, tmp_path: Path) -> None:
    lines = [
        {"id": 7, "text": "Anna wohnt."},
        {"words": [], "x": None},
        {"text": "a \ud800"},
        {"words": ["New York"], "language": "en"},
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines)
    found = [
        json.loads(line) for line in tagged(tagger, tmp_path, {"a.jsonl": data}, k_best=2, all_labels=True).splitlines()
    ]
    assert [(one["text"], one["language"]) for one in found] == [
        ("Anna wohnt.", "de"),
        ("", "de"),
        ("a \ud800", "de"),
        ("New York", "en"),
    ]
    assert (found[0]["id"], found[1]["x"], found[1]["tags"], found[1]["k_best"]) == (7, None, [], [])
    assert [len(one["k_best"]) for one in found] == [2, 0, 2, 2]
    assert found[0]["k_best"][0]["tags"] == found[0]["tags"]
    assert list(found[0]["label_probabilities"][0]) == list(tagger.labels)


@pytest.mark.parametrize("input", ["conll", "conllu"])
def test_files_are_kept_apart_and_their_marks_at_the_beginning(
    tagger: SentenceTagger, tmp_path: Path, input: str
) -> None:
    one = as_format(input).rstrip("\n")
    contents = {f"a.{input}": b"\xef\xbb\xbf" + one.encode(), f"b.{input}": one + "\n"}
    found = tagged(tagger, tmp_path, contents, input)
    assert found.startswith("\ufeff")
    (tmp_path / "again").write_text(found)
    reader = ColumnReader() if input == "conll" else ConlluReader(label=None)
    assert [" ".join(one.words) for one in reader.parse(str(tmp_path / "again"), "de")] == SENTENCES * 2
    with_mark = tagged(tagger, tmp_path, {f"b.{input}": one, f"a.{input}": contents[f"a.{input}"]}, input)
    (tmp_path / "again").write_text(with_mark)
    assert [" ".join(one.words) for one in reader.parse(str(tmp_path / "again"), "de")] == SENTENCES * 2


def test_columns_that_go_in_come_out(tagger: SentenceTagger, tmp_path: Path) -> None:
    data = "-DOCSTART- -X- O\n\n# sent_id = 3\nAda NN\tO\nmet  VB O \n\nKarl NN O"
    (first, second) = tags_of(tagger, ["Ada met", "Karl"])
    assert tagged(tagger, tmp_path, {"a.conll": data}, "conll") == (
        f"-DOCSTART- -X- O\n\n# sent_id = 3\nAda NN\t{first[0]}\nmet  VB {first[1]} \n\nKarl NN {second[0]}"
    )
    unlabelled = ColumnReader(tag_column=None)
    assert tagged(tagger, tmp_path, {"a.conll": "Ada NN\nmet VB\n"}, "conll", reader=unlabelled) == (
        f"Ada NN\t{first[0]}\nmet VB\t{first[1]}\n"
    )
    assert "sent_id = 3\nAda\t" in tagged(
        tagger, tmp_path, {"a.jsonl": '{"words": ["Ada"], "sentence_id": "3"}'}, "conll"
    )
    assert json.loads(tagged(tagger, tmp_path, {"a.conll": data}).splitlines()[0])["sentence_id"] == "3"


def test_conllu_of_raw_text(tagger: SentenceTagger, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in tagged(tagger, tmp_path, {"a.txt": " Karl,  Rome.\n"}, "conllu").splitlines()]
    assert rows[0] == ["# text = Karl, Rome."]
    assert [(row[0], row[1], "SpaceAfter=No" in row[9].split("|")) for row in rows[1:-1]] == [
        ("1", "Karl", True),
        ("2", ",", False),
        ("3", "Rome", True),
        ("4", ".", False),
    ]


BROKEN = {
    "a.jsonl": ('{"words": ["Ada"]}\n{"words": 3}\n{"words": ["Karl"]}\n', 2, '"words" is 3; give a list of strings'),
    "b.jsonl": ('{"words": ["Ada"]}\n{"wo\n{"words": ["Karl"]}\n', 2, "the line is not valid JSON (Unterminated"),
    "c.jsonl": ('{"words": ["Ada"]}\n[3]\n{"words": ["Karl"]}\n', 2, "[3] is not a JSON object"),
    "a.txt": (b"Ada\na\xc4b\nKarl\n", 2, "byte 2 of the line is not utf-8 text (0xc4); convert the file to utf-8"),
    "a.conll": ("Ada O\n\nmet O\n\u00c4 x O\nw O\n\nKarl O\n", 4, "the line has 3 column(s) where the file's first"),
    "b.conll": (b"Ada O\n\nm\xc4 O\n\nKarl O\n", 3, "byte 2 of the line is not utf-8"),
    "a.conllu": (
        "".join(
            f"{n}\t{w}{8 * chr(9)}_\n{e}"
            for n, w, e in [(1, "Ada", "\n"), (1, "a", ""), (3, "b", "\n"), (1, "Karl", "")]
        ),
        4,
        "the id '3' is out of order after word 1",
    ),
    "b.conllu": (
        "1\tAda\t" + 7 * "_\t" + "_\n\n1-2\tab\t" + 7 * "_\t" + "_\n\n1\tKarl\t" + 7 * "_\t" + "_\n",
        4,
        "the sentence that ends",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("format", ["jsonl", "conll", "conllu", "entities"])
def test_what_cannot_be_read(
    tagger: SentenceTagger, tmp_path: Path, capsys: pytest.CaptureFixture, name: str, format: str
) -> None:
    data, line, message = BROKEN[name]
    (tmp_path / "output").write_text("as it was")
    with pytest.raises(ConfigurationError) as caught:
        tagged(tagger, tmp_path, {name: data}, format)
    assert caught.value.message.startswith(f"{tmp_path / name}:{line}: {message}")
    assert (tmp_path / "output").read_text() == "as it was"
    assert {file.name for file in tmp_path.iterdir()} == {"output", name}
    found = tagged(tagger, tmp_path, {name: data}, format, skip=True)
    assert f"skipped {tmp_path / name}:{line}: {message}" in capsys.readouterr().err
    if format == "jsonl":
        one, wrong, other = map(json.loads, found.splitlines())
        assert (one["words"], other["words"]) == (["Ada"], ["Karl"])
        assert (wrong["file"], wrong["line"]) == (str(tmp_path / name), line)
        assert wrong["error"].startswith(message)
    elif format != "entities":
        (tmp_path / "again").write_text(found)
        reader = ColumnReader() if format == "conll" else ConlluReader(label=None)
        assert [one.words for one in reader.parse(str(tmp_path / "again"), "de")] == [("Ada",), ("Karl",)]


@pytest.mark.parametrize(
    ("format", "word", "message"),
    [
        ("conll", "New York", "the word 'New York' has white space or half a character in it, which conll cannot hold"),
        ("conllu", "a\tb", "the word 'a\\tb' has a tab, a line's end or half a character in it, which conllu cannot"),
        ("conll", "\ud800", "the word '\\ud800' has white space or half"),
    ],
)
def test_words_that_a_format_cannot_hold(
    tagger: SentenceTagger, tmp_path: Path, format: str, word: str, message: str
) -> None:
    data = "".join(json.dumps({"words": words}) + "\n" for words in (["Ada"], ["a", word], ["Karl"]))
    with pytest.raises(ConfigurationError) as caught:
        tagged(tagger, tmp_path, {"a.jsonl": data}, format)
    assert caught.value.message.startswith(f"{tmp_path}/a.jsonl:2: {message}")
    assert "Karl" in tagged(tagger, tmp_path, {"a.jsonl": data}, format, skip=True)


def test_many_skipped_inputs_are_counted(tagger: SentenceTagger, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tagged(tagger, tmp_path, {"a.jsonl": "{\n" * 25}, skip=True)
    errors = capsys.readouterr().err
    assert errors.count("a.jsonl:") == 20
    assert "skipped 5 more" in errors


def random_files(seed: int) -> Dict[str, Any]:
    draw = random.Random(seed)
    words = ["Ada", "Karl", "Rome", "Bonn", "w0", "w1"]

    def sentence() -> List[str]:
        return [draw.choice(words) for _ in range(draw.randint(1, 9))]

    return {
        "a.txt": "\n".join(" ".join(sentence()) for _ in range(300)),
        "b.conll": "".join("".join(f"{word} O\n" for word in sentence()) + "\n" for _ in range(300)),
        "c.jsonl": "".join(json.dumps({"words": sentence()}) + "\n" for _ in range(200)) + "{\n",
    }


@pytest.mark.parametrize("format", ["jsonl", "conllu", "entities-tsv"])
def test_several_processes_write_the_same_bytes(tagger: SentenceTagger, tmp_path: Path, format: str) -> None:
    files = random_files(3)
    one = tagged(tagger, tmp_path, files, format, skip=True)
    several = tagged(tagger, tmp_path, files, format, skip=True, processes=2)
    assert several == one
    assert len(one.splitlines()) > 500
    with pytest.raises(ConfigurationError, match=r"c\.jsonl:201: the line is not valid JSON"):
        tagged(tagger, tmp_path, files, format, processes=2)


def test_processes_that_cannot_be_forked(
    tagger: SentenceTagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work is the same; what they begin with can be sent to them."""
    import pickle

    from structkd_plugin.prediction import worker_processes

    sent = []
    monkeypatch.setattr(worker_processes.sys, "platform", "darwin")

    class Pool:
        def __init__(self, processes: int, context: Any, initializer: Any, initargs: Any) -> None:
            assert context.get_start_method() == "spawn"
            sent.append(len(pickle.dumps((initializer, initargs))))
            patched = pytest.MonkeyPatch()
            patched.setattr(worker_processes.signal, "signal", lambda *_: None)
            initializer(*pickle.loads(pickle.dumps(initargs)))
            patched.undo()

        def submit(self, work: Any, piece: Any) -> Any:
            class Done:
                @staticmethod
                def result() -> Any:
                    return pickle.loads(pickle.dumps(work(piece)))

            return Done

        def shutdown(self, **_: Any) -> None:
            pass

    monkeypatch.setattr(worker_processes, "ProcessPoolExecutor", Pool)
    one = tagged(tagger, tmp_path, random_files(4), skip=True)
    assert tagged(tagger, tmp_path, random_files(4), skip=True, processes=2) == one
    assert len(sent) == 1


def test_a_process_that_is_killed_ends_all(
    tagger: SentenceTagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import signal

    parent = os.getpid()
    work = ChunkTagger.tagged

    def killed(self: ChunkTagger, chunk: Any) -> Any:
        if chunk.first > 1 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(self, chunk)

    monkeypatch.setattr(ChunkTagger, "tagged", killed)
    with pytest.raises(ConfigurationError, match="a process that tags was ended, perhaps for want of memory"):
        tagged(tagger, tmp_path, random_files(5), processes=2)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize("processes", [1, 2])
def test_nothing_half_written_stays(
    tagger: SentenceTagger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: Any, processes: int
) -> None:
    original = module._FileEnds.before
    pieces = []

    def before(self: Any, *arguments: Any) -> bytes:
        pieces.append(arguments)
        if len(pieces) == 4:
            raise interruption
        return original(self, *arguments)

    monkeypatch.setattr(module._FileEnds, "before", before)
    with pytest.raises(interruption):
        tagged(tagger, tmp_path, random_files(6), processes=processes)
    assert {file.name for file in tmp_path.iterdir()} == {"a.txt", "b.conll", "c.jsonl"}


def test_packed_files(tagger: SentenceTagger, tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(as_format("text").encode()))
    file = InputFile(str(tmp_path / "a.txt.gz"), "de", format_of("a.txt.gz"))
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        tag_files(tagger, [file], str(tmp_path / name), quiet=True)
    lines = gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line)["tags"] for line in lines] == tags_of(tagger, SENTENCES)
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(as_format("text").encode())[:-9])
    with pytest.raises(ConfigurationError, match=r"a\.txt\.gz: the file cannot be read"):
        tag_files(tagger, [file], str(tmp_path / "three.jsonl"), quiet=True)


def test_the_standard_streams(
    tagger: SentenceTagger, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(as_format("text").encode())))
    summary = tag_files(tagger, [InputFile("-", "de", "text")], quiet=True)
    assert (summary.sentences, summary.words, summary.skipped) == (3, 9, 0)
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [json.loads(line)["tags"] for line in lines] == tags_of(tagger, SENTENCES)


@pytest.mark.parametrize(
    ("options", "processes", "message"),
    [
        (TagOptions(batch_size=0), 1, "--batch-size is 0"),
        (TagOptions(k_best=-1), 1, "--k-best is -1"),
        (TagOptions("conll", k_best=2), 1, "--k-best and --all-labels are in JSON lines only"),
        (TagOptions("entities", all_labels=True), 1, "--k-best and --all-labels are in JSON lines only"),
        (TagOptions(), 0, "--processes is 0"),
    ],
)
def test_options_that_cannot_be(tagger: SentenceTagger, options: TagOptions, processes: int, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tag_files(tagger, [], options=options, processes=processes)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.TXT", "text"),
        ("a.jsonl.gz", "jsonl"),
        ("a.conllu", "conllu"),
        ("a.conll", "conll"),
        ("-", "text"),
        ("a", None),
    ],
)
def test_names_tell_formats(name: str, format: Optional[str]) -> None:
    if format is not None:
        assert format_of(name) == format
        return
    with pytest.raises(ConfigurationError, match="the name does not tell the file's format; say it by --input-format"):
        format_of(name)
