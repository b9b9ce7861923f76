"""How a training run's processes are started, stopped, and heard from.

    one rank             no launcher: the process that was typed trains
    one machine          torch.distributed.run starts one worker a rank (`torchrun_command`)
    several, a hostfile  DeepSpeed's launcher does, over ssh (`deepspeed_command`)
    several, SLURM       the batch system does (`slurm_script`)

A worker finds its place in the environment (`join`) and does its work inside `as_worker`. torchrun
knows only success and failure, and kills on a signal after 30 s; so `launch` and its workers talk
past it through a folder: each worker writes its process id there and gets SIGTERM and SIGINT
straight from `launch`, with all the time it needs to save, and the first to fail writes its exit
code there.
"""

import ctypes
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.units import Seconds

FOLDER_VARIABLE = "SONGBLOOM_LAUNCH_FOLDER"
INTERRUPTED = 130
_PROGRAM = "songbloom_cli"
# Other ranks may wait for ever for one that has failed: they get this long to end by themselves.
_GRACE: Seconds = 10.0
_SAVING: Seconds = 600.0  # SLURM tells the workers this long before it ends them
_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # SLURM's step ids from here on are no srun: batch, interactive...
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)


@dataclass(frozen=True)
class Ranks:
    """This process's place among all workers of a run."""

    rank: int
    local_rank: int  # on its machine
    world_size: int
    master_addr: str
    master_port: int

    def environment(self) -> dict[str, str]:
        """The variables that torch.distributed and DeepSpeed read."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }


def join(environment: Mapping[str, str]) -> Ranks | None:
    """The place that torchrun, DeepSpeed's launcher or srun gave this process; None for none.

    Only a step started by srun counts for SLURM: the batch script and an interactive shell have
    most of the variables too, but no peers. `SongBloomError` when variables are missing or odd.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _ranks(environment, "torchrun's", *_TORCHRUN)
    if _number(environment, "SLURM_STEP_ID", _FIRST_SPECIAL_STEP) >= _FIRST_SPECIAL_STEP:
        return None
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    job = _number(environment, "SLURM_JOB_ID", 0)
    defaults = {"MASTER_ADDR": first_host(hosts), "MASTER_PORT": str(15_000 + job % 10_000)}
    return _ranks({**defaults, **environment}, "SLURM's", *_SRUN)


def first_host(nodelist: str) -> str:
    """The first machine of a SLURM node list: "gpu[007-009,12],cpu1" -> "gpu007"."""
    found = re.match(r"([^\[,]+)(?:\[(\w+)[^\]]*\]([^,]*))?", nodelist)
    return "".join(part for part in found.groups() if part) if found else "127.0.0.1"


def check_world(ranks: Ranks, wanted: int) -> None:
    """`UsageError` unless as many workers run as the command line asks for."""
    if ranks.world_size != wanted:
        raise UsageError(
            f"{ranks.world_size} workers were started, but the command asks for {wanted}",
            "Make --gpus (or --cpu-ranks) and the scheduler's number of tasks agree.",
        )


def command(
    argv: Sequence[str],
    *,
    ranks: int,
    nodes: int = 1,
    hostfile: Path | None = None,
    launcher_args: Sequence[str] = (),
) -> list[str]:
    """What starts the workers of `songbloom ARGV`: `ranks` in all, spread over `nodes` machines.

    `UsageError` when ranks do not divide, or when nothing says where the other machines are.
    """
    each = ranks_per_node(ranks, nodes)
    if hostfile is not None:
        return deepspeed_command(argv, hostfile, nodes, each, launcher_args)
    if nodes > 1 and not _names_a_meeting(launcher_args):
        raise UsageError(
            f"--nodes {nodes}: nothing says where the other machines are",
            "Use --hostfile FILE, or --emit slurm, or start the same command on every machine with "
            "-- --node-rank=N --master-addr=HOST",
        )
    return torchrun_command(argv, nodes, each, launcher_args)


def ranks_per_node(ranks: int, nodes: int) -> int:
    """Ranks on each machine. `UsageError` when they do not divide."""
    if nodes < 1 or ranks % nodes:
        raise UsageError(
            f"{ranks} ranks do not divide among {nodes} machines",
            f"Take a multiple of {max(nodes, 1)}.",
        )
    return ranks // nodes


