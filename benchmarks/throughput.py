"""How fast episodes are played and learned from, beside how fast the simulator alone could go.

    python benchmarks/throughput.py [--quick] [--json] [--plot FILE.png] [--memory]

All of it is measured in one run, in turns, several times. Medians are shown. The limit is the environment alone, as
Gymnasium makes it, with random actions or those that the trained policy took. Sampling adds the policy and the way of
the episodes to the learner. Training adds the learner. `fast_2` is the environment alone too, with this project's
FastLander. On a machine with other work to do, read the ratios and not the speeds.
"""

import argparse
import contextlib
import io
import json
import multiprocessing as mp
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tqdm import tqdm

from hw4.env import make_env
from hw4.experiments import CHECKPOINT_FILE_FINAL, Policy, hyperparams_of, load_policy, train_aac, train_config
from hw4.rollout.collect import collect_in_order, episode_seed
from hw4.rollout.lander import make_fast_env
from hw4.rollout.loader import OnPolicyLoader

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = ROOT / "checkpoints" / CHECKPOINT_FILE_FINAL
PUBLISHED = {
    "batch_size": 32,
    "gamma": 0.995,
    "beta": 0.7,
    "learn_rate": 0.001,
    "eps": 1e-8,
    "hidden_layers": [512, 256],
}
PUBLISHED_STEPS_PER_SECOND = 5900  # of the published code, on the same kind of machine: two cores, two workers
WORKERS = (0, 1, 2)
SEED = 7
MEMORY_EVERY = 5.0  # seconds; to ask takes some 30 ms and slows down the processes that are asked about


class Counted(gym.Wrapper):
    """Adds the environment's own steps of each episode to a number that processes share."""

    def __init__(self, env: gym.Env, steps: Any):
        super().__init__(env)
        self.steps = steps

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; an action may be held for several of the environment's own."""
        result = self.env.step(action)
        if result[2] or result[3]:
            with self.steps.get_lock():
                self.steps.value += self.env.get_wrapper_attr("_elapsed_steps")
        return result


def counted_env(steps: Any, action_repeat: int) -> gym.Env:
    """An environment to collect episodes in, which counts."""
    return Counted(make_fast_env(action_repeat=action_repeat), steps)


