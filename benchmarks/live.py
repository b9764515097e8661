"""What the picture of a training costs: the same training with it and without, in pairs.

    python benchmarks/live.py

A picture is drawn and handed on as in a notebook, and no notebook is there to show it. The two of a pair take turns in
who is first. It takes about four minutes on two cores, and tells nothing on a machine that does something else.
"""

import contextlib
import io
import os
import statistics
import time
from typing import Any

from hw4.experiments import hyperparams_of, train_config
from hw4.study import live

PAIRS = 10
EPISODES = 1500
SEED = 1


def seconds(with_picture: bool) -> float:
    """How long a training takes."""
    how: dict[str, Any] = {}
    if with_picture:
        how["post_batch_fn"] = live.Live(EPISODES, lambda picture, words: None).watch("aac")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        began = time.perf_counter()
        train_config("aac", hp=hyperparams_of("aac"), seed=SEED, max_episodes=EPISODES, **how)
        return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    seconds(with_picture=False)  # the first one loads what the others find
    costs = []
    for pair in range(PAIRS):
        order = (False, True) if pair % 2 else (True, False)
        taken = {with_picture: seconds(with_picture) for with_picture in order}
        costs.append(100 * (taken[True] / taken[False] - 1))
        print(f"pair {pair}: {taken[False]:.1f} s without, {taken[True]:.1f} s with: {costs[-1]:+.1f}%", flush=True)
    error = statistics.stdev(costs) / PAIRS**0.5
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"the picture costs {statistics.mean(costs):.1f}% +- {error:.1f}; load average {load}")


if __name__ == "__main__":
    main()
