"""What the picture of a training costs: the same training with it and without, in pairs.

    python benchmarks/live.py

A picture is drawn and handed on as in a notebook, and no notebook is there to show it. The two of a pair take turns in
who is first. It takes four minutes on two cores. On a machine that does something else, the pairs differ by more than
the picture costs. Then look at the fraction of the time that was spent in it, which is measured besides.
"""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from hw4.experiments import hyperparams_of, train_config
from hw4.study import live

PAIRS = 10
EPISODES = 1500
SEED = 1


class Clock:
    """A post_batch_fn that calls another one, and adds up the seconds that this takes."""

    def __init__(self, then: Callable[..., None]):
        self.then, self.seconds = then, 0.0

    def __call__(self, *batch: Any, **final: Any) -> None:
        """Call the other one."""
        began = time.perf_counter()
        self.then(*batch, **final)
        self.seconds += time.perf_counter() - began


def train(with_picture: bool) -> tuple[float, float]:
    """How many seconds a training takes, and how many of them are spent in the picture."""
    watch = live.Live(EPISODES, lambda picture, words: None).watch("aac")
    clock = Clock(watch if with_picture else lambda *batch, **final: None)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        began = time.perf_counter()
        train_config("aac", hp=hyperparams_of("aac"), seed=SEED, max_episodes=EPISODES, post_batch_fn=clock)
        return time.perf_counter() - began, clock.seconds


def main() -> None:
    """Measure and print."""
    train(with_picture=False)  # the first one loads what the others find
    costs, fractions = [], []
    for pair in range(PAIRS):
        order = (False, True) if pair % 2 else (True, False)
        taken = {with_picture: train(with_picture) for with_picture in order}
        with_it, inside = taken[True]
        costs.append(100 * (with_it / taken[False][0] - 1))
        fractions.append(100 * inside / with_it)
        print(f"pair {pair}: {taken[False][0]:.1f} s without, {with_it:.1f} s with: {costs[-1]:+.1f}%", flush=True)
    error = statistics.stdev(costs) / PAIRS**0.5
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"the picture costs {statistics.mean(costs):.1f}% +- {error:.1f}; load average {load}")
    print(f"spent in it: {statistics.mean(fractions):.2f}% of the time, {max(fractions):.2f}% at most")


if __name__ == "__main__":
    main()
