"""The lesson's pictures: flights, what a policy does where, and how noisy gradients are.

All are as wide as a column of text, and say in words at the lines what the colours mean.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from hw4.study import toys
from hw4.study.clouds import REFERENCE, Cloud
from hw4.study.lesson import HEIGHT, KEPT, Y_SPEED, Course, Lesson, Map, X, map_of
from hw4.study.lesson_update import Update
from hw4.study.plots import COLOURS

WIDTH = 7.0  # inches
FONT: Any = {"font.size": 8.5, "axes.titlesize": 9}
# Okabe & Ito's colours: colour-blind readers can tell them apart too (https://jfly.uni-koeln.de/color/).
BLUE, VERMILION, GREY = COLOURS["cpg"], COLOURS["aac"], "#767676"
ENDINGS = {"crash": (VERMILION, "-", "x"), "time limit": (GREY, "--", "s"), "at rest": (BLUE, "-", "o")}
PAD = (-0.2, 0.2)  # where the flags stand
ARROW: Any = {"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0}
ACTIONS = {0: "no engine", 2: "main engine"}  # of an update's picture: the two that braking is made of
STALE_RATES = (0.3, 1.0)
DESCENT = -0.3  # vertical speed on the maps of x and height


def plot_landings(lesson: Lesson) -> Figure:
    """All flights at each stage, over x and height: a line for each, by how it ended, and a mark at its end."""
    with plt.rc_context(FONT):
        fig, axes = plt.subplots(
            ncols=len(lesson.stages), figsize=(WIDTH, 2.75), sharex=True, sharey=True, layout="constrained"
        )
        for ax, stage in zip(axes, lesson.stages, strict=True):
            for flight in stage.flights:
                x, height = _feature(flight, X), _feature(flight, HEIGHT)
                colour, line, mark = ENDINGS[flight.ending]
                ax.plot(x, height, line, color=colour, linewidth=0.8, alpha=0.55)
                ax.plot(x[-1], height[-1], mark, color=colour, markersize=3.5, markerfacecolor="white")
            ax.plot(PAD, (0, 0), color="black", linewidth=3, solid_capstyle="butt", zorder=0)
            ax.axhline(0, color="black", linewidth=0.6, zorder=0)
            for row, (ending, (colour, _, _)) in enumerate(ENDINGS.items()):
                count = sum(flight.ending == ending for flight in stage.flights)
                text = f"{count} {ending}"
                ax.text(0.5, -0.3 - 0.11 * row, text, color=colour, ha="center", va="top", transform=ax.transAxes)
            mean = np.mean([flight.total_reward for flight in stage.flights])
            ax.set_title(f"after {stage.episodes} episodes\nmean reward {mean:.0f}")
            ax.set_xlabel("x")
            ax.spines[["top", "right"]].set_visible(False)
        axes[0].set(xlim=(-1.05, 1.05), ylim=(-0.35, 1.65), xticks=(-0.5, 0, 0.5), ylabel="height")
        axes[0].text(0, -0.1, "pad", ha="center", va="top", fontsize=7)
    return fig


def _feature(flight: Course, feature: int) -> np.ndarray:
    return flight.states[:, KEPT.index(feature)]


def plot_braking(lesson: Lesson) -> Figure:
    """P(main engine) and v(s) over height and vertical speed at each stage, upright over the pad, and some flights.

    A flight runs from the right, where it is high, to the left.
    """
    maps = [map_of(stage.p_net, (HEIGHT, 0.0, 1.5), (Y_SPEED, -1.2, 0.4)) for stage in lesson.stages]
    return _plot_maps(lesson, maps, (HEIGHT, Y_SPEED), ("height", "vertical speed"))


def plot_places(lesson: Lesson) -> Figure:
    """P(main engine) and v(s) over x and height at each stage, upright and falling at `DESCENT`, and some flights."""
    elsewhere = {Y_SPEED: DESCENT}
    maps = [map_of(stage.p_net, (X, -1.0, 1.0), (HEIGHT, 0.0, 1.5), elsewhere) for stage in lesson.stages]
    return _plot_maps(lesson, maps, (X, HEIGHT), ("x", "height"))


def _plot_maps(lesson: Lesson, maps: Sequence[Map], features: tuple[int, int], names: tuple[str, str]) -> Figure:
    with plt.rc_context(FONT):
        fig, axes = plt.subplots(2, len(maps), figsize=(WIDTH, 3.9), sharex=True, sharey=True, layout="constrained")
        for (top, bottom), stage, of_stage in zip(axes.T, lesson.stages, maps, strict=True):
            x, y = of_stage.across[[0, -1]], of_stage.up[[0, -1]]
            main = top.imshow(of_stage.probabilities[..., 2], vmin=0, vmax=1, cmap="viridis", origin="lower")
            value = bottom.imshow(of_stage.values, cmap="cividis", origin="lower")
            for image in (main, value):
                image.set(extent=(*x, *y))
                image.axes.set(aspect="auto", xlim=x, ylim=y)
            fig.colorbar(value, ax=bottom, location="bottom", pad=0.02, aspect=12)
            for ax in (top, bottom):
                for flight in stage.flights[:6]:
                    course = [_feature(flight, feature) for feature in features]
                    ax.plot(*course, color="black", linewidth=1.6)  # an edge: the line is seen on light ground, too
                    ax.plot(*course, color="white", linewidth=0.7)
            top.set_title(f"after {stage.episodes} episodes")
            bottom.set_xlabel(names[0])
        for ax, what in zip(axes[:, 0], ("P(main engine)", "critic's v(s)"), strict=True):
            ax.set_ylabel(f"{what}\n\n{names[1]}")
        fig.colorbar(main, ax=axes[0], aspect=14)
    return fig


def plot_arms(seed: int) -> Figure:
    """The two-armed case: fifty sampled gradients at theta = 0, and 200 updates, both with and without a baseline."""
    with plt.rc_context(FONT):
        fig, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.2), sharey="row", layout="constrained")
        theta = np.linspace(-2.5, 2.5, 101)
        for ax, baseline, name in zip(axes[0], (0.0, 2.0), ("no baseline", "baseline 2"), strict=True):
            samples = np.sort(toys.sample_arms(0.0, baseline, toys.FIFTY, np.random.default_rng(seed)))
            ax.plot(theta, toys.sigmoid(theta), color="black", linewidth=1)
            for height, gradient in zip(np.linspace(0.06, 0.94, len(samples)), samples, strict=True):
                colour = BLUE if gradient > 0 else VERMILION
                ax.annotate("", (gradient, height), (0, height), arrowprops={**ARROW, "color": colour})
            ax.axvline(toys.arms_gradient(0.0), color="black", linestyle=":", linewidth=1)
            ax.text(0.55, 0.02, "exact mean", fontsize=7.5, va="bottom")
            ax.text(2.4, 0.86, "p(theta)", fontsize=7.5, ha="right", va="top")
            ax.set_title(f"{name}: mean {samples.mean():.2f}, standard deviation {samples.std():.2f}")
            ax.set_xlabel("theta; an arrow is a sampled gradient at 0")
        axes[0, 0].set_ylabel("p, probability of the better arm")
        exact = toys.train_arms_exactly()
        for ax, more in zip(axes[1], (0.0, 100.0), strict=True):
            with_it, without = toys.train_arms(True, seed, more), toys.train_arms(False, seed, more)
            ax.plot(exact, ":", color="black", linewidth=1.2)
            ax.plot(with_it, "-", color=BLUE, linewidth=1.2)
            ax.plot(without, "--", color=VERMILION, linewidth=1.2)
            low, high = toys.REWARDS + more
            ax.set_title(f"{toys.ARM_UPDATES} updates, rewards {low:.0f} and {high:.0f}")
            ax.set_xlabel("update")
        axes[1, 0].set(ylim=(-0.04, 1.04), ylabel="p, probability of the better arm")
        axes[1, 0].text(196, 0.60, "exact gradient (dotted)", ha="right")
        axes[1, 0].text(196, 0.50, "with a baseline (line)", color=BLUE, ha="right")
        axes[1, 0].text(196, 0.40, "without (dashed)", color=VERMILION, ha="right")
        for ax in axes.flat:
            ax.spines[["top", "right"]].set_visible(False)
    return fig


def plot_corridor(seed: int) -> Figure:
    """The short corridor: the exact value of each policy, and how the averaged runs climb it."""
    with plt.rc_context(FONT):
        fig, (left, right) = plt.subplots(ncols=2, figsize=(WIDTH, 2.9), sharey=True, layout="constrained")
        p = np.linspace(0.03, 0.97, 200)
        best, value = toys.CORRIDOR_BEST, float(toys.corridor_value(toys.CORRIDOR_BEST))
        left.plot(p, toys.corridor_value(p), color="black")
        left.plot(best, value, "o", color=BLUE)
        left.text(best, value + 2, f"best: p = {best:.2f}, {value:.1f}", color=BLUE, ha="center", va="bottom")
        left.plot(toys.CORRIDOR_START, float(toys.corridor_value(toys.CORRIDOR_START)), "s", color=GREY)
        left.text(toys.CORRIDOR_START + 0.03, -82, "where the runs begin", color=GREY, va="center")
        left.set(xlabel="p, probability of going right", ylabel="expected return", title="exact")
        styles = {"REINFORCE": (VERMILION, "--"), "with a baseline": (BLUE, "-")}
        for name, (colour, line) in styles.items():
            curve = toys.train_corridor(toys.CORRIDOR_LEARN_RATES[name], name != "REINFORCE", seed)
            right.plot(curve, line, color=colour)
            right.text(130, curve[130] - 3, name, color=colour, va="top")
        right.axhline(value, color="black", linestyle=":", linewidth=1)
        right.text(495, value + 1, "the best policy", ha="right", va="bottom")
        right.set(xlabel="episode", title=f"mean of {toys.CORRIDOR_RUNS} runs", ylim=(-88, 0))
        for ax in (left, right):
            ax.spines[["top", "right"]].set_visible(False)
    return fig


def plot_stale(seed: int) -> Figure:
    """The short corridor, learned from batches that are some updates old, with short steps and with long ones."""
    styles = {0: (BLUE, "-", "fresh"), 1: (GREY, "-.", "1 update old"), 4: (VERMILION, "--", "4 updates old")}
    with plt.rc_context(FONT):
        fig, axes = plt.subplots(ncols=len(STALE_RATES), figsize=(WIDTH, 2.6), sharey=True, layout="constrained")
        for ax, learn_rate in zip(axes, STALE_RATES, strict=True):
            for age, (colour, line, _) in styles.items():
                ax.plot(toys.train_corridor_stale(learn_rate, age, seed), line, color=colour, linewidth=1.2)
            ax.axhline(toys.CORRIDOR_BEST, color="black", linestyle=":", linewidth=1)
            ax.set(xlabel="update", title=f"learning rate {learn_rate:g}", ylim=(-0.02, 1.02))
            ax.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("p, probability of going right")
        axes[0].text(toys.STALE_UPDATES, toys.CORRIDOR_BEST + 0.03, "best (dotted)", ha="right", va="bottom")
        for row, (colour, line, name) in enumerate(styles.values()):
            axes[0].plot([32, 37], [0.31 - 0.1 * row] * 2, line, color=colour, linewidth=1.2)
            axes[0].text(38.5, 0.31 - 0.1 * row, name, color=colour, va="center")
    return fig


def plot_clouds(clouds: Mapping[str, Cloud]) -> Figure:
    """A panel for each estimator: a dot is one batch's gradient, the cross their mean, the arrow the reference's.

    The panels are as wide as it takes for the reference. What lies beyond is drawn at the edge, as a triangle.
    """
    with plt.rc_context(FONT):
        fig, axes = plt.subplots(
            ncols=len(clouds), figsize=(WIDTH, 2.1), sharex=True, sharey=True, layout="constrained"
        )
        reach = 1.2 * float(np.abs(clouds[REFERENCE].points).max())
        length = float(clouds[REFERENCE].points.mean(axis=0)[0])
        for ax, (name, cloud), colour in zip(axes, clouds.items(), COLOURS.values(), strict=False):
            beyond = (np.abs(cloud.points) > reach).any(axis=1)
            ax.plot(*cloud.points[~beyond].T, "o", color=colour, markersize=2.5, alpha=0.7)
            edge = cloud.points[beyond].clip(-reach, reach).T
            [triangles] = ax.plot(*edge, "^", color=colour, markersize=4, clip_on=False)
            triangles.set_in_layout(False)  # where there are none, they would be laid out at the figure's corner
            ax.annotate("", (length, 0), (0, 0), arrowprops={**ARROW, "color": "black", "linewidth": 1.5})
            ax.plot(*cloud.points.mean(axis=0), "+", color="black", markersize=9)
            ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
            ax.axvline(0, color="0.7", linewidth=0.6, zorder=0)
            ax.set_title(f"{name}\nvariance {cloud.variance:.0f}")
            ax.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        axes[0].set_ylabel("across it, where\nthe noise is largest")
        fig.supxlabel("along the mean gradient", fontsize=8.5)
    return fig


def plot_update(update: Update) -> Figure:
    """A batch's steps over height and vertical speed, by their weight and by what the update did to log pi(a|s).

    A row for each of `ACTIONS`: steps in which it was taken. A colour is full at the 95% quantile of its column.
    """
    columns = {
        "the step's weight, q - v(s)": update.weights.numpy(),
        "change of log pi(a|s) by the update": update.changes.numpy(),
    }
    states, actions = update.states.numpy(), update.actions.numpy()
    with plt.rc_context(FONT):
        fig, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.2), sharex=True, sharey=True, layout="constrained")
        for column, (title, of_step) in zip(axes.T, columns.items(), strict=True):
            reach = float(np.quantile(np.abs(of_step), 0.95))
            for ax, action in zip(column, ACTIONS, strict=True):
                taken = actions == action
                height, speed = states[taken][:, [HEIGHT, Y_SPEED]].T
                dots = ax.scatter(
                    height,
                    speed,
                    c=of_step[taken],
                    cmap="coolwarm_r",
                    vmin=-reach,
                    vmax=reach,
                    s=14,
                    linewidths=0.3,
                    edgecolors="0.4",
                )
            column[0].set_title(title)
            column[1].set_xlabel("height")
            fig.colorbar(dots, ax=column, location="bottom", extend="both", aspect=30, pad=0.02)
        for ax, name in zip(axes[:, 0], ACTIONS.values(), strict=True):
            ax.set_ylabel(f"{name}\n\nvertical speed")
        for ax in axes.flat:
            ax.spines[["top", "right"]].set_visible(False)
    return fig
