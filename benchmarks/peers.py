"""How soon Stable-Baselines3's PPO and A2C learn to land, beside this project's actor-critic.

    make bench-peers        # in an environment of its own, .venv-peers

All play the same environment from the same seeds, one core each, one run at a time and in turns. A run ends when the
mean reward of the last 100 episodes passes 200, or when the steps are used up. PPO runs with Stable-Baselines3's
defaults and with RL Baselines3 Zoo's values for LunarLander, A2C with the Zoo's.
"""

import argparse
import contextlib
import io
import json
import multiprocessing as mp
import statistics
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from throughput import counted_env
from tqdm import tqdm

from cs236781.files import write_whole
from hw4.env import ENV_NAME
from hw4.experiments import hyperparams_of, train_aac

LEVELS = (100, 150, 200)
WINDOW = 100  # episodes
PPO_ZOO = {"n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4, "ent_coef": 0.01}
A2C_ZOO = {"n_steps": 5, "gamma": 0.995, "learning_rate": lambda left: 0.00083 * left, "ent_coef": 1e-5}
PEERS: dict[str, tuple[Any, int, dict[str, Any]]] = {  # algorithm, environments, arguments
    "ppo default": (PPO, 1, {}),
    "ppo zoo": (PPO, 16, PPO_ZOO),
    "a2c zoo": (A2C, 8, A2C_ZOO),
}
OURS = {"aac, 0 workers": 0, "aac, 2 workers": 2}


class Watch:
    """Notes when the mean reward of the last 100 episodes first passed each level."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.episodes, self.best = 0, float("-inf")
        self.passed: dict[str, dict[str, float]] = {}

    def see(self, rewards: list[float]) -> bool:
        """Take note of finished episodes; whether the last level is passed."""
        for reward in rewards:
            self.recent.append(reward)
            self.episodes += 1
            if len(self.recent) == WINDOW:
                mean = float(np.mean(self.recent))
                self.best = max(self.best, mean)
                for level in LEVELS:
                    if mean >= level and str(level) not in self.passed:
                        seconds = time.perf_counter() - self.began
                        self.passed[str(level)] = {"seconds": seconds, "episodes": self.episodes}
        return str(LEVELS[-1]) in self.passed

    def record(self, name: str, seed: int, steps: int) -> dict[str, Any]:
        """What is kept of the run."""
        seconds = time.perf_counter() - self.began
        return {
            "name": name,
            "seed": seed,
            "steps": steps,
            "seconds": seconds,
            "steps_per_second": steps / seconds,
            "episodes": self.episodes,
            "best_mean_reward": self.best,
            "passed": self.passed,
        }


class _Watcher(BaseCallback):
    """Shows a Watch the episodes that Stable-Baselines3 finishes."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def _on_step(self) -> bool:
        finished = [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return not self.watch.see(finished)


def run_peer(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train with Stable-Baselines3."""
    algorithm, n_envs, arguments = PEERS[name]
    watch = Watch()
    envs = make_vec_env(ENV_NAME, n_envs=n_envs, seed=seed)
    model = algorithm("MlpPolicy", envs, seed=seed, device="cpu", **arguments)
    model.learn(total_timesteps=steps, callback=_Watcher(watch))
    return watch.record(name, seed, model.num_timesteps)


def run_ours(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train with this project's hyperparameters, in the 6000 episodes that they are made for."""
    watch, steps_made = Watch(), mp.Value("q", 0)
    make_env = partial(counted_env, steps_made, hyperparams_of("aac").get("action_repeat", 1))

    def post_batch_fn(batch_idx: int, p_net: torch.nn.Module, batch: Any, final: bool) -> None:
        if watch.see(batch.total_rewards.tolist()):
            raise KeyboardInterrupt  # which ends a training cleanly

    train_aac(seed=seed, num_workers=OURS[name], max_episodes=6000, make_env=make_env, post_batch_fn=post_batch_fn)
    return watch.record(name, seed, steps_made.value)


def print_table(records: list[dict[str, Any]]) -> None:
    """Medians over the seeds, with the number of seeds that passed each level."""
    print(f"{'':16} {'steps/s':>8} {'best':>6}  " + "  ".join(f"{'to ' + str(level):^26}" for level in LEVELS))
    for name in dict.fromkeys(record["name"] for record in records):
        runs = [record for record in records if record["name"] == name]
        speed = statistics.median(run["steps_per_second"] for run in runs)
        best = statistics.median(run["best_mean_reward"] for run in runs)
        cells = []
        for level in map(str, LEVELS):
            passed = [run["passed"][level] for run in runs if level in run["passed"]]
            if passed:
                seconds = statistics.median(p["seconds"] for p in passed)
                episodes = statistics.median(p["episodes"] for p in passed)
                cells.append(f"{len(passed)}/{len(runs)}: {seconds:6.1f} s {episodes:6.0f} ep")
            else:
                cells.append(f"0/{len(runs)}")
        print(f"{name:16} {speed:8.0f} {best:6.1f}  " + "  ".join(f"{cell:^26}" for cell in cells))


def main() -> None:
    """Run all that is not in the results file yet, and show it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102], metavar="N")
    parser.add_argument("--steps", type=int, default=1_200_000, metavar="N", help="steps that a peer may take")
    parser.add_argument("--only", nargs="+", choices=[*PEERS, *OURS], default=[*OURS, *PEERS], metavar="NAME")
    parser.add_argument(
        "--out", type=Path, default=Path("results/peers.json"), help="records; what is there is not run"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    records = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    done = {(record["name"], record["seed"]) for record in records}
    todo = [(name, seed) for seed in args.seeds for name in args.only if (name, seed) not in done]
    for name, seed in tqdm(todo, desc="training", dynamic_ncols=True):
        run = run_ours if name in OURS else run_peer
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            records.append(run(name, seed, args.steps))
        write_whole(args.out, (json.dumps({"runs": records}, indent=1) + "\n").encode())
    print_table(records)


if __name__ == "__main__":
    main()
