"""A service says to any number of threads what its tagger says to one."""

import asyncio
import json
import re
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import pytest

from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.prediction.service import TaggingService
from structkd_plugin.prediction.tagging import Tagging

from ..teacher.training import make_archive, write_corpus

ROOT = Path(__file__).resolve().parents[2]
REQUESTS = [
    [Words(tuple(f"w{(i * j) % 6}" for j in range(1 + (i + k) % 9)), "en" if k % 2 else "de") for k in range(1 + i % 3)]
    for i in range(48)
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("corpora")
    for language in ("en", "de"):
        write_corpus(folder / f"{language}.train.conll", language, 16)
    return str(make_archive(folder / "archive", folder))


@pytest.fixture(scope="module")
def expected(path: str) -> List[List[Tagging]]:
    tagger = SentenceTagger.from_path(path)
    return [tagger.tag(request) for request in REQUESTS]


def asked_by_eight_threads(service: TaggingService) -> List[List[Tagging]]:
    begin = threading.Barrier(8)

    def ask(number: int) -> List[List[Tagging]]:
        begin.wait()
        return [service.tag(request) for request in REQUESTS[number::8]]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    return [answers[i % 8][i // 8] for i in range(len(REQUESTS))]


def test_eight_threads_get_what_one_gets_to_the_bit(path: str, expected: List[List[Tagging]]) -> None:
    assert asked_by_eight_threads(TaggingService.from_path(path)) == expected


def test_joined_requests_get_the_same_tags(path: str, expected: List[List[Tagging]]) -> None:
    for answer, alone in zip(
        asked_by_eight_threads(TaggingService.from_path(path, most_joined=16)), expected, strict=True
    ):
        assert len(answer) == len(alone)
        for tagging, other in zip(answer, alone, strict=True):
            assert (tagging.tags, len(tagging.entities or ())) == (other.tags, len(other.entities or ()))
            np.testing.assert_allclose(tagging.tag_probabilities, other.tag_probabilities, atol=1e-5)


def test_no_sentences_are_an_answer(path: str) -> None:
    assert TaggingService.from_path(path, most_joined=4).tag([]) == []


class Slow:
    """Stands for a tagger that takes its time; says of a sentence how many it was tagged with."""

    def __init__(self) -> None:
        self.sizes: List[int] = []
        self.inside = 0
        self.go_on = threading.Event()

    def tag(self, sentences: Sequence[Words]) -> List[Tagging]:
        self.inside += 1
        assert self.inside == 1
        self.go_on.wait(10)
        self.inside -= 1
        self.sizes.append(len(sentences))
        if any(sentence.language == "bad" for sentence in sentences):
            raise ValueError("cannot tag it")
        return [Tagging(sentence.words, (1.0,), None) for sentence in sentences]


def start(
    service: TaggingService, tagger: "Slow", requests: Sequence[Sequence[Words]]
) -> "tuple[ThreadPoolExecutor, list[Any]]":
    """One thread for each request, which comes after the one before is waiting."""
    threads = ThreadPoolExecutor(len(requests))
    futures = []
    for number, request in enumerate(requests):
        futures.append(threads.submit(service.tag, request))
        deadline = time.monotonic() + 10
        # The first is at work, and waits no longer.
        while (len(service._waiting) < number or not tagger.inside) and time.monotonic() < deadline:
            time.sleep(0.001)
    return threads, futures


@pytest.mark.parametrize(("most_joined", "sizes"), [(0, [1, 2, 1, 3]), (3, [1, 3, 3]), (100, [1, 6])])
def test_what_waits_is_joined_up_to_the_limit(most_joined: int, sizes: List[int]) -> None:
    tagger = Slow()
    requests = [[Words((f"r{i}s{j}",), "en") for j in range(size)] for i, size in enumerate([1, 2, 1, 3])]
    threads, futures = start(TaggingService(tagger, most_joined), tagger, requests)  # type: ignore[arg-type]
    tagger.go_on.set()
    for request, future in zip(requests, futures, strict=True):
        assert [tagging.tags for tagging in future.result(10)] == [sentence.words for sentence in request]
    threads.shutdown()
    assert sorted(tagger.sizes) == sorted(sizes)


def test_a_request_that_fails_fails_alone() -> None:
    tagger = Slow()
    requests = [[Words((f"r{i}",), "bad" if i == 2 else "en")] for i in range(4)]
    threads, futures = start(TaggingService(tagger, 100), tagger, requests)  # type: ignore[arg-type]
    tagger.go_on.set()
    for i, future in enumerate(futures):
        if i == 2:
            with pytest.raises(ValueError, match="cannot tag it"):
                future.result(10)
        else:
            assert future.result(10)[0].tags == (f"r{i}",)
    threads.shutdown()


# --- The page's programs ---


def program(number: int, archive: str) -> Dict[str, Any]:
    """What the program `number` of the page defines, with the archive of this test."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.S)
    defined: Dict[str, Any] = {"__name__": "page"}
    assert "runs/posterior/model.tar.gz" in blocks[number]
    exec(compile(blocks[number].replace("runs/posterior/model.tar.gz", archive), "serving.md", "exec"), defined)
    return defined


def test_the_function_of_the_page(path: str) -> None:
    (word, tag, probability), *_ = program(0, path)["tag"]("Ada w1 Rome.", "en")
    assert (word, tag in {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}, 0 < probability <= 1) == ("Ada", True, True)


def test_the_server_of_the_page_answers_threads(path: str) -> None:
    page = program(1, path)
    server = page["ThreadingHTTPServer"](("127.0.0.1", 0), page["Handler"])
    page["Handler"].log_message = lambda *_: None
    url = f"http://127.0.0.1:{server.server_address[1]}"

    def ask(body: bytes) -> "tuple[int, Any]":
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        bodies = [json.dumps({"words": ["Ada"] * (1 + n % 4), "language": "en"}).encode() for n in range(12)]
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(ask, bodies))
        bad = ask(b'{"text": "Ada"}')
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    for n, (status, answer) in enumerate(answers):
        assert (status, len(answer["tags"])) == (200, 1 + n % 4)
        assert answer["tags"] == answers[n % 4][1]["tags"]
    assert bad == (400, {"error": "KeyError: 'words'"})


def test_the_application_of_the_page_is_asgi(path: str) -> None:
    application = program(2, path)["application"]

    async def ask(*pieces: bytes) -> "list[Dict[str, Any]]":
        received = iter(
            {"type": "http.request", "body": piece, "more_body": n + 1 < len(pieces)} for n, piece in enumerate(pieces)
        )
        sent: List[Dict[str, Any]] = []

        async def receive() -> Dict[str, Any]:
            return next(received)

        async def send(message: Dict[str, Any]) -> None:
            sent.append(message)

        await application({"type": "http", "method": "POST", "path": "/"}, receive, send)
        return sent

    async def all_of_them() -> "list[list[Dict[str, Any]]]":
        return await asyncio.gather(ask(b'{"words": ["Ada",', b' "Rome"]}'), ask(b"nonsense"))

    good, bad = asyncio.run(all_of_them())
    assert [message["type"] for message in good] == ["http.response.start", "http.response.body"]
    assert (good[0]["status"], len(json.loads(good[1]["body"])["tags"])) == (200, 2)
    assert bad[0]["status"] == 400
