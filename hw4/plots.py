"""Training data in, a figure out."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

PANELS = {
    "loss_p": "policy loss",
    "baseline": "baseline (mean q)",
    "loss_e": "entropy loss",
    "mean_reward": "mean total reward, last 100 episodes",
}
# Okabe & Ito's colours, which colour-blind readers tell apart too (https://jfly.uni-koeln.de/color/).
COLOURS = {"vpg": "#E69F00", "epg": "#56B4E9", "bpg": "#009E73", "cpg": "#0072B2", "aac": "#D55E00"}


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
        ax.set_title(name)
        ax.set_ylabel(description)
        ax.set_xlabel("episode")
        ax.grid(alpha=0.3)
        if ax.lines:
            ax.legend()
    return fig
