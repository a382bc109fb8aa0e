# Everything a developer needs, each target alone and from a machine with only Python 3.11 and make.
# Virtual environments live in .venv/; a target installs what it needs once and is quick when run again.

# The first of these interpreters that starts (a version manager's shim may exist and not start).
first_that_runs = $(shell for p in $(1); do "$$p" -c "" 2>/dev/null && { command -v "$$p"; break; }; done)

PYTHON ?= $(call first_that_runs,python3.11 $(wildcard $(HOME)/.pyenv/versions/3.11*/bin/python3.11) python3)
# Blender 5.1 and later carry Python 3.13: its tests run where one is found.
PYTHON313 ?= $(call first_that_runs,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13))

BPY_4.5 := 4.5.15
BPY_5.0 := 5.0.1
BPY_5.2 := 5.2.3

export PYTHONDONTWRITEBYTECODE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-4.5 test-5.0 test-5.2 test-training lint format bench train evaluate clean package repository test-install

help:
	@echo "make demo [MESH=head.ply]  speech on a head: out/demo.blend, demo.mp4, contact_sheet.png, curves.png"
	@echo "make test                  all tests but training's, in Blender 4.5, 5.0 and (with Python 3.13) 5.2"
	@echo "make test-training         tests of training/ (installs PyTorch)"
	@echo "make lint | format         ruff and mypy | ruff format"
	@echo "make bench                 how fast the embedded model runs here"
	@echo "make package [FLAVOUR=cuda|directml]  installable zips in dist/"
	@echo "make repository            the zips as a folder that Blender can subscribe to"
	@echo "make test-install          install the zip in Blender 4.5 and (with Python 3.13) 5.2, bake, remove"
	@echo "make train PROFILE=small   train a model; make evaluate MODEL=DIR writes report/"

# ---- environments --------------------------------------------------------------------------------------------------

# $(1) folder below .venv, $(2) interpreter, $(3) pip arguments
define environment
	@echo "== Installing $(3) into .venv/$(1) (once)"
	@test -n "$(2)" || { echo "Python for .venv/$(1) was not found; install Python 3.11 or set PYTHON=…"; exit 1; }
	@.venv/$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(2) -m venv --clear .venv/$(1)
	@.venv/$(1)/bin/python -m pip install --progress-bar on $(3)
	@touch $@
endef

.venv/demo.stamp: requirements/demo.txt requirements/runtime.txt
	$(call environment,bpy-4.5,$(PYTHON),bpy==$(BPY_4.5) -r requirements/demo.txt)
.venv/test-4.5.stamp: requirements/test.txt requirements/runtime.txt
	$(call environment,bpy-4.5,$(PYTHON),bpy==$(BPY_4.5) -r requirements/test.txt -r requirements/demo.txt)
.venv/test-5.0.stamp: requirements/test.txt requirements/runtime.txt
	$(call environment,bpy-5.0,$(PYTHON),bpy==$(BPY_5.0) -r requirements/test.txt)
.venv/test-5.2.stamp: requirements/test.txt requirements/runtime.txt
	$(call environment,bpy-5.2,$(PYTHON313),bpy==$(BPY_5.2) -r requirements/test.txt)
.venv/lint.stamp: requirements/lint.txt
	$(call environment,lint,$(PYTHON),-r requirements/lint.txt)
.venv/training.stamp: requirements/training.txt requirements/runtime.txt
	$(call environment,training,$(PYTHON),-r requirements/training.txt)

# ---- what people run -----------------------------------------------------------------------------------------------

demo: .venv/demo.stamp
	.venv/bpy-4.5/bin/python -m demo $(if $(MESH),--mesh "$(MESH)")

bench: .venv/demo.stamp
	.venv/bpy-4.5/bin/python -m benchmarks.speed
	.venv/bpy-4.5/bin/python -m benchmarks.refine

# ---- tests ---------------------------------------------------------------------------------------------------------

# One pytest run per Blender; the pure tests run with the first.
test: test-4.5 test-5.0 $(if $(PYTHON313),test-5.2)
	@$(if $(PYTHON313),,echo "Blender 5.2 was left out: no Python 3.13 found.")

test-4.5: .venv/test-4.5.stamp
	.venv/bpy-4.5/bin/python -m pytest tests --ignore=tests/training --confcutdir=tests
test-5.0: .venv/test-5.0.stamp
	.venv/bpy-5.0/bin/python -m pytest tests/blender --confcutdir=tests
test-5.2: .venv/test-5.2.stamp
	.venv/bpy-5.2/bin/python -m pytest tests/blender --confcutdir=tests

test-training: .venv/training.stamp
	.venv/training/bin/python -m pytest tests/training --confcutdir=tests

lint: .venv/lint.stamp
	.venv/lint/bin/ruff check .
	.venv/lint/bin/ruff format --check .
	.venv/lint/bin/mypy inference operators panels training benchmarks demo bake.py
	.venv/lint/bin/mypy release/*.py

format: .venv/lint.stamp
	.venv/lint/bin/ruff check --fix .
	.venv/lint/bin/ruff format .

# ---- packages ------------------------------------------------------------------------------------------------------

FLAVOUR ?= default

package: .venv/demo.stamp
	.venv/bpy-4.5/bin/python release/package.py --flavour $(FLAVOUR) $(addprefix --platform ,$(PLATFORM))
repository: .venv/demo.stamp
	.venv/bpy-4.5/bin/python release/package.py --flavour $(FLAVOUR) $(addprefix --platform ,$(PLATFORM)) --repository
test-install: .venv/demo.stamp $(if $(PYTHON313),.venv/test-5.2.stamp)
	.venv/bpy-4.5/bin/python release/test_install.py $(FLAVOUR)
	$(if $(PYTHON313),.venv/bpy-5.2/bin/python release/test_install.py $(FLAVOUR))

# ---- training ------------------------------------------------------------------------------------------------------

PROFILE ?= small
MODEL ?= vendored_models/wav2sem_small

train: .venv/training.stamp
	.venv/training/bin/python -m training --profile $(PROFILE)

evaluate: .venv/training.stamp
	.venv/training/bin/python -m training.evaluate $(MODEL) --out report $(if $(RHUBARB),--rhubarb "$(RHUBARB)")

clean:
	rm -rf .venv out dist report .mypy_cache .ruff_cache .pytest_cache .hypothesis