def torchrun_command(
    argv: Sequence[str], nodes: int, ranks_per_node: int, launcher_args: Sequence[str] = ()
) -> list[str]:
    """torch's launcher. On one machine it meets at a free port of its own."""
    alone = ["--standalone", "--local-addr=127.0.0.1"]
    meeting = [f"--nnodes={nodes}"] if _names_a_meeting(launcher_args) else alone
    count = f"--nproc-per-node={ranks_per_node}"
    launcher = [sys.executable, "-m", "torch.distributed.run", *meeting, count]
    return [*launcher, *launcher_args, "--module", _PROGRAM, *_without_emit(argv)]


def deepspeed_command(
    argv: Sequence[str],
    hostfile: Path,
    nodes: int,
    ranks_per_node: int,
    launcher_args: Sequence[str] = (),
) -> list[str]:
    """DeepSpeed's launcher: the first `nodes` machines of a file of "HOST slots=N" lines.

    The machines need the same folders and Python environment, and ssh without a password.
    `MissingAssetError` without DeepSpeed, `UsageError` for a hostfile that is too small.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingAssetError(
            "--hostfile needs DeepSpeed's launcher", "Type: pip install 'songbloom[deepspeed]'"
        )
    fit = [host for host, slots in read_hostfile(hostfile).items() if slots >= ranks_per_node]
    if len(fit) < nodes:
        raise UsageError(
            f"{hostfile}: {len(fit)} machines with {ranks_per_node} slots; expected {nodes}",
            "Add lines such as: node2 slots=8",
        )
    launcher = [sys.executable, "-m", "deepspeed.launcher.runner", f"--hostfile={hostfile}"]
    counts = [f"--num_nodes={nodes}", f"--num_gpus={ranks_per_node}", "--no_local_rank"]
    return [*launcher, *counts, *launcher_args, "--module", _PROGRAM, *_without_emit(argv)]


def read_hostfile(path: Path) -> dict[str, int]:
    """Machines and their slots, in order. `UsageError` naming the line that is none."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip()
        found = re.fullmatch(r"(\S+)\s+slots=(\d+)", text)
        if found and found[1] not in hosts:
            hosts[found[1]] = int(found[2])
        elif text:
            raise UsageError(f"{path}:{number}: '{text}'; expected a new 'HOST slots=N'")
    return hosts


