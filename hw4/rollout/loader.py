"""The loader that training takes its batches from: on-policy, repeatable, and parallel over DataLoader workers.

A policy gradient is the gradient at the policy that played. So a whole batch is played by the parameters that the last
update left. Asking for a batch says that the update is done:

    for batch in loader:      # episodes 0 ... B-1 played by the parameters as they are now
        learn from batch      # ... which this changes, before the next turn of the loop asks for B ... 2B-1

Workers read the parameters from shared memory, sleep until a batch is asked for, and take its episodes one by one, as
each becomes free. While the learner learns they reset environments for the next batch, which takes no parameters. An
episode's randomness depends on the seed and the episode's number alone, and a batch is laid out in the order of these
numbers. So what is learned does not depend on how many workers there are, nor on their pace.
"""

import ctypes
import itertools
import math
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hw4.rl_data import TrainBatch
from hw4.rollout.collect import (
    ENVS_PER_PROCESS,
    Actors,
    MakeEnv,
    Record,
    Ticket,
    episode_seed,
    lay_out,
    one_blas_thread,
    torch_threads,
)
from hw4.rollout.lander import make_fast_env

CLOSE_GRACE_SECONDS = 0.5
TRIM_EVERY = 25  # batches
DESCRIPTORS = 4  # that a worker takes of the learner, which needs a dozen more


class LoaderWorkerError(RuntimeError):
    """A worker of the loader failed or died; the message names it and says why."""


