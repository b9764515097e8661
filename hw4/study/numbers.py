"""The numbers and tables in the project's prose, each made of the data that it comes from.

    ... reached by <!--reached.aac-->14 of 16<!--/--> seeds ...

What stands between two such comments, which no reader sees, is one of `numbers`. `python main.py numbers` writes all of
it anew; a test finds what is not as the data have it.
"""

import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from hw4 import experiments
from hw4.env import REWARD_THRESHOLD
from hw4.experiments import CONFIG_NAMES, LONG_MAX_EPISODES, LONG_NAME, MAX_EPISODES
from hw4.files import load_checkpoint, load_training_data
from hw4.study import sweep

# Where they are.
TEXTS = (
    "README.md",
    "docs/results.md",
    "docs/search.md",
    "docs/speed.md",
    "docs/scaling.md",
    "Part1_DeepRL.ipynb",
)
# Rows of the table of speeds: steps a second, and ratios.
SPEEDS = {
    "simulator": "env_only 2",
    "simulator_policy": "env_only policy_2",
    "sampling": "sampling 2",
    "training": "training shipped 2",
    "one_process": "training shipped 0",
    "published": "training published 2",
}
RATIOS = {
    "sampling_of_policy": "sampling, 2 workers / env_only policy_2",
    "of_simulator": "training shipped, 2 workers / env_only 2",
    "of_one_process": "training shipped, 2 workers / 0 workers",
    "of_published": "training published, 2 workers / 5,900",
}
# Rows of the list of costs.
COSTS = {
    "reset_of_gymnasium": "a reset as Gymnasium makes it",
    "step_of_gymnasium": "a step of the simulator as Gymnasium makes it",
    "reset": "a reset with FastLander",
    "step": "a step of the simulator with FastLander",
    **{f"playing_{width}": f"  all else in playing a step, {width} side by side" for width in (1, 2, 4, 8)},
    "larger_network": "  more with a network of (512, 256) than of (128,)",
    **{f"update_{count}": f"an update from {count} steps, as shipped" for count in (600, 1600)},
    "update_published": "an update from 2700 steps, as published",
}
PEERS = {
    "aac, 0 workers": "`aac`, one process",
    "aac, 2 workers": "`aac`, two workers, on both cores",
    "ppo default": "PPO, default settings",
    "ppo zoo": "PPO, the Zoo's settings",
    "a2c zoo": "A2C, the Zoo's settings",
}
MARK = re.compile(r"<!--(?P<name>[a-z0-9_.]+)-->(?P<text>.*?)<!--/-->", re.DOTALL)
README_HEADS = {
    "seeds": "seeds",
    sweep.BEST: sweep.BEST,
    sweep.REACHED: sweep.REACHED,
    sweep.UNTIL_200["episodes_to_200"]: sweep.UNTIL_200["episodes_to_200"],
    sweep.FINAL["sampled"]: "evaluated, sampled",
    sweep.FINAL["greedy"]: "evaluated, greedy",
}


class Runs(dict[str, list[dict[str, Any]]]):
    """The records in the files of a folder: part1_seeds; ablation; tuning; first_choice, of the `aac` before it."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def __missing__(self, name: str) -> list[dict[str, Any]]:
        self[name] = sweep.load_runs(self.folder / f"{name}.json")
        return self[name]

    def of(self, name: str, configuration: str) -> list[dict[str, Any]]:
        """Those of one configuration."""
        return [run for run in self[name] if run["configuration"] == configuration]


class Data:
    """What the numbers come from, each file read when it is asked for.

    :param root: the project's folder.
    """

    def __init__(self, root: Path):
        self.results, self.checkpoints = root / "results", root / "checkpoints"
        self.runs = Runs(self.results)

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """What the many seeds say, a row for each configuration."""
        return sweep.summary(self.runs["part1_seeds"])

    @cached_property
    def own(self) -> dict[str, dict[str, Any]]:
        """{configuration: training data} of the notebook's seed."""
        files = (experiments.RESULTS_FILE, experiments.RESULTS_FILE_AAC)
        return {name: data for file in files for name, data in load_training_data(self.results / file).items()}

    @cached_property
    def long(self) -> dict[str, list]:
        """The training data of the notebook's long run, until its best."""
        return load_checkpoint(self.checkpoints / experiments.CHECKPOINT_FILE_FINAL)["training_data"]

    @cached_property
    def final(self) -> dict[str, float]:
        """The evaluation of that run's best policy."""
        return json.loads((self.results / "final_policy.json").read_text())

    @cached_property
    def searched(self) -> int:
        """How many runs the record of the earlier search has."""
        return len(json.loads((self.results / "search.json").read_text())["runs"])

    @cached_property
    def peers(self) -> list[dict[str, Any]]:
        """The records of Stable-Baselines3's runs, and of ours beside them."""
        return json.loads((self.results / "peers.json").read_text())["runs"]

    def measured(self, file: str, row: str) -> tuple[float, str]:
        """The first number in a row of a file of measurements, and the word after it, if there is one."""
        text = (self.results / file).read_text()
        found = re.search(rf"^{re.escape(row)} +([\d.]+)(?: +([a-z]+)$)?", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"results/{file} has no row {row!r}: measure it anew, or mend the number's name")
        return float(found[1]), found[2] or ""


