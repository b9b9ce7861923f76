"""Tools in a Python of their own: the protocol, what ends a worker, lists, the environment."""

import ast
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.stages import tools, tools_environment
from songbloom.stages.tools import Tool, ToolError

FAKE = """
    import os, subprocess, sys, time
    import numpy as np

    print("loading")
    os.system("echo a child speaks too")

    def load(options):
        if options.get("broken"):
            raise OSError("no weights here")
        return {"options": options, "calls": 0}

    def call(model, command, arguments):
        model["calls"] += 1
        print("chatter {not json}")
        sys.stderr.write(f"at {command}\\n")
        if command == "echo":
            return {**arguments, "calls": model["calls"], "options": model["options"]}
        if command == "double":
            return {"samples": 2 * arguments["samples"], "peak": np.float32(0.5)}
        if command == "sleep":
            time.sleep(arguments["seconds"])
            return {}
        if command == "spawn":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            return {"pid": child.pid}
        if command == "die":
            os.kill(os.getpid(), arguments["signal"])
            time.sleep(10)
        if command == "exit":
            os._exit(7)
        if command == "read":
            return {"read": sys.stdin.read()}
        if command == "pid":
            return {"pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}
        if command == "odd":
            return {"value": object()}
        error = ValueError("the song is too short")
        error.hint = "Sing longer."
        raise error
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own, served by this Python; scratch files lie in the test's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(tools_environment.PYTHON_VARIABLE, sys.executable)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "data" / "songbloom" / "tools"


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of tools: the real worker and a tool that does what it is told."""
    here = tmp_path / "stages"
    here.mkdir()
    (here / "tool_worker.py").symlink_to(tools.FOLDER / "tool_worker.py")
    (here / "tool_fake.py").write_text(textwrap.dedent(FAKE))
    monkeypatch.setattr(tools, "FOLDER", here)
    return here


