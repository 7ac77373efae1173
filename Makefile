# `make demo` and `make test` make and use .venv/ from the pinned requirements; PYTHON picks the
# interpreter, e.g. make test PYTHON=python3.12, and another one than before makes .venv/ anew.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv/bin
READY := .venv/ready-$(VERSION)

.PHONY: demo test lint format requirements clean

demo: $(READY)
	$(BIN)/python train.py --config configs/digits.py --workdir runs/digits
	$(BIN)/python eval.py --workdir runs/digits

test: lint
	$(BIN)/python -m pytest --numprocesses auto

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --warnings --pythonpath $(BIN)/python

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins for every supported Python in one file, without the hosts that they came from.
requirements:
	$(PYTHON) -m pip install --quiet uv
	$(PYTHON) -m uv pip compile --universal --python-version 3.11 --extra dev --upgrade \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --output-file requirements.txt pyproject.toml

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is Python $(VERSION); accepted: 3.11 or newer (make PYTHON=python3.11)" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
