"""Starting workers: where a process stands, what is typed for it, how it stops, what it returns."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.training import launch as launching
from songbloom.training.launch import (
    Ranks,
    as_worker,
    check_world,
    command,
    finish,
    first_host,
    join,
    read_hostfile,
    slurm_script,
)

ARGV = ["train", "my run.toml", "--gpus", "16", "--nodes", "2"]
SRUN = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_NTASKS": "16",
    "SLURM_STEP_NODELIST": "gpu[007-008]",
}


def test_a_lone_process_joins_nobody() -> None:
    """Without a launcher's variables there is no place to take."""
    assert join({"HOME": "/", "LOCAL_RANK": "3"}) is None


def test_torchruns_variables_are_the_place() -> None:
    """RANK and its kin are read, also inside a SLURM job."""
    torchrun = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "node1",
        "MASTER_PORT": "1234",
    }
    assert join({**SRUN, **torchrun}) == Ranks(3, 1, 4, "node1", 1234)


def test_sruns_variables_are_the_place() -> None:
    """Each task of a step is a rank; they meet on the first machine at a port of the job's own."""
    ranks = join(SRUN)
    assert ranks == Ranks(9, 1, 16, "gpu007", 18456)
    assert join({**ranks.environment()}) == ranks


def test_a_master_of_the_users_choice_is_kept() -> None:
    """MASTER_ADDR and MASTER_PORT in the job's environment win over what SLURM suggests."""
    ranks = join({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"})
    assert ranks is not None and (ranks.master_addr, ranks.master_port) == ("10.0.0.1", 5)


@pytest.mark.parametrize("step", [None, "4294967290", "4294967291"])
def test_a_batch_script_and_an_interactive_shell_are_no_tasks(step: str | None) -> None:
    """SLURM's variables outside a step started by srun do not make a process wait for peers."""
    environment = {key: value for key, value in SRUN.items() if key != "SLURM_STEP_ID"}
    assert join(environment if step is None else {**environment, "SLURM_STEP_ID": step}) is None


def test_missing_and_odd_variables_are_named() -> None:
    """Half an environment is an error that names what is wrong with it."""
    with pytest.raises(SongBloomError, match="lacks LOCAL_RANK, MASTER_ADDR"):
        join({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(SongBloomError, match="SLURM_PROCID is 'x'"):
        join({**SRUN, "SLURM_PROCID": "x"})


@pytest.mark.parametrize(
    "nodelist, host",
    [
        ("gpu7", "gpu7"),
        ("gpu7,cpu[1-2]", "gpu7"),
        ("gpu[007-009,12],cpu1", "gpu007"),
        ("rack[1,3]-node,cpu1", "rack1-node"),
        ("", "127.0.0.1"),
    ],
)
def test_first_host_of_a_node_list(nodelist: str, host: str) -> None:
    """The first machine of SLURM's compressed lists, zeros kept."""
    assert first_host(nodelist) == host


def test_a_world_of_another_size_is_refused() -> None:
    """A scheduler's number of tasks that is not the command's is an error with both numbers."""
    check_world(Ranks(0, 0, 16, "h", 1), 16)
    with pytest.raises(UsageError, match="2 workers were started, but the command asks for 16"):
        check_world(Ranks(0, 0, 2, "h", 1), 16)


def test_one_machine_is_torchs_launcher() -> None:
    """One worker a rank, a rendezvous of its own, launcher arguments before the program's."""
    words = command(ARGV, ranks=2, launcher_args=["--max-restarts=1"])
    assert words[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert {"--standalone", "--nproc-per-node=2", "--max-restarts=1"} < set(words)
    assert words[words.index("--module") :] == ["--module", "songbloom_cli", *ARGV]


def test_a_meeting_named_by_the_user_takes_several_machines() -> None:
    """With a rendezvous after --, each machine starts its share."""
    words = command(ARGV, ranks=16, nodes=2, launcher_args=["--rdzv-endpoint=node1:29500"])
    assert {"--nnodes=2", "--nproc-per-node=8"} < set(words) and "--standalone" not in words


def test_several_machines_need_to_be_found() -> None:
    """--nodes 2 with neither hostfile nor rendezvous says what would do."""
    with pytest.raises(UsageError, match="--nodes 2") as caught:
        command(ARGV, ranks=16, nodes=2)
    assert "--hostfile" in caught.value.hint and "--emit slurm" in caught.value.hint


@pytest.mark.parametrize("ranks, nodes", [(3, 2), (4, 0)])
def test_ranks_divide_among_machines(ranks: int, nodes: int) -> None:
    """Every machine has as many ranks as the next."""
    with pytest.raises(UsageError, match="do not divide"):
        command(ARGV, ranks=ranks, nodes=nodes)


def test_a_hostfile_is_deepspeeds_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runner gets the file and both counts; without DeepSpeed the extra is named."""
    hosts = tmp_path / "hosts"
    hosts.write_text("# cluster\nnode1 slots=8\n\nnode2   slots=8  # new\n")
    assert read_hostfile(hosts) == {"node1": 8, "node2": 8}
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: object())
    words = command(ARGV, ranks=16, nodes=2, hostfile=hosts)
    assert words[2] == "deepspeed.launcher.runner"
    assert {f"--hostfile={hosts}", "--num_nodes=2", "--num_gpus=8", "--no_local_rank"} < set(words)
    assert words[-len(ARGV) :] == ARGV
    with pytest.raises(UsageError, match="2 machines with 4 slots; expected 4"):
        command(ARGV, ranks=16, nodes=4, hostfile=hosts)
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingAssetError, match="DeepSpeed"):
        command(ARGV, ranks=16, nodes=2, hostfile=hosts)


@pytest.mark.parametrize("line", ["node1", "node1 slots=many", "node0 slots=2"])
def test_a_bad_hostfile_line_is_named(tmp_path: Path, line: str) -> None:
    """A line that is no machine, or names one twice, is refused with its number."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"node0 slots=8\n{line}\n")
    with pytest.raises(UsageError, match="hosts:2"):
        read_hostfile(hosts)
    with pytest.raises(UsageError, match="cannot be read"):
        read_hostfile(tmp_path / "none")


def test_the_batch_script_is_whole() -> None:
    """bash accepts it; it asks for the machines, quotes the command, leaves out --emit, and warns
    the workers ten minutes before the end."""
    script = slurm_script([*ARGV, "--emit", "slurm"], gpus=16, nodes=2, time_limit="08:00:00")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for line in (
        "--nodes=2",
        "--ntasks-per-node=8",
        "--gpus-per-node=8",
        "--time=08:00:00",
        "--signal=TERM@600",
        "--requeue",
    ):
        assert f"#SBATCH {line}\n" in script
    assert f"songbloom {shlex.join(ARGV)}\n" in script and "emit" not in script


@pytest.mark.parametrize("code, requeued", [(0, False), (1, False), (130, True)])
def test_the_batch_job_returns_to_the_queue_when_interrupted(
    tmp_path: Path, code: int, requeued: bool
) -> None:
    """130 puts the job back; every code is the job's own."""
    for name, text in (("srun", f"exit {code}"), ("scontrol", 'echo "$@" > requeued')):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    script = slurm_script(ARGV, gpus=2, nodes=1)
    done = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path)
    assert done.returncode == code
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 7\n"


def test_without_a_launcher_a_worker_is_its_work() -> None:
    """Codes and exceptions pass unchanged when nobody listens."""
    assert as_worker(lambda: 3) == 3 and finish(2) == 2
    with pytest.raises(UsageError):
        as_worker(_usage_error)


def _usage_error() -> int:
    raise UsageError("no")


def test_only_the_first_to_fail_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two workers with the same fault one raises it, the other ends quietly."""
    monkeypatch.setenv(launching.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(launching, "_death_with_parent", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(UsageError):
            as_worker(_usage_error)
        assert as_worker(_usage_error) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "code").read_text() == "2"
    assert finish(4) == 0 and (tmp_path / "code").read_text() == "2"


def test_a_worker_that_is_done_waits_for_no_thread(tmp_path: Path) -> None:
    """What the libraries leave running cannot end it otherwise; exit functions are called, nothing
    printed is lost."""
    program = (
        "import atexit, sys, threading, time; from songbloom_cli.main import main;"
        "atexit.register(print, 'tidied');"
        "threading.Thread(target=time.sleep, args=(60,)).start();"
        "sys.argv = ['songbloom', '--version']; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, launching.FOLDER_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 0 and ran.stdout.splitlines()[1:] == ["tidied"], ran.stderr


# --- real workers under torch's launcher ----------------------------------------------------------

WORKER = """
import os, signal, sys, time
from pathlib import Path
from songbloom.errors import UsageError
from songbloom.training.launch import as_worker, finish, join

here, what = Path(sys.argv[1]), sys.argv[2]
ranks = join(os.environ)
stop = []

def work():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.append(1))
    (here / f"{ranks.rank}.began").write_text(str(os.getpid()))
    if what == "done":
        return 0
    if what == "mistake" and ranks.rank == 1:
        raise UsageError("the mistake")
    while not stop:
        time.sleep(0.02)
    time.sleep(0.5)  # saving
    (here / f"{ranks.rank}.saved").touch()
    return 130

try:
    sys.exit(as_worker(work))
except UsageError as error:
    print(error, file=sys.stderr)
    sys.exit(finish(error.exit_code))
"""


def start(tmp_path: Path, what: str) -> "subprocess.Popen[str]":
    """A process that launches two workers doing `what`, in a session of its own."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    code = f"""
        import sys
        from songbloom.training.launch import launch, torchrun_command
        words = torchrun_command([], 1, 2)[:-2] + [{str(script)!r}, {str(tmp_path)!r}, {what!r}]
        sys.exit(launch(words, ranks_here=2))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(tmp_path: Path, pattern: str, count: int = 2) -> list[Path]:
    deadline = time.monotonic() + 1200
    while len(found := sorted(tmp_path.glob(pattern))) < count:
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.05)
    return found


def test_success_is_zero(tmp_path: Path) -> None:
    """All workers did their work: 0, and each was one of two ranks."""
    process = start(tmp_path, "done")
    assert process.wait(120) == 0
    assert {path.name for path in tmp_path.glob("*.began")} == {"0.began", "1.began"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_every_worker_save(tmp_path: Path, number: int) -> None:
    """SIGTERM and SIGINT at the launching process reach the workers, which save; then it is 130 and
    nothing was complained about."""
    process = start(tmp_path, "run")
    wait_for(tmp_path, "*.began")
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert {path.name for path in tmp_path.glob("*.saved")} == {"0.saved", "1.saved"}
    assert "Traceback" not in said and "ERROR" not in said


def test_the_code_of_a_failed_worker_is_the_runs(tmp_path: Path) -> None:
    """Rank 1 errs while rank 0 waits for ever: the run ends, with rank 1's code and words alone."""
    process = start(tmp_path, "mistake")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert said.strip() == "the mistake"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel must help")
def test_no_worker_outlives_a_killed_launcher(tmp_path: Path) -> None:
    """kill -9 of the launching process ends the workers: nobody else writes into the run."""
    process = start(tmp_path, "run")
    workers = [int(path.read_text()) for path in wait_for(tmp_path, "*.began")]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while any(_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list(tmp_path.glob("*.saved"))


def _alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
