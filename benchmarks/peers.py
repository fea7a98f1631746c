"""
The contestants: ours and other implementations of linear-chain CRFs, each behind the same small interface.

A contestant is made for one `Problem` and has a method for each operation it can do, named as in `OPERATIONS`: that
call is what is timed. It does what a user would write: build the distribution, compute, call backward. What only turns
an answer into a form that can be compared (`paths`, `k_paths`) is not timed.
"""

import contextlib
import importlib
import importlib.util
import inspect
import sys
import textwrap
import types
import warnings
from pathlib import Path
from typing import Any, ClassVar, ContextManager, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import torch

from structkd_plugin.crf import LinearChainCRF
from structkd_plugin.crf.implementation import use

K = 10
# What a peer may need for one call, as far as it can be foreseen.
MEMORY_LIMIT = 6 * 2**30

OPERATIONS = {
    "likelihood": "negative log-likelihood with gradient",
    "marginals": "marginals",
    "viterbi": "best labelling",
    "k_best": f"K best labellings, K = {K}",
    "cross_entropy": "cross-entropy with gradient",
    "kl": "KL divergence with gradient",
    "posterior": "cross-entropy of the token marginals with gradient",
    "sample": "one sample",
}
WITH_GRADIENT = ("likelihood", "cross_entropy", "kl", "posterior")


class Declined(Exception):
    """A contestant that could do an operation, but not of this size."""


class Problem(NamedTuple):
    """Potentials of a batch, and a teacher's for the same words."""

    emissions: torch.Tensor  # (B, T, L)
    transitions: torch.Tensor  # (L, L), [from, to]
    start: torch.Tensor  # (L,)
    end: torch.Tensor  # (L,)
    mask: torch.Tensor  # (B, T)
    lengths: torch.Tensor  # (B,)
    tags: torch.Tensor  # (B, T)
    teacher: Optional["Problem"] = None

    @property
    def shape(self) -> Tuple[int, int, int]:
        """B, T, L."""
        batch, words, labels = self.emissions.shape
        return batch, words, labels

    def to(self, dtype: torch.dtype) -> "Problem":
        """The same numbers in another type."""
        potentials = [x.to(dtype) for x in self[:4]]
        return Problem(*potentials, *self[4:7], self.teacher and self.teacher.to(dtype))


