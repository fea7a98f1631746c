"""The linear-chain CRF as a distribution over the labellings of a sentence."""

from types import ModuleType
from typing import Any, Callable, Dict, Generic, Optional, Tuple, TypeVar, cast

import torch

from structkd_plugin.crf import cpu_kernels, fused, implementation, reference
from structkd_plugin.crf.chain import Chain
from structkd_plugin.crf.reference import FORBIDDEN, FORBIDDEN_BELOW, Potentials

_Value = TypeVar("_Value")


class _Cached(Generic[_Value]):
    """
    A property that is computed once with and once without gradient.

    What was computed where gradients are off must not be used where they are on: it would be a constant there.
    """

    def __init__(self, compute: Callable[[Any], _Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, crf: "LinearChainCRF", owner: Any = None) -> _Value:
        if crf is None:
            return cast(_Value, self)
        key = (self._compute.__name__, crf._is_fixed)
        if key not in crf._cache:
            crf._cache[key] = self._compute(crf)
        return cast(_Value, crf._cache[key])


class LinearChainCRF:
    """
    The distribution p(y) = exp(score(y) − log Z) over the labellings y of each sentence of a batch.

        score(y) = a0(y_1) + Σ_t e_t(y_t) + Σ_t a(y_{t-1} → y_t) + a1(y_T)

    A softmax tagger is the chain without transitions. Everything is batched, computed in float32 (float64 stays
    float64), and differentiable with respect to all potentials; tensors that are passed in are never changed.

    Masked words are taken out before anything is computed, wherever they lie: the chain runs over the words
    that remain. Results have the shape of the input, with 0 at masked words. −inf forbids a label or a transition.

    # Parameters

    emissions : `torch.Tensor`
        Shape (B, T, L), nats, any floating-point type, finite or −inf.
    transitions : `torch.Tensor`, optional
        Shape (L, L) or (B, L, L), [from, to]. `None` is a table of zeros.
    start_transitions : `torch.Tensor`, optional (default = zeros)
        Shape (L,) or (B, L).
    end_transitions : `torch.Tensor`, optional (default = zeros)
        Shape (L,) or (B, L).
    mask : `torch.Tensor`, optional (default = all words)
        Shape (B, T), boolean: which positions are words.

    # Raises

    `ValueError` : for shapes or types that do not fit, and, on the CPU, for NaN or +inf among the potentials. (On a
        GPU that last check would stop the device at every call: there NaN shows in the result.)
    """

    def __init__(
        self,
        emissions: torch.Tensor,
        transitions: Optional[torch.Tensor] = None,
        start_transitions: Optional[torch.Tensor] = None,
        end_transitions: Optional[torch.Tensor] = None,
        mask: Optional[torch.Tensor] = None,
    ) -> None:
        if emissions.dim() != 3 or emissions.shape[2] == 0:
            raise ValueError(f"emissions must have shape (B, T, L) with L >= 1, not {tuple(emissions.shape)}")
        if not emissions.is_floating_point():
            raise ValueError(f"emissions must be floating-point numbers, not {emissions.dtype}")
        batch, words, labels = emissions.shape
        if mask is not None:
            if mask.shape != (batch, words):
                raise ValueError(
                    f"mask must have shape (B, T) = {(batch, words)} like the emissions, not {tuple(mask.shape)}"
                )
            if mask.device != emissions.device:
                raise ValueError(f"the mask is on {mask.device}, the emissions on {emissions.device}: move one of them")
            if mask.dtype != torch.bool:
                raise ValueError(f"mask must be boolean, not {mask.dtype}: write mask.bool()")
            mask = mask.contiguous()
        if emissions.dtype not in (torch.float32, torch.float64):
            emissions = emissions.float()
        self._emissions, self._mask = emissions, mask
        # Without tables the words are independent, and no recursion is needed for what concerns them one by one.
        self._independent = transitions is None and start_transitions is None and end_transitions is None
        self._transitions = self._table(transitions, "transitions", (labels, labels))
        self._start = self._table(start_transitions, "start_transitions", (labels,))
        self._end = self._table(end_transitions, "end_transitions", (labels,))
        self._check_honest()
        self._reset()

    def _reset(self) -> None:
        self._cache: Dict[Tuple[str, bool], Any] = {}
        self._fast: Optional[ModuleType] = implementation.choose(self._emissions)

    # ---------------------------------------------------------------- properties

    @property
    def shape(self) -> torch.Size:
        """(B, T, L)"""
        return self._emissions.shape

    @_Cached
    def log_partition(self) -> torch.Tensor:
        """log Z, shape (B,), nats: 0 for a sentence without words, −inf where no labelling is allowed."""
        if self._independent:
            per_word = torch.logsumexp(self._clean_emissions, dim=2)
            log_z = per_word if self._mask is None else torch.where(self._mask, per_word, per_word.new_zeros(()))
            return _minus_infinity_where_forbidden(log_z.sum(dim=1))
        if self._fast is not None:
            return fused.log_partition(self._given, self._fast)
        return _minus_infinity_where_forbidden(reference.log_partition(self._potentials))

    @_Cached
    def log_marginals(self) -> torch.Tensor:
        """log q_t(y), shape (B, T, L), nats: −inf where y is forbidden, 0 at masked words."""
        if self._independent:
            log_q = torch.log_softmax(self._clean_emissions, dim=2)
            if self._forbids:
                log_q = torch.where(self._possible.view(-1, 1, 1), log_q, log_q.new_full((), -float("inf")))
                log_q = _minus_infinity_where_forbidden(log_q)
            return log_q if self._mask is None else log_q.masked_fill(~self._mask.unsqueeze(2), 0.0)
        if self._fast is not None:
            return fused.log_marginals(self._given, self._fast)
        log_q = _minus_infinity_where_forbidden(reference.log_marginals(self._potentials, self._beta))
        log_q = torch.where(self._possible.view(-1, 1, 1), log_q, log_q.new_full((), -float("inf")))
        return self._scatter(torch.where(self._inside.unsqueeze(2), log_q, log_q.new_zeros(())))

    @_Cached
    def marginals(self) -> torch.Tensor:
        """
        q_t(y) = p(y_t = y), shape (B, T, L), each word's row adding up to 1; rows of 0 at masked words.

        Also rows of 0 in sentences no labelling of which is allowed.
        """
        if self._is_fixed and self._fast is not None and not self._independent:
            found: torch.Tensor = self._fast.marginals(fused.detached(self._given))
            return found
        q = self.log_marginals.exp()
        return q if self._mask is None else torch.where(self._mask.unsqueeze(2), q, q.new_zeros(()))

    @_Cached
    def edge_marginals(self) -> torch.Tensor:
        """
        q_t(i, j) = p(y_t = i, y_{t+1} = j), shape (B, T−1, L, L) as [from, to], each adding up to 1.

        Under a mask, t + 1 means the next word, and an edge stands at the position of its left word.
        """
        batch, words, _ = self._emissions.shape
        edges = self._compact_edge_marginals
        if self._order is None or words < 2:
            return edges
        index = self._order[:, :-1].clamp(max=words - 2).view(batch, words - 1, 1, 1).expand_as(edges)
        # An edge beyond the sentence is 0, and must not overwrite one that is not.
        return torch.zeros_like(edges).scatter_add(1, index, edges)

    @_Cached
    def argmax(self) -> torch.Tensor:
        """
        The most probable tags, shape (B, T), int64, 0 at masked words.

        Among equals the last word takes the lowest label, then the word before it, and so on. In a sentence nothing is
        allowed for they mean nothing: `log_partition` is −inf there.
        """
        with torch.no_grad():
            if self._fast is not None:
                tags: torch.Tensor = self._fast.argmax(fused.detached(self._given))
                return tags
            return self._scatter(reference.best_path(self._potentials))

    @_Cached
    def entropy(self) -> torch.Tensor:
        """
        −Σ_y p(y) log p(y), shape (B,), nats.

        Computed as the entropy of the first tag plus that of every tag given the one before it: all terms are
        at least 0, so that nothing cancels however large the potentials are.
        """
        return self.cross_entropy(self)

    # ---------------------------------------------------------------- methods

    def score(self, tags: torch.Tensor) -> torch.Tensor:
        """
        score(y), nats, −inf where y is forbidden.

        # Parameters

        tags : `torch.Tensor`
            Shape (B, T), or (B, M, T) for M labellings of each sentence; integers in [0, L), and anything
            at masked words.

        # Returns

        `torch.Tensor` : shape (B,) or (B, M).

        # Raises

        `ValueError` : for another shape or type, and, on the CPU, for a tag of a word outside [0, L).
        """
        paths = self._paths(tags)
        if self._fast is not None:
            scores = fused.score(self._given, paths, self._fast)
        else:
            scores = reference.path_scores(self._potentials, self._compact_paths(paths))
            scores = _minus_infinity_where_forbidden(scores)
        return scores.squeeze(1) if tags.dim() == 2 else scores

    def log_prob(self, tags: torch.Tensor) -> torch.Tensor:
        """log p(y), nats, at most 0 up to rounding, −inf where y is forbidden; shapes as in `score`."""
        if tags.dim() == 2 and self._fast is not None:
            return fused.log_prob(self._given, self._paths(tags).squeeze(1), self._fast)
        scores = self.score(tags)
        log_z = self.log_partition if scores.dim() == 1 else self.log_partition.unsqueeze(1)
        allowed = scores > -float("inf")
        # Where a labelling is allowed log Z is finite, so that the difference is taken of finite numbers only.
        difference = torch.where(allowed, scores, torch.zeros_like(scores)) - torch.where(
            allowed, log_z, torch.zeros_like(scores)
        )
        return torch.where(allowed, difference, torch.full_like(scores, float("-inf")))

    def expected_log_prob(self, tags: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """
        Σ_m w_m log p(y_m), nats: one recursion for all M labellings.

        # Parameters

        tags : `torch.Tensor`
            Shape (B, M, T), as in `score`.
        weights : `torch.Tensor`
            Shape (B, M), at least 0; they get no gradient. A labelling of weight 0 does not count, whatever it is.

        # Returns

        `torch.Tensor` : shape (B,); −inf where a labelling that counts is forbidden.

        # Raises

        `ValueError` : for other shapes or types, and, on the CPU, for a tag of a word outside [0, L).
        """
        paths = self._paths(tags)
        if tags.dim() != 3 or weights.shape != tags.shape[:2]:
            raise ValueError(
                f"tags must have shape (B, M, T) and weights (B, M), not {tuple(tags.shape)} and {tuple(weights.shape)}"
            )
        weights = weights.detach().to(self._emissions.dtype)
        if self._fast is not None:
            return fused.expected_log_prob(self._given, paths, weights, self._fast)
        log_probs = self.log_prob(paths)
        impossible = (log_probs == -float("inf")) & (weights > 0)
        counted = torch.where(log_probs > -float("inf"), log_probs, torch.zeros_like(log_probs))
        expected = (weights * counted).sum(dim=1)
        return torch.where(impossible.any(dim=1), torch.full_like(expected, -float("inf")), expected)

    def log_prob_within(self, sentences: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
        """
        log p(every word has one of the labels that it is allowed), by the forward algorithm over those alone.

        # Parameters

        sentences : `torch.Tensor`
            Shape (S,), int64: sentences of the batch, in any order and number.
        allowed : `torch.Tensor`
            Shape (S, T, L), boolean; at masked words anything.

        # Returns

        `torch.Tensor` : shape (S,), nats, at most 0; −inf where nothing that is allowed is possible.
        """
        emissions, transitions, start, end, mask = self._given
        # Both partition functions near 0, so that their difference is exact: the same to each word of a sentence.
        log_z = self.log_partition.detach()
        share = torch.where(log_z.isfinite(), log_z, torch.zeros_like(log_z)) / self._lengths.clamp(min=1)
        levelled = emissions - share.view(-1, 1, 1)
        whole = self._with(levelled, transitions, start, end)
        within = LinearChainCRF(
            levelled[sentences].masked_fill(~allowed, -float("inf")),
            transitions[sentences] if transitions.dim() == 3 else transitions,
            start[sentences] if start.dim() == 2 else start,
            end[sentences] if end.dim() == 2 else end,
            None if mask is None else mask[sentences],
        )
        if self._fast is None:
            within._fast = None
        part, everything = within.log_partition, whole.log_partition[sentences]
        possible = part > -float("inf")
        difference = torch.where(possible, part, torch.zeros_like(part)) - torch.where(
            possible, everything, torch.zeros_like(part)
        )
        return torch.where(possible, difference.clamp(max=0.0), torch.full_like(part, -float("inf")))

    def k_best(self, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
        """
        The K distinct labellings of largest score, best first; equal scores in the order of `argmax`.

        # Returns

        tags : `torch.Tensor`
            Shape (B, K, T), int64; 0 at masked words and in rows that do not exist.
        scores : `torch.Tensor`
            Shape (B, K), nats, descending, without gradient; −inf where fewer than K labellings exist.

        # Raises

        `ValueError` : if K is less than 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}: there is no best of none")
        with torch.no_grad():
            if self._fast is not None:
                best: Tuple[torch.Tensor, torch.Tensor] = self._fast.k_best(fused.detached(self._given), k)
                return best
            tags, scores = reference.k_best_paths(self._potentials, k)
            return self._scatter_paths(tags), scores

    def cross_entropy(self, student: "LinearChainCRF") -> torch.Tensor:
        """
        −Σ_y p(y) log p_student(y), shape (B,), nats; +inf where the student forbids what this one allows.

        The CRF → CRF objective of P3 (docs/mathematics.md), equal to log Z_S − Σ_t Σ q_t(y) e_S,t(y)
        − Σ_t Σ q_t(i, j) a_S(i→j) minus the start and end terms, but summed over the chain's conditional
        distributions, where nothing cancels.

        # Raises

        `ValueError` : if the two distributions are not over the same words and labels.
        """
        self._check_same_space(student)
        return self._divergence(student, subtract_entropy=False)

    def kl(self, student: "LinearChainCRF") -> torch.Tensor:
        """
        KL(p ‖ p_student) = cross-entropy minus entropy, shape (B,), nats; 0 exactly when the two are equal.

        A sum of the divergences of the conditional distributions, each of which is at least 0.

        # Raises

        `ValueError` : if the two distributions are not over the same words and labels.
        """
        self._check_same_space(student)
        return self._divergence(student, subtract_entropy=True)

    def sample(self, n: int, generator: Optional[torch.Generator] = None) -> torch.Tensor:
        """
        n independent labellings of each sentence, shape (B, n, T), int64, 0 at masked words.

        # Raises

        `ValueError` : if n is less than 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        batch, words, _ = self._emissions.shape
        shape, device = (batch, n, words), self._emissions.device
        return self.sample_at(torch.rand(shape, generator=generator, device=device, dtype=self._emissions.dtype))

    def sample_at(self, uniforms: torch.Tensor) -> torch.Tensor:
        """
        Labellings (B, n, T), int64, of given quantiles: word t takes the first label whose share, given the label
        before it and added to those of lower labels, is above `uniforms` (B, n, T), in [0, 1).
        """
        with torch.no_grad():
            if self._fast is not None:
                tags: torch.Tensor = self._fast.sample(fused.detached(self._given), uniforms.contiguous())
                return tags
            if self._order is not None:
                uniforms = uniforms.gather(2, self._order.unsqueeze(1).expand_as(uniforms))
            return self._scatter_paths(reference.sample_paths(self._potentials, self._beta, uniforms))

    def temper(self, temperature: float) -> "LinearChainCRF":
        """
        The distribution with all potentials divided by `temperature`: flatter above 1, sharper below.

        # Raises

        `ValueError` : if the temperature is not a finite number above 0.
        """
        if not 0.0 < temperature < float("inf"):
            raise ValueError(f"temperature must be a finite number above 0, not {temperature}")
        if temperature == 1.0:
            return self
        tempered = self._with(
            *(
                torch.where(x > FORBIDDEN_BELOW, x / temperature, x)
                for x in (self._emissions, self._transitions, self._start, self._end)
            )
        )
        tempered._independent = self._independent
        return tempered

    def plain(self) -> "LinearChainCRF":
        """The same distribution by the plain recursions: slower, and differentiable any number of times."""
        other = self._with(self._emissions, self._transitions, self._start, self._end)
        other._independent = self._independent
        other._fast = None
        return other

    def without_transitions(self) -> "LinearChainCRF":
        """The distribution of the emissions alone: a softmax for each word, over the same words."""
        tables = (self._transitions, self._start, self._end)
        other = self._with(self._emissions, *(torch.zeros_like(table[:1]).expand_as(table) for table in tables))
        other._independent = True
        return other

    def forbid(
        self, transitions: torch.Tensor, start_transitions: torch.Tensor, end_transitions: torch.Tensor
    ) -> "LinearChainCRF":
        """
        The distribution given that nothing forbidden happens, renormalised over what is left.

        # Parameters

        transitions, start_transitions, end_transitions : `torch.Tensor`
            Shapes (L, L), (L,), (L,): −inf forbids, 0 allows.
        """
        barriers = (transitions, start_transitions, end_transitions)
        tables = (self._transitions, self._start, self._end)
        return self._with(
            self._emissions,
            *(
                torch.where(barrier < 0, table.new_full((), -float("inf")), table)
                for barrier, table in zip(barriers, tables, strict=True)
            ),
        )

    # ---------------------------------------------------------------- the chain as a Markov chain

    @_Cached
    def log_conditionals(self) -> torch.Tensor:
        """
        log p(y_{t+1} = j | y_t = i), shape (B, T−1, L, L) as [from, to], words of a sentence moved to the front.

        Rows of labels that no allowed labelling visits hold some distribution.
        """
        return self._log_chain[1]

    @_Cached
    def _beta(self) -> torch.Tensor:
        return reference.backward_messages(self._potentials)

    @_Cached
    def _log_chain(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """log p(y_1) (B, L) and log p(y_{t+1} | y_t) (B, T−1, L, L)."""
        batch, words, labels = self._emissions.shape
        if words == 0:
            empty = self._potentials.emissions.new_zeros((batch, 0, labels, labels))
            return self._potentials.start, empty
        return (
            reference.log_first(self._potentials, self._beta),
            reference.log_conditionals(self._potentials, self._beta),
        )

    @_Cached
    def _chain(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """p(y_1) (B, L) and p(y_t, y_{t+1}) (B, T−1, L, L), 0 beyond the sentence and where no labelling is allowed."""
        _, words, _ = self._emissions.shape
        log_first, _ = self._log_chain
        first = log_first.exp() * self._possible.to(log_first.dtype).unsqueeze(1)
        if words == 0:
            return torch.zeros_like(first), self._log_chain[1]
        return first, self._compact_edge_marginals

    @_Cached
    def _compact_marginals(self) -> torch.Tensor:
        return self._compact(self.marginals)

    @_Cached
    def _compact_edge_marginals(self) -> torch.Tensor:
        # (B, T-1, L, L)
        edges = self._compact_marginals[:, :-1].unsqueeze(3) * self._log_chain[1].exp()
        return torch.where(self._real_words[:, 1:].unsqueeze(3), edges, edges.new_zeros(()))

    @_Cached
    def _possible(self) -> torch.Tensor:
        """(B,): the sentence has a word and an allowed labelling."""
        return (self._lengths > 0) & (self.log_partition.detach() > -float("inf"))

    @_Cached
    def _real_words(self) -> torch.Tensor:
        """(B, T, 1)"""
        return (self._inside & self._possible.unsqueeze(1)).unsqueeze(2)

    def _divergence(self, student: "LinearChainCRF", subtract_entropy: bool) -> torch.Tensor:
        """KL(p ‖ p_student), or the cross-entropy, (B,)."""
        if self._is_fixed and self._fast is not None and self._fast is student._fast and self._same_mask(student):
            return fused.divergence(self._given, student._given, subtract_entropy, self._fast)
        return self._recorded_divergence(student, subtract_entropy)

    def _recorded_divergence(self, student: "LinearChainCRF", subtract_entropy: bool) -> torch.Tensor:
        """The same as operations that autograd records."""
        first, rest = self._chain
        log_first, log_rest = self._log_chain
        student_first, student_rest = student._log_chain
        if not subtract_entropy:
            log_first, log_rest = torch.zeros_like(log_first), torch.zeros_like(log_rest)
        value = self._expected(first, log_first - student_first)
        value = value + self._expected_edges(rest, log_rest - student_rest)
        return self._infinite_where_impossible(value, student)

    @property
    def _is_fixed(self) -> bool:
        """Whether no gradient is asked for."""
        return not (torch.is_grad_enabled() and any(x.requires_grad for x in self._given[:4]))

    @staticmethod
    def _expected(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Σ weight · value over all but the first dimension; 0 · ∞ is 0, and anything above 0 times ∞ is ∞."""
        infinite = value > -FORBIDDEN_BELOW
        finite = (weight * torch.where(infinite, torch.zeros_like(value), value)).flatten(1).sum(dim=1)
        hit = ((weight > 0) & infinite).flatten(1).any(dim=1)
        return torch.where(hit, torch.full_like(finite, float("inf")), finite)

    def _same_mask(self, other: "LinearChainCRF") -> bool:
        if self._mask is other._mask:
            return True
        # On a GPU a comparison would stop the device.
        if self._mask is None or other._mask is None or self._mask.device.type != "cpu":
            return False
        return torch.equal(self._mask, other._mask)

    def _infinite_where_impossible(self, divergence: torch.Tensor, student: "LinearChainCRF") -> torch.Tensor:
        """A student that allows no labelling at all has no conditional distributions to compare with."""
        return torch.where(self._possible & ~student._possible, torch.full_like(divergence, float("inf")), divergence)

    def _expected_edges(self, weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self._expected(weight, value) if weight.shape[1] > 0 else value.new_zeros(value.shape[0])

    # ---------------------------------------------------------------- front end

    def _with(self, emissions: torch.Tensor, *tables: torch.Tensor) -> "LinearChainCRF":
        """The distribution over the same words with other potentials."""
        other = object.__new__(LinearChainCRF)
        other._emissions, other._mask = emissions, self._mask
        other._transitions, other._start, other._end = tables
        other._independent = False
        other._reset()
        if self._fast is None:
            other._fast = None
        return other

    @property
    def _given(self) -> Chain:
        return Chain(self._emissions, self._transitions, self._start, self._end, self._mask)

    @_Cached
    def _clean_emissions(self) -> torch.Tensor:
        """(B, T, L): what stands at masked words may be anything, and must not reach a gradient as 0 times infinity."""
        emissions = _finite(self._emissions) if self._forbids else self._emissions
        return emissions if self._mask is None else emissions.masked_fill(~self._mask.unsqueeze(2), 0.0)

    @_Cached
    def _forbids(self) -> bool:
        """Whether an emission may be −inf. To look would make a GPU wait."""
        return self._emissions.device.type != "cpu" or bool((self._emissions < FORBIDDEN_BELOW).any())

    @_Cached
    def _lengths(self) -> torch.Tensor:
        """(B,), int64: how many words."""
        batch, words, _ = self._emissions.shape
        if self._mask is None:
            return torch.full((batch,), words, dtype=torch.long, device=self._emissions.device)
        return self._mask.sum(dim=1)

    @_Cached
    def _order(self) -> Optional[torch.Tensor]:
        """(B, T): positions of the words, then those of the rest; none where all are words."""
        return None if self._mask is None else (~self._mask).to(torch.uint8).argsort(dim=1, stable=True)

    @_Cached
    def _inside(self) -> torch.Tensor:
        """(B, T): which positions hold words once these have been moved to the front."""
        words = self._emissions.shape[1]
        return torch.arange(words, device=self._emissions.device).unsqueeze(0) < self._lengths.unsqueeze(1)

    @_Cached
    def _potentials(self) -> Potentials:
        """What the plain recursions work on: words in front, tables of each sentence's own, nothing infinite."""
        batch = len(self._emissions)

        def each(table: torch.Tensor, dimensions: int) -> torch.Tensor:
            table = _finite(table)
            return table.expand(batch, *table.shape) if table.dim() < dimensions else table

        return Potentials(
            self._compact(self._clean_emissions),
            each(self._transitions, 3),
            each(self._start, 2),
            each(self._end, 2),
            self._lengths,
        )

    def _compact(self, values: torch.Tensor) -> torch.Tensor:
        """(B, T, L) with the words of each sentence moved to the front."""
        if self._order is None:
            return values
        return values.gather(1, self._order.unsqueeze(2).expand_as(values))

    def _scatter(self, values: torch.Tensor) -> torch.Tensor:
        """Words back to where they came from: (B, T) or (B, T, L), whose rows beyond the sentence are 0."""
        if self._order is None:
            return values
        index = self._order if values.dim() == 2 else self._order.unsqueeze(2).expand_as(values)
        return torch.zeros_like(values).scatter(1, index, values)

    def _scatter_paths(self, tags: torch.Tensor) -> torch.Tensor:
        """(B, M, T) with words back to where they came from."""
        if self._order is None:
            return tags
        return torch.zeros_like(tags).scatter(2, self._order.unsqueeze(1).expand_as(tags), tags)

    def _paths(self, tags: torch.Tensor) -> torch.Tensor:
        """`tags` as (B, M, T), int64, contiguous, after a check."""
        batch, words, labels = self._emissions.shape
        if tags.dim() not in (2, 3) or tags.shape[0] != batch or tags.shape[-1] != words:
            raise ValueError(f"tags must have shape (B, T) = {(batch, words)} or (B, M, T), not {tuple(tags.shape)}")
        if tags.is_floating_point() or tags.dtype == torch.bool:
            raise ValueError(f"tags must be integers, not {tags.dtype}")
        paths = (tags.unsqueeze(1) if tags.dim() == 2 else tags).long().contiguous()
        if tags.device.type == "cpu" and paths.numel():
            if cpu_kernels.library is not None and not cpu_kernels.tags_outside(paths, self._mask, labels):
                return paths
            inside = paths if self._mask is None else torch.where(self._mask.unsqueeze(1), paths, 0)
            lowest, highest = (int(x) for x in inside.aminmax())
            if not 0 <= lowest <= highest < labels:
                raise ValueError(f"tags of words must lie in [0, {labels}), found {lowest} to {highest}")
        return paths

    def _compact_paths(self, paths: torch.Tensor) -> torch.Tensor:
        """(B, M, T) with words in front, and 0 behind them."""
        if self._order is not None:
            paths = paths.gather(2, self._order.unsqueeze(1).expand_as(paths))
        return torch.where(self._inside.unsqueeze(1), paths, torch.zeros_like(paths))

    def _table(self, table: Optional[torch.Tensor], name: str, shape: Tuple[int, ...]) -> torch.Tensor:
        """A table of potentials in the type of the computation: of `shape`, or that for each sentence."""
        batch = len(self._emissions)
        device = self._emissions.device
        if table is None:
            return torch.zeros(shape, dtype=self._emissions.dtype, device=device)
        if table.shape not in (shape, (batch, *shape)):
            raise ValueError(f"{name} must have shape {shape} or {(batch, *shape)}, not {tuple(table.shape)}")
        if not table.is_floating_point():
            raise ValueError(f"{name} must be floating-point numbers, not {table.dtype}")
        if table.device != device:
            raise ValueError(f"{name} are on {table.device}, the emissions on {device}: move one of them")
        return table if table.dtype == self._emissions.dtype else table.to(self._emissions.dtype)

    def _check_honest(self) -> None:
        """Refuse NaN and +inf; not on a GPU, which would have to be waited for."""
        if self._emissions.device.type != "cpu":
            return
        potentials = self._given[:4]
        bad: Optional[int]
        if cpu_kernels.supports(self._emissions) and all(values.is_contiguous() for values in potentials):
            bad = cpu_kernels.dishonest(self._given)
        else:
            # NaN compares false with everything, so that one comparison finds both.
            honest = [values.detach() < float("inf") for values in potentials]
            if self._mask is not None:
                honest[0] |= ~self._mask.unsqueeze(2)
            bad = next((index for index, values in enumerate(honest) if not bool(values.all())), None)
        if bad is not None:
            name = ("emissions", "transitions", "start_transitions", "end_transitions")[bad]
            raise ValueError(f"{name} contain NaN or +inf; potentials must be finite, or −inf to forbid")

    def _check_same_space(self, other: "LinearChainCRF") -> None:
        mine, theirs = tuple(self._emissions.shape), tuple(other._emissions.shape)
        if mine != theirs:
            raise ValueError(
                f"the distributions have shapes (B, T, L) {mine} and {theirs}; "
                "they must be over the same words and labels"
            )
        if self._mask is other._mask:
            return
        if self._emissions.device.type == "cpu" and not torch.equal(self._lengths, other._lengths):
            raise ValueError("the two distributions must be over the same words: their masks differ")


def _finite(values: torch.Tensor) -> torch.Tensor:
    """`values` with −inf (or less than any honest potential) as `FORBIDDEN`."""
    return torch.where(values < FORBIDDEN_BELOW, torch.full_like(values, FORBIDDEN), values)


def _minus_infinity_where_forbidden(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values > FORBIDDEN_BELOW, values, torch.full_like(values, float("-inf")))
