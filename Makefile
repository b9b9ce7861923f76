# make song   a song from the example lyrics and clip, from a fresh clone
# make test   lint, types and tests
# make seedling   the embedded model from nothing into OUT; the same again goes on where it stopped
# All make and use .venv; PYTHON names the interpreter to make it with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --disable-pip-version-check -c constraints.txt

# Of make seedling: hours of songs with sound, scores without, and more words for any of its commands.
HOURS ?= 2.5
SCORES ?= 10000
SEED ?= 1
OUT ?= out/seedling
SYNTH ?=
CODECS ?=
READ ?=
FOLLOW ?=
PREPARE ?=
PAINT ?=
SCORE ?=
SONGBLOOM := $(BIN)/songbloom
MIXED := --seed $(SEED) --language mixed

.PHONY: song test lint seedling man clean
.DELETE_ON_ERROR:

song: $(VENV)/.core
	$(BIN)/songbloom generate examples/lyrics.txt --prompt examples/reference.wav -o out/song.flac

test: lint
	$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

seedling: $(VENV)/.seedling
	$(SONGBLOOM) synth --hours $(HOURS) $(MIXED) -o $(OUT)/corpus $(SYNTH)
	$(SONGBLOOM) seedling $(OUT)/corpus --work $(OUT)/work -o $(OUT)/codecs $(CODECS)
	$(SONGBLOOM) synth --scores --songs $(SCORES) $(MIXED) --codecs $(OUT)/codecs -o $(OUT)/scores
	$(SONGBLOOM) train --preset seedling_read --data $(OUT)/scores --codecs $(OUT)/codecs -o $(OUT)/read $(READ)
	$(SONGBLOOM) synth --scores --songs $(SCORES) --seed $(SEED) --like $(OUT)/corpus --codecs $(OUT)/codecs -o $(OUT)/like
	$(SONGBLOOM) train --preset seedling_follow --data $(OUT)/like --codecs $(OUT)/codecs --init-from $(OUT)/read/model -o $(OUT)/follow $(FOLLOW)
	$(SONGBLOOM) prepare $(OUT)/corpus --tokenize-backend score --tokenize-model $(OUT)/codecs --vae-model $(OUT)/codecs -o $(OUT)/dataset $(PREPARE)
	$(SONGBLOOM) train --preset seedling_paint --data $(OUT)/dataset --init-from $(OUT)/follow/model -o $(OUT)/paint $(PAINT)
	$(SONGBLOOM) export $(OUT)/paint --dtype float16 --name seedling --force -o $(OUT)/model
	$(BIN)/python benchmarks/seedling.py --model $(OUT)/model --cache $(OUT)/songs $(SCORE)

man: $(VENV)/.core
	$(BIN)/python -m songbloom_cli.man man

clean:
	rm -rf $(VENV) out build *.egg-info

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	$(BIN)/python .ci/check_torch.py
	touch $@

$(VENV)/.seedling: $(VENV)/.core
	$(INSTALL) -e '.[synth,prepare,eval]'
	$(BIN)/python .ci/check_torch.py
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) -e '.[dev]'
	$(BIN)/python .ci/check_torch.py
	touch $@
