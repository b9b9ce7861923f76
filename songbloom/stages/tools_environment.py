"""The tools environment: one Python beside ours, with the tools whose pins cannot live here.

It is `songbloom/tools` in the user's data folder. What it is made of is pinned to the last package
in `songbloom/assets/tools/*.txt`: `torch.txt`, then a list for each tool. The lists agree where
they meet, so a tool is added without touching those that are there. Torch-free.
"""

import contextlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.files import lock, sha256, write_text
from songbloom.units import Seconds

PYTHON_VARIABLE = "SONGBLOOM_TOOLS_PYTHON"
LISTS = Path(__file__).parents[1] / "assets" / "tools"
STUBS = LISTS / "stubs"
PYTHONS = ((3, 10), (3, 13))  # first and last that the lists were made for
_STATE = "songbloom.json"
# pip's settings for other environments; the lists leave nothing to them
_FOREIGN = ("PIP_CONSTRAINT", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIREMENT")
# bytes and seconds of each step, measured on two busy cores with a CPU torch
_COSTS = {
    "torch": (950_000_000, 155.0),
    "muq": (575_000_000, 80.0),
    "whisperx": (625_000_000, 75.0),
    "stable-audio-tools": (22_000_000, 10.0),
    "audiobox-aesthetics": (15_000_000, 10.0),
}
_QUOTED = 300  # characters of pip's last word

Event = dict[str, Any]


@dataclass(frozen=True)
class ToolKind:
    """What a tool is for, the modules that it is used through, what binds its users."""

    use: str
    modules: tuple[str, ...]
    licence: str


TOOLS: Mapping[str, ToolKind] = {
    "muq": ToolKind(
        "tokenize: embeddings that sketch tokens are made of; evaluate: MCC and FAD",
        ("muq",),
        "code MIT; MuQ's weights CC BY-NC 4.0, no commercial use",
    ),
    "whisperx": ToolKind(
        "align: words that are sung, and when",
        ("whisperx.asr", "whisperx.alignment"),
        "code BSD-2-Clause; Whisper's weights MIT, alignment models each their own",
    ),
    "stable-audio-tools": ToolKind(
        "comparisons: encode-latents reads this library's checkpoints by itself",
        ("stable_audio_tools.models.factory", "stable_audio_tools.models.autoencoders"),
        "code MIT; the weights each their own",
    ),
    "audiobox-aesthetics": ToolKind(
        "evaluate: what listeners would say of a song",
        ("audiobox_aesthetics.model.aes",),
        "code and weights CC BY 4.0",
    ),
}


@dataclass(frozen=True)
class Plan:
    """What `install` would do: the `steps` that are left, and how many packages each has.

    `disk_bytes` and `seconds` are what they took with a CPU torch; a CUDA one takes 6 GB more.
    """

    folder: str
    python: str
    steps: Mapping[str, int]
    replaces: bool
    disk_bytes: int
    seconds: Seconds


@dataclass
class _State:
    """What is in the environment: the list's hash of each step that is done, and whose Python."""

    python: str
    torch: str
    steps: dict[str, str] = field(default_factory=dict)


def folder() -> Path:
    """Where the environment is, or would be."""
    import platformdirs  # not needed by most commands

    return platformdirs.user_data_path("songbloom", appauthor=False) / "tools"


def python(name: str) -> Path:
    """The Python that has tool `name`: what $SONGBLOOM_TOOLS_PYTHON names, else the environment's.

    `MissingAssetError` says how to make it.
    """
    if named := os.environ.get(PYTHON_VARIABLE):
        if not (path := Path(named).expanduser()).is_file():
            raise MissingAssetError(
                f"{PYTHON_VARIABLE}={named}: no such program",
                "Let it name the Python of an environment that has the tools, or unset it.",
            )
        return path
    state = _read(folder())
    if state is None or not _done(state, name):
        old = state is not None and name in state.steps
        raise MissingAssetError(
            f"{name}: " + ("installed by another songbloom" if old else "not installed here"),
            f"Type: songbloom tools install {name}",
        )
    return _program(folder())


def installed() -> dict[str, str]:
    """The tools that workers find, and their versions."""
    if not os.environ.get(PYTHON_VARIABLE):
        state = _read(folder())
        return {name: pins(name)[name] for name in TOOLS if state and _done(state, name)}
    code = (
        "import importlib.metadata as m, json, sys; "
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version "
        "for d in m.distributions()}))"
    )
    done = _run([python("tools"), "-I", "-c", code])
    if done.returncode:
        raise SongBloomError(
            f"{os.environ[PYTHON_VARIABLE]}: does not run as a Python ({_last(done.stdout)})",
            f"Let {PYTHON_VARIABLE} name the Python of an environment with the tools.",
        )
    found = json.loads(done.stdout)
    return {name: found[name] for name in TOOLS if name in found}


def imports_here(name: str) -> bool:
    """Whether this very Python has the tool, with the versions that its list pins.

    transformers counts too, without which the tools import and then fail.
    """
    if os.environ.get(PYTHON_VARIABLE) or name not in TOOLS:
        return False
    wanted = {package: pins(name).get(package) for package in (name, "transformers")}
    try:
        return all(importlib.metadata.version(p) == v for p, v in wanted.items() if v)
    except importlib.metadata.PackageNotFoundError:
        return False


def pins(name: str) -> dict[str, str]:
    """Package -> version of a list, as pip takes it: with the Pythons it is for, if not all."""
    lines = (LISTS / f"{name}.txt").read_text("utf-8").splitlines()
    pinned = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {package: version for package, _, version in pinned}


def plan(
    names: Iterable[str], *, torch: str = "", base: Path | None = None, force: bool = False
) -> Plan:
    """What `install` would do with the same arguments, and the same errors for wrong ones."""
    base = _base(base)
    target = folder()
    state = _read(target)
    wanted = _wanted(names, state)
    if force or state is None or not _goes_on(state, torch, base):
        state, replaces = _State("", ""), target.exists()
    else:
        replaces = False
    steps = {step: len(packages) for step, packages in _steps(wanted, state)}
    disk = sum(_COSTS[step][0] for step in steps)
    seconds = sum(_COSTS[step][1] for step in steps)
    return Plan(str(target), str(base), steps, replaces, disk, seconds)


def install(
    names: Iterable[str],
    *,
    torch: str = "",
    base: Path | None = None,
    force: bool = False,
    on_progress: Callable[[Event], None] = lambda event: None,
) -> Path:
    """Make the environment with these tools (none = all) and return its Python.

    What is there stays; a killed installation goes on where it was. An environment of other lists,
    another `torch` or another `base` Python is made anew, with all that it had; `force` does so
    always. `torch` is what pip is asked for in place of the list's pin, options included; `base`
    is the Python to make it of.

    Events: `{"event": "step", "step", "number", "steps"}` and `{"event": "pip", "step", "text"}`.
    `UsageError` for unknown names and Pythons, `SongBloomError` when pip fails.
    """
    base, target = _base(base), folder()
    with contextlib.closing(lock(target.parent, _busy(target))) as held:
        state = _read(target)
        wanted = _wanted(names, state)
        made = None if force or state is None or not _goes_on(state, torch, base) else state
        state = made or _State(_version(base), torch)
        steps: list[tuple[str, list[str]]] = [] if made else [("environment", [])]
        steps += _steps(wanted, state)
        for number, (step, packages) in enumerate(steps, start=1):
            on_progress({"event": "step", "step": step, "number": number, "steps": len(steps)})
            if step == "environment":
                _make(target, base)
                _write(target, state)
                continue
            arguments = _arguments(step, packages, state.torch)
            _pip(target, step, arguments, held.fileno(), on_progress)
            state.steps[step] = sha256(LISTS / f"{step}.txt")
            _write(target, state)
    return _program(target)


def _wanted(names: Iterable[str], state: _State | None) -> list[str]:
    """The tools that the environment is to have: those named and those that it has."""
    names = list(names) or list(TOOLS)
    for name in names:
        if name not in TOOLS:
            raise UsageError(f"{name}: no such tool", f"The tools are: {', '.join(TOOLS)}.")
    return [name for name in TOOLS if name in names or (state and name in state.steps)]


def _goes_on(state: _State, torch: str, base: Path) -> bool:
    """Whether what is there can be built on."""
    current = all(_done(state, step) for step in state.steps)
    return current and torch in ("", state.torch) and _version(base) == state.python


def _done(state: _State, step: str) -> bool:
    return state.steps.get(step) == sha256(LISTS / f"{step}.txt")


def _steps(wanted: Sequence[str], state: _State) -> Iterator[tuple[str, list[str]]]:
    """Each step that is left, with what it installs: what the steps before it did not."""
    there = {package for step in state.steps for package in pins(step)}
    for step in ("torch", *wanted):
        if step not in state.steps:
            packages = pins(step)
            yield step, [f"{p}=={v}" for p, v in packages.items() if p not in there]
            there |= packages.keys()


def _arguments(step: str, packages: Sequence[str], torch: str) -> list[str]:
    """What pip is asked for: torch with its dependencies, the tools' lists as they stand.

    stable-audio-tools says that it runs on Python 3.10 alone, and muq is built from source.
    """
    if step != "torch":
        return ["--no-deps", "--ignore-requires-python", "--no-build-isolation", *packages]
    if not torch:
        return list(packages)
    kept = [name for name in ("numpy", "setuptools", "torchaudio") if name not in torch]
    return [*shlex.split(torch), *(p for p in packages if p.partition("==")[0] in kept)]


def _make(target: Path, base: Path) -> None:
    """An empty environment in place of whatever is there."""
    (target / _STATE).unlink(missing_ok=True)  # first: a kill from here on leaves no environment
    shutil.rmtree(target, ignore_errors=True)
    done = _run([base, "-I", "-m", "venv", target])
    if not done.returncode:
        # pip would leave the setuptools that came with it half replaced
        done = _run([_program(target), "-I", "-m", "pip", "uninstall", "-y", "setuptools"])
    if done.returncode:
        raise SongBloomError(
            f"{target}: no Python environment can be made there ({_last(done.stdout)})",
            "Free some space, install Python's venv (apt install python3-venv), or name another "
            "Python with --python.",
        )


def _pip(
    target: Path,
    step: str,
    arguments: Sequence[str],
    held: int,
    on_progress: Callable[[Event], None],
) -> None:
    """Run pip, which keeps the lock `held` should this process be killed.

    Packages that a killed pip left half installed are written again, not believed.
    """
    command = [_program(target), "-I", "-m", "pip", "install", "--ignore-installed", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", *arguments]
    said: list[str] = []
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={key: value for key, value in os.environ.items() if key not in _FOREIGN},
        pass_fds=(held,),
    ) as process:
        assert process.stdout is not None
        try:
            for line in filter(None, map(str.strip, process.stdout)):
                said.append(line)
                on_progress({"event": "pip", "step": step, "text": line})
        except BaseException:  # Ctrl-C too: nothing works on behind our back
            process.kill()
            process.wait()
            raise
    if process.returncode:
        raise SongBloomError(
            f"{step}: pip failed ({_last(chr(10).join(said))})",
            "See to the network and the disk, then type the same again to go on where it stopped.",
        )


def _base(base: Path | None) -> Path:
    base = Path(sys.executable) if base is None else base.expanduser()
    version = _version(base)
    first, last = (".".join(map(str, version)) for version in PYTHONS)
    if not PYTHONS[0] <= tuple(map(int, version.split("."))) <= PYTHONS[1]:
        raise UsageError(
            f"{base}: is Python {version}, and the tools are pinned for {first} to {last}",
            f"Name another with --python, such as: --python python{last}",
        )
    return base


def _version(base: Path) -> str:
    """Such as 3.11."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = _run([base, "-I", "-c", code])
    if done.returncode or not re.fullmatch(r"\d+\.\d+\n", done.stdout):
        raise UsageError(
            f"{base}: does not run as a Python ({_last(done.stdout)})",
            "Name a Python program with --python.",
        )
    return done.stdout.strip()


def _run(command: Sequence[str | Path]) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, with stderr in its stdout; one that is not there exits with 127."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, error.strerror)


def _last(text: str) -> str:
    """The line of pip's, or of another program's, words that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it says nothing"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines)[-1][:_QUOTED]


def _program(target: Path) -> Path:
    return target / "bin" / "python"


def _busy(target: Path) -> SongBloomError:
    return SongBloomError(
        f"{target}: another installation is at work there", "Wait for it, then type the same again."
    )


def _read(target: Path) -> _State | None:
    """What is there; None for nothing, or for what was left half made."""
    try:
        state = _State(**json.loads((target / _STATE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return state if _program(target).exists() else None


def _write(target: Path, state: _State) -> None:
    write_text(target / _STATE, json.dumps(asdict(state), indent=1))
