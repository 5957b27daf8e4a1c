# `make train` and `make test` do everything from nothing; the rest is for those who work on the library.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := build/tools/bin/uv
RUN_DIR ?= runs/smax-3m/stochastic-dop/first

.PHONY: train play test check fast docs slow wheel lowest lock clean

# Typed again, it goes on where it was stopped.
train: $(VENV)/installed
	if [ -e $(RUN_DIR)/config.json ]; then $(BIN)/dop resume $(RUN_DIR); \
	else $(BIN)/dop train stochastic-dop --env smax:3m --env-steps 200000 --run-dir $(RUN_DIR); fi

# A trained team, in two films.
play: $(VENV)/installed
	$(BIN)/dop render models/smax-3m-stochastic-dop

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

# A wheel, built and installed in an empty environment: it trains, resumes and reports, and type checkers see its types.
wheel: $(VENV)/installed-dev
	$(BIN)/pytest -m slow tests/test_package.py

# The oldest versions that pyproject.toml allows, in an environment of their own. Old versions warn of what newer ones changed: not an error here.
# LOWEST_TESTS: what starts, trains, saves, resumes, reports, exports and adapts. Last run: see CONTRIBUTING.md.
LOWEST := build/lowest
LOWEST_TESTS ?= tests/test_package.py tests/test_returns.py tests/test_golden.py tests/test_api.py tests/test_cli.py \
  tests/devices tests/loggers tests/storage/test_manifest.py tests/storage/test_snapshots.py tests/rollout/test_workers.py \
  tests/training/test_last_evaluation.py tests/training/test_resume.py tests/analysis tests/visualise tests/export tests/envs/test_smax.py tests/envs/test_mpe.py tests/envs/test_jumanji.py tests/envs/python/test_contract.py
lowest: $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(LOWEST)
	$(UV) pip install --quiet --python $(LOWEST) --resolution lowest-direct -e '.[dev,jumanji,wandb,mlflow]'
	$(LOWEST)/bin/pytest -n 2 -W default --disable-warnings $(LOWEST_TESTS)

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

# Every version that the extras need, on each Python that is supported; the versions of today's lock stay where they can. `make lock UPGRADE=1` takes
# the newest. Without the extra `cuda`: JAX pins its libraries itself.
lock: $(UV)
	$(UV) pip compile pyproject.toml --quiet --universal --no-annotate --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  --extra dev --extra jumanji --extra mabrax --extra mlflow --extra ray --extra wandb --group unresolved --output-file requirements.lock

$(UV):
	$(PYTHON) -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check uv

clean:
	rm -rf $(VENV) build dist
