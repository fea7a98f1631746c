"""
The CRF on the CPU in C++: sentences side by side in the lanes of vectors (cpu_kernels.cpp), called through ctypes.

The library is an optional extension: `setup.py` compiles it where there is a compiler. `library` is none without
it, and the torch implementation does the same. Every function takes float32 chains and gives new tensors.
"""

import ctypes
import hashlib
import warnings
from pathlib import Path
from typing import Optional, Tuple

import torch

from structkd_plugin.crf import rescue
from structkd_plugin.crf.chain import Chain, Counts

SOURCE = Path(__file__).with_name("cpu_kernels.cpp")
# Beyond, tables would leave the cache, and a batch's scratch memory the machine.
MOST_LABELS = 512


class _Chains(ctypes.Structure):
    _fields_ = [
        ("batch", ctypes.c_int64),
        ("words", ctypes.c_int64),
        ("labels", ctypes.c_int64),
        ("emissions", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("transitions", ctypes.c_void_p),
        ("transitions_stride", ctypes.c_int64),
        ("start", ctypes.c_void_p),
        ("start_stride", ctypes.c_int64),
        ("end", ctypes.c_void_p),
        ("end_stride", ctypes.c_int64),
    ]


class _Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in Counts._fields]


_NO_COUNTS = _Counts()
_FUNCTIONS = (
    "dishonest",
    "tags_outside",
    "scaled",
    "likelihood",
    "log_marginals",
    "log_marginals_gradient",
    "divergence",
    "sample",
    "argmax",
    "k_best",
    "score",
    "score_gradient",
)


