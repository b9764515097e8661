"""Training data in, a figure out.

All figures are as wide as a column of text, and are drawn in the style of `STYLE`.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cs236781.files import write_whole
from hw4.env import REWARD_THRESHOLD
from hw4.experiments import LONG_NAME
from hw4.files import PathLike
from hw4.study.statistics import bootstrap_ci
from hw4.study.sweep import episodes_to

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
    LONG_NAME: "#CC79A7",
}
LINES: dict[str, Any] = {
    "vpg": ":",
    "epg": (0, (5, 1, 1, 1)),
    "bpg": "-.",
    "cpg": "-",
    "aac": (0, (6, 1)),
    LONG_NAME: (0, (2, 1)),  # it begins as aac does, and would cover it
}
WIDTH = 7.0  # inches, of every figure: that of a column of text
STYLE: Any = {"font.size": 8.5, "axes.titlesize": 9, "legend.fontsize": 7.5}
LEVELS = (0, 100, 150, 200)  # mean rewards, which the race is to
REWARD_NAME = "mean total reward of fresh episodes (points)"


@contextlib.contextmanager
def _in_style() -> Iterator[None]:
    """Also a decorator, as which matplotlib's own is not typed."""
    with plt.rc_context(STYLE):
        yield


@_in_style()
def plot_experiment_results(results: Mapping[str, Mapping[str, Any]], fig: Figure | None = None) -> Figure:
    """Plot what happened in training: 2 x 2 panels of `loss_p`, `baseline`, `loss_e`, `mean_reward` against episodes.

    :param results: {configuration: training_data}. A panel leaves out what a configuration did not record.
    :param fig: a figure that this function returned, to draw further configurations into it.
    """
    fig = _grid() if fig is None else fig
    for ax, name in zip(fig.axes, PANELS, strict=True):
        for config, data in results.items():
            if len(data.get(name, ())):
                if "episode_num" not in data:
                    raise ValueError(f"{config} has no episode_num, against which {name} is drawn")
                style, colour = LINES.get(config, "-"), COLOURS.get(config)
                ax.plot(data["episode_num"], data[name], label=config, linestyle=style, color=colour, linewidth=0.8)
        _describe(ax, name, PANELS[name])
        _label_ends(ax)
    return fig


@_in_style()
def plot_seeds(runs: Sequence[Record]) -> Figure:
    """Learning curves over seeds, in the panels of `plot_experiment_results`: a line is the interquartile mean of the
    seeds, whose number stands beside its name, and its band the 95% bootstrap interval.

    :param runs: a sweep's records. Those without curves are left out, and the long runs, unless they are all there is.
        The seeds of a configuration have the same batch size.
    :raises ValueError: if the runs of a configuration are not of one length.
    """
    fig = _grid()
    groups = group_by_configuration(_but_long([run for run in runs if run.get("curves", {}).get("episode_num")]))
    for ax, name in zip(fig.axes, PANELS, strict=True):
        for config, group in groups.items():
            curves = [run["curves"] for run in group]
            if len({len(curve.get(name, ())) for curve in curves}) > 1:
                raise ValueError(f"the runs of {config} are not of one length: draw those of one sweep alone")
            if name in curves[0]:
                middle, low, high = bootstrap_ci(np.array([curve[name] for curve in curves]))
                label = f"{config} ({len(group)})"
                episodes = curves[0]["episode_num"]
                ax.plot(episodes, middle, linestyle=LINES[config], label=label, color=COLOURS[config], linewidth=1.2)
                ax.fill_between(episodes, low, high, color=COLOURS[config], alpha=0.15, linewidth=0)
        _describe(ax, name, PANELS[name])
        _label_ends(ax)
    return fig


@_in_style()
def plot_evaluations(runs: Sequence[Record]) -> Figure:
    """What the final policies of each seed earn on fresh episodes: a dot for each seed, and a bar for the
    interquartile mean, with its 95% bootstrap interval.
    """
    groups = group_by_configuration([run for run in runs if run["evaluation"]])
    fig, ax = _subplots(height=3.6)
    for column, (config, group) in enumerate(groups.items()):
        for x, choice, fill in ((column - 0.2, "sampled", COLOURS[config]), (column + 0.2, "greedy", "none")):
            means = np.array([run["evaluation"]["final"][choice]["mean"] for run in group])
            middle, low, high = bootstrap_ci(means)
            ax.bar(x, middle, 0.36, color=fill, edgecolor=COLOURS[config], alpha=0.6)
            ax.errorbar(x, middle, [[middle - low], [high - middle]], color="black", capsize=3)
            spread = x + np.linspace(-0.15, 0.15, len(means))
            ax.plot(spread, means, "o", color="black", markersize=2, markerfacecolor="white", markeredgewidth=0.5)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.axhline(REWARD_THRESHOLD, color="0.4", linestyle=":", linewidth=1)
    ax.set_title("final weights; left and filled: actions sampled; right and empty: greedy")
    ax.set_ylabel(REWARD_NAME)
    ax.grid(axis="y", alpha=0.3)
    return fig


