"""The loader that training takes its batches from: on-policy, repeatable, and parallel over DataLoader workers.

Policy gradients are gradients at the policy that played. So a batch must be played, whole, by the parameters that the
last update left; and asking for a batch is what says that the update is done:

    for batch in loader:      # episodes 0 ... B-1 played by the parameters as they are now
        learn from batch      # ... which this changes, before the next turn of the loop asks for B ... 2B-1

Workers read the parameters from shared memory, sleep until a batch is asked for, and take its episodes one by one, as
each becomes free. While the learner learns they reset environments for the next batch, which takes no parameters. The
randomness of an episode depends on the seed and the episode's number alone, and a batch is laid out in the order of
these numbers; so what is learned does not depend on how many workers there are, nor on their pace.
"""

import contextlib
import math
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.multiprocessing as mp
from threadpoolctl import ThreadpoolController
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hw4.rl_data import Episode, TrainBatch, check_count, check_gamma
from hw4.rollout.collect import Game, Player, play_episodes, play_games

ORPHAN_CHECK_SECONDS = 1.0
CLOSE_GRACE_SECONDS = 0.5
LOCKSTEP = 8  # episodes that a process plays side by side, at most


class LoaderWorkerError(RuntimeError):
    """A worker of the loader failed or died; the message names it and says why."""


def available_cpus() -> int:
    """How many processors this process may use, which a scheduler such as Slurm may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_num_workers() -> int:
    """As many as there are processors, for learner and workers take turns; 0 with only one, or without fork."""
    cpus = available_cpus()
    return cpus if cpus > 1 and "fork" in mp.get_all_start_methods() else 0


def episode_seed(seed: int, number: int, purpose: str = "training") -> int:
    """The seed of episode `number` (from 0) in a run with `seed`: 64 bits that no other episode shares but by accident.

    Evaluation has episodes of its own, so that a policy is not asked what it was taught.
    """
    purposes = ("training", "evaluation")
    return int(np.random.SeedSequence([seed, number, purposes.index(purpose)]).generate_state(1, np.uint64)[0])


class OnPolicyLoader:
    """Batches without end, each played whole by the parameters as they are when it is asked for.

    Use it in a `with` statement, or call `close()`, so that its workers end with it.

    :param agent_fn: makes an agent (a Player) with an environment of its own; called up to LOCKSTEP times in each
        process that plays. For workers to see updates, its network's parameters must be in shared memory
        (`p_net.share_memory()`) and changed in place.
    :param episode_batch_size: B, episodes in a batch.
    :param gamma: the discount of the q-values, in [0, 1].
    :param seed: with an episode's number it determines the episode, for given parameters.
    :param num_workers: processes that play; with 0 this one does.
    :param publish: called before a batch is played, to bring the learner's parameters to where the agents read them.
    :param first_episode: the number of the first episode, to go on with an earlier run.
    :raises LoaderWorkerError: while iterating, if a worker fails or dies.
    """

    def __init__(
        self,
        agent_fn: Callable[[], Player],
        episode_batch_size: int,
        gamma: float,
        *,
        seed: int,
        num_workers: int = 0,
        publish: Callable[[], None] | None = None,
        first_episode: int = 0,
    ):
        check_count("episode_batch_size", episode_batch_size)
        check_gamma(gamma)
        for name, value in (("seed", seed), ("num_workers", num_workers), ("first_episode", first_episode)):
            check_count(name, value, minimum=0)
        if num_workers > 0 and "fork" not in mp.get_all_start_methods():
            raise ValueError(f"this system can't fork, which workers need: pass num_workers=0 (got {num_workers})")
        self.agent_fn, self.episode_batch_size, self.gamma = agent_fn, episode_batch_size, gamma
        self.seed, self.num_workers, self.publish = seed, num_workers, publish
        self.next_episode = first_episode
        # Each process's share of a batch side by side; of a large batch only a part, and who is free takes the rest.
        self._lockstep = min(LOCKSTEP, math.ceil(episode_batch_size / max(1, num_workers)))
        self._players: list[Player] = []
        self._workers: _Workers | None = None

    def __iter__(self) -> Iterator[TrainBatch]:
        while True:
            if self.publish is not None:
                self.publish()
            numbers = range(self.next_episode, self.next_episode + self.episode_batch_size)
            self.next_episode = numbers.stop
            episodes = self._play(numbers) if self.num_workers == 0 else self._collect(numbers)
            yield TrainBatch.from_episodes(episodes, self.gamma)

    def _play(self, numbers: range) -> list[Episode]:
        with one_blas_thread(), torch_threads(1):
            if not self._players:
                self._players = [self.agent_fn() for _ in range(self._lockstep)]
            played = dict(play_episodes(self._players, (episode_seed(self.seed, number) for number in numbers)))
            return [played[index] for index in range(len(numbers))]

    def _collect(self, numbers: range) -> list[Episode]:
        if self._workers is None:
            self._workers = _Workers(self.agent_fn, self.seed, numbers.start, self.num_workers, self._lockstep)
        try:
            played = self._workers.play(len(numbers))
        except BaseException:
            self.close()
            raise
        return [played[number] for number in numbers]

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

    An item is what a worker played of a batch, {number: episode}: one message, for each wakes the learner, which takes
    time from those who still play. Before it waits for the next batch, a worker begins as many episodes as it can play
    side by side; these are its own to play, and the rest of the batch is for whoever is free.

    What the processes share: `end` is the number of the first episode that may not be played yet, `next_episode` that
    of the next one to be taken, `go` has a semaphore for each worker, on which it sleeps until a batch is asked for,
    and `closing` is set when the workers are to end.
    """

    def __init__(self, agent_fn: Callable[[], Player], seed: int, first_episode: int, num_workers: int, lockstep: int):
        self.agent_fn, self.seed, self.lockstep = agent_fn, seed, lockstep
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

    def __iter__(self) -> Iterator[dict[int, Episode] | _Failed]:
        info = get_worker_info()
        worker = info.id if info else 0
        try:
            players = [self.agent_fn() for _ in range(self.lockstep)]
            begun: list[Game] = []
            while True:
                busy = [game.player for game in begun]
                begun += filter(None, (self._begin(player) for player in players if player not in busy))
                if not self._is_asked_for(worker):
                    return
                end = self.end.value
                now, begun = [game for game in begun if game.number < end], [g for g in begun if g.number >= end]
                played = {game.number: game.episode() for game in play_games(now, partial(self._begin, end=end))}
                if played:
                    yield played
        except Exception as error:
            yield _Failed(worker, f"{type(error).__name__}: {error}", traceback.format_exc())

    def _begin(self, player: Player, end: float = math.inf) -> Game | None:
        """Have a player begin the next episode; None if its number is the end, or all is over."""
        with self.next_episode.get_lock():
            number = self.next_episode.value
            if number >= end or self.closing.is_set():
                return None
            self.next_episode.value += 1
        return Game(player, number, episode_seed(self.seed, number))

    def _is_asked_for(self, worker: int) -> bool:
        """Wait until a batch is asked for; False if none will be."""
        learner = mp.parent_process()
        while not self.go[worker].acquire(timeout=ORPHAN_CHECK_SECONDS):
            if learner is not None and not learner.is_alive():
                return False
        return not self.closing.is_set()