def env_only(processes: int, actions: list[list[int]], make: Callable[[], gym.Env] = make_env) -> float:
    """The environment alone, in steps per second: each process replays episodes whose actions are known."""
    context = mp.get_context("fork")
    barrier = context.Barrier(processes + 1)

    def work() -> None:
        barrier.wait()
        replay(make, actions)
        barrier.wait()

    workers = [context.Process(target=work) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for worker in workers:
        worker.join()
    return processes * sum(map(len, actions)) / seconds


def replay(make: Callable[[], gym.Env], actions: list[list[int]]) -> None:
    """Play episodes whose actions are known."""
    env = make()
    for number, episode in enumerate(actions):
        env.reset(seed=episode_seed(SEED, number))
        for action in episode:
            env.step(action)


def random_actions(episodes: int) -> list[list[int]]:
    """The actions of episodes played at random."""
    env, random, played = make_fast_env(), np.random.default_rng(SEED), []
    for number in range(episodes):
        env.reset(seed=episode_seed(SEED, number))
        played.append([])
        is_done = False
        while not is_done:
            played[-1].append(int(random.integers(4)))
            _, _, terminated, truncated, _ = env.step(played[-1][-1])
            is_done = terminated or truncated
    return played


def policy_actions(policy: Policy, episodes: int) -> list[list[int]]:
    """The actions of episodes that a policy plays, one for each of the environment's steps."""
    agent_type, p_net, repeat = policy
    seeds = [episode_seed(SEED, number) for number in range(episodes)]
    played = collect_in_order(agent_type, p_net, seeds, make_env=partial(make_fast_env, action_repeat=repeat))
    return [[step.action for step in episode.experiences for _ in range(repeat)] for episode in played]


def sampling(policy: Policy, num_workers: int, batches: int) -> float:
    """Steps per second of batches of 32 episodes, with nobody learning, after a first one in which workers start."""
    agent_type, p_net, repeat = policy
    p_net.share_memory()
    steps = mp.Value("q", 0)
    make = partial(counted_env, steps, repeat)
    with OnPolicyLoader(agent_type, p_net, 32, 0.99, seed=SEED, num_workers=num_workers, make_env=make) as loader:
        stream = iter(loader)
        next(stream)
        began, before = time.perf_counter(), steps.value
        for _ in range(batches):
            next(stream)
        return (steps.value - before) / (time.perf_counter() - began)


def training(kind: str, num_workers: int, episodes: int) -> dict[str, float]:
    """A whole training run, from making the network to the last update."""
    updates: list[float] = []

    def post_batch_fn(*_: Any, final: bool) -> None:
        updates.append(time.perf_counter() - began)
        if final:
            memory.append(proportional_set_size())

    steps, hp = mp.Value("q", 0), hyperparams_of("aac") if kind == "shipped" else PUBLISHED
    make = partial(counted_env, steps, hp.get("action_repeat", 1))
    kwargs = {"hp": hp, "seed": SEED, "num_workers": num_workers, "max_episodes": episodes, "make_env": make}
    with watched_memory() as memory:
        began = time.perf_counter()
        data = train_config("aac" if kind == "shipped" else "cpg", post_batch_fn=post_batch_fn, **kwargs)
    return {
        "steps_per_second": steps.value / updates[-1],
        "episodes_per_second": data["episode_num"][-1] / updates[-1],
        "first_batch_seconds": updates[0],
        "peak_megabytes": max(memory),
    }


@contextlib.contextmanager
def watched_memory() -> Iterator[list[float]]:
    """The memory of this process and its children, in MB, every few seconds; what they share is counted once (PSS)."""
    memory: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(MEMORY_EVERY):
            memory.append(proportional_set_size())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield memory
    finally:
        stop.set()
        watcher.join()


def proportional_set_size() -> float:
    """Memory of this process and its children in MB, as Linux's smaps_rollup tells it; nan elsewhere."""
    total, found = 0, False
    for pid in (os.getpid(), *(child.pid for child in mp.active_children())):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total, found = total + int(line.split()[1]), True
    return total / 1024 if found else float("nan")


def memory_growth(episodes: int = 15_000, early: int = 500) -> dict[int, float]:
    """Memory of learner and workers in MB, after some episodes and at the end of a long run; by episodes played."""
    megabytes: dict[int, float] = {}
    played = 0

    def post_batch_fn(batch_idx: int, p_net: torch.nn.Module, batch: Any, final: bool) -> None:
        nonlocal played
        played += batch.num_episodes
        if final or (played >= early and not megabytes):
            megabytes[played] = proportional_set_size()

    train_aac(seed=SEED, num_workers=2, max_episodes=episodes, post_batch_fn=post_batch_fn)
    return megabytes


def measure(quick: bool) -> dict[str, Any]:
    """Everything, in turns; lists of what each repetition gave, by name."""
    policy = load_policy(CHECKPOINT)
    scale = 2 if quick else 3
    torch.optim.Adam([torch.zeros(1)])  # a process's first optimizer has PyTorch import much more, once
    by_chance, by_policy = random_actions(100 * scale), policy_actions(policy, 40 * scale)
    tasks: dict[str, Callable[[], Any]] = {
        "env_only 1": lambda: env_only(1, by_chance),
        "env_only 2": lambda: env_only(2, by_chance),
        "env_only policy_2": lambda: env_only(2, by_policy),
        "env_only fast_2": lambda: env_only(2, by_chance, make_fast_env),
        **{f"sampling {n}": lambda n=n: sampling(policy, n, 1 * scale) for n in WORKERS},
        **{f"training shipped {n}": lambda n=n: training("shipped", n, 1200 if quick else 2400) for n in (0, 2)},
        **{f"training published {n}": lambda n=n: training("published", n, 640) for n in (0, 2)},
    }
    taken: dict[str, list] = {name: [] for name in tasks}
    repetitions = 1 if quick else 3
    with tqdm(total=repetitions * len(tasks), desc="measuring", dynamic_ncols=True) as progress:
        for _ in range(repetitions):
            for name, task in tasks.items():
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    taken[name].append(task())
                progress.update()
    return taken


def speeds(taken: dict[str, list]) -> dict[str, Any]:
    """Median steps per second, nested by what was measured."""
    nested: dict[str, Any] = {}
    for name, values in taken.items():
        if name == "env_only fast_2":
            continue  # it is not the limit
        *path, last = name.split()
        place = nested
        for key in path:
            place = place.setdefault(key, {})
        place[last] = round(median(values, "steps_per_second"), 1)
    return nested


def median(values: list, key: str) -> float:
    """The median of what the repetitions gave, or of one of the figures that each of them gave."""
    return statistics.median(value[key] if isinstance(value, dict) else value for value in values)


def print_table(taken: dict[str, list]) -> None:
    """The medians and spreads, with their ratios to the limit, the goals' ratios, and what training tells besides."""
    steps = {name: median(values, "steps_per_second") for name, values in taken.items()}
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} processors")
    print(f"{'':24} {'steps/s':>9} {'lowest':>9} {'highest':>9} {'/ env_only 2':>13}")
    for name, values in taken.items():
        each = [value["steps_per_second"] if isinstance(value, dict) else value for value in values]
        ratio = steps[name] / steps["env_only 2"]
        print(f"{name:24} {steps[name]:9.0f} {min(each):9.0f} {max(each):9.0f} {ratio:13.2f}")
    print()
    for what, ratio in {
        "sampling, 2 workers / env_only policy_2": steps["sampling 2"] / steps["env_only policy_2"],
        "training shipped, 2 workers / env_only 2": steps["training shipped 2"] / steps["env_only 2"],
        "training shipped, 2 workers / 0 workers": steps["training shipped 2"] / steps["training shipped 0"],
        "training published, 2 workers / 5,900": steps["training published 2"] / PUBLISHED_STEPS_PER_SECOND,
    }.items():
        print(f"{what:44} {ratio:6.2f}")
    print()
    print(f"{'':24} {'episodes/s':>11} {'first batch':>12} {'peak memory':>12}")
    for name, values in taken.items():
        if name.startswith("training"):
            figures = [median(values, key) for key in ("episodes_per_second", "first_batch_seconds", "peak_megabytes")]
            print(f"{name:24} {figures[0]:11.1f} {figures[1]:10.2f} s {figures[2]:9.0f} MB")


