"""Jobs: trainings that several threads take from a queue, so that no core waits while there is something to be done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from chainrule.auto.recipes import Recipe
from chainrule.auto.trials import Fold, Made

HEARD = 0.1  # seconds, after which Ctrl-C is heard at the latest
Job = tuple[Recipe, Fold, int]  # and the number of the network


@dataclass
class Queue:
    """Jobs that several threads take from; those ahead only while others, or after one of these the last of them, still run.

    Of the bayesian ones so many run at once, unless nothing else is left: their many short steps slow each other.
    """

    jobs: list[Job]
    ahead: list[Job]
    bayesians: int
    running: list[Job] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.early = frozenset(self.ahead)

    def take(self, last: Job | None) -> Job | None:
        """Return the next job of a thread that has done the last one, None where there is none."""
        with self.lock:
            wanted = sum(recipe.bayesian for recipe, _, _ in self.running) < self.bayesians
            k = next((k for k, (recipe, _, _) in enumerate(self.jobs) if recipe.bayesian == wanted), 0)
            needed = [job for job in [*self.running, last] if job not in self.early]
            waiting = self.jobs or (self.ahead if self.running and needed else [])
            if not waiting:
                return None
            job = waiting.pop(k)
            self.running.append(job)
            return job

    def finish(self, job: Job) -> None:
        """Note that a job is done."""
        with self.lock:
            self.running.remove(job)


def work_off(
    jobs: Sequence[Job],
    ahead: Sequence[Job],
    n_threads: int,
    run: Callable[[Job, int], Made | None],
    done: dict[Job, Made | None],
    stopped: threading.Event,
) -> None:
    """Run jobs, one a core, or each by all cores where there are fewer; note in `done` what each has made.

    Ctrl-C sets `stopped`, and what is under way is waited for: what was learned is kept.
    """
    threads = max(1, n_threads // max(len(jobs), 1))
    if n_threads == 1 or len(jobs) + len(ahead) <= 1:
        for job in jobs:
            try:
                done[job] = run(job, threads)
            except KeyboardInterrupt:  # between two trainings
                stopped.set()
                done[job] = run(job, threads)  # which ends at once: so there is something that answers
        return
    queue = Queue(list(jobs), list(ahead), max(1, n_threads // 2))

    def work() -> None:
        job = None
        while (job := queue.take(job)) is not None:
            try:
                done[job] = run(job, threads)
            except BaseException:
                stopped.set()  # the other jobs are to end
                raise
            finally:
                queue.finish(job)

    workers = min(n_threads, len(jobs) + len(ahead))
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work) for _ in range(workers)]
        try:
            # A wait without end does not hear what is pressed, beside some packages.
            while wait(running, HEARD).not_done:
                pass
        except KeyboardInterrupt:
            stopped.set()
        for future in running:
            future.result()
