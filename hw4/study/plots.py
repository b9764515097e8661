"""Training data in, a figure out."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cs236781.files import write_whole
from hw4.env import REWARD_THRESHOLD
from hw4.files import PathLike
from hw4.study.statistics import bootstrap_ci

Record = Mapping[str, Any]  # of a sweep

PANELS = {
    "loss_p": "policy loss",
    "baseline": "baseline (mean q)",
    "loss_e": "entropy loss",
    "mean_reward": "mean total reward, last 100 episodes",
}
# Okabe & Ito's colours: colour-blind readers can tell them apart too (https://jfly.uni-koeln.de/color/).
COLOURS = {
    "vpg": "#E69F00",
    "epg": "#56B4E9",
    "bpg": "#009E73",
    "cpg": "#0072B2",
    "aac": "#D55E00",
    "aac_long": "#CC79A7",
}
LINES = {**dict.fromkeys(COLOURS, "-"), "aac_long": "--"}  # the long run begins as aac does, and would cover it


def plot_experiment_results(results: Mapping[str, Mapping[str, Any]], fig: Figure | None = None) -> Figure:
    """Plot what happened in training: 2 x 2 panels of `loss_p`, `baseline`, `loss_e`, `mean_reward` against episodes.

    :param results: {configuration: training_data}. A panel leaves out what a configuration did not record.
    :param fig: a figure that this function returned, to draw further configurations into it.
    """
    fig = _grid() if fig is None else fig
    for ax, name in zip(fig.axes, PANELS, strict=True):
        for config, data in results.items():
            if name in data:
                ax.plot(data["episode_num"], data[name], label=config, color=COLOURS.get(config), linewidth=1)
        _describe(ax, name, PANELS[name])
    return fig


def plot_seeds(runs: Sequence[Record]) -> Figure:
    """Learning curves over seeds, in the panels of `plot_experiment_results`: a line is the interquartile mean of the
    seeds, and its band the 95% bootstrap interval.

    :param runs: a sweep's records. The seeds of a configuration have the same length and batch size.
    """
    fig = _grid()
    for ax, name in zip(fig.axes, PANELS, strict=True):
        for config, group in group_by_configuration(runs).items():
            if name in group[0]["curves"]:
                episodes = group[0]["curves"]["episode_num"]
                middle, low, high = bootstrap_ci(np.array([run["curves"][name] for run in group]))
                ax.plot(episodes, middle, LINES[config], label=f"{config} ({len(group)} seeds)", color=COLOURS[config])
                ax.fill_between(episodes, low, high, color=COLOURS[config], alpha=0.15, linewidth=0)
        _describe(ax, name, PANELS[name])
    return fig


def plot_evaluations(runs: Sequence[Record]) -> Figure:
    """What the final policies of each seed earn on fresh episodes: a dot for each seed, and a bar for the
    interquartile mean, with its 95% bootstrap interval.
    """
    fig, ax = plt.subplots(figsize=(9, 5), layout="constrained")
    groups = group_by_configuration([run for run in runs if run["evaluation"]])
    for column, (config, group) in enumerate(groups.items()):
        for x, choice, fill in ((column - 0.2, "sampled", COLOURS[config]), (column + 0.2, "greedy", "none")):
            means = np.array([run["evaluation"]["final"][choice]["mean"] for run in group])
            middle, low, high = bootstrap_ci(means)
            ax.bar(x, middle, 0.36, color=fill, edgecolor=COLOURS[config], alpha=0.6)
            ax.errorbar(x, middle, [[middle - low], [high - middle]], color="black", capsize=3)
            spread = x + np.linspace(-0.15, 0.15, len(means))
            ax.plot(spread, means, "o", color="black", markersize=3, markerfacecolor="white")
    ax.set_xticks(range(len(groups)), list(groups))
    ax.axhline(REWARD_THRESHOLD, color="0.4", linestyle=":", linewidth=1)
    ax.set_title("final weights; left and filled: actions sampled; right and empty: greedy", fontsize="medium")
    ax.set_ylabel("mean total reward of fresh episodes (points)")
    ax.grid(axis="y", alpha=0.3)
    return fig


def plot_fraction_reached(runs: Sequence[Record]) -> Figure:
    """The fraction of seeds whose mean reward of the last 100 episodes has reached 200, against the episodes played."""
    fig, ax = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for config, group in group_by_configuration(runs).items():
        reached = sorted(run["episodes_to_200"] for run in group if run["episodes_to_200"] is not None)
        episodes = [0, *reached, group[0]["episodes"]]
        percent = [100 * k / len(group) for k in (*range(len(reached) + 1), len(reached))]
        label = f"{config}: {len(reached)} of {len(group)}"
        ax.step(episodes, percent, LINES[config], where="post", label=label, color=COLOURS[config])
    ax.set_ylim(-2, 102)
    _describe(ax, "seeds that have reached a mean reward of 200", "fraction of seeds (%)")
    return fig


def plot_ablation(runs: Sequence[Record]) -> Figure:
    """The best mean reward of each seed, for each set of overrides: a dot for each seed, and a line at the median."""
    groups = group_by_configuration(runs)
    fig, axes = plt.subplots(ncols=len(groups), figsize=(14, 5), layout="constrained", sharex=True, squeeze=False)
    for ax, (config, group) in zip(axes[0], groups.items(), strict=True):
        pieces = list(dict.fromkeys(" ".join(run["overrides"]) for run in group))
        for row, piece in enumerate(pieces):
            best = [run["best_mean_reward"] for run in group if " ".join(run["overrides"]) == piece]
            ax.plot(sorted(best), row + np.linspace(-0.3, 0.3, len(best)), "o", color=COLOURS[config], markersize=4)
            ax.plot([np.median(best)] * 2, [row - 0.4, row + 0.4], color="black", linewidth=2)
        ax.axvline(REWARD_THRESHOLD, color="0.4", linestyle=":", linewidth=1)
        ax.set_yticks(range(len(pieces)), [piece or "the recipe" for piece in pieces])
        ax.invert_yaxis()
        ax.set_title(config)
        ax.set_xlabel("best mean reward of 100 episodes")
        ax.grid(axis="x", alpha=0.3)
    return fig


def plot_gradient_noise(analysis: Mapping[str, Any]) -> Figure:
    """Question 1: how much the gradient differs from batch to batch, by what weights log pi(a|s), at stages of a run.

    :param analysis: what `analysis.analyse` returned. The plots below take the same.
    """
    stages = analysis["stages"]
    first = next(iter(stages.values()))
    fig, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for number, (name, colour) in enumerate(zip(first["gradient"], COLOURS.values(), strict=False)):
        variances = [stage["gradient"][name]["variance"] for stage in stages.values()]
        columns = np.arange(len(stages)) + 0.2 * (number - (len(first["gradient"]) - 1) / 2)
        bars = ax.bar(columns, variances, 0.18, label=name, color=colour)
        ax.bar_label(bars, [f"{variance:.3g}" for variance in variances], fontsize=9)
    ax.set_yscale("log")
    ax.set_xticks(range(len(stages)), [f"{name}: after {stage['episodes']} episodes" for name, stage in stages.items()])
    ax.set_title(f"the policy gradient's variance over {first['batches']} batches, at the same parameters")
    ax.set_ylabel("sum of the components' variances")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(title="log π(a|s) weighted with")
    return fig


def plot_critic(analysis: Mapping[str, Any]) -> Figure:
    """Question 2: the critic's predictions beside the returns that followed, and how much of these it explains."""
    fig, axes = plt.subplots(ncols=len(analysis["stages"]) + 1, figsize=(16, 4.2), layout="constrained")
    for ax, (name, stage) in zip(axes, analysis["stages"].items(), strict=False):
        critic = stage["critic"]
        ax.fill_between(critic["v"], critic["q10"], critic["q90"], alpha=0.2, label="80% of the returns")
        ax.plot(critic["v"], critic["q"], "o-", markersize=3, label="mean return")
        ends = [min(critic["v"]), max(critic["v"])]
        ax.plot(ends, ends, color="0.4", linestyle=":", label="as predicted")
        ax.set_title(f"{name}, after {stage['episodes']} episodes")
        ax.set_xlabel("predicted v(s)")
        ax.set_ylabel("return q that followed")
        ax.grid(alpha=0.3)
    axes[0].legend()
    readings = analysis["explained_variance"]
    axes[-1].plot(readings["episodes"], readings["value"], "o-", markersize=3, label="the critic")
    axes[-1].axhline(0, color="0.4", linestyle=":", label="a constant")
    _describe(axes[-1], "what the critic explains", "explained variance of the returns")
    return fig


