# `make demo` and `make test` set everything up by themselves, in $(VENV), and do nothing twice.
# Written for a POSIX shell and GNU make 3.81 or newer.

VENV ?= .venv
PYTHON_VENV := $(VENV)/bin/python

# Any Python 3.10 to 3.13: given by PYTHON, or found.
PYTHON ?=

# TORCH=keep leaves the torch alone that the environment has. An environment remembers that it was asked to.
TORCH ?= $(if $(wildcard $(VENV)/.structkd-torch-kept),keep)
ifneq ($(filter-out keep,$(TORCH)),)
$(error TORCH can be 'keep' or left out, not '$(TORCH)')
endif

# Written last: an environment without it is not finished.
STAMP := $(VENV)/.structkd-installed
# Written when all packages but our own are there.
PACKAGES := $(VENV)/.structkd-packages
# Written first into an environment that make begins: what make began, make may remove.
BEGUN := $(VENV)/.structkd-begun

KERNELS := structkd_plugin/crf/cpu_kernels.cpp

# A Python that sees the packages of $(VENV) and has besides what benchmarks compare with.
BENCHMARK_VENV := .venv-benchmark
BENCHMARK_STAMP := $(BENCHMARK_VENV)/.structkd-installed

# An environment of its own for the engine that runs studies, which runs everything else with $(PYTHON_VENV).
STUDY ?= training_configs/study/fixtures.yaml
CORES ?= 2
STUDY_ARGS ?=
STUDY_PYTHON ?= $(PYTHON_VENV)
STUDY_VENV := .venv-study
STUDY_STAMP := $(STUDY_VENV)/.structkd-installed

# What comes with a torch, and must stay with it.
TORCH_FAMILY := torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+|sympy|mpmath|networkx

# Nothing here needs a network once the packages are installed.
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help install demo study test check check-all format-check lint types format benchmark benchmark-training \
	requirements clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## set up .venv (PYTHON=..., VENV=..., TORCH=keep: see docs/installation.md)

demo: $(STAMP) ## train four teachers, distil them into one student, compare, tag new text (in runs/demo)
	@$(PYTHON_VENV) training_configs/demo.py --output runs/demo

# The same command goes on with a study that was broken off.
study: $(STAMP) $(STUDY_STAMP) ## teachers, students, tables of one file: STUDY=FILE.yaml [CORES=2] [STUDY_ARGS=-n]
	@STRUCTKD_PYTHON=$(PYTHON_VENV) $(STUDY_VENV)/bin/snakemake --snakefile training_configs/study/Snakefile \
		--configfile $(STUDY) --rerun-incomplete --keep-going --quiet host --cores $(CORES) $(STUDY_ARGS)

test: $(STAMP) ## run the tests (PYTEST_ARGS="-k crf" for some of them)
	@$(PYTHON_VENV) -m pytest -n 2 -m "not slow" $(PYTEST_ARGS)

check: format-check lint types test ## format, lint, types, tests

check-all: format-check lint types ## the same with the slow tests
	@$(PYTHON_VENV) -m pytest -n 2 $(PYTEST_ARGS)

format-check: $(STAMP)
	@$(PYTHON_VENV) -m ruff format --check --diff .

lint: $(STAMP) ## lint
	@$(PYTHON_VENV) -m ruff check .

types: $(STAMP) ## check the types
	@$(PYTHON_VENV) -m mypy

format: $(STAMP) ## format the code, sort the imports
	@$(PYTHON_VENV) -m ruff check --select I --fix --quiet .
	@$(PYTHON_VENV) -m ruff format .

benchmark: $(BENCHMARK_STAMP) ## time the CRF against others (BENCHMARK_ARGS=--quick)
	@$(BENCHMARK_VENV)/bin/python -m benchmarks.crf_speed $(BENCHMARK_ARGS)

benchmark-training: $(BENCHMARK_STAMP) ## time whole taggers, the CRF's share, teachers' cost, and how cost grows
	@set -e; for name in tagger_speed training_share distillation_cost crf_scaling; do \
		$(BENCHMARK_VENV)/bin/python -m benchmarks.$$name $(or $(BENCHMARK_ARGS),--output benchmarks/results); \
	done

requirements: ## compile requirements.txt anew, and that of studies (remove them first to raise every version)
	@set -e; $(find_python); \
	tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && "$$python" -m venv "$$tools" && \
	"$$tools/bin/python" -m pip install --quiet --disable-pip-version-check uv && \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.10 --python "$$tools/bin/python" \
		--override requirements-overrides.txt --no-annotate --custom-compile-command "make requirements" \
		--output-file requirements.txt requirements.in > /dev/null && \
	"$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --python "$$tools/bin/python" \
		--no-annotate --custom-compile-command "make requirements" \
		--output-file training_configs/study/requirements.txt training_configs/study/requirements.in > /dev/null

clean: ## remove caches and build outputs; environments and runs/ stay
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find structkd_plugin tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on the path may be a stub that fails when it is run: only running it tells.
define find_python
usable='import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; \
python=; \
for candidate in $(if $(PYTHON),"$(PYTHON)",python3.12 python3.11 python3.13 python3.10 python3 \
		"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[0-3].*/bin/python); do \
	if "$$candidate" -c "$$usable" > /dev/null 2>&1; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo "structkd_plugin needs Python 3.10, 3.11, 3.12 or 3.13 with its venv module, and" \
		"$(if $(PYTHON),$(PYTHON) is none of them,none was found):" \
		"name one with 'make $(or $(MAKECMDGOALS),install) PYTHON=/path/to/python'." >&2; \
	exit 1; \
fi
endef

