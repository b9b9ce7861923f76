"""Who does the work: processes of this machine, or actors of a Ray cluster. Two ways, one manner.

A crew has `size` workers; `submit` gives one of them jobs and returns a future of their results.
When a worker dies, its future raises `WorkerDied` and the rest of the crew goes on; `restart` puts
another in its place.
"""

import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from pathlib import Path
from typing import Any, Protocol

from songbloom.errors import MissingAssetError, SongBloomError, UsageError
from songbloom.stages.ledger import Result
from songbloom.stages.worker import Job, Worker
from songbloom.tables import PrepareConfig

_RAY_DEATH = "the worker died, or took too long and was stopped"
_worker: Worker | None = None  # of this process, where it is a worker of a `LocalCrew`


class WorkerDied(Exception):
    """A worker is no more: `why` in words, and whether that may pass."""

    def __init__(self, why: str, *, passing: bool = True) -> None:
        super().__init__(why)
        self.why, self.passing = why, passing


class Crew(Protocol):
    """Workers that take jobs."""

    size: int

    def submit(self, worker: int, stage: str, jobs: Sequence[Job]) -> "Future[list[Result]]":
        """Give jobs to a worker that is free. The future may raise `WorkerDied`."""

    def restart(self, worker: int) -> None:
        """A new worker in the place of one that died."""

    def close(self) -> None:
        """End all workers, also those at work."""


class LocalCrew:
    """Processes of this machine; each dies alone, and all of them with this one."""

    def __init__(self, settings: PrepareConfig, logs: Path, *, size: int | None = None) -> None:
        self.size = size or self.size_of(settings)
        self._settings, self._logs = settings, logs
        self._devices = devices(settings.device)
        self._pools = [self._pool(number) for number in range(self.size)]

    @staticmethod
    def size_of(settings: PrepareConfig) -> int:
        """Processes that the settings ask for: on GPUs one each, else one a core."""
        on_gpus = len(devices(settings.device)) if settings.device.startswith("cuda") else 0
        return settings.workers or on_gpus or os.cpu_count() or 1

    def submit(self, worker: int, stage: str, jobs: Sequence[Job]) -> "Future[list[Result]]":
        """Give jobs to a worker that is free."""
        inner = self._pools[worker].submit(_run, stage, jobs)
        return _translated(inner, BrokenProcessPool, lambda: self._death(worker))

    def restart(self, worker: int) -> None:
        """A new worker in the place of one that died."""
        self._pools[worker].shutdown(wait=False, cancel_futures=True)
        self._pools[worker] = self._pool(worker)

    def close(self) -> None:
        """End all workers, also those at work."""
        processes = [p for pool in self._pools for p in (pool._processes or {}).values()]
        for process in processes:
            process.kill()
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def _pool(self, number: int) -> ProcessPoolExecutor:
        device = self._devices[number % len(self._devices)]
        return ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self._settings, device, self._log(number)),
        )

    def _log(self, number: int) -> Path:
        return self._logs / f"worker-{number}.log"

    def _death(self, worker: int) -> WorkerDied:
        try:
            trace = self._log(worker).read_text(errors="replace")
        except OSError:
            trace = ""
        if "Timeout" in trace:
            return WorkerDied("took too long and was stopped", passing=False)
        first = next((line for line in trace.splitlines() if line.startswith("Fatal")), "")
        return WorkerDied(
            f"the worker died ({first.removeprefix('Fatal Python error: ') or 'killed'})"
        )


class RayCrew:
    """Actors of a Ray cluster, whose machines share the folders of songs and dataset."""

    def __init__(self, settings: PrepareConfig, address: str, *, size: int | None = None) -> None:
        self._ray = _import_ray()
        local = address == "local"
        self._ray.init(
            address=address, log_to_driver=False, include_dashboard=False if local else None
        )
        self._settings, self._on_gpu = settings, settings.device.startswith("cuda")
        resources = self._ray.cluster_resources()
        there = int(resources.get("GPU" if self._on_gpu else "CPU", 1))
        self.size = size or settings.workers or max(1, there)
        self._actors = [self._actor() for _ in range(self.size)]

    def submit(self, worker: int, stage: str, jobs: Sequence[Job]) -> "Future[list[Result]]":
        """Give jobs to a worker that is free."""
        reference = self._actors[worker].run.remote(stage, jobs)
        died = self._ray.exceptions.RayActorError
        return _translated(reference.future(), died, lambda: WorkerDied(_RAY_DEATH))

    def restart(self, worker: int) -> None:
        """A new worker in the place of one that died."""
        self._actors[worker] = self._actor()

    def close(self) -> None:
        """End all workers, also those at work."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()

    def _actor(self) -> Any:
        share = {"num_gpus": 1} if self._on_gpu else {"num_cpus": 1}
        remote = self._ray.remote(**share)(Worker)
        return remote.remote(self._settings, "cuda" if self._on_gpu else "cpu", Path(os.devnull))


def devices(text: str) -> list[str]:
    """`cuda:0,1` -> `cuda:0`, `cuda:1`; workers take them in turn. `UsageError` for no device."""
    if not re.fullmatch(r"cpu|mps|cuda(:\d+(,\d+)*)?", text):
        raise UsageError(f"--device {text}: is no device", "For example cpu, cuda, cuda:0,1.")
    kind, _, numbers = text.partition(":")
    return [f"{kind}:{number}" for number in numbers.split(",")] if numbers else [kind]


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingAssetError(
            "--ray: the extra 'ray' is not installed", "Type: pip install 'songbloom[ray]'"
        ) from error
    return ray


def _begin(settings: PrepareConfig, device: str, log: Path) -> None:
    """The start of a worker process, which ends with the one that made it, however that ends. What
    libraries print goes into a file: the terminal is the command's."""
    global _worker
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log.with_suffix(".out"), "w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    _worker = Worker(settings, device, log)


def _run(stage: str, jobs: Sequence[Job]) -> list[Result]:
    assert _worker is not None
    return _worker.run(stage, jobs)


def _translated(
    inner: "Future[list[Result]]", death: type[BaseException], why: Callable[[], WorkerDied]
) -> "Future[list[Result]]":
    """The same future, with one name for the death of a worker."""
    outer: Future[list[Result]] = Future()

    def copy(done: "Future[list[Result]]") -> None:
        error = done.exception()
        if error is None:
            outer.set_result(done.result())
        elif isinstance(error, death):
            outer.set_exception(why())
        else:
            cause = getattr(error, "cause", None)  # Ray wraps what an actor raises
            outer.set_exception(cause if isinstance(cause, SongBloomError | OSError) else error)

    inner.add_done_callback(copy)
    return outer
