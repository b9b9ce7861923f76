"""`songbloom completion`: the script that teaches a shell our commands."""

import os
import subprocess
import sys
from typing import Annotated

import typer

from songbloom.errors import SongBloomError, UsageError
from songbloom_cli import options, output

SHELLS = ("bash", "zsh", "fish")


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(completion)


def completion(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="SHELL",
            help="bash, zsh or fish.",
            show_default=False,
            autocompletion=options.completing(lambda: list(SHELLS)),
        ),
    ],
) -> None:
    """Print a shell's completion script.

    For bash: eval "$(songbloom completion bash)"
    """
    if shell not in SHELLS:
        raise UsageError(f"{shell}: no such shell", f"Known: {', '.join(SHELLS)}.")
    # The completion protocol of Typer programs: the program prints its own script.
    environment = {**os.environ, "_SONGBLOOM_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "songbloom_cli"]
    script = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if script.returncode or not script.stdout:
        raise SongBloomError(f"{shell}: no completion script ({script.stderr.strip()})")
    output.result(script.stdout.rstrip("\n"))
