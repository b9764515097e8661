"""Training data in, a figure out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hw4.env import REWARD_THRESHOLD
from hw4.files import PathLike, replacing
from hw4.study.statistics import estimate

PANELS = {
    "loss_p": "policy loss",
    "baseline": "baseline (mean q)",
    "loss_e": "entropy loss",
    "mean_reward": "mean total reward, last 100 episodes",
}
# Okabe & Ito's colours, which colour-blind readers tell apart too (https://jfly.uni-koeln.de/color/).
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

    :param results: {configuration: training_data}; a panel leaves out what a configuration did not record.
    :param fig: a figure that this function returned, to draw further configurations into it.
    """
    if fig is None:
        fig, _ = plt.subplots(nrows=2, ncols=2, sharex=True, figsize=(14, 9), layout="constrained")
    for ax, (name, description) in zip(fig.axes, PANELS.items(), strict=True):
        for config, training_data in results.items():
            if name in training_data:
                ax.plot(
                    training_data["episode_num"],
                    training_data[name],
                    label=config,
                    color=COLOURS.get(config),
                    linewidth=1,
                )
        _describe(ax, name, description)
    return fig


def group_by_configuration(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """A sweep's records by their configuration, in the order of COLOURS."""
    names = sorted({run["configuration"] for run in runs}, key=lambda name: [*COLOURS, name].index(name))
    return {name: [run for run in runs if run["configuration"] == name] for name in names}


def plot_seeds(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Learning curves over seeds, in the panels of `plot_experiment_results`: a line is the interquartile mean of the
    seeds, and its band the 95% bootstrap interval.

    :param runs: a sweep's records; the seeds of a configuration have the same length and batch size.
    """
    fig, _ = plt.subplots(nrows=2, ncols=2, sharex=True, figsize=(14, 9), layout="constrained")
    for ax, (name, description) in zip(fig.axes, PANELS.items(), strict=True):
        for config, group in group_by_configuration(runs).items():
            if name in group[0]["curves"]:
                episodes = group[0]["curves"]["episode_num"]
                middle, low, high = estimate(np.array([run["curves"][name] for run in group]))
                ax.plot(episodes, middle, LINES[config], label=f"{config} ({len(group)} seeds)", color=COLOURS[config])
                ax.fill_between(episodes, low, high, color=COLOURS[config], alpha=0.15, linewidth=0)
        _describe(ax, name, description)
    return fig


def plot_evaluations(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """What the final and the best policies of each seed earn on fresh episodes: a dot for each seed; the interquartile
    mean as a bar, with its 95% bootstrap interval.
    """
    fig, axes = plt.subplots(ncols=2, sharey=True, figsize=(14, 5), layout="constrained")
    groups = group_by_configuration(runs)
    for ax, weights in zip(axes, ("final", "best"), strict=True):
        for column, (config, group) in enumerate(groups.items()):
            for offset, choice, fill in ((-0.2, "stochastic", COLOURS[config]), (0.2, "greedy", "none")):
                means = np.array([run["evaluation"][weights][choice]["mean"] for run in group])
                middle, low, high = estimate(means)
                ax.bar(column + offset, middle, 0.36, color=fill, edgecolor=COLOURS[config], alpha=0.6)
                ax.errorbar(column + offset, middle, [[middle - low], [high - middle]], color="black", capsize=3)
                spread = column + offset + np.linspace(-0.1, 0.1, len(means))
                ax.plot(spread, means, "o", color="black", markersize=3.5, markerfacecolor="white")
        ax.set_xticks(range(len(groups)), list(groups))
        ax.axhline(REWARD_THRESHOLD, color="0.4", linestyle=":", linewidth=1)
        ax.set_title(f"{weights} weights")
        ax.set_ylabel("mean total reward of fresh episodes (points)")
        ax.grid(axis="y", alpha=0.3)
    fig.suptitle("left and filled: actions drawn; right and empty: likeliest action", fontsize="medium")
    return fig


def plot_share_reached(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """The share of seeds whose mean reward of the last 100 episodes has reached 200, against the episodes played."""
    fig, ax = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for config, group in group_by_configuration(runs).items():
        reached = sorted(run["episodes_to_200"] for run in group if run["episodes_to_200"] is not None)
        episodes = [0, *reached, group[0]["episodes"]]
        shares = [100 * k / len(group) for k in (*range(len(reached) + 1), len(reached))]
        label = f"{config}: {len(reached)} of {len(group)}"
        ax.step(episodes, shares, LINES[config], where="post", label=label, color=COLOURS[config])
    ax.set_ylim(-2, 102)
    _describe(ax, "seeds that have reached a mean reward of 200", "share of seeds (%)")
    return fig


def save(figure: Figure, filename: PathLike, dpi: int) -> None:
    """Write a figure, whole or not at all, in the format that the file's ending names."""
    with replacing(filename) as file:
        figure.savefig(file, format=Path(filename).suffix.lstrip(".") or "png", dpi=dpi)


def _describe(ax: Axes, title: str, ylabel: str) -> None:
    ax.set_title(title)
    ax.set_ylabel(ylabel)
    ax.set_xlabel("episode")
    ax.grid(alpha=0.3)
    if ax.lines:
        ax.legend()


def plot_gradient_noise(analysis: Mapping[str, Any]) -> Figure:
    """Question 1: how much the gradient differs from batch to batch, by what weighs log pi(a|s), at stages of a run.

    :param analysis: what `analysis.analyse` returned; as for the plots below.
    """
    stages = analysis["stages"]
    fig, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
    names = list(next(iter(stages.values()))["gradient"])
    for offset, (name, colour) in enumerate(zip(names, COLOURS.values(), strict=False)):
        variances = [stage["gradient"][name]["variance"] for stage in stages.values()]
        columns = np.arange(len(stages)) + 0.2 * (offset - (len(names) - 1) / 2)
        bars = ax.bar(columns, variances, 0.18, label=name, color=colour)
        ax.bar_label(bars, [f"{variance:.3g}" for variance in variances], fontsize=9)
    ax.set_yscale("log")
    ax.set_xticks(range(len(stages)), [f"{name}: after {stage['episodes']} episodes" for name, stage in stages.items()])
    batches = next(iter(stages.values()))["batches"]
    ax.set_title(f"the policy gradient's variance over {batches} batches, at the same parameters")
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


def plot_time_use(analysis: Mapping[str, Any]) -> Figure:
    """Question 3: how high the lander is, step by step, and where it spends its time doing what."""
    stages = analysis["stages"]
    fig, (left, right) = plt.subplots(ncols=2, figsize=(14, 4.5), layout="constrained")
    for name, stage in stages.items():
        ends = ", ".join(f"{share:.0%} {end}" for end, share in stage["time"]["ends"].items())
        left.plot(stage["time"]["height"], label=f"{name} ({ends})")
    _describe(left, "height, median over the episodes that go on", "height above the pad (world units)")
    left.set_xlabel("step")
    actions = ("nothing", "left engine", "main engine", "right engine")
    labels = [f"{name}, {place}" for name, stage in stages.items() for place in stage["time"]["where"]]
    bottoms = np.zeros(len(labels))
    for number, (action, colour) in enumerate(zip(actions, ("0.8", *list(COLOURS.values())[:3]), strict=True)):
        places = [place for stage in stages.values() for place in stage["time"]["where"].values()]
        shares = np.array([100 * place["share"] * place["actions"][number] for place in places])
        right.barh(range(len(labels)), shares, left=bottoms, color=colour, label=action)
        bottoms = bottoms + shares
    right.set_yticks(range(len(labels)), labels)
    right.invert_yaxis()
    right.set_title("what it does, and where")
    right.set_xlabel("share of all steps (%)")
    right.grid(axis="x", alpha=0.3)
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig
