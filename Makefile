# `make demo` and `make test` make and use .venv/ from the pinned requirements; PYTHON picks the
# interpreter, e.g. make test PYTHON=python3.12, and another one than before makes .venv/ anew.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv/bin
READY := .venv/ready-$(VERSION)
ALL := .venv/all-$(VERSION)

.PHONY: demo test browser lint format requirements clean

demo: $(READY)
	$(BIN)/python train.py --config configs/digits.py --workdir runs/digits
	$(BIN)/python eval.py --workdir runs/digits

test: lint browser
	$(BIN)/python -m pytest --numprocesses auto

# The tests of report.html open it in Debian's Chromium, which is installed when it is missing and
# this user may. Without it they are skipped, so that a machine without Debian can run the others.
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit; \
	  as_root=; test "$$(id -u)" = 0 || as_root='sudo -n'; \
	  { command -v apt-get >/dev/null && $$as_root true 2>/dev/null && \
	    echo 'installing chromium and chromium-driver' && \
	    $$as_root apt-get update -qq && \
	    $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y \
	      --no-install-recommends chromium chromium-driver >/dev/null; } || \
	  echo 'note: no chromium and chromedriver here, and they could not be installed;' \
	    'the tests of report.html in a browser are skipped' >&2

# Types are checked against every extra's own, so all of them have to be there.
lint: $(ALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --warnings --pythonpath $(BIN)/python

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins for every supported Python, without the hosts that they came from: what `make demo` needs, and
# what the tests need besides (TensorFlow, Ray, KServe, a TPU's compiler).
COMPILE := $(PYTHON) -m uv pip compile --universal --python-version 3.11 --extra dev --extra export \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links
EXTRAS := cloud k8s link prepare ray tensorboard tpu
requirements:
	$(PYTHON) -m pip install --quiet uv
	$(COMPILE) $(EXTRAS:%=--extra %) --upgrade --output-file requirements-all.txt pyproject.toml
	$(COMPILE) --constraint requirements-all.txt --output-file requirements.txt pyproject.toml

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is Python $(VERSION); accepted: 3.11 or newer (make PYTHON=python3.11)" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# With every extra no test is skipped.
$(ALL): requirements-all.txt $(READY)
	$(BIN)/python -m pip install --quiet -r requirements-all.txt
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
