"""Many runs: configurations x overrides x seeds, each trained and evaluated, into one file of records.

    {"runs": [{"configuration": "aac", "seed": 100, "best_mean_reward": ..., "evaluation": {...}, ...}, ...]}

Runs are independent, one process each. They run on this machine, as many at a time as it has processors, or on a Slurm
cluster as one array job. Each leaves its record in a folder beside the file as soon as it is done. So a sweep that was
stopped goes on with the runs that are missing.
"""

import ast
import contextlib
import hashlib
import itertools
import math
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from tqdm import tqdm

from cs236781.files import lock, read_json, write_json
from hw4.env import REWARD_THRESHOLD
from hw4.experiments import (
    CONFIG_NAMES,
    LONG_MAX_EPISODES,
    LONG_NAME,
    MAX_EPISODES,
    hyperparams_of,
    load_policy,
    train_config,
)
from hw4.files import PathLike
from hw4.hyperparams import NOT_PYTHON
from hw4.rl_data import TrainBatch
from hw4.rollout.loader import available_cpus
from hw4.study import local, slurm
from hw4.study.analysis import COUNT, LEFT_LEG, NUMBER, RIGHT_LEG
from hw4.study.evaluation import evaluate
from hw4.study.statistics import bootstrap_ci

RUNNING_MEAN_LEN = 100  # episodes
CURVE_EVERY = 50  # episodes
CURVES = ("mean_reward", "loss_p", "loss_v", "loss_e", "baseline", "quiet", "q_variance")
# What a record must hold, to be read. Its name is that of a file: it leads nowhere else.
NAME = {"type": "string", "pattern": "^[a-z_]+-[0-9]+-[0-9a-f]{12}$"}
EVALUATED = {"type": "object", "required": ["mean"], "properties": {"mean": NUMBER}}
RECORD = {
    "type": "object",
    "required": ["configuration", "seed", "overrides", "episodes", "best_mean_reward", "episodes_to_200", "evaluation"],
    "properties": {
        "name": NAME,
        "configuration": {"enum": [*CONFIG_NAMES, LONG_NAME]},
        "seed": {"type": "integer"},
        "overrides": {"type": "array", "items": {"type": "string"}},
        "episodes": COUNT,
        "best_mean_reward": NUMBER,
        "episodes_to_200": {**COUNT, "type": ["integer", "null"]},
        "cpu_seconds_to_200": {**NUMBER, "type": ["number", "null"]},
        "evaluation": {
            "type": "object",
            "anyOf": [{"maxProperties": 0}, {"required": ["final"]}],
            "properties": {
                "final": {
                    "type": "object",
                    "required": ["sampled", "greedy"],
                    "properties": {"sampled": EVALUATED, "greedy": EVALUATED},
                }
            },
        },
        "curves": {
            "type": "object",
            "required": ["episode_num", "mean_reward"],
            "additionalProperties": {"type": "array", "items": NUMBER},
        },
    },
}
RUNS = {
    "type": "object",
    "required": ["runs"],
    "properties": {"runs": {"type": "array", "items": {**RECORD, "required": ["name", *RECORD["required"]]}}},
}
# What the columns of a summary are called.
BEST, REACHED = "best mean(100): IQM (95%)", "reached 200"
FINAL = {choice: f"final weights, {choice}: median (5%)" for choice in ("sampled", "greedy")}
UNTIL_200 = {"episodes_to_200": "episodes to 200", "cpu_seconds_to_200": "CPU s to 200"}
SLURM = "slurm"  # the folder of its files, among the records