@_in_style()
def plot_fraction_reached(runs: Sequence[Record]) -> Figure:
    """The fraction of seeds whose mean reward of the last 100 episodes has reached 200, against the episodes played.

    :param runs: a sweep's records. The long runs are left out, unless they are all there is.
    """
    fig, ax = _subplots(height=3.2)
    for config, group in group_by_configuration(_but_long(runs)).items():
        reached = sorted(run["episodes_to_200"] for run in group if run["episodes_to_200"] is not None)
        episodes = [0, *reached, group[0]["episodes"]]
        percent = [100 * k / len(group) for k in (*range(len(reached) + 1), len(reached))]
        label = f"{config}: {len(reached)} of {len(group)}"
        ax.step(episodes, percent, linestyle=LINES[config], where="post", label=label, color=COLOURS[config])
    ax.set_ylim(-2, 102)
    _describe(ax, "seeds that have reached a mean reward of 200", "fraction of seeds (%)")
    _label_ends(ax)
    return fig


@_in_style()
def plot_ablation(runs: Sequence[Record]) -> Figure:
    """The best mean reward of each seed, for each set of overrides: a dot for each seed, and a line at the median."""
    groups = group_by_configuration(runs)
    fig, axes = _subplots(nrows=len(groups), height=3.2 * len(groups), sharex=True, squeeze=False)
    for ax, (config, group) in zip(axes[:, 0], groups.items(), strict=True):
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


@_in_style()
def plot_gradient_noise(analysis: Mapping[str, Any]) -> Figure:
    """Question 1: how much the gradient differs from batch to batch, by what weights log pi(a|s), at stages of a run.

    :param analysis: what `analysis.analyse` returned. The plots below take the same.
    """
    stages = analysis["stages"]
    first = next(iter(stages.values()))
    fig, ax = _subplots(height=3.2)
    for number, (name, colour) in enumerate(zip(first["gradient"], COLOURS.values(), strict=False)):
        variances = [stage["gradient"][name]["variance"] for stage in stages.values()]
        columns = np.arange(len(stages)) + 0.18 * (number - (len(first["gradient"]) - 1) / 2)
        bars = ax.bar(columns, variances, 0.16, label=name, color=colour)
        ax.bar_label(bars, [f"{float(f'{variance:.3g}'):,g}" for variance in variances], fontsize=6)
    ax.set_yscale("log")
    ax.set_xticks(
        range(len(stages)), [f"{name},\nafter {stage['episodes']} episodes" for name, stage in stages.items()]
    )
    ax.set_title(f"the policy gradient's variance over {first['batches']} batches, at the same parameters")
    ax.set_ylabel("sum of the components' variances\n(logarithmic scale)")
    ax.grid(axis="y", alpha=0.3)
    ax.legend(title="log π(a|s) weighted with", loc="upper left", bbox_to_anchor=(1, 1))
    return fig


@_in_style()
def plot_critic(analysis: Mapping[str, Any]) -> Figure:
    """Question 2: the critic's predictions beside the returns that followed, and how much of these it explains."""
    fig, grid = _subplots(nrows=2, ncols=2, height=5.2)
    axes = grid.flat
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
    axes[-1].legend()
    return fig


@_in_style()
def plot_state_occupancy(analysis: Mapping[str, Any]) -> Figure:
    """Question 3: how high the lander is, step by step, and where it spends its time doing what."""
    stages = analysis["stages"]
    fig, (left, right) = _subplots(nrows=2, height=5.4)
    styles = ((":", "#D55E00"), ("--", "#767676"), ("-", "#0072B2"))
    for (name, stage), (style, colour) in zip(stages.items(), styles, strict=False):
        ends = ", ".join(f"{fraction:.0%} {end}" for end, fraction in stage["time"]["ends"].items())
        left.plot(stage["time"]["height"], linestyle=style, color=colour, label=f"{name} ({ends})")
    _describe(left, "median height over the episodes that still fly", "height above the pad")
    left.legend()
    left.set_xlabel("decision")
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


