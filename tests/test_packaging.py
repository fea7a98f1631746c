"""What the package says it needs, what the pinned file installs, and what setting up does."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Dict, List

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
# They come by the pinned file only: setup.py says why.
NOT_DECLARED = {"allennlp", "allennlp-models"}


def setup_arguments() -> Dict[str, Any]:
    """The arguments of `setup` that are literals, by name."""
    (call,) = [
        node
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setup"
    ]
    return {
        keyword.arg: ast.literal_eval(keyword.value)
        for keyword in call.keywords
        if keyword.arg and keyword.arg not in ("packages", "ext_modules", "cmdclass")
    }


def declared(extra: str = "") -> List[Requirement]:
    arguments = setup_arguments()
    lines = arguments["extras_require"][extra] if extra else arguments["install_requires"]
    return [Requirement(line) for line in lines]


def requirement_lines(name: str) -> List[str]:
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def pinned(python: str, platform: str = "linux") -> Dict[str, List[Version]]:
    """The versions that requirements.txt has for each package on a Python and a platform."""
    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_machine": "x86_64",
        "sys_platform": platform,
    }
    found: Dict[str, List[Version]] = {}
    for line in requirement_lines("requirements.txt"):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):  # type: ignore[arg-type]
            (specifier,) = requirement.specifier
            found.setdefault(canonicalize_name(requirement.name), []).append(Version(specifier.version))
    return found


@pytest.mark.parametrize("line", requirement_lines("requirements.txt"))
def test_a_pinned_line_is_a_name_a_version_and_a_marker_and_no_address(line: str) -> None:
    assert re.fullmatch(r"[a-z0-9.-]+==[a-z0-9.]+( ; [a-z_ =<>!'0-9.*A-Z]+)?", line)
    Requirement(line)


def test_the_pinned_file_is_long_enough_to_have_the_dependencies_of_dependencies() -> None:
    assert len(requirement_lines("requirements.txt")) > 100


@pytest.mark.parametrize("python", PYTHONS)
class TestPins:
    def test_a_package_has_one_version(self, python: str) -> None:
        assert {name: versions for name, versions in pinned(python).items() if len(versions) > 1} == {}

    @pytest.mark.parametrize("extra", ["", "demo", "export", "gpu", "test"])
    def test_they_satisfy_what_setup_states(self, python: str, extra: str) -> None:
        pins = pinned(python)
        for requirement in declared(extra):
            (version,) = pins[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, requirement

    @pytest.mark.parametrize("name", ["requirements.in", "requirements-overrides.txt"])
    def test_they_are_compiled_from_what_is_asked_for(self, python: str, name: str) -> None:
        pins = pinned(python)
        for line in requirement_lines(name):
            requirement = Requirement(line)
            (version,) = pins[canonicalize_name(requirement.name)]
            assert version in requirement.specifier, f"{line}: run `make requirements`"

    def test_no_gpu_package_is_asked_of_a_machine_that_cannot_have_one(self, python: str) -> None:
        names = pinned(python, platform="darwin")
        assert [name for name in names if name.startswith(("nvidia-", "cuda-")) or name == "triton"] == []


def test_keeping_a_torch_leaves_out_all_that_comes_with_it_by_make_and_by_hand() -> None:
    (family,) = re.findall(r"^TORCH_FAMILY := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"grep -vE '^({family})==' requirements.txt" in (ROOT / "docs" / "installation.md").read_text()
    left_out = [
        line.split("==")[0] for line in requirement_lines("requirements.txt") if re.match(f"({family})==", line)
    ]
    assert {"torch", "torchvision", "triton"} <= set(left_out)
    kept = set(pinned("3.12")) - set(left_out)
    assert [name for name in kept if re.match("torch|triton|nvidia|cuda", name)] == []


def imported_packages() -> Dict[str, List[str]]:
    """The distributions whose modules the package imports, each with the files that do."""
    owners = packages_distributions()
    found: Dict[str, List[str]] = {}
    for path in sorted((ROOT / "structkd_plugin").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                modules = [node.module]
            for module in modules:
                top = module.split(".")[0]
                if top not in sys.stdlib_module_names and top != "structkd_plugin":
                    (owner,) = set(owners.get(top, [top]))
                    found.setdefault(canonicalize_name(owner), []).append(str(path.relative_to(ROOT)))
    return found


def test_setup_states_what_the_package_imports_and_nothing_else() -> None:
    extras = [*declared("encoder"), *declared("export"), *declared("gpu")]
    stated = {canonicalize_name(requirement.name) for requirement in [*declared(), *extras]}
    used = imported_packages()
    assert {name: files for name, files in used.items() if name not in stated | NOT_DECLARED} == {}
    assert {canonicalize_name(requirement.name) for requirement in declared()} <= set(used)


def test_setup_names_the_pythons_that_are_tested() -> None:
    supported = SpecifierSet(setup_arguments()["python_requires"])
    assert [f"3.{minor}" for minor in range(7, 20) if f"3.{minor}.0" in supported] == PYTHONS
    classifiers = [line for line in setup_arguments()["classifiers"] if "Python :: 3." in line]
    assert classifiers == [f"Programming Language :: Python :: {python}" for python in PYTHONS]


def test_every_folder_of_modules_is_a_package_that_is_installed() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "structkd_plugin").rglob("*.py")}
    packages = find_packages(str(ROOT), include=["structkd_plugin", "structkd_plugin.*"])
    assert {".".join(folder.parts) for folder in folders} == set(packages)
    assert (ROOT / "structkd_plugin" / "py.typed").is_file()


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=60)


class TestMake:
    def test_alone_it_lists_its_targets(self) -> None:
        listed = make("--no-print-directory")
        assert listed.returncode == 0
        for target in ["install", "demo", "test", "check", "check-all", "benchmark", "requirements", "format", "clean"]:
            assert re.search(rf"^  make {target} +\w", listed.stdout, re.MULTILINE)

    def test_without_a_suitable_python_it_says_in_one_sentence_which_it_needs(self, tmp_path: Path) -> None:
        failed = make("install", f"VENV={tmp_path / 'environment'}", "PYTHON=/bin/false")
        assert failed.returncode != 0
        sentence = failed.stderr.splitlines()[0]
        assert sentence.startswith("structkd_plugin needs Python 3.10, 3.11, 3.12 or 3.13")
        assert "/bin/false is none of them" in sentence
        assert not (tmp_path / "environment").exists()

    def test_it_leaves_a_folder_alone_that_is_no_environment(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").touch()
        failed = make("install", f"VENV={tmp_path}")
        assert failed.returncode != 0
        assert failed.stderr.startswith(f"{tmp_path} is no working environment of Python")
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_it_does_nothing_twice(self, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").symlink_to(sys.executable)
        (tmp_path / ".structkd-packages").touch()
        (tmp_path / ".structkd-installed").touch()
        assert make("--question", "install", f"VENV={tmp_path}").returncode == 0

    @pytest.mark.parametrize("missing", [".structkd-packages", ".structkd-installed", "bin/python"])
    def test_what_is_half_finished_is_not_finished(self, tmp_path: Path, missing: str) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").symlink_to(sys.executable)
        (tmp_path / ".structkd-packages").touch()
        (tmp_path / ".structkd-installed").touch()
        (tmp_path / missing).unlink()
        assert make("--question", "install", f"VENV={tmp_path}").returncode == 1