def slurm_script(
    argv: Sequence[str],
    *,
    gpus: int,
    nodes: int,
    time_limit: str = "24:00:00",
    cpus_per_gpu: int = 8,
    name: str = "songbloom-train",
) -> str:
    """A batch script for sbatch that runs `songbloom ARGV`, one task a GPU.

    Ten minutes before `time_limit` every worker gets SIGTERM, saves and exits 130; the job then
    puts itself back in the queue, and goes on where it was. Exit codes of the job are songbloom's.
    """
    each = ranks_per_node(gpus, nodes)
    return f"""#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={each}
#SBATCH --gpus-per-node={each}
#SBATCH --cpus-per-task={cpus_per_gpu}
#SBATCH --time={time_limit}
#SBATCH --signal=TERM@{_SAVING:.0f}
#SBATCH --requeue
#SBATCH --output={name}-%j.log
#SBATCH --open-mode=append

# Each task is a rank and finds its place in SLURM's variables. The signal above reaches the tasks,
# not this shell: they save and exit {INTERRUPTED}.
export OMP_NUM_THREADS={cpus_per_gpu}
srun --kill-on-bad-exit=1 songbloom {shlex.join(_without_emit(argv))}
code=$?
if [ "$code" -eq {INTERRUPTED} ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def launch(started: Sequence[str], *, ranks_here: int) -> int:
    """Run a command of `command` to its end; the exit code of the run.

    That is 0, or the code of the first worker to fail, or 130 after SIGTERM or SIGINT, which the
    workers get and answer by saving. A second signal ends everything at once. Call it from the main
    thread. Should this process be killed, Linux kills the launcher and the workers with it.
    """
    with tempfile.TemporaryDirectory(prefix="songbloom-") as name:
        folder = Path(name)
        threads = str(max(1, (os.cpu_count() or 1) // ranks_here))
        environment = {"OMP_NUM_THREADS": threads, **os.environ, FOLDER_VARIABLE: name}
        process = subprocess.Popen(
            started,
            env=environment,
            start_new_session=True,  # Ctrl-C on the terminal reaches this process alone
            preexec_fn=_death_with_parent(),
        )
        with _forwarding(process, folder) as signals:
            _wait(process, folder)
        return _outcome(process, folder, signals)


def as_worker(work: Callable[[], int]) -> int:
    """Do a worker's `work`, which returns an exit code; call it around all that a worker does.

    Under `launch` an exception is reported, and passed on by the first worker to fail alone: one
    rank explains, the others end quietly. The code is what `finish` makes of it.
    """
    name = os.environ.get(FOLDER_VARIABLE)
    if name is None:
        return work()
    folder = Path(name)
    _announce(folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until `work` sets its own
    try:
        return finish(work())
    except KeyboardInterrupt:
        return finish(INTERRUPTED)
    except Exception as error:
        if _report(folder, error.exit_code if isinstance(error, SongBloomError) else 1):
            raise
        return 0


def finish(code: int) -> int:
    """What a process exits with whose command ended in `code`. Under `launch` that is 0: the code
    is reported beside it, and torchrun has no failure to describe once more."""
    name = os.environ.get(FOLDER_VARIABLE)
    if name is None:
        return code
    if code:
        _report(Path(name), code)
    return 0


_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_SRUN = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS")


def _ranks(environment: Mapping[str, str], whose: str, rank: str, local: str, world: str) -> Ranks:
    missing = [v for v in (rank, local, world, "MASTER_ADDR") if v not in environment]
    if missing:
        raise SongBloomError(
            f"{whose} environment lacks {', '.join(missing)}",
            "Start the workers with torchrun or srun, or unset those variables.",
        )
    return Ranks(
        rank=_number(environment, rank),
        local_rank=_number(environment, local),
        world_size=_number(environment, world),
        master_addr=environment["MASTER_ADDR"],
        master_port=_number(environment, "MASTER_PORT", 29_500),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    try:
        return int(text)
    except ValueError as error:
        raise SongBloomError(f"environment: {name} is '{text}'; expected a number") from error


def _names_a_meeting(launcher_args: Sequence[str]) -> bool:
    return any(re.match(r"--(rdzv|nnodes|node.rank|master|standalone)", a) for a in launcher_args)


def _without_emit(argv: Sequence[str]) -> list[str]:
    """The command line that is run is the one that was typed, but for `--emit KIND`."""
    kept: list[str] = []
    skip = False
    for word in argv:
        if not skip and not word.startswith("--emit"):
            kept.append(word)
        skip = word == "--emit"
    return kept


def _death_with_parent() -> Callable[[], None] | None:
    """What a child calls to be killed when its parent dies; None where the system has no such."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def _announce(folder: Path) -> None:
    """Tell the launching process where signals go, and never outlive it."""
    bind = _death_with_parent()
    if bind is not None:
        bind()
    (folder / f"{os.getpid()}.pid").touch()


def _report(folder: Path, code: int) -> bool:
    """Whether this worker is the first to fail; its code is then the run's."""
    own = folder / f"{os.getpid()}.code"
    own.write_text(str(code))
    try:
        os.link(own, folder / "code")  # whole or not there, and one wins
    except FileExistsError:
        return False
    finally:
        own.unlink()
    return True


def _reported(folder: Path) -> int:
    path = folder / "code"
    return int(path.read_text()) if path.exists() else 0


def _workers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.pid"))


@contextmanager
def _forwarding(process: "subprocess.Popen[bytes]", folder: Path) -> Iterator[list[int]]:
    """SIGTERM and SIGINT go to the workers (to the launcher, where none is known: they have not
    begun, or are on other machines); a second one ends all. Yields the signals so far."""
    received: list[int] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            _kill(process, folder)
            return
        for worker in _workers(folder) or [process.pid]:
            _send(worker, number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(process_id: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has ended
        os.kill(process_id, number)


def _kill(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """The launcher first, so that it has nothing to say about its workers."""
    process.kill()
    for worker in _workers(folder):
        _send(worker, signal.SIGKILL)


def _wait(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Until the launcher ends, or others hang after a worker has failed."""
    failed_at: float | None = None
    while True:
        try:
            process.wait(0.2)
            return
        except subprocess.TimeoutExpired:
            if _reported(folder) in (0, INTERRUPTED):  # who was interrupted may be saving
                continue
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > _GRACE:
                _kill(process, folder)


def _outcome(process: "subprocess.Popen[bytes]", folder: Path, signals: list[int]) -> int:
    code = _reported(folder)
    if code:
        return code
    if process.returncode == 0:
        return 0
    if signals:
        return INTERRUPTED
    return process.returncode if process.returncode in (2, 3, 4, INTERRUPTED) else 1