def plot_state_occupancy(analysis: Mapping[str, Any]) -> Figure:
    """Question 3: how high the lander is, step by step, and where it spends its time doing what."""
    stages = analysis["stages"]
    fig, (left, right) = plt.subplots(ncols=2, figsize=(14, 4.5), layout="constrained")
    for name, stage in stages.items():
        ends = ", ".join(f"{fraction:.0%} {end}" for end, fraction in stage["time"]["ends"].items())
        left.plot(stage["time"]["height"], label=f"{name} ({ends})")
    _describe(left, "height, median over the episodes that go on", "height above the pad (world units)")
    left.set_xlabel("step")
    places = {f"{name}, {place}": at for name, stage in stages.items() for place, at in stage["time"]["where"].items()}
    bottoms = np.zeros(len(places))
    actions = {"nothing": "0.8", "left engine": "#E69F00", "main engine": "#56B4E9", "right engine": "#009E73"}
    for number, (action, colour) in enumerate(actions.items()):
        percent = np.array([100 * at["share"] * at["actions"][number] for at in places.values()])
        right.barh(range(len(places)), percent, left=bottoms, color=colour, label=action)
        bottoms = bottoms + percent
    right.set_yticks(range(len(places)), list(places))
    right.invert_yaxis()
    right.set_title("what it does, and where")
    right.set_xlabel("fraction of all steps (%)")
    right.grid(axis="x", alpha=0.3)
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def save(figure: Figure, filename: PathLike, dpi: int) -> None:
    """Write a figure, whole or not at all, in the format that the file's ending names.

    :raises ValueError: if there is no such format.
    """
    drawn, kind = io.BytesIO(), Path(filename).suffix.lstrip(".")
    if kind not in (kinds := figure.canvas.get_supported_filetypes()):
        raise ValueError(f"{filename} is no kind of figure: let it end in one of {', '.join(sorted(kinds))}")
    figure.savefig(drawn, format=kind, dpi=dpi)
    write_whole(Path(filename), drawn.getvalue())


def group_by_configuration(runs: Sequence[Record]) -> dict[str, list[Record]]:
    """A sweep's records by their configuration, in the order of COLOURS."""
    groups = {name: [run for run in runs if run["configuration"] == name] for name in COLOURS}
    return {name: group for name, group in groups.items() if group}


def _grid() -> Figure:
    return plt.subplots(nrows=2, ncols=2, sharex=True, figsize=(14, 9), layout="constrained")[0]


def _describe(ax: Axes, title: str, ylabel: str) -> None:
    ax.set_title(title)
    ax.set_ylabel(ylabel)
    ax.set_xlabel("episode")
    ax.grid(alpha=0.3)
    if ax.lines:
        ax.legend()
