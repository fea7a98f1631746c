"""The spans in tags that may be ill-formed, by seqeval's strict definition."""

from typing import Dict, List, NamedTuple, Sequence, Tuple, Type

from seqeval.scheme import BILOU, IOB1, IOB2, IOBES, Token

from structkd_plugin.tag_schemes import OUTSIDE, Span, canonical_scheme, split_tag

_SEQEVAL_SCHEMES: Dict[str, Type[Token]] = {
    "BIO": IOB2,
    "IOB1": IOB1,
    "BIOUL": BILOU,
    "BIOES": IOBES,
    "BMES": IOBES,  # which differs from it by one letter
}


class _Step(NamedTuple):
    """What a tag means after another one."""

    starts: bool
    continues: bool
    ends: bool  # the span that the other one was in


class StrictSpans:
    """
    Finds the spans that `seqeval.metrics` counts with `mode="strict"`; tags that are no part of a well-formed one are
    in none.

    seqeval decides by the tag and the one before it. Its decisions on pairs of tags are remembered, because
    there are few pairs and making seqeval's objects for each word takes longer than tagging.

    # Parameters

    scheme : `str`
        One of `structkd_plugin.tag_schemes.SCHEMES`.

    # Raises

    `ValueError` : if there is no such scheme.
    """

    def __init__(self, scheme: str) -> None:
        self.scheme = canonical_scheme(scheme)
        self._token_class = _SEQEVAL_SCHEMES[self.scheme]
        self._tokens: Dict[str, Token] = {}
        self._steps: Dict[Tuple[str, str], _Step] = {}

    def __call__(self, tags: Sequence[str]) -> List[Span]:
        """
        The spans in `tags`, from left to right.

        # Parameters

        tags : `Sequence[str]`
            One tag per word.

        # Returns

        `List[Span]`

        # Raises

        `ValueError` : if a tag is none of the scheme's.
        """
        # The tag after the last word ends what is open.
        path = [*tags, OUTSIDE]
        spans: List[Span] = []
        index, before = 0, OUTSIDE
        while index < len(path):
            end = index + 1
            if self._step(before, path[index]).starts:
                while (step := self._step(path[end - 1], path[end])).continues:
                    end += 1
                if step.ends:
                    spans.append(Span(self._token(path[index]).tag, index, end))
            index, before = end, path[end - 1]
        return spans

    def _step(self, before: str, tag: str) -> _Step:
        step = self._steps.get((before, tag))
        if step is None:
            previous, token = self._token(before), self._token(tag)
            step = _Step(token.is_start(previous), token.is_inside(previous), token.is_end(previous))
            self._steps[before, tag] = step
        return step

    def _token(self, tag: str) -> Token:
        token = self._tokens.get(tag)
        if token is None:
            split_tag(tag, self.scheme)
            token = self._token_class("I" + tag[1:] if self.scheme == "BMES" and tag[0] == "M" else tag)
            self._tokens[tag] = token
        return token