def source_hash() -> str:
    """What the library must say it was compiled from: 16 hexadecimal digits of the source's hash."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]


def _load() -> Optional[ctypes.CDLL]:
    for file in sorted(SOURCE.parent.glob("_cpu_kernels*.so")):
        try:
            loaded = ctypes.CDLL(str(file))
            loaded.structkd_source.restype = ctypes.c_char_p
            loaded.structkd_variant.restype = ctypes.c_char_p
            compiled_from = loaded.structkd_source().decode()
        except (OSError, AttributeError) as error:
            warnings.warn(
                f"{file.name} cannot be loaded ({error}): CRFs run in plain torch, which is slower.", stacklevel=2
            )
            continue
        if SOURCE.exists() and compiled_from != source_hash():
            warnings.warn(
                f"{file.name} was compiled from another {SOURCE.name}: CRFs run in plain torch, which is slower, until "
                "it is compiled again by `pip install -e .` (or `make install`).",
                stacklevel=2,
            )
            continue
        for name in _FUNCTIONS:
            getattr(loaded, f"structkd_{name}").restype = ctypes.c_int64
        return loaded
    return None


library = _load()


def supports(emissions: torch.Tensor) -> bool:
    """Whether chains with these emissions can be computed here."""
    return library is not None and emissions.dtype == torch.float32 and 0 < emissions.shape[2] <= MOST_LABELS


def dishonest(chain: Chain) -> Optional[int]:
    """Which of the potentials of `chain`, contiguous float32, are the first with NaN or +inf at a word."""
    assert library is not None
    found: int = library.structkd_dishonest(ctypes.byref(_structure(chain)))
    return found - 1 if found else None


def tags_outside(tags: torch.Tensor, mask: Optional[torch.Tensor], labels: int) -> bool:
    """Whether a word has a tag outside [0, L) in `tags` (B, M, T), int64, contiguous."""
    assert library is not None
    sizes = (ctypes.c_int64(size) for size in (*tags.shape, labels))
    return bool(library.structkd_tags_outside(None if mask is None else _pointer(mask), _pointer(tags), *sizes))


def scaled(counts_: Counts, scale: torch.Tensor, chain: Chain) -> Counts:
    """
    The gradients of the potentials of `chain`, in their shapes.

    Of a scalar for each sentence whose gradient is `counts_`, times `scale` (B,).
    """
    assert library is not None
    found = Counts(*(torch.empty_like(potentials) for potentials in chain[:4]))
    scale = scale.contiguous()
    library.structkd_scaled(ctypes.byref(_structure(chain)), _pointers(counts_), _pointer(scale), _pointers(found))
    return found


def log_partition(chain: Chain) -> torch.Tensor:
    """log Z, (B,)."""
    log_z = _new(chain, len(chain.emissions))
    failed = _failed(chain)
    if _call("likelihood", chain, None, _pointer(log_z), None, ctypes.byref(_NO_COUNTS), _pointer(failed)):
        rescue.redo(failed, [log_z], rescue.log_partition, chain)
    return log_z


def counts(chain: Chain) -> Tuple[torch.Tensor, Counts]:
    """log Z (B,) and the expected counts: its gradient."""
    log_z = _new(chain, len(chain.emissions))
    found = Counts.empty(chain)
    failed = _failed(chain)
    if _call("likelihood", chain, None, _pointer(log_z), None, _pointers(found), _pointer(failed)):
        rescue.redo(failed, [log_z, *found], rescue.counts, chain)
    return log_z, found


def log_prob(chain: Chain, tags: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor, Counts]:
    """log p of `tags` (B, T) and log Z, both (B,), and observed less expected counts: the gradient of log p."""
    log_p, log_z = _new(chain, len(chain.emissions)), _new(chain, len(chain.emissions))
    found = Counts.empty(chain)
    failed = _failed(chain)
    if _call("likelihood", chain, _pointer(tags), _pointer(log_z), _pointer(log_p), _pointers(found), _pointer(failed)):
        rescue.redo(failed, [log_p, log_z, *found], rescue.log_prob, chain, tags)
    return log_p, log_z, found


def marginals(chain: Chain) -> torch.Tensor:
    """q_t(y), (B, T, L), 0 at masked words and where nothing is allowed."""
    q = torch.empty_like(chain.emissions)
    failed = _failed(chain)
    if _call("likelihood", chain, None, None, None, ctypes.byref(_Counts(q.data_ptr())), _pointer(failed)):
        rescue.redo(failed, [q], rescue.marginals, chain)
    return q


def log_marginals(chain: Chain) -> Tuple[torch.Tensor, None]:
    """log q_t(y), (B, T, L), −inf where y is forbidden, 0 at masked words; and nothing kept for its gradient."""
    log_q = torch.empty_like(chain.emissions)
    failed = _failed(chain)
    if _call("log_marginals", chain, _pointer(log_q), _pointer(failed)):
        rescue.redo(failed, [log_q], rescue.log_marginals, chain)
    return log_q, None


def log_marginals_gradient(chain: Chain, saved: None, gradient: torch.Tensor) -> Counts:
    """
    The vector-Jacobian product of `gradient` (B, T, L) and the log-marginals.

    Messages are found again, which costs less than to keep them.
    """
    found = Counts.empty(chain)
    failed = _failed(chain)
    gradient = gradient.contiguous()
    if _call("log_marginals_gradient", chain, _pointer(gradient), _pointers(found), _pointer(failed)):
        rescue.redo(failed, found, rescue.log_marginals_gradient, chain, gradient)
    return found


def divergence(teacher: Chain, student: Chain, subtract_entropy: bool) -> Tuple[torch.Tensor, Counts]:
    """KL(teacher ‖ student), or the cross-entropy, (B,), and its gradient in the student's potentials."""
    value = _new(teacher, len(teacher.emissions))
    found = Counts.empty(student)
    failed = _failed(teacher)
    if _call(
        "divergence",
        teacher,
        ctypes.byref(_structure(student)),
        ctypes.c_int(subtract_entropy),
        _pointer(value),
        _pointers(found),
        _pointer(failed),
    ):
        rescue.redo(failed, [value, *found], rescue.divergence, teacher, student, subtract_entropy)
    return value, found


