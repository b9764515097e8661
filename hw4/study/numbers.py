"""The numbers and tables in the project's prose, each made of the data that it comes from.

    ... reached by <!--reached.aac-->14 of 16<!--/--> seeds ...

What stands between two such comments, which no reader sees, is one of `numbers`. `python main.py numbers` writes all of
it anew; a test finds what is not as the data have it.
"""

import itertools
import json
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

TEXTS = ("README.md", "docs/results.md", "docs/search.md", "docs/speed.md", "Part1_DeepRL.ipynb")  # where these are
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
MARK = re.compile(r"<!--(?P<name>[a-z0-9_.]+)-->(?P<text>.*?)<!--/-->", re.DOTALL)
README_HEADS = {
    "seeds": "seeds",
    sweep.BEST: sweep.BEST,
    sweep.REACHED: sweep.REACHED,
    sweep.UNTIL_200["episodes_to_200"]: sweep.UNTIL_200["episodes_to_200"],
    sweep.FINAL["sampled"]: "evaluated, sampled",
    sweep.FINAL["greedy"]: "evaluated, greedy",
}


class Data:
    """What the numbers come from, each file read when it is asked for.

    :param root: the project's folder.
    """

    def __init__(self, root: Path):
        self.results, self.checkpoints = root / "results", root / "checkpoints"

    @cached_property
    def seeds(self) -> list[dict[str, Any]]:
        """The records of many seeds."""
        return sweep.load_runs(self.results / "part1_seeds.json")

    @cached_property
    def first_choice(self) -> list[dict[str, Any]]:
        """The records of the actor-critic recipe before this one."""
        return sweep.load_runs(self.results / "first_choice.json")

    @cached_property
    def tuning(self) -> list[dict[str, Any]]:
        """The records of what was tried to better it."""
        return sweep.load_runs(self.results / "tuning.json")

    @cached_property
    def ablation(self) -> list[dict[str, Any]]:
        """The records of the recipe with each of its pieces left out."""
        return sweep.load_runs(self.results / "ablation.json")

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """What these say, a row for each configuration."""
        return sweep.summary(self.seeds)

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

    def speed(self, row: str) -> float:
        """The first number in a row of the table of speeds."""
        found = re.search(rf"^{re.escape(row)} +([\d.]+)", (self.results / "throughput.txt").read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f"results/throughput.txt has no row {row!r}: measure it anew, or mend the number's name")
        return float(found[1])


def numbers(data: Data) -> dict[str, Callable[[], str]]:
    """How each number or table is made of the data, by its name."""
    return {
        "seeds.table": partial(_seeds_table, data),
        "seeds.readme": partial(_readme_table, data),
        **{f"reached.{name}": partial(_reached, data, name) for name in CONFIG_NAMES},
        "quiet.table": lambda: _quiet_table(
            {
                **{name: [run for run in data.seeds if run["configuration"] == name] for name in ("cpg", "aac")},
                "aac, before": data.first_choice,
            }
        ),
        "tuning.table": lambda: _tuning_table(data.tuning),
        "ablation.table": lambda: _ablation_table(data.ablation),
        **{f"one_step.{name}": partial(_one_step, data, name) for name in ("cpg", "aac")},
        "first.reached": lambda: sweep.summary(data.first_choice)[0][sweep.REACHED],
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
    return format(round(data.speed(row), digits), form)


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
    rows = {row["configuration"]: row[sweep.REACHED] for row in sweep.summary(data.ablation)}
    return next(reached for what, reached in rows.items() if what.startswith(f"{name} action_repeat=1 "))


def _own_table(data: Data) -> str:
    """The runs of the notebook's seed. How the long one ended is in the record of many seeds, once it is there."""
    rows = [_own_row(f"`{name}`", run, run) for name, run in data.own.items()]
    ends = [run for run in data.seeds if (run["configuration"], run["seed"]) == (LONG_NAME, experiments.SEED)]
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


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
