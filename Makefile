# `make train` and `make test` do everything from nothing; the rest is for those who work on the library.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_DIR ?= runs/smax-3m/stochastic-dop/first

.PHONY: train test check fast docs slow lock clean

# Typed again, it goes on where it was stopped.
train: $(VENV)/installed
	if [ -e $(RUN_DIR)/config.json ]; then $(BIN)/dop resume $(RUN_DIR); \
	else $(BIN)/dop train stochastic-dop --env smax:3m --env-steps 200000 --run-dir $(RUN_DIR); fi

test: check fast docs

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fast: $(VENV)/installed-dev
	$(BIN)/pytest -n 2

# The site, without a warning, in build/site; and the notebook, run from its first cell to its last. Neither changes a file of docs/.
docs: $(VENV)/installed-dev
	$(BIN)/mkdocs build --strict --quiet
	$(BIN)/jupyter-execute docs/tour.ipynb

slow: $(VENV)/installed-dev
	$(BIN)/pytest -m slow

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]'
	@# Its requirements (pandas 1.4.4, neptune) fit nothing here; the part that reads what we write needs NumPy and colorama alone.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-deps id-marl-eval
	touch $@

# Names and versions of what is installed now, without addresses.
lock: $(VENV)/installed-dev
	$(BIN)/python -m pip list --format=freeze --exclude-editable | grep -v -E '^(pip|setuptools|wheel)==' > requirements.lock

clean:
	rm -rf $(VENV) build dist