def argmax(chain: Chain) -> torch.Tensor:
    """The tags of largest score, (B, T), int64, ties as in `reference.best_path`."""
    tags = torch.empty(chain.emissions.shape[:2], dtype=torch.long)
    _call("argmax", chain, _pointer(tags))
    return tags


def k_best(chain: Chain, k: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """The k labellings of largest score, (B, K, T), int64, and their scores, (B, K), as `reference.k_best_paths`."""
    batch, words, _ = chain.emissions.shape
    tags, scores = torch.empty((batch, k, words), dtype=torch.long), _new(chain, batch, k)
    _call("k_best", chain, ctypes.c_int64(k), _pointer(tags), _pointer(scores))
    return tags, scores


def sample(chain: Chain, uniforms: torch.Tensor) -> torch.Tensor:
    """Labellings (B, n, T), int64, at the quantiles `uniforms` (B, n, T), float32 in [0, 1)."""
    tags = torch.empty(uniforms.shape, dtype=torch.long)
    failed = _failed(chain)
    n = ctypes.c_int64(uniforms.shape[1])
    if _call("sample", chain, _pointer(uniforms), n, _pointer(tags), _pointer(failed)):
        rescue.redo(failed, [tags], rescue.sample, chain, uniforms)
    return tags


def score(chain: Chain, tags: torch.Tensor) -> torch.Tensor:
    """Scores (B, M) of `tags` (B, M, T), int64, contiguous; −inf where forbidden."""
    assert library is not None
    scores = _new(chain, *tags.shape[:2])
    _refuse_without_memory(
        library.structkd_score(
            ctypes.byref(_structure(chain)), _pointer(tags), ctypes.c_int64(tags.shape[1]), _pointer(scores)
        ),
        chain,
    )
    return scores


def score_gradient(chain: Chain, tags: torch.Tensor, scale: torch.Tensor) -> Counts:
    """The counts of `tags` (B, M, T), each labelling's times its `scale` (B, M)."""
    assert library is not None
    found = Counts.empty(chain)
    scale = scale.contiguous()
    _refuse_without_memory(
        library.structkd_score_gradient(
            ctypes.byref(_structure(chain)),
            _pointer(tags),
            ctypes.c_int64(tags.shape[1]),
            _pointer(scale),
            _pointers(found),
        ),
        chain,
    )
    return found


def _pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _pointers(counts_: Counts) -> "ctypes._CArgObject":
    return ctypes.byref(_Counts(*(x.data_ptr() for x in counts_)))


def _structure(chain: Chain) -> _Chains:
    batch, words, labels = chain.emissions.shape
    return _Chains(
        batch,
        words,
        labels,
        chain.emissions.data_ptr(),
        None if chain.mask is None else chain.mask.data_ptr(),
        chain.transitions.data_ptr(),
        labels * labels if chain.transitions.dim() == 3 else 0,
        chain.start.data_ptr(),
        labels if chain.start.dim() == 2 else 0,
        chain.end.data_ptr(),
        labels if chain.end.dim() == 2 else 0,
    )


def _new(chain: Chain, *shape: int) -> torch.Tensor:
    return chain.emissions.new_empty(shape)


def _failed(chain: Chain) -> torch.Tensor:
    return torch.empty(len(chain.emissions), dtype=torch.uint8)


def _call(name: str, chain: Chain, *arguments: object) -> bool:
    """Call the library's function, and say whether there are sentences to redo."""
    threads = ctypes.c_int(torch.get_num_threads())
    left = getattr(library, "structkd_" + name)(ctypes.byref(_structure(chain)), *arguments, threads)
    _refuse_without_memory(left, chain)
    return bool(left)


def _refuse_without_memory(returned: int, chain: Chain) -> None:
    if returned < 0:
        raise MemoryError(f"no memory for the CRF of a batch of shape (B, T, L) = {tuple(chain.emissions.shape)}")
