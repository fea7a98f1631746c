"""The GPU kernels compiled for Hopper, without a GPU: no registers spilled, few shuffles in a loop over words."""

import ast
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import pytest

triton = pytest.importorskip("triton", reason="needs Triton, which there is for Linux only")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("kernels are interpreted here, not compiled", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from structkd_plugin.crf import triton_decoding, triton_likelihood  # noqa: E402
from structkd_plugin.crf.triton_kernels import _padded, _ranking_warps, _warps, _wide_warps  # noqa: E402

HOPPER = 90
SIZES = {"words", "labels", "k", "samples", "paths", "blocks"}
POINTERS = {"mask": "*u8", "tags": "*i64"}


class Program(NamedTuple):
    """A kernel as it is launched for L labels."""

    kernel: Any
    constants: Dict[str, Any]
    warps: int
    pointers: Dict[str, str]


# What is heaviest of each kernel: all that it can do at once.
HEAVIEST: Dict[str, Dict[str, Any]] = {
    "messages": {"SAVE": 1, "GOLD": True, "BACKWARD_ONLY": False},
    "counts": {"KIND": 1},
    "divergence": {"SUBTRACT_ENTROPY": True},
    "log_marginals_gradient": {},
    "best_path": {},
    "best_paths": {},
    "draw": {},
}
OTHERS: List[Tuple[str, Dict[str, Any]]] = [
    *[(name, {**constants, "HAS_MASK": False}) for name, constants in HEAVIEST.items()],
    ("messages", {"SAVE": 0, "GOLD": False, "BACKWARD_ONLY": False}),
    ("messages", {"SAVE": 2, "GOLD": False, "BACKWARD_ONLY": False}),
    ("messages", {"SAVE": 2, "GOLD": False, "BACKWARD_ONLY": True}),
    ("counts", {"KIND": 0}),
    ("counts", {"KIND": 2}),
    ("divergence", {"SUBTRACT_ENTROPY": False}),
    ("marginals", {"LOG": True}),
    ("marginals", {"LOG": False, "HAS_MASK": False}),
    ("scores", {}),
    ("scores", {"HAS_MASK": False}),
]


def program(name: str, labels: int, constants: Dict[str, Any]) -> Program:
    pad = _padded(labels)
    kernel = getattr(triton_likelihood, name, None) or getattr(triton_decoding, name)
    given = {"PAD": pad, "BLOCK": 16, "PAD_K": 16, "HAS_MASK": True, **constants}
    pointers = {"pointers": "*i8" if name == "best_path" else "*i16"}
    warps = {
        "counts": _wide_warps(pad),
        "divergence": _wide_warps(pad),
        "draw": _wide_warps(pad),
        "best_paths": _ranking_warps(pad),
        "scores": 1,
    }.get(name, _warps(pad))
    return Program(kernel, {key: given[key] for key in kernel.arg_names if key in given}, warps, pointers)


def compiled(made: Program) -> str:
    """The PTX."""
    names = made.kernel.arg_names
    types = {**POINTERS, **made.pointers}
    signature = {}
    for name in names:
        number = name in SIZES or name.endswith("_stride")
        signature[name] = "constexpr" if name in made.constants else "i32" if number else types.get(name, "*fp32")
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(made.kernel, signature, dict(made.constants), aligned)
    result = triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options={"num_warps": made.warps})
    return str(result.asm["ptx"])


def assembled(ptx: str, folder: Path) -> Tuple[int, int]:
    """Registers of a thread, and bytes that did not fit into them."""
    (folder / "kernel.ptx").write_text(ptx)
    assembler = triton.knobs.nvidia.ptxas.path
    command = [assembler, "-v", f"--gpu-name=sm_{HOPPER}a", "kernel.ptx", "-o", "kernel.cubin"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
    registers = re.search(r"Used (\d+) registers", said)
    spilled = re.findall(r"(\d+) bytes spill (?:stores|loads)", said)
    assert registers
    assert spilled
    return int(registers.group(1)), sum(map(int, spilled))


def loops(ptx: str) -> List[str]:
    """The text of every loop, those that overlap as one."""
    lines = ptx.splitlines()
    places = {line.split(":")[0].strip(): i for i, line in enumerate(lines) if re.match(r"\s*\$L\w+:", line)}
    spans: List[Tuple[int, int]] = []
    for i, line in enumerate(lines):
        jump = re.search(r"\bbra\S*\s+(\$L\w+);", line)
        if jump and places[jump.group(1)] < i:
            spans.append((places[jump.group(1)], i))
    merged: List[Tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return ["\n".join(lines[start : end + 1]) for start, end in merged]


# Messages from word to word pass between the threads of a warp by shared memory and one instruction for a maximum; a
# table laid out the wrong way takes hundreds of shuffles. What is allowed is a few times what is needed.
SHUFFLES = {
    "messages": 24,
    "counts": 120,
    "divergence": 160,
    "log_marginals_gradient": 32,
    "best_path": 24,
    "best_paths": 48,
    "draw": 160,
}


@pytest.mark.parametrize("labels", [9, 20, 50], ids="L{}".format)
@pytest.mark.parametrize("name", SHUFFLES)
def test_kernels_fit_into_registers(name, labels, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    ptx = compiled(program(name, labels, HEAVIEST[name]))
    registers, spilled = assembled(ptx, tmp_path)
    steps = [loop for loop in loops(ptx) if "ex2.approx" in loop or name.startswith("best")]
    shuffles = max(loop.count("shfl.sync") for loop in steps)
    print(f"{name} L={labels}: {registers} registers, {spilled} bytes spilled, {shuffles} shuffles in a loop")
    assert spilled == 0
    # A constant that float32 does not hold would make float64 of what it meets.
    assert ".f64" not in ptx
    assert shuffles <= SHUFFLES[name]


@pytest.mark.parametrize(
    ("name", "constants"),
    OTHERS,
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_every_variant_compiles(name, constants, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    ptx = compiled(program(name, 20, constants))
    assert assembled(ptx, tmp_path)[1] == 0
    assert ".f64" not in ptx


def imported(path: Path) -> List[str]:
    """The modules that a file imports when it is imported itself."""
    found: List[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_triton_is_imported_only_when_it_is_asked_for():
    for path in Path(triton_likelihood.__file__).parent.glob("*.py"):
        if not path.name.startswith("triton_"):
            assert [name for name in imported(path) if "triton" in name] == []