@pytest.fixture(params=["worker", "here"])
def anywhere(fakes: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tool in a process of its own, and the same in this one."""
    monkeypatch.setattr(tools, "imports_here", lambda name: request.param == "here")
    return str(request.param)


@pytest.fixture
def tool(fakes: Path) -> Iterator[Tool]:
    with Tool("fake", {"layer": 3}, timeout=120) as tool:
        yield tool


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be noticed does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(*pids: int) -> None:
    until = time.monotonic() + 60
    while any(map(alive, pids)):
        assert time.monotonic() < until, pids
        time.sleep(0.02)


def test_json_and_arrays_go_there_and_back(
    anywhere: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tool gets what it is sent and returns what it makes, however much it prints on stdout;
    no file is left; the place is told."""
    samples = np.arange(6, dtype=np.float32).reshape(2, 3)
    with Tool("fake", {"layer": 3}, timeout=120) as tool:
        sent = {"text": "Zeile\n歌 \u2028", "none": None, "x": [1, 2.5, {"a": True}]}
        assert tool.call("echo", sent) == {**sent, "calls": 1, "options": {"layer": 3}}
        doubled = tool.call("double", {"samples": samples})
        np.testing.assert_array_equal(doubled["samples"], 2 * samples, strict=True)
        assert doubled["peak"] == 0.5 and type(doubled["peak"]) is float
        assert tool.call("echo", {})["calls"] == 3
        assert ("this process" in tool.where) == (anywhere == "here")
        assert (sys.executable in tool.where) == (anywhere == "worker")
        assert not list(tmp_path.rglob("*.npy"))
    assert not list(tmp_path.glob("songbloom-tool-*"))
    assert "chatter" not in capfd.readouterr().out


def test_large_messages(tool: Tool) -> None:
    """Requests and answers longer than a pipe holds."""
    text = "la " * 200_000
    assert tool.call("echo", {"text": text})["text"] == text


def test_an_exception_costs_its_item_alone(anywhere: str) -> None:
    """The tool's words, class and hint are told, and the model stays loaded."""
    with Tool("fake", {}, timeout=120) as tool:
        with pytest.raises(ToolError, match="fake: the song is too short") as caught:
            tool.call("raise", {})
        assert (caught.value.kind, caught.value.hint) == ("ValueError", "Sing longer.")
        with pytest.raises(ToolError, match="object") as caught:
            tool.call("odd", {})
        assert caught.value.kind == "TypeError" and "tools check fake" in caught.value.hint
        assert tool.call("echo", {})["calls"] == 3


def test_a_model_that_does_not_load(anywhere: str, tmp_path: Path) -> None:
    """The reason comes at the start, and nothing is left behind."""
    with pytest.raises(ToolError, match="no weights here"):
        Tool("fake", {"broken": True}, timeout=120).start()
    assert not list(tmp_path.glob("songbloom-tool-*"))


def test_a_tool_that_does_not_import(anywhere: str, fakes: Path) -> None:
    """A library that is missing is told like anything else that goes wrong."""
    (fakes / "tool_fake.py").write_text("import gone_away\n")
    with pytest.raises(ToolError, match="No module named 'gone_away'") as caught:
        Tool("fake", {}, timeout=120).start()
    assert caught.value.kind == "ModuleNotFoundError"


def test_a_hang_is_ended_with_its_children(fakes: Path) -> None:
    """Beyond the timeout the whole process group is killed, and the next item gets another."""
    with Tool("fake", {}, timeout=5) as tool:
        child = tool.call("spawn", {})["pid"]
        worker = tool.call("pid", {})["pid"]
        started = time.monotonic()
        with pytest.raises(ToolError, match=r"took more than 5 s.*at sleep") as caught:
            tool.call("sleep", {"seconds": 60})
        assert caught.value.kind == "timeout"
        assert time.monotonic() - started < 50  # the call itself takes 60
        wait_until_gone(worker, child)
        assert tool.call("echo", {})["calls"] == 1


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_death_names_the_signal(tool: Tool, number: int) -> None:
    """The signal and the last words on stderr are told; the next item gets another worker."""
    with pytest.raises(ToolError, match=signal.Signals(number).name) as caught:
        tool.call("die", {"signal": int(number)})
    assert caught.value.kind == "died" and "at die" in caught.value.message
    assert ("memory" in caught.value.message) == (number == signal.SIGKILL)
    assert tool.call("echo", {})["calls"] == 1


def test_an_exit_names_the_code(tool: Tool) -> None:
    """A tool that leaves by itself is told with its exit code."""
    with pytest.raises(ToolError, match="exit code 7"):
        tool.call("exit", {})


def test_standard_input_is_empty(tool: Tool) -> None:
    """A tool that reads from standard input cannot eat requests."""
    assert tool.call("read", {}) == {"read": ""}
    assert tool.call("pid", {})["threads"] == "1"


def test_a_worker_dies_with_its_parent(fakes: Path, tmp_path: Path) -> None:
    """Killed in the middle of a call, the parent leaves neither process nor files."""
    code = f"""
        from pathlib import Path
        from songbloom.stages import tools
        tools.FOLDER = Path({str(fakes)!r})
        tool = tools.Tool("fake", {{}}, timeout=100)
        print(tool.call("pid", {{}})["pid"], flush=True)
        tool.call("sleep", {{"seconds": 100}})
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        time.sleep(0.2)  # it is asleep by now
        assert alive(worker)
        parent.kill()
    wait_until_gone(worker)
    assert not list(tmp_path.glob("songbloom-tool-*"))


def test_the_worker_imports_nothing_of_ours() -> None:
    """What runs in the tools' Python needs the standard library, numpy and the tool alone."""
    files = [tools.FOLDER / "tool_worker.py", *tools.FOLDER.glob("tool_*.py")]
    for file in files:
        assert not re.search(r"^\s*(from|import) songbloom", file.read_text("utf-8"), re.M), file


def test_a_wrong_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Python that is not there, and one that cannot be run."""
    monkeypatch.setenv(tools_environment.PYTHON_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(MissingAssetError, match="gone: no such program"):
        Tool("muq", {}, timeout=1)
    (tmp_path / "gone").write_text("no program")
    with pytest.raises(MissingAssetError, match="cannot be run"):
        Tool("muq", {}, timeout=1).start()
    with pytest.raises(SongBloomError, match="does not run as a Python"):
        tools_environment.installed()


def test_a_tool_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to type, and has the exit code of a missing asset."""
    monkeypatch.delenv(tools_environment.PYTHON_VARIABLE)
    with pytest.raises(MissingAssetError) as caught:
        Tool("whisperx", {}, timeout=1)
    assert caught.value.hint == "Type: songbloom tools install whisperx"
    assert tools_environment.installed() == {}


NAMES = ("torch", *tools_environment.TOOLS)


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_pinned_and_free_of_what_breaks_torch(name: str) -> None:
    """Every line is one package at one version; no CUDA builds come in by a side door."""
    lines = (tools_environment.LISTS / f"{name}.txt").read_text("utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    pin = r"""[a-z0-9-]+==[0-9][0-9a-z.]*( ; python_version [<>]=? "3\.\d+")?"""
    assert all(re.fullmatch(pin, line) for line in packages)
    assert packages == sorted(packages) and len(packages) == len(tools_environment.pins(name))
    assert not {"torchvision", "torchcodec", "triton"} & tools_environment.pins(name).keys()


def test_lists_agree() -> None:
    """Lists that share a package pin the same version, so that all live in one environment."""
    together: dict[str, str] = {}
    for name in NAMES:
        for package, version in tools_environment.pins(name).items():
            assert together.setdefault(package, version) == version, (name, package)
    assert {"muq", "whisperx", "stable-audio-tools", "torch", "numpy"} <= together.keys()
    assert together["transformers"].startswith("4.")  # muq fails with 5


def test_tools_import_what_their_lists_have() -> None:
    """A module that serves a tool imports the standard library and what its list installs."""
    for name in tools_environment.TOOLS:
        file = tools.FOLDER / f"tool_{name.replace('-', '_')}.py"
        tree = ast.parse(file.read_text("utf-8") if file.exists() else "")
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
            there = {**tools_environment.pins("torch"), **tools_environment.pins(name)}
            assert foreign <= {package.replace("-", "_") for package in there}, file


def wheel(folder: Path, name: str, version: str, *, files: int = 1) -> None:
    """A wheel with a module of this name, and as many more files as asked for."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    module = name.replace("-", "_")
    contents = {f"{module}/part_{number}.py": "x = 1\n" * 50 for number in range(files)}
    contents[f"{module}/__init__.py"] = f"VERSION = '{version}'\n"
    contents[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in contents)
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)


LISTS = {
    "torch": "torch==1.0\nnumpy==1.0\n",
    "muq": '# a comment\nmuq==0.1\nshared==1.0\nnever==9.9 ; python_version < "3"\n',
    "whisperx": "big==1.0\nshared==1.0\nwhisperx==3.0\n",
    "stable-audio-tools": "nowhere==1.0\nstable-audio-tools==1.0\n",
    "audiobox-aesthetics": "audiobox-aesthetics==1.0\n",
}


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small lists, with wheels for all they name but one, and pip cut off from everything else."""
    wheels, lists = tmp_path / "wheels", tmp_path / "lists"
    wheels.mkdir()
    lists.mkdir()
    for name in ("torch", "numpy", "muq", "shared", "whisperx", "stable-audio-tools"):
        version = {"muq": "0.1", "whisperx": "3.0"}.get(name, "1.0")
        wheel(wheels, name, version)
    wheel(wheels, "big", "1.0", files=3000)
    for name, text in LISTS.items():
        (lists / f"{name}.txt").write_text(text)
    monkeypatch.setattr(tools_environment, "LISTS", lists)
    monkeypatch.delenv(tools_environment.PYTHON_VARIABLE)
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    config = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    for key, value in config.items():
        monkeypatch.setenv(key, value)
    return lists


def version_in(python: Path, module: str) -> str:
    code = f"import {module}; print({module}.VERSION)"
    return subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_install(folder: Path, lists: Path) -> None:
    """A tool is installed with what its list says and is there; one that fails says why, and
    leaves what was there."""
    steps: list[str] = []

    def note(event: dict[str, object]) -> None:
        if event["event"] == "step":
            steps.append(str(event["step"]))

    plan = tools_environment.plan(["muq"])
    assert (plan.folder, dict(plan.steps)) == (str(folder), {"torch": 2, "muq": 3})
    python = tools_environment.install(["muq"], on_progress=note)
    assert python == tools_environment.python("muq") and steps == ["environment", "torch", "muq"]
    assert tools_environment.installed() == {"muq": "0.1"}
    assert version_in(python, "shared") == "1.0"
    with pytest.raises(SongBloomError, match="stable-audio-tools: pip failed.*nowhere") as caught:
        tools_environment.install(["stable-audio-tools"])
    assert "type the same again" in caught.value.hint
    assert tools_environment.python("muq") == python
    with pytest.raises(MissingAssetError, match="not installed here"):
        tools_environment.python("stable-audio-tools")


@pytest.mark.slow
def test_an_interrupted_installation_goes_on(folder: Path, lists: Path) -> None:
    """A step that was not finished is done again, and half a package is not believed; other lists
    make all anew."""

    def interrupt(event: dict[str, object]) -> None:
        if event["event"] == "pip" and event["step"] == "whisperx":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tools_environment.install(["muq", "whisperx"], on_progress=interrupt)
    assert tools_environment.installed() == {"muq": "0.1"}
    (packages,) = folder.glob("lib/python*/site-packages")
    for file in ("big/part_7.py", "big-1.0.dist-info/METADATA"):  # as pip dies: no RECORD yet
        (packages / file).parent.mkdir(exist_ok=True)
        (packages / file).write_text("Name: big\nVersion: 1.0\n")
    assert tools_environment.plan(["whisperx"]).steps == {"whisperx": 2}
    tools_environment.install(["whisperx"])
    assert (packages / "big" / "part_7.py").read_text().startswith("x = 1")
    assert tools_environment.installed() == {"muq": "0.1", "whisperx": "3.0"}

    (lists / "muq.txt").write_text(LISTS["muq"].replace("0.1", "0.2"))
    wheel(lists.parent / "wheels", "muq", "0.2")
    with pytest.raises(MissingAssetError, match="muq: installed by another songbloom"):
        tools_environment.python("muq")
    assert tools_environment.plan(["muq"]).replaces
    python = tools_environment.install(["muq"])
    assert tools_environment.installed() == {"muq": "0.2", "whisperx": "3.0"}
    assert version_in(python, "muq") == "0.2"


@pytest.mark.slow
def test_a_killed_installation_goes_on(folder: Path, lists: Path) -> None:
    """After SIGKILL in the middle of pip's work, the same call ends as if nothing had been; while
    the pip that was left is at work, nobody else is."""
    code = f"""
        from pathlib import Path
        from songbloom.stages import tools_environment
        tools_environment.LISTS = Path({str(lists)!r})
        tools_environment.install(["whisperx"], on_progress=lambda event: print(event, flush=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "whisperx" in line and "Installing" in line:
                break
        process.kill()
    refused = 0
    until = time.monotonic() + 60
    while True:
        try:
            python = tools_environment.install(["whisperx"])
            break
        except SongBloomError as error:
            assert "another installation" in error.message and time.monotonic() < until
            refused += 1
            time.sleep(0.05)
    assert refused, "pip was gone at once: nothing was killed in the middle"
    assert version_in(python, "big") == "1.0"
    assert len(list(folder.glob("lib/python*/site-packages/big/part_*.py"))) == 3000


def test_wrong_arguments(tmp_path: Path) -> None:
    """Unknown tools, and Pythons that are none or not ours to serve."""
    with pytest.raises(UsageError, match="musq: no such tool") as caught:
        tools_environment.install(["musq"])
    assert "muq, whisperx, stable-audio-tools, audiobox" in caught.value.hint
    for program in (tmp_path / "gone", Path("/bin/false")):
        with pytest.raises(UsageError, match="does not run as a Python"):
            tools_environment.plan((), base=program)
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    with pytest.raises(UsageError, match=r"is Python 3.9.*3.10 to 3.13"):
        tools_environment.plan((), base=old)


MUQ = """
    import sys
    from muq import MuQ, MuQConfig
    from transformers import Wav2Vec2ConformerConfig

    def load(options):
        small = Wav2Vec2ConformerConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        ).to_dict()
        del small["id2label"], small["label2id"]
        stat = {"melspec_2048_mean": 0.0, "melspec_2048_std": 1.0}
        config = MuQConfig(
            conv_dim=32, encoder_dim=32, encoder_depth=2, codebook_size=16, stat=stat,
            w2v2_config=small,
        )
        MuQ(config).save_pretrained(options["folder"])

    def call(model, command, arguments):
        raise ValueError(command)
"""


@pytest.mark.slow
def test_the_real_environment(tmp_path: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the shipped lists: all tools import, torch is the pinned one, and MuQ's own library
    makes 25 embeddings a second with random weights, the same ones twice."""
    monkeypatch.delenv(tools_environment.PYTHON_VARIABLE)
    tools_environment.install(())
    (fakes / "tool_make.py").write_text(textwrap.dedent(MUQ))
    for file in ("tool_check.py", "tool_muq.py"):
        (fakes / file).symlink_to(Path(tools.__file__).parent / file)
    pinned = tools_environment.pins("torch")["torch"]
    for name in tools_environment.TOOLS:
        condition = tools.check(name)
        assert condition.versions["torch"].split("+")[0] == pinned
        assert condition.versions[name] == tools_environment.pins(name)[name]
    monkeypatch.setenv(tools_environment.PYTHON_VARIABLE, str(tools_environment.python("muq")))
    Tool("make", {"folder": str(tmp_path / "model")}, timeout=600).start()
    options = {"model": str(tmp_path / "model"), "layer": -1, "device": "cpu"}
    samples = np.random.default_rng(0).standard_normal(24_000 * 4, np.float32)
    with Tool("muq", options, timeout=600) as tool:
        first, second = (tool.call("embed", {"samples": samples})["embeddings"] for _ in "ab")
    assert first.shape == (100, 32) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
