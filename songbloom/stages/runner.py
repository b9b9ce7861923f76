"""A stage over many songs: jobs to free workers, results as they come, a bad song costs itself.

A worker that dies over several jobs is replaced and its jobs are done again in halves, until the
one that kills is alone; that one fails, with the reason.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from songbloom.stages.crews import Crew, WorkerDied
from songbloom.stages.ledger import Result
from songbloom.stages.worker import Job

_Flight = tuple[int, list[Job]]  # a worker and what it works on


def run(
    crew: Crew, stage: str, jobs: Iterable[Job], *, batch: int = 1
) -> Iterator[tuple[Job, Result]]:
    """A result for every job, in the order in which they are done; `jobs` is read as workers fall
    free. `batch` jobs go to a worker at a time. Raises what would befall every song."""
    source, again = iter(jobs), deque[list[Job]]()
    free, flights = list(range(crew.size)), dict[Future[list[Result]], _Flight]()
    while True:
        while free and (some := again.popleft() if again else list(islice(source, batch))):
            worker = free.pop()
            flights[crew.submit(worker, stage, some)] = (worker, some)
        if not flights:
            return
        done, _ = wait(flights, return_when=FIRST_COMPLETED)
        for future in done:
            worker, some = flights.pop(future)
            yield from _landed(crew, future, worker, some, again)
            free.append(worker)


def _landed(
    crew: Crew,
    future: "Future[list[Result]]",
    worker: int,
    jobs: Sequence[Job],
    again: "deque[list[Job]]",
) -> Iterator[tuple[Job, Result]]:
    try:
        yield from zip(jobs, future.result(), strict=True)
    except WorkerDied as death:
        crew.restart(worker)
        if len(jobs) == 1:
            yield jobs[0], Result(reason=death.why, passing=death.passing)
            return
        middle = len(jobs) // 2
        again += [list(jobs[:middle]), list(jobs[middle:])]