def plot(taken: dict[str, list], file: Path) -> None:
    """Bars of the medians, with each repetition as a dot."""
    import matplotlib.pyplot as plt  # only drawing needs it

    fig, ax = plt.subplots(figsize=(9, 5), layout="constrained")
    colours = {"env_only": "#999999", "sampling": "#56B4E9", "training": "#D55E00"}
    for y, (name, values) in enumerate(reversed(taken.items())):
        each = [value["steps_per_second"] if isinstance(value, dict) else value for value in values]
        ax.barh(y, statistics.median(each), color=colours[name.split()[0]])
        ax.plot(each, [y] * len(each), "k.", markersize=4)
    ax.set_yticks(range(len(taken)), [name.replace("_", " ") for name in reversed(taken)])
    ax.set_xlabel("environment steps per second (bar: median; dots: repetitions)")
    ax.set_title("Playing and learning beside the simulator alone")
    fig.savefig(file, dpi=120)


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="once instead of three times, and shorter: under 50 seconds"
    )
    parser.add_argument("--json", action="store_true", help="print the median speeds as JSON, in place of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the speeds too")
    parser.add_argument("--memory", action="store_true", help="measure how memory grows over a long run, and only that")
    args = parser.parse_args()
    if args.memory:
        print(", ".join(f"{megabytes:.0f} MB after {n} episodes" for n, megabytes in memory_growth().items()))
        return
    taken = measure(args.quick)
    if args.json:
        print(json.dumps(speeds(taken)))
    else:
        print_table(taken)
    if args.plot:
        plot(taken, args.plot)


if __name__ == "__main__":
    main()