def available_cpus() -> int:
    """How many processors this process may use, which a scheduler such as Slurm may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_num_workers() -> int:
    """As many as there are processors, because learner and workers take turns; 0 with only one, or without fork."""
    cpus = available_cpus()
    return cpus if cpus > 1 and "fork" in mp.get_all_start_methods() else 0


class OnPolicyLoader:
    """Batches without end, each played whole by the parameters as they are when it is asked for.

    Use it in a `with` statement, or call `close()`, so that its workers end with it.

    :param agent_type: the agents that play: see `collect`.
    :param p_net: their network, on the CPU. For workers to see updates, its parameters must be in shared memory
        (`p_net.share_memory()`) and changed in place.
    :param episode_batch_size: B, episodes in a batch.
    :param gamma: the discount of the q-values, in [0, 1].
    :param seed: with an episode's number it determines the episode, for given parameters.
    :param num_workers: processes that play; with 0 this one does.
    :param make_env: makes an environment; called up to ENVS_PER_PROCESS times in each process that plays.
    :param before_batch: called with the number of episodes so far before a batch is played: to set what changes over a
        run, and to bring the learner's parameters to `p_net` where they are elsewhere.
    :param first_episode: the number of the first episode, to go on with an earlier run.
    :raises LoaderWorkerError: while iterating, if a worker fails or dies.
    """

    def __init__(
        self,
        agent_type: Callable[..., Any],
        p_net: nn.Module,
        episode_batch_size: int,
        gamma: float,
        *,
        seed: int,
        num_workers: int = 0,
        make_env: MakeEnv = make_fast_env,
        before_batch: Callable[[int], None] | None = None,
        first_episode: int = 0,
    ):
        if num_workers > 0 and "fork" not in mp.get_all_start_methods():
            raise ValueError(f"this system can't fork, which workers need: pass num_workers=0 (got {num_workers})")
        self.episode_batch_size, self.gamma, self.seed, self.num_workers = episode_batch_size, gamma, seed, num_workers
        self.before_batch, self.next_episode = before_batch, first_episode
        # Each process's part of a batch side by side; of a large batch only some, and who is free takes the rest.
        width = min(ENVS_PER_PROCESS, math.ceil(episode_batch_size / max(1, num_workers)))
        self._make_actors = partial(Actors, agent_type, p_net, make_env, width)
        self._actors: Actors | None = None
        self._workers: _Workers | None = None

    def __iter__(self) -> Iterator[TrainBatch]:
        for batch_idx in itertools.count(1):
            if self.before_batch is not None:
                self.before_batch(self.next_episode)
            numbers = range(self.next_episode, self.next_episode + self.episode_batch_size)
            self.next_episode = numbers.stop
            played = self._play(numbers) if self.num_workers == 0 else self._collect(numbers)
            yield lay_out([played[number] for number in numbers], self.gamma)
            if batch_idx % TRIM_EVERY == 0:
                trim_heap()

    def _play(self, numbers: range) -> dict[int, Record]:
        tickets = iter([(number, episode_seed(self.seed, number)) for number in numbers])
        with one_blas_thread(), torch_threads(1), np.errstate(over="ignore", invalid="ignore"):  # diverged: see collect
            self._actors = self._actors or self._make_actors()
            return dict(self._actors.play(lambda: next(tickets, None)))

    def _collect(self, numbers: range) -> dict[int, Record]:
        if self._workers is None:
            self._workers = _Workers(self._make_actors, self.seed, numbers.start, self.num_workers)
        try:
            return self._workers.play(len(numbers))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the workers, if there are any. Does nothing the second time."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> "OnPolicyLoader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Failed(NamedTuple):
    worker: int
    error: str
    trace: str


class _EpisodeStream(IterableDataset):
    """Played episodes, for DataLoader workers: each is played when its batch has been asked for.

    An item is what a worker played of a batch, {number: record}: one message, because each message wakes the learner
    and takes time from those who still play. Before it waits for the next batch, a worker begins as many episodes as it
    plays side by side. These are its own to play; the rest of the batch is for whoever is free.

    What the processes share: `end` is the number of the first episode that may not be played yet, `next_episode` that
    of the next one to be taken, `go` has a semaphore for each worker, on which it sleeps until a batch is asked for,
    and `closing` is set when the workers are to end.
    """

    def __init__(self, make_actors: Callable[[], Actors], seed: int, first_episode: int, num_workers: int):
        self.make_actors, self.seed = make_actors, seed
        self.context = mp.get_context("fork")
        self.end = self.context.RawValue("q", first_episode)
        self.next_episode = self.context.Value("q", first_episode)
        self.go = [self.context.Semaphore(0) for _ in range(num_workers)]
        self.closing = self.context.Event()

    def ask_for(self, count: int) -> None:
        """Have the next `count` episodes played."""
        self.end.value += count
        for go in self.go:
            go.release()

    def __iter__(self) -> Iterator[dict[int, Record] | _Failed]:
        info = get_worker_info()
        worker = info.id if info else 0
        try:
            actors = self.make_actors()
            while True:
                actors.begin(self._next_ticket)
                if not self._is_asked_for(worker):
                    return
                end = self.end.value
                if played := dict(actors.play(partial(self._next_ticket, end), end)):
                    yield played
        except Exception as error:
            yield _Failed(worker, f"{type(error).__name__}: {error}", traceback.format_exc())

    def _next_ticket(self, end: float = math.inf) -> Ticket | None:
        """Take the next episode; None if its number is the end, or all is over."""
        with self.next_episode.get_lock():
            number = self.next_episode.value
            if number >= end or self.closing.is_set():
                return None
            self.next_episode.value += 1
        return number, episode_seed(self.seed, number)

    def _is_asked_for(self, worker: int) -> bool:
        """Wait until a batch is asked for; False if none will be."""
        self.go[worker].acquire()
        return not self.closing.is_set()


class _Workers:
    """The DataLoader whose workers play the episodes of an _EpisodeStream, started and ended cleanly."""

    def __init__(self, make_actors: Callable[[], Actors], seed: int, first_episode: int, num_workers: int):
        self.stream = _EpisodeStream(make_actors, seed, first_episode, num_workers)
        loader = DataLoader(
            self.stream,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=partial(_prepare_worker, self.stream.closing),
            multiprocessing_context=self.stream.context,
            generator=torch.Generator(),  # it draws a seed for the workers, and would take it from the caller's
            in_order=False,  # who is free plays next; batches are put in order by the episodes' numbers
        )
        check_descriptors(DESCRIPTORS * num_workers + 12)
        try:
            self.iterator: Any = iter(loader)
        except BaseException:  # those that were started wait for a batch
            self.stream.closing.set()
            self.stream.ask_for(0)
            raise

    def play(self, count: int) -> dict[int, Record]:
        """Have the next `count` episodes played; by number."""
        self.stream.ask_for(count)
        played: dict[int, Record] = {}
        while len(played) < count:
            result = self._next()
            if isinstance(result, _Failed):
                raise LoaderWorkerError(f"loader worker {result.worker} failed: {result.error}") from RuntimeError(
                    result.trace
                )
            played.update(result)
        return played

    def _next(self) -> dict[int, Record] | _Failed:
        try:
            return next(self.iterator)
        except RuntimeError as error:  # which DataLoader raises where a worker died
            dead = [
                f"worker {i} (process {worker.pid}) died "
                + (f"of signal {-worker.exitcode}" if worker.exitcode < 0 else f"with exit status {worker.exitcode}")
                for i, worker in enumerate(self.iterator._workers)
                if worker.exitcode is not None
            ]
            raise LoaderWorkerError("; ".join(dead) or str(error)) from error

    def close(self) -> None:
        """End the workers, which wait for a batch or finish their episodes; one that takes long is stopped."""
        self.stream.closing.set()
        self.stream.ask_for(0)
        stop = threading.Timer(CLOSE_GRACE_SECONDS, lambda: [worker.terminate() for worker in self.iterator._workers])
        stop.start()
        try:
            self.iterator._shutdown_workers()  # what the iterator's own __del__ does, but now
        finally:
            stop.cancel()


def check_descriptors(count: int) -> None:
    """Raise an OSError unless so many more files can be open: a DataLoader that is half begun does not end well."""
    opened: list[int] = []
    try:
        for _ in range(count):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise OSError(
            f"too few files may be open for workers ({error.strerror}): raise ulimit -n, or play with num_workers=0"
        ) from None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _as_it_is(item: Any) -> Any:
    return item


def _prepare_worker(closing: Any, worker_id: int) -> None:
    """End with the learner, and leave signals that are sent to all processes to it, which ends the workers.

    It does so by SIGTERM, if it has to.
    """
    threading.Thread(target=_end_with, args=(mp.parent_process(),), daemon=True).start()
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0) if closing.is_set() else None)
    np.seterr(over="ignore", invalid="ignore")
    one_blas_thread()


def _end_with(learner: Any) -> None:
    """Wait for the learner's end, however it comes, and end this worker too: nobody waits for what it plays."""
    learner.join()
    os._exit(0)


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library (glibc) has to be told to.

    No two batches have the same size, and over thousands of them the holes between the allocations would add up.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if malloc_trim is not None:
        malloc_trim(0)