class Run(NamedTuple):
    """One training, and how its policies are evaluated; all that its record depends on."""

    configuration: str
    seed: int
    overrides: tuple[str, ...] = ()
    episodes: int = MAX_EPISODES
    evaluation_episodes: int = 0

    @property
    def name(self) -> str:
        """The name of its record's file. No other run has it."""
        hp = sorted(self.hyperparams().items())
        digest = hashlib.sha256(repr((hp, self.episodes, self.evaluation_episodes)).encode())
        return f"{self.configuration}-{self.seed}-{digest.hexdigest()[:12]}"

    def hyperparams(self) -> dict[str, Any]:
        """The configuration's, with the overrides."""
        return hyperparams_of(self.configuration, self.overrides)


def runs_of(
    configurations: Sequence[str],
    seeds: Sequence[int],
    overrides: Sequence[str] = (),
    episodes: int | None = None,
    evaluation_episodes: int = 0,
) -> list[Run]:
    """All runs of a sweep, seed by seed.

    :param overrides: texts of the form KEY=VALUE or KEY=VALUE,VALUE...; each combination of values is run.
    :param episodes: of each run; None for 6000, and 15,000 for `aac_long`.
    :param evaluation_episodes: how many to evaluate the final policy over, sampled and greedy; 0 for no evaluation.
    :raises ValueError: if a configuration or a hyperparameter is not known, or refuses its value.
    """
    long = {LONG_NAME: LONG_MAX_EPISODES}
    runs = [
        Run(name, seed, combination, episodes or long.get(name, MAX_EPISODES), evaluation_episodes)
        for seed in seeds
        for name in configurations
        for combination in itertools.product(*map(_alternatives, overrides))
    ]
    for run in runs:
        run.hyperparams()
    return list(dict.fromkeys(runs))


def _alternatives(override: str) -> list[str]:
    """An override for each of its values: beta=0.1,0.2 as beta=0.1 and beta=0.2. A list in brackets is one value."""
    name, equals, text = override.partition("=")
    try:
        values = ast.literal_eval(f"[{text}]")
    except NOT_PYTHON:
        values = text.split(",")  # words
    return [f"{name}{equals}{value}" for value in values] or [override]