def numbers(data: Data) -> dict[str, Callable[[], str]]:
    """How each number or table is made of the data, by its name."""
    return {
        "seeds.table": partial(_seeds_table, data),
        "seeds.readme": partial(_readme_table, data),
        **{f"reached.{name}": partial(_reached, data, name) for name in (*CONFIG_NAMES, LONG_NAME)},
        "quiet.table": lambda: _quiet_table(
            {
                **{name: data.runs.of("part1_seeds", name) for name in ("cpg", "aac")},
                "aac, before": data.runs["first_choice"],
            }
        ),
        "tuning.table": lambda: _tuning_table(data.runs["tuning"]),
        "ablation.table": lambda: _ablation_table(data.runs["ablation"]),
        **{f"one_step.{name}": partial(_one_step, data, name) for name in ("cpg", "aac")},
        "first.reached": lambda: sweep.summary(data.runs["first_choice"])[0][sweep.REACHED],
        "own.table": partial(_own_table, data),
        "own.seed": lambda: str(experiments.SEED),
        "episodes": lambda: f"{MAX_EPISODES:,}",
        "episodes.long": lambda: f"{LONG_MAX_EPISODES:,}",
        "final.mean": lambda: f"{data.final['mean']:.1f}",
        "final.std": lambda: f"{data.final['std']:.1f}",
        "final.good": lambda: f"{data.final['fraction_at_least_200']:.1%}",
        "final.episodes": lambda: f"{data.final['episodes']}",
        **{f"speed.{name}": partial(_speed, data, row, -2, ",.0f") for name, row in SPEEDS.items()},
        **{f"speed.{name}": partial(_speed, data, row, 2, ".2f") for name, row in RATIOS.items()},
        **{f"cost.{name}": partial(_cost, data, row) for name, row in COSTS.items()},
        "rounds.table": partial(_rounds_table, data),
        "peers.table": lambda: _peers_table(data.peers),
        "search.runs": lambda: str(data.searched),
    }


def rewritten(text: str, data: Data) -> str:
    """A text with all of its numbers as the data have them.

    :raises ValueError: if it names a number that there is not.
    """
    known = numbers(data)

    def number(mark: re.Match[str]) -> str:
        name = mark["name"]
        if name not in known:
            raise ValueError(f"there is no number {name!r}; there are: {', '.join(known)}")
        value = known[name]()
        apart = "\n\n" if "\n" in value else ""  # a table begins and ends with an empty line
        return f"<!--{name}-->{apart}{value}{apart}<!--/-->"

    return MARK.sub(number, text)


def _seeds_table(data: Data) -> str:
    return _table([{**row, "configuration": f"`{row['configuration']}`"} for row in data.summary])


def _readme_table(data: Data) -> str:
    heads = README_HEADS.items()
    return _table([{"": f"`{row['configuration']}`", **{new: row[old] for old, new in heads}} for row in data.summary])


def _reached(data: Data, name: str) -> str:
    return next(row[sweep.REACHED] for row in data.summary if row["configuration"] == name)


def _speed(data: Data, row: str, digits: int, form: str) -> str:
    return format(round(data.measured("throughput.txt", row)[0], digits), form)


def _cost(data: Data, row: str) -> str:
    """A cost in two digits, with its unit."""
    value, unit = data.measured("costs.txt", row)
    return f"{_rounded(value, 2):g} {unit}"


def _rounds_table(data: Data, episodes: int = 8, steps: int = 200) -> str:
    """How long a round of a batch takes at best by the costs of its parts: ceil(B / W) L c + u."""
    cost = {name: data.measured("costs.txt", row)[0] for name, row in COSTS.items()}
    rows = []
    for workers in (1, 2, 4, 8):
        most = math.ceil(episodes / workers)
        each = cost["step"] + cost[f"playing_{most}"]  # us
        rows.append((workers, most, each, most * steps * each / 1000 + cost["update_600"]))
    return _table(
        [
            {
                "workers": f"{workers}" if workers < episodes else f"{workers} or more",
                "most episodes for one": most,
                "$c$": f"{each:.0f} us",
                "round": f"{seconds:.0f} ms",
                "speed": f"{rows[0][-1] / seconds:.1f}",
            }
            for workers, most, each, seconds in rows
        ]
    )


