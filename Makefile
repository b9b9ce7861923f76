# make song   a song from the example lyrics and clip, from a fresh clone
# make test   lint, types and tests
# Both make and use .venv; PYTHON names the interpreter to make it with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --disable-pip-version-check -c constraints.txt

.PHONY: song test lint man clean
.DELETE_ON_ERROR:

song: $(VENV)/.core
	$(BIN)/songbloom generate examples/lyrics.txt --prompt examples/reference.wav -o out/song.flac

test: lint
	$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

man: $(VENV)/.core
	$(BIN)/python -m songbloom_cli.man man

clean:
	rm -rf $(VENV) out build *.egg-info

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	$(BIN)/python .ci/check_torch.py
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) -e '.[dev]'
	$(BIN)/python .ci/check_torch.py
	touch $@
