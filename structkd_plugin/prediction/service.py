"""A tagger that many threads share: load it once, ask it from anywhere."""

from threading import Lock
from typing import List, Optional, Sequence

from structkd_plugin.prediction.sentence_tagger import SentenceTagger, Words
from structkd_plugin.prediction.tagging import Tagging

_WARM_UP = (Words(("a",), "und"), Words(("a", "longer", "sentence", "."), "und"))


class TaggingService:
    """
    Answers requests of any number of threads with one tagger.

    The computation of one request uses all cores that torch is given, so that requests wait for each other. With
    `most_joined`, those that wait are answered together, as one batch, as soon as the one before them is done: what
    comes at the same time costs little more than one.

    # Parameters

    tagger : `SentenceTagger`
        Nobody else may use it at the same time.
    most_joined : `int`, optional (default = 0)
        How many sentences requests are joined to at most; 0 answers every request by itself. The rounding of floating
        point depends on the batch: what is said of a sentence is the same to the bit only by itself.
    """

    def __init__(self, tagger: SentenceTagger, most_joined: int = 0) -> None:
        self._tagger = tagger
        self._most_joined = most_joined
        self._working = Lock()
        self._changing = Lock()
        self._waiting: List[_Request] = []

    @classmethod
    def from_path(
        cls, path: str, cuda_device: int = -1, most_joined: int = 0, warm_up: bool = True
    ) -> "TaggingService":
        """
        A service with the tagger in an archive or a serialization directory.

        # Parameters

        path : `str`
        cuda_device : `int`, optional (default = -1)
            -1 is the CPU.
        most_joined : `int`, optional (default = 0)
        warm_up : `bool`, optional (default = `True`)
            Whether to tag something at once, so that the first request does not wait for what torch prepares.

        # Raises

        `ConfigurationError` : for an archive of another model.
        """
        service = cls(SentenceTagger.from_path(path, cuda_device), most_joined)
        if warm_up:
            service.warm_up()
        return service

    def warm_up(self, sentences: Sequence[Words] = _WARM_UP) -> None:
        """Tag `sentences`, by themselves and as a batch; what is said of them is dropped."""
        for sentence in sentences:
            self.tag([sentence])
        self.tag(sentences)

    def tag(self, sentences: Sequence[Words]) -> List[Tagging]:
        """
        What the tagger says of sentences; any number of threads may call it.

        # Parameters

        sentences : `Sequence[Words]`

        # Returns

        `List[Tagging]` : one for each sentence.
        """
        request = _Request(sentences)
        with self._changing:
            self._waiting.append(request)
        with self._working:
            # Whoever comes first works for those that wait by then, so that this one may be answered already.
            if request.answer is None and request.error is None:
                self._work(self._next(request))
        if request.error is not None:
            raise request.error
        assert request.answer is not None
        return request.answer

    def _next(self, own: "_Request") -> List["_Request"]:
        """What to answer now: `own`, and of those that wait as many as fit."""
        with self._changing:
            # One whose worker was broken off waits no longer, and is still to be answered.
            joined = [own]
            if own in self._waiting:
                self._waiting.remove(own)
            size = len(own.sentences)
            while self._waiting and size + len(self._waiting[0].sentences) <= self._most_joined:
                joined.append(self._waiting.pop(0))
                size += len(joined[-1].sentences)
            return joined

    def _work(self, requests: List["_Request"]) -> None:
        try:
            taggings = self._tagger.tag([sentence for request in requests for sentence in request.sentences])
        except Exception as error:
            if len(requests) == 1:
                requests[0].error = error
                return
            # Whose fault it is shows when each is alone.
            for request in requests:
                self._work([request])
            return
        start = 0
        for request in requests:
            request.answer = taggings[start : start + len(request.sentences)]
            start += len(request.sentences)


class _Request:
    """Sentences of one thread, and what came of them."""

    def __init__(self, sentences: Sequence[Words]) -> None:
        self.sentences = list(sentences)
        self.answer: Optional[List[Tagging]] = None
        self.error: Optional[Exception] = None