def run_one(run: Run) -> dict[str, Any]:
    """Train and evaluate, in this process, on one thread; the run's record."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    hp = run.hyperparams()
    with TemporaryDirectory() as folder:
        state, name, watch = Path(folder) / "state.dat", run.configuration.removesuffix("_long"), Watch()
        data = train_config(
            name,
            hp=hp,
            seed=run.seed,
            max_episodes=run.episodes,
            num_workers=0,
            latest_file=state,
            post_batch_fn=watch.look,
        )
        seconds = time.perf_counter() - began
        evaluation: dict[str, dict[str, Any]] = {}
        if run.evaluation_episodes:
            policy = load_policy(state)
            evaluation["final"] = {
                choice: evaluate(*policy, episodes=run.evaluation_episodes, seed=run.seed, greedy=choice == "greedy")
                for choice in ("sampled", "greedy")
            }
    return {
        "configuration": run.configuration,
        "seed": run.seed,
        "overrides": list(run.overrides),
        "hyperparams": hp,
        "episodes": run.episodes,
        "steps": data["step_num"][-1],
        "train_seconds": round(seconds, 1),
        "best_mean_reward": data["best_mean_reward"][-1],
        "final_mean_reward": data["mean_reward"][-1],
        "episodes_to_200": episodes_to(REWARD_THRESHOLD, data),
        "cpu_seconds_to_200": watch.seconds_to(episodes_to(REWARD_THRESHOLD, data), data),
        "evaluation": evaluation,
        "curves": compact_curves({**data, **watch.seen}),
    }


class Watch:
    """What is seen of each batch beside the training data: `seen`, and the processor time that had been used.

    `quiet` is the fraction of the decisions on both legs that were to do nothing; `q_variance` the variance of q.
    """

    def __init__(self) -> None:
        self.began = time.process_time()
        self.seconds: list[float] = []
        self.seen: dict[str, list[float]] = {"quiet": [], "q_variance": []}

    def look(self, batch_idx: int, p_net: Any, batch: TrainBatch, final: bool) -> None:
        """Look at a batch; a post_batch_fn."""
        self.seconds.append(time.process_time() - self.began)
        actions = batch.actions[(batch.states[:, [RIGHT_LEG, LEFT_LEG]] > 0).all(dim=1)]
        self.seen["quiet"].append(float((actions == 0).sum()) / max(1, len(actions)))
        self.seen["q_variance"].append(float(batch.q_vals.var()))

    def seconds_to(self, episodes: int | None, data: Mapping[str, list]) -> float | None:
        """The processor time until so many episodes had been played."""
        return None if episodes is None else round(self.seconds[data["episode_num"].index(episodes)], 2)


def episodes_to(level: float, data: Mapping[str, list]) -> int | None:
    """How many episodes had been played when the mean of a full window first was at least `level`."""
    for episodes, mean_reward in zip(data["episode_num"], data["mean_reward"], strict=True):
        if episodes >= RUNNING_MEAN_LEN and mean_reward >= level:
            return episodes
    return None


def compact_curves(data: Mapping[str, list]) -> dict[str, list[float]]:
    """Training data at every `CURVE_EVERY` episodes: the mean reward as it was, and the mean of each loss since."""
    episodes = np.asarray(data["episode_num"])
    points = np.arange(CURVE_EVERY, episodes[-1] + 1, CURVE_EVERY)
    ends = np.searchsorted(episodes, points) + 1  # up to and with the first batch that gets there
    starts = np.concatenate([[0], ends])[:-1]
    curves: dict[str, list[float]] = {"episode_num": episodes[ends - 1].tolist()}
    for name in CURVES:
        if name in data:
            values = np.asarray(data[name])
            means = [values[start:end].mean() for start, end in zip(starts, ends, strict=True)]
            at_points = values[ends - 1] if name == "mean_reward" else means
            curves[name] = [float(f"{value:.5g}") for value in at_points]
    return curves


def run_one_into(run: Run, folder: Path) -> None:
    """Run one, quietly, and leave its record in a folder."""
    with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        record = run_one(run)
    write_json(folder / f"{run.name}.json", record, RECORD)


class SweepError(RuntimeError):
    """Some runs failed; the message says which, and why. The records of the others are kept."""


def sweep(
    runs: Sequence[Run],
    out: PathLike,
    *,
    cluster: str = "local",
    jobs: int | None = None,
    partition: str | None = None,
) -> list[dict[str, Any]]:
    """Do the runs whose records are not there yet, and gather the records of all in a file.

    :param out: the file. Records that it holds of other runs stay in it.
    :param cluster: "local" for processes on this machine, "slurm" for one array job.
    :param jobs: how many runs at a time; None for one on each processor, or for as many as the cluster allows.
    :param partition: Slurm's; None for its default.
    :return: the records that the file then holds.
    :raises SweepError: if runs failed. No results file is written then. Started again, the sweep tries them anew.
    :raises BlockingIOError: if another sweep is at work on the file.
    """
    with lock(Path(out)):
        return _sweep(runs, Path(out), cluster, jobs, partition)


def _sweep(
    runs: Sequence[Run], out: Path, cluster: str, jobs: int | None, partition: str | None
) -> list[dict[str, Any]]:
    folder = out.with_name(f"{out.name}.runs")
    records = {record["name"]: record for record in load_runs(out)} if out.exists() else {}
    left = [path for path in sorted(folder.glob("*.json")) if re.search(NAME["pattern"], path.stem)]
    records |= {path.stem: _read_record(path) for path in left}
    missing = [run for run in runs if run.name not in records]
    print(f"=== {len(runs)} runs, {len(runs) - len(missing)} of them done before")
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        calls = [(run, folder.absolute()) for run in missing]
        if cluster == "slurm":
            outcomes = slurm.call_each(run_one_into, calls, folder / SLURM, at_once=jobs, partition=partition)
        else:
            outcomes = local.call_each(run_one_into, calls, at_once=jobs or available_cpus())
        failures = []
        with tqdm(total=len(runs), initial=len(runs) - len(missing), unit="run", dynamic_ncols=True) as progress:
            for number, error in outcomes:
                run = missing[number]
                progress.update()
                progress.set_postfix_str(f"{run.configuration}, seed {run.seed}")
                if error is not None:
                    failures.append(f"{run.name}: {error}")
        if failures:
            raise SweepError(f"{len(failures)} of {len(missing)} runs failed: {'; '.join(failures)}")
        records |= {run.name: _read_record(folder / f"{run.name}.json") for run in missing}
    order = {run.name: number for number, run in enumerate(runs)}
    names = sorted(records, key=lambda name: (order.get(name, len(order)), name))
    gathered = [{**records[name], "name": name} for name in names]
    write_json(out, {"runs": gathered}, RUNS)
    for name in names:
        (folder / f"{name}.json").unlink(missing_ok=True)
    shutil.rmtree(folder / SLURM, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
    return gathered


def summary(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the seeds say of each configuration and its overrides: a row each.

    Of the best mean(100): the interquartile mean with its 95% bootstrap interval, the median and the range. How many
    seeds reached 200; and the medians, over all of them, of the episodes and of the processor's seconds until then. Of
    the evaluations of the final weights: the median over the seeds, and their 5th percentile.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    order = [*CONFIG_NAMES, LONG_NAME]
    for record in sorted(records, key=lambda record: order.index(record["configuration"])):
        groups.setdefault(" ".join([record["configuration"], *record["overrides"]]), []).append(record)
    rows = []
    for name, group in groups.items():
        best = np.array([record["best_mean_reward"] for record in group])
        middle, low, high = bootstrap_ci(best)
        reached = sum(record["episodes_to_200"] is not None for record in group)
        until = {name: _median_until([record[name] for record in group if name in record]) for name in UNTIL_200}
        row = {
            "configuration": name,
            "seeds": len(group),
            BEST: f"{middle:.1f} ({low:.1f} to {high:.1f})",
            "median": f"{np.median(best):.1f}",
            "range": f"{best.min():.1f} to {best.max():.1f}",
            REACHED: f"{reached} of {len(group)}",
            **{head: until[name] for name, head in UNTIL_200.items()},
        }
        for choice, head in FINAL.items():
            means = [record["evaluation"]["final"][choice]["mean"] for record in group if record["evaluation"]]
            row[head] = f"{np.median(means):.1f} ({np.percentile(means, 5):.1f})" if means else "-"
        rows.append(row)
    return rows


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The `summary` of some records as a Markdown table."""
    return tabulate(summary(records), headers="keys", tablefmt="github", disable_numparse=True)


def _median_until(values: Sequence[float | None]) -> str:
    """The median, where None stands for never; none of records that do not say it, as older ones."""
    median = float(np.median([math.inf if value is None else value for value in values] or [math.inf]))
    return f"{median:.0f}" if math.isfinite(median) else "-"


def load_runs(filename: PathLike) -> list[dict[str, Any]]:
    """The records of a file that `sweep` wrote.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is of another kind.
    """
    runs = read_json(Path(filename), RUNS)["runs"]
    for run in runs:
        _check_curves(run, filename)
    for name, count in Counter(run["name"] for run in runs).items():
        if count > 1:
            raise ValueError(f"{filename} is damaged: it has {count} records that are called {name}")
    return runs


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path, RECORD)
        _check_curves(record, path)
    except ValueError as error:
        raise ValueError(f"{error}. Remove it, and the run is trained anew") from None
    return record


def _check_curves(record: Mapping[str, Any], filename: PathLike) -> None:
    """Raise a ValueError unless a record's curves have one length, which a schema cannot ask for."""
    lengths = {name: len(curve) for name, curve in record.get("curves", {}).items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{filename} is damaged: a record's curves are not of one length: {lengths}")
