"""How many sentences of each language a run reads, and which."""

import logging
import random
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Set, TypeVar, Union

from allennlp.common.checks import ConfigurationError
from allennlp.common.registrable import Registrable

from structkd_plugin.checked_options import CheckedOptions

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")


class LanguageSampling(CheckedOptions, Registrable):
    """
    A choice of sentences by language: a subclass says how many of each (`quotas`), the choice is made here.

    What is chosen is a function of the files, this object and its seed, and of nothing else: not of loader workers,
    of ranks, or of the order in which languages are named.

    # Parameters

    max_per_language : `Optional[Union[int, Dict[str, int]]]`, optional (default=`None`)
        At most so many different sentences of each language, or of those named, chosen at random before `quotas` is
        asked.
    seed : `int`, optional (default=`13370`)
        Another seed, another choice of the same size.
    """

    default_implementation = "exponential"

    def __init__(self, max_per_language: Optional[Union[int, Dict[str, int]]] = None, seed: int = 13370) -> None:
        caps = max_per_language.values() if isinstance(max_per_language, dict) else [max_per_language]
        for cap in caps:
            if cap is not None and cap < 1:
                raise ConfigurationError(f"max_per_language is {cap}, but a language keeps at least 1 sentence")
        self._max_per_language = max_per_language
        self._seed = seed

    def quotas(self, counts: Mapping[str, int]) -> Dict[str, int]:
        """How many sentences of each language to read, given how many different ones there are of each."""
        raise NotImplementedError

    def sample(self, counts: Mapping[str, int], read: Callable[[str], Iterator[_Item]]) -> Iterator[_Item]:
        """
        The chosen sentences of all languages, mixed evenly.

        A quota above the count of a language is filled by whole copies and a random rest without repetition, so that
        no sentence of it occurs more than once more often than another. Each copy keeps the language's order. At every
        place of the stream each language has had as nearly the same part of its quota as can be, so that a loader
        that holds few sentences at a time still sees every language.

        # Parameters

        counts : `Mapping[str, int]`
            How many sentences `read` yields for each language.
        read : `Callable[[str], Iterator]`
            Begins to read a language's sentences anew.

        # Returns

        `Iterator`
        """
        kept = {language: self._capped(language, counts[language]) for language in sorted(counts)}
        quotas = self.quotas(kept)
        streams = {}
        for language in kept:
            chosen = self._choice(language, counts[language], kept[language], quotas[language])
            streams[language] = _picked(chosen, language, read)
            logger.info("language %s: %d sentences in the files, %d read", language, counts[language], quotas[language])
        given = dict.fromkeys(streams, 0)
        while streams:
            # The sentence due first, were each language spread evenly over the stream.
            language = min(streams, key=lambda code: (given[code] + 0.5) / max(quotas[code], 1))
            try:
                yield next(streams[language])
            except StopIteration:
                del streams[language]
            else:
                given[language] += 1

    def _capped(self, language: str, count: int) -> int:
        cap = self._max_per_language
        if isinstance(cap, dict):
            cap = cap.get(language)
        return count if cap is None else min(cap, count)

    def _choice(self, language: str, count: int, kept: int, quota: int) -> List[Set[int]]:
        """For each time the language is to be read, the places of the sentences to take."""
        if not kept:
            return []
        # A text as seed is hashed by SHA-512: the same in every process, unlike `hash`.
        generator = random.Random(f"{self._seed} {language}")
        pool = sorted(generator.sample(range(count), kept))
        copies, rest = divmod(quota, kept)
        return [set(pool)] * copies + [set(generator.sample(pool, rest))]


@LanguageSampling.register("exponential")
class ExponentialSampling(LanguageSampling):
    """
    Languages in proportion to a power of their sizes, and as many sentences in all as there are.

    Of N sentences in all, a language with n_l gets N·n_l^alpha / Σ_k n_k^alpha, rounded down, or up where the
    remainders are largest, so that the sum is N.

    Registered as a `LanguageSampling` with name "exponential", the default.

    # Parameters

    alpha : `float`, optional (default=`1.0`)
        1 keeps the languages' proportions; 0 gives every language the same; between them small languages gain.
    max_per_language : `Optional[Union[int, Dict[str, int]]]`, optional (default=`None`)
        At most so many different sentences of each language, or of those named, chosen at random; N and n_l count
        what that leaves.
    seed : `int`, optional (default=`13370`)
        Another seed, another choice of the same size.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        max_per_language: Optional[Union[int, Dict[str, int]]] = None,
        seed: int = 13370,
    ) -> None:
        super().__init__(max_per_language, seed)
        if not 0 <= alpha <= 1:
            raise ConfigurationError(f"alpha is {alpha}, but the exponent of language sampling lies in [0, 1]")
        self._alpha = alpha

    def quotas(self, counts: Mapping[str, int]) -> Dict[str, int]:
        """How many sentences of each language to read; the sum is that of `counts`."""
        total = sum(counts.values())
        # A language without sentences has no share, though 0 to the power of 0 is 1.
        weights = {language: count**self._alpha for language, count in counts.items() if count}
        scale = total / sum(weights.values()) if weights else 0.0
        shares = {language: scale * weights.get(language, 0.0) for language in counts}
        quotas = {language: int(share) for language, share in shares.items()}
        missing = total - sum(quotas.values())
        # Ties go by the language's code, not by the order of a configuration.
        largest = sorted(weights, key=lambda language: (quotas[language] - shares[language], language))
        for language in largest[:missing]:
            quotas[language] += 1
        return quotas


@LanguageSampling.register("at_least")
class AtLeastSampling(LanguageSampling):
    """
    Every sentence of every language, those of small languages several times.

    Registered as a `LanguageSampling` with name "at_least".

    # Parameters

    sentences : `int`
        Languages with fewer are repeated until there are so many.
    max_per_language : `Optional[Union[int, Dict[str, int]]]`, optional (default=`None`)
        At most so many different sentences of each language, or of those named, chosen at random.
    seed : `int`, optional (default=`13370`)
        Another seed, another choice of the same size.
    """

    def __init__(
        self,
        sentences: int,
        max_per_language: Optional[Union[int, Dict[str, int]]] = None,
        seed: int = 13370,
    ) -> None:
        super().__init__(max_per_language, seed)
        if sentences < 1:
            raise ConfigurationError(f"sentences is {sentences}, but at_least needs at least 1")
        self._sentences = sentences

    def quotas(self, counts: Mapping[str, int]) -> Dict[str, int]:
        """How many sentences of each language to read: as many as there are, or the least number."""
        return {language: max(count, self._sentences) if count else 0 for language, count in counts.items()}


def _picked(chosen: List[Set[int]], language: str, read: Callable[[str], Iterator[_Item]]) -> Iterator[_Item]:
    for places in chosen:
        if places:
            last = max(places)
            for place, item in enumerate(read(language)):
                if place in places:
                    yield item
                if place == last:
                    break
