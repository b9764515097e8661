"""The lesson's pictures: flights, what a policy does where, and how noisy gradients are.

All are as wide as a column of text, and say in words at the lines what the colours mean.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from hw4.study.lesson import HEIGHT, KEPT, Y_SPEED, Course, Lesson, Map, X, map_of

WIDTH = 7.0  # inches
FONT: Any = {"font.size": 8.5, "axes.titlesize": 9}
# Okabe & Ito's colours: colour-blind readers can tell them apart too (https://jfly.uni-koeln.de/color/).
BLUE, ORANGE, VERMILION, GREEN, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#56B4E9",
    "#CC79A7",
    "#767676",
)
ENDINGS = {"crash": (VERMILION, "-", "x"), "time limit": (GREY, "--", "s"), "at rest": (BLUE, "-", "o")}
PAD = (-0.2, 0.2)  # where the flags stand
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
                ax.text(0.5, -0.24 - 0.11 * row, text, color=colour, ha="center", va="top", transform=ax.transAxes)
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
            top.set_title(f"after {stage.episodes}")
            bottom.set_xlabel(names[0])
        for ax, what in zip(axes[:, 0], ("P(main engine)", "critic's v(s)"), strict=True):
            ax.set_ylabel(f"{what}\n\n{names[1]}")
        fig.colorbar(main, ax=axes[0], aspect=14)
    return fig