@_in_style()
def plot_race(runs: Sequence[Record], own: Mapping[str, Mapping[str, Any]] | None = None) -> Figure:
    """How many episodes each seed took to each of `LEVELS`: a dot for each, and a line at the median over all seeds.

    Seeds that never get there stand in a column of their own, and count as later than all others.

    :param runs: a sweep's records. The long runs, which begin as `aac` does, are left out.
    :param own: {configuration: training_data} of the notebook's seed; it is drawn as a ring.
    """
    groups = group_by_configuration(_but_long(runs))
    fig, axes = _subplots(ncols=len(LEVELS), height=0.6 + 0.45 * len(groups), sharex=True, sharey=True)
    end = max(run["episodes"] for group in groups.values() for run in group)
    never = 1.12 * end
    for ax, level in zip(axes, LEVELS, strict=True):
        for row, (config, group) in enumerate(groups.items()):
            reached = [_episodes_to(level, run) for run in group]
            taken = np.array([never if episodes is None else episodes for episodes in reached])
            heights = row + np.linspace(-0.28, 0.28, len(taken))
            ax.plot(taken, heights, "o", color=COLOURS[config], markersize=2.5, alpha=0.6, markeredgewidth=0)
            ax.plot([np.median(taken)] * 2, [row - 0.4, row + 0.4], color="black", linewidth=1.5)
            if own and config in own:
                mine = episodes_to(level, own[config])
                x = never if mine is None else mine
                ax.plot([x], [row], "o", color="black", markerfacecolor="none", markersize=6)
        ax.axvspan(1.04 * end, 1.2 * end, color="0.92", zorder=0)
        ax.set_title(f"to {level}")
        ax.set_xlabel("episodes")
        ax.set_xticks([0, end // 2, never], ["0", f"{end // 2}", "never"])
        ax.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(groups)), [f"{name} ({len(group)})" for name, group in groups.items()])
    axes[0].set(xlim=(-0.03 * end, 1.2 * end), ylim=(len(groups) - 0.5, -0.5))
    return fig


def _episodes_to(level: float, run: Record) -> int | None:
    """How many episodes a run took to a mean reward; as it is known exactly to 200, and else from its curve."""
    return run["episodes_to_200"] if level == REWARD_THRESHOLD else episodes_to(level, run["curves"])


PAIRED: Mapping[str, Callable[[Record], float | None]] = {
    "episodes to 200": lambda run: run["episodes_to_200"],
    "best mean reward": lambda run: run["best_mean_reward"],
    "final policy, fresh episodes": lambda run: run["evaluation"]["final"]["sampled"]["mean"],
}


@_in_style()
def plot_pairs(runs: Sequence[Record], first: str = "aac", second: str = "cpg") -> Figure:
    """The difference between two configurations, seed by seed: a dot for each seed that both have.

    The line is the interquartile mean, and the band its 95% bootstrap interval. Of a figure that a seed lacks in one of
    the two, there is no difference; the title says how many have one.
    """
    by_seed = [{run["seed"]: run for run in runs if run["configuration"] == name} for name in (first, second)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    fig, axes = _subplots(ncols=len(PAIRED), height=2.2)
    for ax, (name, figure_of) in zip(axes, PAIRED.items(), strict=True):
        pairs = [[figure_of(records[seed]) for records in by_seed] for seed in seeds]
        differences = np.array([float(a - b) for a, b in pairs if a is not None and b is not None])
        ax.axvline(0, color="0.4", linestyle=":", linewidth=1)
        title = f"{name}\n{first} - {second}, {len(differences)} of {len(seeds)} seeds"
        if len(differences):
            ax.plot(np.sort(differences), np.linspace(-0.4, 0.4, len(differences)), "o", color="0.45", markersize=2.5)
            middle, low, high = bootstrap_ci(differences)
            ax.axvspan(float(low), float(high), color=COLOURS["aac"], alpha=0.3, linewidth=0)
            ax.axvline(float(middle), color=COLOURS["aac"], linewidth=1.5)
            title += f"\n{middle:.0f} ({low:.0f} to {high:.0f})"
        ax.set_title(title)
        ax.set_yticks([])
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


def _but_long(runs: Sequence[Record]) -> Sequence[Record]:
    """Those but the long ones, which begin as `aac` does and draw out the axis; all, where there are no others."""
    return [run for run in runs if run["configuration"] != LONG_NAME] or runs


def _subplots(*, height: float, **grid: Any) -> tuple[Figure, Any]:
    """As matplotlib's, of the width of all figures here."""
    return plt.subplots(figsize=(WIDTH, height), layout="constrained", **grid)


def _grid() -> Figure:
    return _subplots(nrows=2, ncols=2, height=5.6, sharex=True)[0]


def _describe(ax: Axes, title: str, ylabel: str) -> None:
    ax.set_title(title)
    ax.set_ylabel(ylabel)
    ax.set_xlabel("episode")
    ax.grid(alpha=0.3)


def _label_ends(ax: Axes) -> None:
    """Name each line at its right end, in its colour; one above the other, where the ends are close."""
    for text in list(ax.texts):  # of an earlier call
        text.remove()
    low, high = ax.get_ylim()
    ends = sorted(
        (float(np.asarray(line.get_ydata())[-1]), str(line.get_label()), line.get_color()) for line in ax.lines
    )
    gap = 0.07 * (high - low)
    places = np.array([y for y, _, _ in ends])
    for row in range(1, len(places)):
        places[row] = max(places[row], places[row - 1] + gap)
    top = high - gap * np.arange(len(places))[::-1]  # where they would be if they all hung from above
    for place, (_, label, colour) in zip(np.minimum(places, top), ends, strict=True):
        how: Any = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": "small", "parse_math": False}
        ax.text(1.02, place, label, color=colour, **how)