def random_problem(batch: int, words: int, labels: int, seed: int = 0) -> Problem:
    """
    Potentials from N(0, 1), float32; lengths uniform between T/4 and T, in no order, one of them T.
    """
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(max(1, words // 4), words + 1, (batch,), generator=draw)
    lengths[int(torch.randint(batch, (), generator=draw))] = words
    mask = torch.arange(words).unsqueeze(0) < lengths.unsqueeze(1)
    tags = torch.randint(labels, (batch, words), generator=draw) * mask

    def potentials() -> List[torch.Tensor]:
        return [
            torch.randn(*size, generator=draw)
            for size in ((batch, words, labels), (labels, labels), (labels,), (labels,))
        ]

    teacher = Problem(*potentials(), mask, lengths, tags)
    return Problem(*potentials(), mask, lengths, tags, teacher)


class Contestant:
    """One implementation and one problem, whose potentials it has as tensors that ask for gradients."""

    name = ""
    # The name on PyPI.
    distribution: Optional[str] = None
    # What a reader of the table must know.
    note = ""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.mask, self.lengths, self.tags = problem.mask, problem.lengths, problem.tags
        self.emissions = problem.emissions.clone().requires_grad_()
        self.teacher = None if problem.teacher is None else type(self)(problem.teacher)
        self.build()

    @classmethod
    def load(cls) -> None:
        """Import what is needed; may raise anything."""

    def build(self) -> None:
        """Make the parameters, as a model does once."""
        raise NotImplementedError

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The tensors besides the emissions that get gradients."""
        raise NotImplementedError

    def table_gradients(self) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients of transitions (L, L) as [from, to], start and end (L,)."""
        transitions, start, end = self.parameters
        assert transitions.grad is not None
        assert start.grad is not None
        assert end.grad is not None
        return transitions.grad, start.grad, end.grad

    def gradients(self) -> Tuple[torch.Tensor, ...]:
        """Of the emissions (B, T, L), transitions, start and end."""
        assert self.emissions.grad is not None
        return (self.emissions.grad, *self.table_gradients())

    def can(self, operation: str) -> bool:
        """Whether there is a method for the operation."""
        return hasattr(self, operation)

    def check_size(self, operation: str) -> None:
        """Raise `Declined` where one call would need too much memory."""

    def work(self) -> float:
        """What the time of a call is roughly proportional to, over problems of different size."""
        batch, words, labels = self.problem.shape
        return float(batch * words * labels**2)

    def paths(self, answer: Any) -> torch.Tensor:
        """The labels (B, T) in what `viterbi` or `sample` returned."""
        return answer

    def k_paths(self, answer: Any) -> torch.Tensor:
        """The labels (B, K, T) in what `k_best` returned."""
        return answer

    def _clear(self) -> None:
        """What an optimizer's zero_grad does."""
        for tensor in (self.emissions, *self.parameters):
            tensor.grad = None

    def _backward(self, loss: torch.Tensor) -> torch.Tensor:
        loss.backward()
        return loss.detach()

    def _padded(self, labels: Sequence[Sequence[int]]) -> torch.Tensor:
        rows = torch.zeros(self.mask.shape, dtype=torch.long)
        for row, path in zip(rows, labels, strict=True):
            row[: len(path)] = torch.as_tensor(path)
        return rows


# ------------------------------------------------------------------------------------------------ ours


class Ours(Contestant):
    """`LinearChainCRF` as it comes."""

    name = "ours"

    def build(self) -> None:
        """Three tables."""
        self._tables = tuple(
            x.clone().requires_grad_() for x in (self.problem.transitions, self.problem.start, self.problem.end)
        )

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The tables."""
        return self._tables

    def implementation(self) -> ContextManager[Any]:
        """What a call runs in."""
        return contextlib.nullcontext()

    def made(self, crf: LinearChainCRF) -> LinearChainCRF:
        """The distribution that is asked."""
        return crf

    @property
    def student(self) -> LinearChainCRF:
        """A new distribution, with gradients where they are on."""
        return self.made(LinearChainCRF(self.emissions, *self._tables, self.mask))

    @property
    def fixed_teacher(self) -> LinearChainCRF:
        """A new distribution of the teacher's potentials, which ask for no gradient."""
        teacher = self.problem.teacher
        assert teacher is not None
        return self.made(LinearChainCRF(*teacher[:4], self.mask))

    def likelihood(self) -> torch.Tensor:
        """−Σ log p(tags)."""
        self._clear()
        with self.implementation():
            return self._backward(-self.student.log_prob(self.tags).sum())

    def marginals(self) -> torch.Tensor:
        """q."""
        with self.implementation(), torch.no_grad():
            return self.student.marginals

    def viterbi(self) -> torch.Tensor:
        """(B, T)."""
        with self.implementation(), torch.no_grad():
            return self.student.argmax

    def k_best(self) -> torch.Tensor:
        """(B, K, T)."""
        with self.implementation(), torch.no_grad():
            return self.student.k_best(K)[0]

    def cross_entropy(self) -> torch.Tensor:
        """Of a fixed teacher and the student."""
        self._clear()
        with self.implementation():
            return self._backward(self.fixed_teacher.cross_entropy(self.student).sum())

    def kl(self) -> torch.Tensor:
        """Of a fixed teacher and the student."""
        self._clear()
        with self.implementation():
            return self._backward(self.fixed_teacher.kl(self.student).sum())

    def posterior(self) -> torch.Tensor:
        """−Σ q_teacher log q."""
        self._clear()
        with self.implementation():
            return self._backward(-(self.fixed_teacher.marginals * self.student.log_marginals).sum())

    def sample(self) -> torch.Tensor:
        """(B, T)."""
        with self.implementation(), torch.no_grad():
            return self.student.sample(1).squeeze(1)


class OursTorch(Ours):
    """The implementation in torch operations alone, forced."""

    name = "ours, torch"

    def implementation(self) -> ContextManager[Any]:
        """Forced."""
        return use("torch")


class OursPlain(Ours):
    """The plain recursions, which can be differentiated any number of times."""

    name = "ours, plain"

    def made(self, crf: LinearChainCRF) -> LinearChainCRF:
        """`plain()`."""
        return crf.plain()


# ------------------------------------------------------------------------------------------------ peers


class AutogradPeer(Contestant):
    """A peer that gives log Z; marginals are its gradient, and their gradient the second one."""

    def log_partition(self) -> torch.Tensor:
        """log Z, (B,)."""
        raise NotImplementedError

    def marginals(self) -> torch.Tensor:
        """∂ log Z/∂ emissions."""
        (q,) = torch.autograd.grad(self.log_partition().sum(), self.emissions)
        return q

    def posterior(self) -> torch.Tensor:
        """−Σ q_teacher log q, the student's marginals as a gradient that is differentiated again."""
        self._clear()
        assert isinstance(self.teacher, AutogradPeer)
        q_teacher = self.teacher.marginals()
        (q,) = torch.autograd.grad(self.log_partition().sum(), self.emissions, create_graph=True)
        q = torch.where(self.mask.unsqueeze(2), q, q.new_ones(()))
        return self._backward(-(q_teacher * q.log()).sum())


class ModulePeer(AutogradPeer):
    """A peer whose module has three tables under the usual names."""

    names: Tuple[str, str, str] = ("transitions", "start_transitions", "end_transitions")

    def module(self) -> torch.nn.Module:
        """A new module."""
        raise NotImplementedError

    def build(self) -> None:
        """The module with the problem's tables."""
        self.crf: Any = self.module().to(self.problem.emissions.dtype)
        with torch.no_grad():
            for parameter, table in zip(self.parameters, self.problem[1:4], strict=True):
                parameter.copy_(table)

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The module's tables."""
        return tuple(getattr(self.crf, name) for name in self.names)


class AllenNLP(ModulePeer):
    """AllenNLP's `ConditionalRandomField`, which its `crf_tagger` uses."""

    name = "AllenNLP"
    distribution = "allennlp"

    @classmethod
    def load(cls) -> None:
        """Its repairs for current libraries come with the plugin."""
        importlib.import_module("structkd_plugin")
        importlib.import_module("allennlp.modules.conditional_random_field")

    def module(self) -> torch.nn.Module:
        """Without constraints."""
        from allennlp.modules.conditional_random_field import ConditionalRandomField

        return ConditionalRandomField(self.problem.shape[2])

    def log_partition(self) -> torch.Tensor:
        """Not public."""
        return self.crf._input_likelihood(self.emissions, self.crf.transitions, self.mask)

    def likelihood(self) -> torch.Tensor:
        """The module's call."""
        self._clear()
        return self._backward(-self.crf(self.emissions, self.tags, self.mask))

    def viterbi(self) -> Any:
        """As its tagger does."""
        return self.crf.viterbi_tags(self.emissions, self.mask)

    def paths(self, answer: Any) -> torch.Tensor:
        """From lists of (labels, score)."""
        return self._padded([labels for labels, _ in answer])

    def k_best(self) -> Any:
        """As its tagger does."""
        return self.crf.viterbi_tags(self.emissions, self.mask, top_k=K)

    def k_paths(self, answer: Any) -> torch.Tensor:
        """From lists of lists of (labels, score)."""
        return torch.stack([self._padded([best[k][0] for best in answer]) for k in range(K)], dim=1)


class PytorchCrf(ModulePeer):
    """pytorch-crf, the most used."""

    name = "pytorch-crf"
    distribution = "pytorch-crf"

    @classmethod
    def load(cls) -> None:
        """torchcrf."""
        importlib.import_module("torchcrf")

    def module(self) -> torch.nn.Module:
        """Batch first."""
        from torchcrf import CRF

        return CRF(self.problem.shape[2], batch_first=True)

    def log_partition(self) -> torch.Tensor:
        """Not public; words first."""
        return self.crf._compute_normalizer(self.emissions.transpose(0, 1), self.mask.t())

    def likelihood(self) -> torch.Tensor:
        """The module's call."""
        self._clear()
        return self._backward(-self.crf(self.emissions, self.tags, mask=self.mask, reduction="sum"))

    def viterbi(self) -> Any:
        """Lists of labels."""
        with torch.no_grad():
            return self.crf.decode(self.emissions, mask=self.mask)

    def paths(self, answer: Any) -> torch.Tensor:
        """From lists."""
        return self._padded(answer)


class PartialCrf(ModulePeer):
    """pytorch-partial-crf, whose marginals are a forward and a backward pass."""

    name = "pytorch-partial-crf"
    distribution = "pytorch-partial-crf"

    @classmethod
    def load(cls) -> None:
        """pytorch_partial_crf."""
        importlib.import_module("pytorch_partial_crf")

    def module(self) -> torch.nn.Module:
        """Full labels."""
        from pytorch_partial_crf import CRF

        return CRF(self.problem.shape[2])

    def log_partition(self) -> torch.Tensor:
        """Not public."""
        return self.crf._denominator_score(self.emissions, self.mask)

    def likelihood(self) -> torch.Tensor:
        """The module's call."""
        self._clear()
        return self._backward(self.crf(self.emissions, self.tags, self.mask))

    def marginals(self) -> torch.Tensor:
        """Its own function, (T, B, L)."""
        with torch.no_grad():
            return self.crf.marginal_probabilities(self.emissions, self.mask).transpose(0, 1)

    def viterbi(self) -> Any:
        """Lists of labels."""
        with torch.no_grad():
            return self.crf.viterbi_decode(self.emissions, self.mask)

    def paths(self, answer: Any) -> torch.Tensor:
        """From lists."""
        return self._padded(answer)


class FastNLP(ModulePeer):
    """fastNLP's `ConditionalRandomField`."""

    name = "fastNLP"
    distribution = "fastNLP"
    note = "its Viterbi writes into the emissions, so that it is given a copy, which is timed"
    names = ("trans_m", "start_scores", "end_scores")

    @classmethod
    def load(cls) -> None:
        """Takes long."""
        importlib.import_module("fastNLP.modules.torch.decoder.crf")

    def module(self) -> torch.nn.Module:
        """With start and end tables."""
        from fastNLP.modules.torch.decoder.crf import ConditionalRandomField

        return ConditionalRandomField(self.problem.shape[2], include_start_end_trans=True)

    def log_partition(self) -> torch.Tensor:
        """Not public; words first."""
        return self.crf._normalizer_likelihood(self.emissions.transpose(0, 1), self.mask.t())

    def likelihood(self) -> torch.Tensor:
        """The module's call."""
        self._clear()
        return self._backward(self.crf(self.emissions, self.tags, self.mask).sum())

    def viterbi(self) -> Any:
        """(paths, scores)."""
        with torch.no_grad():
            return self.crf.viterbi_decode(self.emissions.clone(), self.mask)

    def paths(self, answer: Any) -> torch.Tensor:
        """Anything at masked words."""
        return answer[0] * self.mask


class Bert4torch(ModulePeer):
    """bert4torch's `CRF`, whose K best is batched, as NCRF++'s is."""

    name = "bert4torch"
    distribution = "bert4torch"
    note = "its K best fails as it is (a view of a transposed tensor) and was repaired for this table"

    @classmethod
    def load(cls) -> None:
        """Takes long."""
        module = importlib.import_module("bert4torch.layers.crf")
        if hasattr(module, "_k_best_is_repaired"):
            return
        module._k_best_is_repaired = True  # type: ignore[attr-defined]
        source = textwrap.dedent(inspect.getsource(module.CRF._viterbi_decode_nbest))
        repaired: Dict[str, Any] = {}
        exec(source.replace(".view(", ".reshape("), vars(module), repaired)
        module.CRF._viterbi_decode_nbest = repaired["_viterbi_decode_nbest"]

    def module(self) -> torch.nn.Module:
        """Of so many labels."""
        from bert4torch.layers.crf import CRF

        return CRF(self.problem.shape[2])

    def log_partition(self) -> torch.Tensor:
        """Not public."""
        return self.crf._compute_normalizer(self.emissions, self.mask.byte())

    def likelihood(self) -> torch.Tensor:
        """The module's call."""
        self._clear()
        return self._backward(self.crf(self.emissions, self.mask, self.tags, reduction="sum"))

    def viterbi(self) -> torch.Tensor:
        """(B, T)."""
        with torch.no_grad():
            return self.crf.decode(self.emissions, self.mask)

    def k_best(self) -> torch.Tensor:
        """(K, B, T)."""
        with torch.no_grad():
            return self.crf.decode(self.emissions, self.mask, nbest=K)

    def k_paths(self, answer: torch.Tensor) -> torch.Tensor:
        """(B, K, T)."""
        return answer.transpose(0, 1)


class Torchlatent(AutogradPeer):
    """torchlatent's `CrfDistribution`, over torchrua's ragged tensors."""

    name = "torchlatent"
    distribution = "torchlatent"

    @classmethod
    def load(cls) -> None:
        """torchlatent, torchrua."""
        importlib.import_module("torchlatent")

    def build(self) -> None:
        """Its decoder is three tables."""
        from torchlatent import CrfDecoder

        self.crf = CrfDecoder(num_targets=self.problem.shape[2])
        with torch.no_grad():
            for parameter, table in zip(self.parameters, self.problem[1:4], strict=True):
                parameter.copy_(table)

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The tables."""
        return self.crf.transitions, self.crf.head_transitions, self.crf.last_transitions

    def _ragged(self, values: torch.Tensor) -> Any:
        from torchrua import D

        return D(values, self.lengths)

    def log_partition(self) -> torch.Tensor:
        """Of the distribution."""
        return self.crf(self._ragged(self.emissions)).log_partitions

    def likelihood(self) -> torch.Tensor:
        """`log_probs`."""
        self._clear()
        log_probs = self.crf(self._ragged(self.emissions)).log_probs(targets=self._ragged(self.tags))
        return self._backward(-log_probs.sum())

    def viterbi(self) -> Any:
        """By the gradient of the maximum."""
        return self.crf(self._ragged(self.emissions)).argmax

    def paths(self, answer: Any) -> torch.Tensor:
        """Padded."""
        return answer.data * self.mask


class SuPar(AutogradPeer):
    """SuPar's `LinearChainCRF`, a distribution over semirings."""

    name = "SuPar"
    distribution = "supar"
    note = (
        "computes gradients of the teacher too, whether they are wanted or not; its sampling fails as it is "
        "('tuple' object has no attribute 'movedim') and was repaired for this table"
    )

    @classmethod
    def load(cls) -> None:
        """supar.structs alone cannot be imported."""
        importlib.import_module("supar.structs.linearchain")
        from supar.structs import fn

        def backward(ctx: Any, gradient: torch.Tensor) -> Tuple[torch.Tensor, None]:
            # its own line, but for the comma
            (x,), dim = ctx.saved_tensors, ctx.dim
            drawn = torch.distributions.OneHotCategorical(logits=x.movedim(dim, -1)).sample().movedim(-1, dim)
            return gradient.unsqueeze(dim).mul(drawn), None

        fn.SampledLogsumexp.backward = staticmethod(backward)

    def build(self) -> None:
        """One table with start and end in its last row and column."""
        labels = self.problem.shape[2]
        table = self.problem.transitions.new_zeros(labels + 1, labels + 1)
        table[:-1, :-1], table[-1, :-1], table[:-1, -1] = self.problem[1:4]
        self.table = table.requires_grad_()

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The table."""
        return (self.table,)

    def table_gradients(self) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cut out of the one table's."""
        assert self.table.grad is not None
        return self.table.grad[:-1, :-1], self.table.grad[-1, :-1], self.table.grad[:-1, -1]

    @property
    def crf(self) -> Any:
        """A new distribution."""
        from supar.structs.linearchain import LinearChainCRF as SuParCRF

        return SuParCRF(self.emissions, self.table, self.lengths)

    @property
    def fixed_teacher(self) -> Any:
        """A new distribution of the teacher."""
        assert isinstance(self.teacher, SuPar)
        from supar.structs.linearchain import LinearChainCRF as SuParCRF

        return SuParCRF(self.teacher.emissions.detach(), self.teacher.table.detach(), self.lengths)

    def log_partition(self) -> torch.Tensor:
        """Of the distribution."""
        return self.crf.log_partition

    def likelihood(self) -> torch.Tensor:
        """`log_prob`."""
        self._clear()
        return self._backward(-self.crf.log_prob(self.tags).sum())

    def viterbi(self) -> torch.Tensor:
        """By the gradient of the maximum."""
        return self.crf.argmax

    def k_best(self) -> torch.Tensor:
        """(B, T, K), by the gradients of the K largest scores."""
        return self.crf.topk(K)

    def k_paths(self, answer: torch.Tensor) -> torch.Tensor:
        """(B, K, T)."""
        return answer.transpose(1, 2)

    def cross_entropy(self) -> torch.Tensor:
        """Its semiring."""
        self._clear()
        return self._backward(self.fixed_teacher.cross_entropy(self.crf).sum())

    def kl(self) -> torch.Tensor:
        """Its semiring."""
        self._clear()
        return self._backward(self.fixed_teacher.kl(self.crf).sum())

    def sample(self) -> torch.Tensor:
        """(B, T, L), one-hot."""
        return self.crf.sample()

    def paths(self, answer: torch.Tensor) -> torch.Tensor:
        """From one-hot where it is a sample."""
        return answer.argmax(dim=2) if answer.dim() == 3 else answer


class TorchStruct(AutogradPeer):
    """torch-struct's `LinearChainCRF`: products of matrices in a semiring, in a tree over the words."""

    name = "torch-struct"
    distribution = "torch-struct"
    note = "time and memory grow with L³; without its CUDA extension genbmm"

    @classmethod
    def load(cls) -> None:
        """torch_struct."""
        importlib.import_module("torch_struct")

    def build(self) -> None:
        """Three tables."""
        self._tables = tuple(x.clone().requires_grad_() for x in self.problem[1:4])
        last = torch.nn.functional.one_hot(self.lengths - 2, self.problem.shape[1] - 1)
        # (B, T-1, 1, 1)
        self._last = last[:, :, None, None].to(self.emissions.dtype)

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The tables."""
        return self._tables

    def check_size(self, operation: str) -> None:
        """A level of the tree has B · T/2 · L³ sums, of K² each for the K best."""
        batch, words, labels = self.problem.shape
        numbers = batch * (2 ** (words - 2).bit_length() // 2) * labels**3
        needed = 4 * numbers * {"k_best": 4 * K**2, "posterior": 16, "cross_entropy": 12, "kl": 12}.get(operation, 6)
        if needed > MEMORY_LIMIT:
            raise Declined(f"would need some {needed / 2**30:.0f} GiB")

    def work(self) -> float:
        """L³."""
        batch, words, labels = self.problem.shape
        return float(batch * words * labels**3)

    @property
    def crf(self) -> Any:
        """A new distribution, its potentials (B, T−1, L, L) as [to, from]."""
        from torch_struct import LinearChainCRF as StructCRF

        transitions, start, end = self._tables
        first, rest = self.emissions[:, :1], self.emissions[:, 1:]
        potentials = transitions.t() + rest.unsqueeze(3) + self._last * end.unsqueeze(1)
        begun = torch.cat([potentials[:, :1] + (start + first).unsqueeze(2), potentials[:, 1:]], dim=1)
        return StructCRF(begun, lengths=self.lengths)

    def log_partition(self) -> torch.Tensor:
        """Of the distribution."""
        return self.crf.partition

    def likelihood(self) -> torch.Tensor:
        """`log_prob` of one-hot edges."""
        self._clear()
        crf = self.crf
        parts = crf.struct.to_parts(self.tags, self.problem.shape[2], self.lengths)
        return self._backward(-crf.log_prob(parts).sum())

    def marginals(self) -> torch.Tensor:
        """Of words, from those of edges."""
        return self._words(self.crf.marginals).detach()

    def viterbi(self) -> torch.Tensor:
        """One-hot edges."""
        return self.crf.argmax

    def k_best(self) -> torch.Tensor:
        """(K, B, T−1, L, L), one-hot edges."""
        return self.crf.topk(K)

    def cross_entropy(self) -> torch.Tensor:
        """Its semiring."""
        self._clear()
        return self._backward(self._fixed_teacher().cross_entropy(self.crf).sum())

    def kl(self) -> torch.Tensor:
        """Its semiring."""
        self._clear()
        return self._backward(self._fixed_teacher().kl(self.crf).sum())

    def sample(self) -> torch.Tensor:
        """One-hot edges."""
        return self.crf.sample((1,))[0]

    def paths(self, answer: torch.Tensor) -> torch.Tensor:
        """From one-hot edges."""
        return self._words(answer).argmax(dim=2) * self.mask

    def k_paths(self, answer: torch.Tensor) -> torch.Tensor:
        """From one-hot edges."""
        return torch.stack([self.paths(edges) for edges in answer], dim=1)

    def _fixed_teacher(self) -> Any:
        assert isinstance(self.teacher, TorchStruct)
        with torch.no_grad():
            return self.teacher.crf

    @staticmethod
    def _words(edges: torch.Tensor) -> torch.Tensor:
        return torch.cat([edges[:, :1].sum(dim=2), edges.sum(dim=3)], dim=1)


class Flair(Contestant):
    """flair's `CRF`, `ViterbiLoss` and `ViterbiDecoder`, which its `SequenceTagger` uses."""

    name = "flair"
    distribution = "flair"
    note = "its two files alone, as the package imports more than twenty others; sorting the sentences is timed"

    _modules: ClassVar[Dict[str, Any]] = {}

    @classmethod
    def load(cls) -> None:
        """The files, with a stand-in for what they import of flair."""
        if cls._modules:
            return
        spec = importlib.util.find_spec("flair")
        if spec is None or not spec.submodule_search_locations:
            raise ImportError("No module named 'flair'")
        folder = Path(next(iter(spec.submodule_search_locations))) / "models" / "sequence_tagger_utils"
        flair, data = types.ModuleType("flair"), types.ModuleType("flair.data")
        flair.device = torch.device("cpu")  # type: ignore[attr-defined]
        for name in ("Dictionary", "Label", "Sentence"):
            setattr(data, name, type(name, (), {}))
        before = {name: sys.modules.get(name) for name in ("flair", "flair.data")}
        sys.modules.update({"flair": flair, "flair.data": data})
        try:
            for name in ("crf", "viterbi"):
                file = importlib.util.spec_from_file_location(f"_flair_{name}", folder / f"{name}.py")
                assert file is not None
                assert file.loader is not None
                cls._modules[name] = importlib.util.module_from_spec(file)
                file.loader.exec_module(cls._modules[name])
        finally:
            for name, module in before.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module

    def build(self) -> None:
        """Two labels more, for the start and the end, with −10000 where they cannot be."""
        labels = self.problem.shape[2]
        names = _FlairLabels(labels)
        self.crf = self._modules["crf"].CRF(names, labels + 2, init_from_state_dict=False)
        transitions, start, end = self.problem[1:4]
        with torch.no_grad():
            # [to, from]
            self.crf.transitions[:labels, :labels] = transitions.t()
            self.crf.transitions[:labels, labels] = start
            self.crf.transitions[labels + 1, :labels] = end
        self.crf.to(self.problem.emissions.dtype)
        self.loss = self._modules["viterbi"].ViterbiLoss(names)
        self.decoder = self._modules["viterbi"].ViterbiDecoder(names)
        self.emissions = torch.nn.functional.pad(self.problem.emissions, (0, 2)).requires_grad_()
        # The sorted lists of labels come with the sentences.
        self._targets = torch.cat([self.tags[b, : self.lengths[b]] for b in self.lengths.sort(descending=True).indices])

    @property
    def parameters(self) -> Tuple[torch.Tensor, ...]:
        """The table."""
        return (self.crf.transitions,)

    def table_gradients(self) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cut out of the one table's."""
        labels = self.problem.shape[2]
        gradient = self.crf.transitions.grad
        return gradient[:labels, :labels].t(), gradient[:labels, labels], gradient[labels + 1, :labels]

    def gradients(self) -> Tuple[torch.Tensor, ...]:
        """Without the two labels."""
        emissions, *tables = super().gradients()
        return (emissions[:, :, : self.problem.shape[2]], *tables)

    def _features(self) -> Tuple[Tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
        lengths = self.lengths.sort(dim=0, descending=True)
        return (self.crf(self.emissions[lengths.indices]), lengths.values, self.crf.transitions), lengths.indices

    def likelihood(self) -> torch.Tensor:
        """The sum, as its own loss is."""
        self._clear()
        return self._backward(self.loss(self._features()[0], self._targets))

    def viterbi(self) -> Any:
        """Lists of (label, confidence)."""
        with torch.no_grad():
            features, order = self._features()
            return self.decoder.decode(features, False, [])[0], order

    def paths(self, answer: Any) -> torch.Tensor:
        """From lists in sorted order."""
        rows: List[List[int]] = [[] for _ in range(len(self.lengths))]
        for b, sentence in zip(answer[1].tolist(), answer[0], strict=True):
            rows[b] = [int(label) for label, _ in sentence]
        return self._padded(rows)


class _FlairLabels:
    """What flair's files ask of a dictionary of labels."""

    def __init__(self, labels: int) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return self.labels + 2

    def get_idx_for_item(self, item: str) -> int:
        """The start is after the labels, the end after the start."""
        return self.labels + (item == "<STOP>")

    def get_item_for_index(self, index: Any) -> str:
        """Labels are numbers."""
        return str(int(index))


OURS: Tuple[Type[Contestant], ...] = (Ours, OursTorch, OursPlain)
PEERS: Tuple[Type[Contestant], ...] = (
    AllenNLP,
    PytorchCrf,
    PartialCrf,
    FastNLP,
    Bert4torch,
    Torchlatent,
    SuPar,
    TorchStruct,
    Flair,
)


def load(classes: Sequence[Type[Contestant]]) -> Tuple[List[Type[Contestant]], Dict[str, str]]:
    """
    The contestants whose packages can be imported, and why the others cannot, by name.
    """
    loaded: List[Type[Contestant]] = []
    failed: Dict[str, str] = {}
    for contestant in classes:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                contestant.load()
        except Exception as error:
            failed[contestant.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        else:
            loaded.append(contestant)
    return loaded, failed