def _peers_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Steps a second, the best mean reward, and how soon each level was passed: medians of the seeds that passed it."""
    rows = []
    for name, label in PEERS.items():
        own = [run for run in runs if run["name"] == name]
        row = {
            "": label,
            "steps/s": f"{_rounded(statistics.median(run['steps_per_second'] for run in own), 3):,.0f}",
            "best": f"{statistics.median(run['best_mean_reward'] for run in own):.1f}",
        }
        for level in ("100", "150", "200"):
            passed = [run["passed"][level] for run in own if level in run["passed"]]
            when = {unit: statistics.median(p[unit] for p in passed) for unit in ("seconds", "episodes") if passed}
            told = f": {when['seconds']:.0f} s, {when['episodes']:.0f} ep" if passed else ""
            row[f"to {level}"] = f"{len(passed)} of {len(own)}{told}"
        rows.append(row)
    return _table(rows)


def _quiet_table(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """How often the lander did nothing on both legs, early in runs that reached 200 later and in those that did not.

    Of a run it is the largest fraction of such decisions between 20% and 45% of its episodes.
    """
    rows = []
    for (name, runs), reached in itertools.product(groups.items(), (True, False)):
        own = [run for run in runs if (run["episodes_to_200"] is not None) == reached]
        curves = [run["curves"]["quiet"] for run in own]
        largest = [max(curve[len(curve) * 20 // 100 : len(curve) * 45 // 100]) for curve in curves]
        if own:
            rows.append(
                {
                    "": f"`{name}`",
                    "200": "reached" if reached else "not reached",
                    "seeds": len(own),
                    "did nothing on both legs: median (least, most)": (
                        f"{statistics.median(largest):.1%} ({min(largest):.1%}, {max(largest):.1%})"
                    ),
                    "fewer than 5%": sum(value < 0.05 for value in largest),
                }
            )
    return _table(rows)


def _tuning_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """What was tried, each with the overrides that make it of the recipe before."""
    heads = ("seeds", sweep.REACHED, "median", "range", sweep.UNTIL_200["episodes_to_200"])
    rows = [(row["configuration"].partition(" ")[2], row) for row in sweep.summary(runs)]
    return _table([{"overrides": overrides, **{head: row[head] for head in heads}} for overrides, row in rows])


def _ablation_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A row for each piece that was left out, by the overrides that do that; the first is the whole recipe."""
    heads = ("seeds", sweep.REACHED, sweep.UNTIL_200["episodes_to_200"], "median", sweep.BEST)
    rows = [(row["configuration"].partition(" "), row) for row in sweep.summary(runs)]
    return _table(
        [
            {"": f"`{name}`", "with": overrides or "the recipe", **{head: row[head] for head in heads}}
            for (name, _, overrides), row in rows
        ]
    )


def _one_step(data: Data, name: str) -> str:
    """How many seeds reached 200 whose actions were not held."""
    rows = {row["configuration"]: row[sweep.REACHED] for row in sweep.summary(data.runs["ablation"])}
    return next(reached for what, reached in rows.items() if what.startswith(f"{name} action_repeat=1 "))


def _own_table(data: Data) -> str:
    """The runs of the notebook's seed. How the long one ended is in the record of many seeds, once it is there."""
    rows = [_own_row(f"`{name}`", run, run) for name, run in data.own.items()]
    ends = [run for run in data.runs.of("part1_seeds", LONG_NAME) if run["seed"] == experiments.SEED]
    end = {"episode_num": [run["episodes"] for run in ends], "mean_reward": [run["final_mean_reward"] for run in ends]}
    return _table([*rows, _own_row("`aac`, long", data.long, end)])


def _own_row(name: str, data: Mapping[str, list], end: Mapping[str, list]) -> dict[str, Any]:
    until = sweep.episodes_to(REWARD_THRESHOLD, data)
    return {
        "run": name,
        "episodes": end["episode_num"][-1] if end["episode_num"] else LONG_MAX_EPISODES,
        "best mean reward": f"{data['best_mean_reward'][-1]:.1f}",
        "mean reward at the end": f"{end['mean_reward'][-1]:.1f}" if end["mean_reward"] else "-",
        "200 after": "-" if until is None else until,
    }


def _rounded(value: float, digits: int) -> float:
    """To so many digits that count."""
    return float(f"{value:.{digits}g}")


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
