"""The program as a whole: help, errors, exit codes, streams."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from cli.helpers import Cli, assert_refused

from songbloom_cli import main, man, output

PROGRAM = [sys.executable, "-m", "songbloom_cli"]


def imported(*args: str) -> set[str]:
    """Modules that a command line imports, from Python's own import log."""
    command = [sys.executable, "-X", "importtime", "-m", "songbloom_cli", *args]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {line.split("|")[-1].strip() for line in log.splitlines() if line.count("|") == 2}


@pytest.mark.parametrize(
    "args", [("--help",), ("generate", "--help"), ("--version",), ("config", "show"), ("models",)]
)
def test_light_commands_import_nothing_heavy(args: tuple[str, ...]) -> None:
    """Help, version, settings and the list of models pay for no torch, numpy, scipy or rich."""
    modules = imported(*args)
    assert "songbloom_cli.main" in modules
    assert not modules & {"torch", "numpy", "scipy", "soundfile", "rich", "jieba"}


def test_both_entry_points_are_the_same_program() -> None:
    """`songbloom` and `python -m songbloom_cli` print the same help."""
    script = Path(sys.executable).parent / "songbloom"
    if not script.exists():
        pytest.skip("songbloom is not installed beside this Python")
    texts = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in (PROGRAM, [str(script)])
    ]
    assert texts[0] == texts[1]
    assert "songbloom [OPTIONS] COMMAND" in texts[0]


def test_every_command_has_help_with_every_option(cli: Cli) -> None:
    """Each command's --help ends well and says something of each option."""
    for words, command in man.commands():
        ran = cli(*words, "--help")
        assert (ran.code, ran.err) == (0, ""), words
        for param in command.params:
            assert param.help, f"{words}: {param.name} has no help"
            if param.param_type_name == "option":
                assert param.opts[-1] in ran.out


def test_no_command_prints_help(cli: Cli) -> None:
    """The bare program shows its help."""
    ran = cli()
    assert ran.code == 0 and "Commands:" in ran.out


def test_version(cli: Cli) -> None:
    """--version prints name and number."""
    ran = cli("--version")
    assert ran.code == 0 and ran.out.startswith("songbloom 0.")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("generat",), ("generat", "generate", "--help")),
        (("generate",), ("LYRICS", "songbloom generate --help")),
        (("generate", "x", "--sed", "1"), ("--sed", "--seed")),
        (("generate", "x", "--seed", "one"), ("--seed",)),
        (("generate", "x", "--seed"), ("--seed",)),
        (("model",), ("songbloom model --help",)),
        (("models", "extra"), ("extra",)),
    ],
)
def test_usage_errors(cli: Cli, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    """A line that cannot be meant: exit code 2, what is wrong, where to look."""
    assert_refused(cli(*args), 2, *words)


def test_unexpected_error_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours shows no traceback, unless --debug asks, wherever it stands."""

    def fail(*args: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr("songbloom.hub.installed", fail)
    ran = cli("models")
    assert (ran.code, ran.out) == (1, "")
    assert "ZeroDivisionError: deep inside" in ran.err
    assert "Traceback" not in ran.err and len(ran.err.splitlines()) == 2
    assert "Traceback" in cli("models", "--debug").err
    assert "Traceback" in cli("--debug", "models").err


def test_interrupt_is_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with 130 and says that nothing is lost."""

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("songbloom.hub.installed", interrupt)
    assert_refused(cli("models"), 130, "interrupted")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), ("out of memory",)),
        (OSError(28, "No space left on device", "/full"), ("/full", "No space left")),
        (typer.Abort(), ("aborted",)),
    ],
)
def test_errors_of_the_machine(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, words: tuple[str, ...]
) -> None:
    """Memory, disk and a refused question end in code 1 and plain words."""

    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("songbloom.hub.installed", fail)
    assert_refused(cli("models"), 1, *words)


def test_closed_pipe_is_quiet() -> None:
    """A reader that goes away (`| head -0`) causes no traceback."""
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run([*PROGRAM, "config", "show"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert ran.returncode == 1
    assert b"Traceback" not in ran.stderr and b"Exception" not in ran.stderr


def test_real_interrupt(tmp_path: Path) -> None:
    """SIGINT while the program reads lyrics from a named pipe: 130, two lines, no traceback."""
    lyrics = tmp_path / "lyrics.txt"
    os.mkfifo(lyrics)
    program = subprocess.Popen(
        [*PROGRAM, "generate", str(lyrics), "--prompt", __file__],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs are started with SIGINT ignored, and tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    pipe = opened_by_a_reader(lyrics)
    time.sleep(0.5)  # from opening to waiting for words
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    os.close(pipe)
    assert program.returncode == 130, err
    assert out == "" and "Traceback" not in err and len(err.splitlines()) == 2


def opened_by_a_reader(fifo: Path, patience: float = 60.0) -> int:
    """A descriptor to write to `fifo`, as soon as somebody reads it."""
    end = time.monotonic() + patience
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            assert time.monotonic() < end, "the program never opened its lyrics"
            time.sleep(0.05)


def test_quiet_leaves_results_and_errors(cli: Cli) -> None:
    """--quiet drops notes only, before or after the command."""
    loud, quiet = cli("config", "show"), cli("config", "show", "-q")
    assert loud.err and not quiet.err
    assert loud.out == quiet.out == cli("--quiet", "config", "show").out
    assert cli("-q", "generat").err


def test_words_after_two_dashes_are_no_flags(cli: Cli) -> None:
    """`-- --debug` names a file called --debug."""
    assert main._global_first(["a", "-q", "--", "--debug"]) == ["-q", "a", "--", "--debug"]


def test_output_helpers() -> None:
    """Tables line up, sizes are in powers of 1000, nested values are indented."""
    assert output.table([("a", "1"), ("bbb", "2")], ("N", "V")) == "N    V\na    1\nbbb  2"
    assert [output.size(n) for n in (0, 999, 1000, 20_400_000, 10**17)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "20.4 MB",
        "100000.0 TB",
    ]
    shown = output.tree({"a": {"disk_bytes": 2000, "yes": True}, "n": 1234567, "none": None})
    assert shown.splitlines() == [
        "a",
        "  disk_bytes  2.0 kB",
        "  yes         yes",
        "n     1,234,567",
        "none  -",
    ]


@pytest.mark.parametrize("args", [("models",), ("config", "show"), ("model", "show", "nano")])
def test_json_is_one_object(cli: Cli, args: tuple[str, ...]) -> None:
    """--json prints one JSON object and nothing else."""
    ran = cli(*args, "--json")
    assert ran.code == 0 and ran.err == ""
    assert isinstance(json.loads(ran.out), dict)
