"""Which module may import which: a library with one direction, and a light upper half."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A module imports only from lines above its own, and from its own package. Peers on one line do not
# know each other.
LAYERS = (
    ("errors", "units", "toml"),
    ("files", "tables"),
    ("config", "manifest"),
    ("lyrics",),
    ("requests",),
    ("audio", "loudness"),
    ("model",),
    ("hub",),
    ("synth", "data"),
    ("stages",),
    ("generation",),
    ("training",),
    ("evaluation", "export", "doctor", "project"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
LIGHT = ("songbloom", "songbloom.config", "songbloom.hub", "songbloom.lyrics", "songbloom.requests")
LIGHT += ("songbloom.manifest", "songbloom.stages.sources", "songbloom.stages.chain")
LIGHT += ("songbloom.project.chain", "songbloom.project.status")
LIGHT += ("songbloom.training.launch", "songbloom.training.start")
PRINTER = "output.py"


def sources(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "assets" in path.parts:  # stand-ins for modules of other environments: data to us
            continue
        yield path, ast.parse(path.read_text("utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names of all imports, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    """The name in LAYERS that a library file belongs to; empty for the package's __init__."""
    inside = path.relative_to(ROOT / "songbloom").parts
    return "" if inside == ("__init__.py",) else inside[0].removesuffix(".py")


def test_every_part_has_a_place() -> None:
    """A new module or package of the library is given its place in LAYERS."""
    assert {part(path) for path, _ in sources("songbloom")} - {""} <= RANK.keys()


def test_library_imports_point_one_way() -> None:
    """Inside the library, imports go up the list of layers only."""
    wrong = []
    for path, tree in sources("songbloom"):
        own = part(path)
        for name in imports(tree):
            words = name.split(".")
            ours = words[0] == "songbloom" and len(words) > 1 and words[1] in RANK
            if ours and words[1] != own and (own == "" or RANK[words[1]] >= RANK[own]):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_library_does_not_know_the_command_line() -> None:
    """songbloom imports neither songbloom_cli nor what only a command line needs."""
    banned = {"songbloom_cli", "typer", "rich", "argparse", "click"}
    for path, tree in sources("songbloom"):
        assert not {name.split(".")[0] for name in imports(tree)} & banned, path


def test_nothing_imports_click() -> None:
    """Typer carries a Click of its own; the other one is no dependency. Nor are Typer's insides."""
    for path, tree in sources("songbloom_cli"):
        for name in imports(tree):
            assert name.split(".")[0] != "click", path
            assert not name.startswith(("typer._", "typer.core", "typer.rich_utils")), path


def calls(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_one_file_prints() -> None:
    """The library prints nothing, and of the command line only output.py does."""
    for package in ("songbloom", "songbloom_cli"):
        for path, tree in sources(package):
            if path.name == PRINTER and package == "songbloom_cli":
                continue
            if path.name == "espeak_worker.py":  # a program of its own, whose stdout is a pipe
                continue
            printing = {"print", "sys.stdout.write", "sys.stderr.write", "typer.echo"}
            assert not printing & set(calls(tree)), path


def test_pickles_are_never_executed() -> None:
    """torch.load is told weights_only=True wherever it stands, and pickle never loads."""
    for package in ("songbloom", "songbloom_cli"):
        for path, tree in sources(package):
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                    assert given.get("weights_only") == "True", path
            assert not {"pickle.load", "pickle.loads", "eval", "exec"} & set(calls(tree)), path


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_no_torch(module: str) -> None:
    """Everything above audio starts without torch."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_files_stay_readable() -> None:
    """No file of code is longer than 600 lines."""
    for package in ("songbloom", "songbloom_cli", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            assert len(path.read_text("utf-8").splitlines()) <= 600, path