# An environment that make began and did not finish is made anew; one that somebody else made is completed in place.
# The empty folder keeps allennlp-models from trying to download a tokenizer for a task of its own at every start.
define make_environment
if [ -f $(BEGUN) ] && ! { [ -f $(PACKAGES) ] && $(PYTHON_VENV) -V; } > /dev/null 2>&1; then rm -rf $(VENV); fi; \
if [ -z "$$(ls -A $(VENV) 2> /dev/null)" ]; then \
	$(find_python); \
	echo "Making $(VENV) with $$("$$python" -V)."; \
	mkdir -p $(VENV); touch $(BEGUN); \
	"$$python" -m venv $(if $(TORCH),--system-site-packages) $(VENV); \
	mkdir -p $(VENV)/nltk_data/tokenizers/punkt; \
elif ! $(PYTHON_VENV) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' > /dev/null 2>&1; then \
	echo "$(VENV) is no working environment of Python 3.10, 3.11, 3.12 or 3.13:" \
		"remove it, or name another with VENV=/path/to/environment." >&2; \
	exit 1; \
fi; \
$(PYTHON_VENV) -m pip --version > /dev/null 2>&1 || $(PYTHON_VENV) -m ensurepip > /dev/null
endef

define check_torch
$(PYTHON_VENV) -c 'import torch, torchvision; assert tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4)' \
	2> /dev/null || { \
	echo "TORCH=keep needs torch 2.4 or newer and its torchvision in $(VENV), and they do not import there:" \
		"install them, or leave TORCH=keep out." >&2; \
	exit 1; \
}
endef

pip_install = $(PYTHON_VENV) -m pip install --quiet --disable-pip-version-check --no-deps

# A network that fails for a moment costs another attempt: what was downloaded stays in pip's cache.
# --no-compile halves the time: Python compiles at first import the few files that are imported.
define install_packages
packages=$$(mktemp); trap 'rm -f "$$packages"' EXIT; \
grep -vE '$(if $(TORCH),^($(TORCH_FAMILY))==,^$$)' requirements.txt > "$$packages"; \
echo "Installing $$(grep -c == "$$packages") packages into $(VENV): some minutes the first time."; \
for attempt in 1 2 3; do \
	if $(pip_install) --use-pep517 --no-compile -r "$$packages"; then break; fi; \
	if [ $$attempt = 3 ]; then echo "The packages could not be installed: see pip's message above." >&2; exit 1; fi; \
	sleep 5; \
done
endef

# The package itself, with its kernels where there is a compiler; pip is quiet about it where there is none.
define install_plugin
if [ -f $(KERNELS) ]; then echo "Compiling the CPU kernels of the CRF: about a minute."; fi; \
$(pip_install) --no-build-isolation -e .; \
$(PYTHON_VENV) -c 'import sys; from structkd_plugin.crf import cpu_kernels; sys.exit(cpu_kernels.library is None)' || \
	echo "The CPU kernels of the CRF could not be compiled: it runs in plain torch, which is slower. With g++ or" \
		"clang++ installed, run 'make -B install'."
endef

# An interpreter that is gone makes the environment unfinished.
ifeq ($(wildcard $(PYTHON_VENV)),)
.PHONY: $(PACKAGES)
endif

$(PACKAGES): requirements.txt
	@set -e; $(make_environment)
	@set -e; rm -f $@ $(STAMP); $(if $(TORCH),$(check_torch);) $(install_packages)
	@touch $(if $(TORCH),$(VENV)/.structkd-torch-kept) $@

$(STAMP): $(PACKAGES) setup.py $(KERNELS)
	@set -e; rm -f $@; $(install_plugin)
	@touch $@

# What the environment's Python finds outside the standard library, found by another.
site_packages := import sys; print("\n".join(p for p in sys.path if p.endswith(("site-packages", "dist-packages"))))
packages_folder := import sysconfig; print(sysconfig.get_path("purelib"))

$(BENCHMARK_STAMP): benchmarks/requirements.txt $(STAMP)
	@echo "Making $(BENCHMARK_VENV) with what the benchmarks compare with."
	@rm -rf $(BENCHMARK_VENV)
	@$(PYTHON_VENV) -m venv $(BENCHMARK_VENV)
	@mkdir -p $(BENCHMARK_VENV)/nltk_data/tokenizers/punkt
	@$(PYTHON_VENV) -I -c '$(site_packages)' > \
		"$$($(BENCHMARK_VENV)/bin/python -c '$(packages_folder)')/structkd.pth"
	@# not with --no-compile: one of them imports whatever it finds in its folder, and trips over caches that come later
	@$(BENCHMARK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r benchmarks/requirements.txt
	@touch $@

$(STUDY_STAMP): training_configs/study/requirements.txt | $(STAMP)
	@$(STUDY_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Studies are run by Snakemake, which needs Python 3.11 or newer, and $(STUDY_PYTHON) is older:" \
			"name one with 'make study STUDY_PYTHON=/path/to/python'." >&2; \
		exit 1; \
	}
	@echo "Making $(STUDY_VENV) with Snakemake."
	@rm -rf $(STUDY_VENV)
	@$(STUDY_PYTHON) -m venv $(STUDY_VENV)
	@$(STUDY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
