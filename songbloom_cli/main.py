"""`songbloom`: the Typer app, and the one place where an exception becomes an exit code.

Command modules import the library inside their functions, so that `--help` pays for none of it.
"""

import atexit
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from songbloom import __version__
from songbloom.errors import SongBloomError
from songbloom_cli import (
    codebook,
    completion,
    doctor,
    evalset,
    evaluate,
    export,
    export_song,
    generate,
    listen,
    lyrics,
    manifest,
    merge_lora,
    models,
    output,
    prepare,
    project,
    report,
    seedling,
    settings,
    stages,
    synth,
    tools,
    train,
)

PROGRAM = "songbloom"
INTERRUPTED = 130
_ANYWHERE = ("--debug", "--quiet", "-q")  # flags that may stand after the command as well

# Plain help: rich takes 0.1 s to import and would write boxes into pipes.
app = typer.Typer(
    name=PROGRAM, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=False
)
for module in (
    generate,
    lyrics,
    project,
    prepare,
    stages,
    codebook,
    manifest,
    report,
    tools,
    models,
    train,
    merge_lora,
    export,
    export_song,
    evaluate,
    listen,
    synth,
    seedling,
    settings,
    doctor,
    evalset,
    completion,
):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        output.result(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def songbloom(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but results and errors.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Lyrics in, song out: songs from lyrics and ten seconds of music, at 48 kHz.

    Every command has its own --help. Settings come from flags, SONGBLOOM_* in the environment, and
    songbloom.toml, in this order (songbloom config show).
    """
    output.configure(quiet=quiet, debug=debug)
    if context.invoked_subcommand is None:
        output.result(context.get_help())


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 to 4, or 130 when interrupted."""
    output.configure(quiet=False, debug=False)
    try:
        code = app(_global_first(args), prog_name=PROGRAM, standalone_mode=False, obj=list(args))
        sys.stdout.flush()
    except SystemExit as error:  # shell completion, and a reader of the pipe that went away
        return error.code if isinstance(error.code, int) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        output.crash(error)
        return _explain(error)
    if code == INTERRUPTED:
        output.error("interrupted", "What was finished is kept; type the same again to go on.")
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point of the `songbloom` program."""
    code = run(sys.argv[1:])
    if "SONGBLOOM_LAUNCH_FOLDER" in os.environ:  # a worker of `train`: see there
        from songbloom.training.launch import finish

        _leave(finish(code))
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End without the interpreter's own end: now and then a thread of the libraries that exchange
    gradients is still there in it, which aborts a worker that has done and written everything."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _global_first(args: Sequence[str]) -> list[str]:
    """The same words with the flags that every command has moved before the command."""
    end = args.index("--") if "--" in args else len(args)
    moved = [arg for arg in args[:end] if arg in _ANYWHERE]
    words = [arg for arg in args[:end] if arg not in _ANYWHERE]
    return moved + evaluate.complete(words + list(args[end:]))


def _explain(error: Exception) -> int:
    """Print one line of what and where and one of what to do; return the exit code."""
    if isinstance(error, SongBloomError):
        output.error(error.message, error.hint or "Mend that, then type the same again.")
        return error.exit_code
    if isinstance(error, typer.TyperException):
        command = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
        output.error(error.format_message(), f"Try: {command} --help")
        return error.exit_code
    if isinstance(error, typer.Abort):
        output.error("aborted", "Nothing was changed; type the same again to start over.")
    elif isinstance(error, MemoryError):
        output.error("out of memory", "Try a smaller model, --batch-size 1 or --max-duration.")
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        output.error(
            f"{where}{error.strerror or error}", "Type the same with --debug to see where."
        )
    else:
        output.error(
            f"{type(error).__name__}: {error} (a fault of songbloom, not of yours)",
            "Type the same with --debug and report what it prints.",
        )
    return 1
