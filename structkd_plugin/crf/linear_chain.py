"""The linear-chain CRF as a distribution over the labellings of a sentence."""

from functools import partial
from typing import Any, Callable, Dict, Generic, Optional, Tuple, TypeVar, cast

import torch

from structkd_plugin.crf import reference, scaled
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
        self._cache: Dict[Tuple[str, bool], Any] = {}
        self._plain = False
        if mask is None:
            self._order: Optional[torch.Tensor] = None
            lengths = torch.full((batch,), words, dtype=torch.long, device=emissions.device)
        else:
            if mask.shape != (batch, words):
                raise ValueError(
                    f"mask must have shape (B, T) = {(batch, words)} like the emissions, not {tuple(mask.shape)}"
                )
            if mask.device != emissions.device:
                raise ValueError(f"the mask is on {mask.device}, the emissions on {emissions.device}: move one of them")
            if mask.dtype != torch.bool:
                raise ValueError(f"mask must be boolean, not {mask.dtype}: write mask.bool()")
            # (B, T): positions of the words, then those of the rest
            self._order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
            lengths = mask.sum(dim=1)
        # (B, T)
        self._inside = torch.arange(words, device=emissions.device).unsqueeze(0) < lengths.unsqueeze(1)
        compute = torch.float64 if emissions.dtype == torch.float64 else torch.float32
        self._source_shape = (batch, words, labels)
        compacted = self._compact(_plain(emissions, compute, "emissions"))
        # What stands at masked words may be anything, and must not reach a gradient as 0 times infinity.
        compacted = torch.where(self._inside.unsqueeze(2), compacted, compacted.new_zeros(()))
        self._check_honest(compacted, "emissions")
        # Without tables the words are independent, and no recursion is needed for what concerns them one by one.
        self._independent = transitions is None and start_transitions is None and end_transitions is None
        self._potentials = Potentials(
            compacted,
            self._table(transitions, "transitions", (labels, labels), compute),
            self._table(start_transitions, "start_transitions", (labels,), compute),
            self._table(end_transitions, "end_transitions", (labels,), compute),
            lengths,
        )

    # ---------------------------------------------------------------- properties

    @_Cached
    def log_partition(self) -> torch.Tensor:
        """log Z, shape (B,), nats: 0 for a sentence without words, −inf where no labelling is allowed."""
        return _minus_infinity_where_forbidden(self._raw_log_partition)

    @_Cached
    def log_marginals(self) -> torch.Tensor:
        """log q_t(y), shape (B, T, L), nats: −inf where y is forbidden, 0 at masked words."""
        log_q = _minus_infinity_where_forbidden(self._raw_log_marginals)
        log_q = torch.where(self._possible.view(-1, 1, 1), log_q, log_q.new_full((), -float("inf")))
        return self._scatter(torch.where(self._inside.unsqueeze(2), log_q, log_q.new_zeros(())))

    @_Cached
    def marginals(self) -> torch.Tensor:
        """
        q_t(y) = p(y_t = y), shape (B, T, L), each word's row adding up to 1; rows of 0 at masked words.

        Also rows of 0 in sentences no labelling of which is allowed.
        """
        return self._scatter(self._compact_marginals)

    @_Cached
    def edge_marginals(self) -> torch.Tensor:
        """
        q_t(i, j) = p(y_t = i, y_{t+1} = j), shape (B, T−1, L, L) as [from, to], each adding up to 1.

        Under a mask, t + 1 means the next word, and an edge stands at the position of its left word.
        """
        batch, words, _ = self._source_shape
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
        return _minus_infinity_where_forbidden(self._raw_score(tags))

    def log_prob(self, tags: torch.Tensor) -> torch.Tensor:
        """log p(y), nats, at most 0 up to rounding, −inf where y is forbidden; shapes as in `score`."""
        scores = self._raw_score(tags)
        log_z = self.log_partition if scores.dim() == 1 else self.log_partition.unsqueeze(1)
        allowed = scores > FORBIDDEN_BELOW
        # Where a labelling is allowed log Z is finite, so that the difference is taken of finite numbers only.
        difference = torch.where(allowed, scores, torch.zeros_like(scores)) - torch.where(
            allowed, log_z, torch.zeros_like(scores)
        )
        return torch.where(allowed, difference, torch.full_like(scores, float("-inf")))

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
        with torch.no_grad():
            return self._scatter_paths(reference.sample_paths(self._potentials, self._beta, n, generator))

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
        p = self._potentials
        tempered = self._with(
            *(
                _each(lambda x: torch.where(x > FORBIDDEN_BELOW, x / temperature, x), potentials)
                for potentials in (p.emissions, p.transitions, p.start, p.end)
            )
        )
        tempered._independent = self._independent
        return tempered

    def plain(self) -> "LinearChainCRF":
        """The same distribution by the plain recursions: slower, and differentiable any number of times."""
        p = self._potentials
        other = self._with(p.emissions, p.transitions, p.start, p.end)
        other._independent = self._independent
        other._plain = True
        return other

    def without_transitions(self) -> "LinearChainCRF":
        """The distribution of the emissions alone: a softmax for each word, over the same words."""
        p = self._potentials
        other = self._with(p.emissions, *(torch.zeros_like(table) for table in (p.transitions, p.start, p.end)))
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
        p = self._potentials
        barriers = (transitions, start_transitions, end_transitions)
        tables = (
            _each(partial(_forbid, barrier), table)
            for barrier, table in zip(barriers, (p.transitions, p.start, p.end), strict=True)
        )
        return self._with(p.emissions, *tables)

    # ---------------------------------------------------------------- the chain as a Markov chain

    @_Cached
    def log_conditionals(self) -> torch.Tensor:
        """
        log p(y_{t+1} = j | y_t = i), shape (B, T−1, L, L) as [from, to], words of a sentence moved to the front.

        Rows of labels that no allowed labelling visits hold some distribution.
        """
        return self._log_chain[1]

    @_Cached
    def _raw_log_partition(self) -> torch.Tensor:
        """(B,), below `FORBIDDEN_BELOW` where no labelling is allowed."""
        if self._independent:
            per_word = torch.logsumexp(self._potentials.emissions, dim=2)
            return torch.where(self._inside, per_word, per_word.new_zeros(())).sum(dim=1)
        if self._messages is not None:
            return scaled.log_partition(self._potentials, self._messages)
        return reference.log_partition(self._potentials)

    @_Cached
    def _raw_log_marginals(self) -> torch.Tensor:
        """(B, T, L), meaningless beyond the sentence and where no labelling is allowed."""
        if self._independent:
            return torch.log_softmax(self._potentials.emissions, dim=2)
        if self._messages is not None and scaled.nothing_unlikely(self._messages):
            return scaled.log_marginals(self._potentials, self._messages)
        return reference.log_marginals(self._potentials, self._beta)

    @_Cached
    def _messages(self) -> Optional[scaled.Messages]:
        """What the fast path works with, or none where only the reference is exact."""
        return None if self._plain else scaled.messages(self._potentials)

    @_Cached
    def _beta(self) -> torch.Tensor:
        return reference.backward_messages(self._potentials)

    @_Cached
    def _log_chain(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """log p(y_1) (B, L) and log p(y_{t+1} | y_t) (B, T−1, L, L)."""
        batch, words, labels = self._source_shape
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
        _, words, _ = self._source_shape
        log_first, _ = self._log_chain
        first = log_first.exp() * self._possible.to(log_first.dtype).unsqueeze(1)
        if words == 0:
            return torch.zeros_like(first), self._log_chain[1]
        return first, self._compact_edge_marginals

    @_Cached
    def _compact_marginals(self) -> torch.Tensor:
        if self._is_fixed and not self._independent and self._messages is not None:
            q = scaled.marginals(self._messages).transpose(0, 1)
        else:
            q = self._raw_log_marginals.exp()
        return torch.where(self._real_words, q, q.new_zeros(()))

    @_Cached
    def _compact_edge_marginals(self) -> torch.Tensor:
        # (B, T-1, L, L)
        edges = self._compact_marginals[:, :-1].unsqueeze(3) * self._log_chain[1].exp()
        return torch.where(self._real_words[:, 1:].unsqueeze(3), edges, edges.new_zeros(()))

    @_Cached
    def _possible(self) -> torch.Tensor:
        """(B,): the sentence has a word and an allowed labelling."""
        return (self._potentials.lengths > 0) & (self._raw_log_partition.detach() > FORBIDDEN_BELOW)

    @_Cached
    def _real_words(self) -> torch.Tensor:
        """(B, T, 1)"""
        return (self._inside & self._possible.unsqueeze(1)).unsqueeze(2)

    def _divergence(self, student: "LinearChainCRF", subtract_entropy: bool) -> torch.Tensor:
        """KL(p ‖ p_student), or the cross-entropy, (B,)."""
        if not self._is_fixed or student._is_fixed or self._messages is None or student._messages is None:
            return self._recorded_divergence(student, subtract_entropy)
        with torch.no_grad():
            value = self._recorded_divergence(student, subtract_entropy)
        expected = scaled.expected_counts(self._messages, self._potentials.lengths)
        return scaled.divergence(student._potentials, student._messages, value, expected)

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
        return not (torch.is_grad_enabled() and any(x.requires_grad for x in self._potentials))

    @staticmethod
    def _expected(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Σ weight · value over all but the first dimension; 0 · ∞ is 0, and anything above 0 times ∞ is ∞."""
        infinite = value > -FORBIDDEN_BELOW
        finite = (weight * torch.where(infinite, torch.zeros_like(value), value)).flatten(1).sum(dim=1)
        hit = ((weight > 0) & infinite).flatten(1).any(dim=1)
        return torch.where(hit, torch.full_like(finite, float("inf")), finite)

    def _infinite_where_impossible(self, divergence: torch.Tensor, student: "LinearChainCRF") -> torch.Tensor:
        """A student that allows no labelling at all has no conditional distributions to compare with."""
        return torch.where(self._possible & ~student._possible, torch.full_like(divergence, float("inf")), divergence)

    def _expected_edges(self, weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return self._expected(weight, value) if weight.shape[1] > 0 else value.new_zeros(value.shape[0])

    # ---------------------------------------------------------------- front end

    def _with(self, emissions: torch.Tensor, *tables: torch.Tensor) -> "LinearChainCRF":
        """The distribution over the same words with other potentials, given in the form the recursions take."""
        other = object.__new__(LinearChainCRF)
        other._order, other._inside, other._source_shape = self._order, self._inside, self._source_shape
        other._independent = False
        other._cache, other._plain = {}, self._plain
        transitions, start, end = tables
        other._potentials = Potentials(emissions, transitions, start, end, self._potentials.lengths)
        return other

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

    def _raw_score(self, tags: torch.Tensor) -> torch.Tensor:
        batch, words, labels = self._source_shape
        if tags.dim() not in (2, 3) or tags.shape[0] != batch or tags.shape[-1] != words:
            raise ValueError(f"tags must have shape (B, T) = {(batch, words)} or (B, M, T), not {tuple(tags.shape)}")
        if tags.is_floating_point() or tags.dtype == torch.bool:
            raise ValueError(f"tags must be integers, not {tags.dtype}")
        # (B, M, T)
        paths = (tags.unsqueeze(1) if tags.dim() == 2 else tags).long()
        if self._order is not None:
            paths = paths.gather(2, self._order.unsqueeze(1).expand_as(paths))
        paths = torch.where(self._inside.unsqueeze(1), paths, torch.zeros_like(paths))
        if tags.device.type == "cpu" and paths.numel() and not 0 <= int(paths.min()) <= int(paths.max()) < labels:
            raise ValueError(f"tags of words must lie in [0, {labels}), found {int(paths.min())} to {int(paths.max())}")
        scores = reference.path_scores(self._potentials, paths)
        return scores.squeeze(1) if tags.dim() == 2 else scores

    def _table(
        self, table: Optional[torch.Tensor], name: str, shape: Tuple[int, ...], dtype: torch.dtype
    ) -> torch.Tensor:
        """A table of potentials as one row or matrix for each sentence: (B, L) or (B, L, L)."""
        batch = self._source_shape[0]
        device = self._inside.device
        if table is None:
            return torch.zeros((), dtype=dtype, device=device).expand(batch, *shape)
        if table.shape not in (shape, (batch, *shape)):
            raise ValueError(f"{name} must have shape {shape} or {(batch, *shape)}, not {tuple(table.shape)}")
        if table.device != device:
            raise ValueError(f"{name} are on {table.device}, the emissions on {device}: move one of them")
        table = _plain(table, dtype, name)
        self._check_honest(table, name)
        return table.expand(batch, *shape)

    @staticmethod
    def _check_honest(values: torch.Tensor, name: str) -> None:
        # NaN compares false with everything, so that one comparison finds both.
        if values.device.type == "cpu" and not bool((values.detach() < float("inf")).all()):
            raise ValueError(f"{name} contain NaN or +inf; potentials must be finite, or −inf to forbid")

    def _check_same_space(self, other: "LinearChainCRF") -> None:
        if self._source_shape != other._source_shape:
            raise ValueError(
                f"the distributions have shapes (B, T, L) {self._source_shape} and {other._source_shape}; "
                "they must be over the same words and labels"
            )
        if self._inside.device.type == "cpu" and not torch.equal(self._potentials.lengths, other._potentials.lengths):
            raise ValueError("the two distributions must be over the same words: their masks differ")


def _plain(values: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """`values` in the type of the computation, with −inf (or less than any honest potential) as `FORBIDDEN`."""
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers, not {values.dtype}")
    values = values.to(dtype)
    return torch.where(values < FORBIDDEN_BELOW, torch.full_like(values, FORBIDDEN), values)


def _forbid(barrier: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    return torch.where(barrier < 0, torch.full_like(table, FORBIDDEN), table)


def _each(change: Callable[[torch.Tensor], torch.Tensor], potentials: torch.Tensor) -> torch.Tensor:
    """`change` of potentials, made once where all sentences share them."""
    if potentials.shape[0] > 1 and potentials.stride(0) == 0:
        return change(potentials[:1]).expand_as(potentials)
    return change(potentials)


def _minus_infinity_where_forbidden(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values > FORBIDDEN_BELOW, values, torch.full_like(values, float("-inf")))
