"""What the picture of a training costs, and what its files: the same training with them and without, in pairs.

    python benchmarks/overhead.py

A picture is drawn and handed on as in a notebook, and no notebook is there to show it. The files are the latest state,
every few seconds, and with it the checkpoint of each new best, of which the beginning of a run has many. The two of a
pair take turns in who is first. It takes seven minutes on two cores. On a machine that does something else, the pairs
differ by more than any of these costs. Then look at the fraction of the time that was spent in it, measured besides.
"""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from hw4.experiments import hyperparams_of, train_config
from hw4.study import live
from hw4.training import PolicyTrainer

PAIRS = 10
EPISODES = 1500
SEED = 1


class Clock:
    """A function that calls another one, and adds up the seconds that this takes."""

    def __init__(self, then: Callable[..., Any]):
        self.then, self.seconds = then, 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the other one."""
        began = time.perf_counter()
        try:
            return self.then(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - began


def with_picture() -> tuple[float, Clock]:
    """How many seconds a training takes that is watched, and the clock of the watching."""
    clock = Clock(live.Live(EPISODES, lambda picture, words: None).watch("aac"))
    return train(post_batch_fn=clock), clock


def with_files(kind: str) -> tuple[float, Clock]:
    """How many seconds a training takes that is saved, and the clock of the saving.

    :param kind: the argument of train_rl that names the file.
    """
    clock = Clock(PolicyTrainer.save_checkpoint)
    with (
        TemporaryDirectory() as folder,
        patch.object(PolicyTrainer, "save_checkpoint", lambda trainer, file: clock(trainer, file)),
    ):
        return train(**{kind: Path(folder, "saved.dat")}), clock


def train(**kwargs: Any) -> float:
    """How many seconds a training takes."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        began = time.perf_counter()
        train_config("aac", hp=hyperparams_of("aac"), seed=SEED, max_episodes=EPISODES, **kwargs)
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    train()  # the first one loads what the others find
    parts = {
        "the picture": with_picture,
        "the latest state": partial(with_files, "latest_file"),
        "the latest state and each new best": partial(with_files, "checkpoints_file"),
    }
    for what, train_with in parts.items():
        costs, fractions = [], []
        for pair in range(PAIRS):
            without = train() if pair % 2 else None
            with_it, clock = train_with()
            without = train() if without is None else without
            costs.append(100 * (with_it / without - 1))
            fractions.append(100 * clock.seconds / with_it)
            print(f"pair {pair}: {without:.1f} s without {what}, {with_it:.1f} s with: {costs[-1]:+.1f}%", flush=True)
        error = statistics.stdev(costs) / PAIRS**0.5
        load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
        print(f"{what}: {statistics.mean(costs):.1f}% +- {error:.1f} (load average {load})")
        print(f"spent in it: {statistics.mean(fractions):.2f}% of the time, {max(fractions):.2f}% at most")


if __name__ == "__main__":
    main()
