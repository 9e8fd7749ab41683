# `make` lists the targets; each does its own set-up.

PYTHON3     ?= python3
VENV        := .venv
PYTHON      := $(VENV)/bin/python
INSTALLED   := $(VENV)/.installed

# More options for pip, such as PIP_FLAGS="--index-url https://pypi.example.org/simple".
PIP_FLAGS   ?=

# Where else to look for torch. On Linux the package index has it with several GB of CUDA; PyTorch's own index has a
# build without. `auto` takes that one on a Linux machine without NVIDIA's driver, when it answers within 5 seconds.
# TORCH_INDEX= leaves the choice to pip; TORCH_INDEX=URL adds another index.
TORCH_INDEX ?= auto
CPU_INDEX   := https://download.pytorch.org/whl/cpu

TEST        := $(PYTHON) -m pytest --durations=10

.DEFAULT_GOAL := help
.PHONY: help setup test faults soak check demo doctor bench pictures clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## install everything into .venv, at the versions in constraints.txt

test: setup  ## run the tests, and list the ten slowest
	$(TEST)

faults: setup  ## inject all faults and print their counts: kills, damage, full disks, hostile files, bad environments
	timeout --foreground 20m $(PYTHON) -m pytest -m faults --faults all -rPs --show-capture=stdout --durations=10

soak: setup  ## half an hour of collecting, fitting and planning under random faults
	$(PYTHON) tests/faults/soak.py --minutes 30

check: setup  ## all that a change must pass: format, lint, types, imports, tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) $(VENV)/bin/lint-imports
	$(TEST)

demo: RUN := runs/demo/$(shell date +%Y-%m-%d_%H-%M-%S)
demo: setup  ## learn a model and plan in it, in minutes, and film that beside a pretrained model's planner
	$(PYTHON) -m agents.cem_plan --config-name demo run=$(RUN)
	$(PYTHON) -m agents.film checkpoint=pretrained/cartpole env=cartpole beside=$(RUN) optional=true run=$(RUN)/film

doctor: setup  ## say what this machine gives, and whether the main job can run on it
	$(PYTHON) -m agents.doctor

bench: setup  ## measure speed and memory against baselines; ONLY=train,plan.default measures some rows anew
	$(PYTHON) -m benchmarks.run $(if $(ONLY),--only "$(ONLY)")

pictures: setup  ## make the README's pictures of a dream, a report and play anew; needs Chromium
	$(PYTHON) docs/pictures.py

clean:  ## remove .venv, caches and build products; keeps runs/
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first, alone, so that nothing else is taken from its index.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON3) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("$(PYTHON3) is Python " \
		f"{v.major}.{v.minor}: svg-worldmodel needs 3.11 or newer; give one with make PYTHON3=python3.11")'
	@test -x $(VENV)/bin/pip || $(PYTHON3) -m venv --clear $(VENV)
	@index="$(TORCH_INDEX)"; \
	if [ "$$index" = auto ]; then \
		index=; \
		if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && timeout 5 $(PYTHON) -c \
			'import urllib.request as u; u.urlopen("$(CPU_INDEX)/torch/")' 2>/dev/null; then index=$(CPU_INDEX); fi; \
	fi; \
	set -x; $(PYTHON) -m pip install $(PIP_FLAGS) -c constraints.txt $${index:+--extra-index-url "$$index"} torch
	$(PYTHON) -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@touch $@