class _Workers:
    """The DataLoader whose workers play the episodes of an _EpisodeStream, started and ended cleanly."""

    def __init__(self, agent_fn: Callable[[], Player], seed: int, first_episode: int, num_workers: int, lockstep: int):
        self.stream = _EpisodeStream(agent_fn, seed, first_episode, num_workers, lockstep)
        loader = DataLoader(
            self.stream,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=_prepare_worker,
            multiprocessing_context=self.stream.context,
            in_order=False,  # who is free plays next; batches are put in order by the episodes' numbers
        )
        self.iterator: Any = iter(loader)

    def play(self, count: int) -> dict[int, Episode]:
        """Have the next `count` episodes played; by number."""
        self.stream.ask_for(count)
        played: dict[int, Episode] = {}
        while len(played) < count:
            result = self._next()
            if isinstance(result, _Failed):
                raise LoaderWorkerError(f"loader worker {result.worker} failed: {result.error}") from RuntimeError(
                    result.trace
                )
            played.update(result)
        return played

    def _next(self) -> dict[int, Episode] | _Failed:
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


def _as_it_is(item: Any) -> Any:
    return item


def _prepare_worker(worker_id: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the learner's to handle: it ends the workers
    one_blas_thread()


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries, so once


def one_blas_thread() -> contextlib.AbstractContextManager:
    """Have NumPy multiply on one thread, from now on or inside a `with`.

    Its products here are small, other threads belong to other players, and one thread rounds the same everywhere.
    """
    return _thread_pools().limit(limits=1, user_api="blas")


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Have PyTorch use so many threads, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
