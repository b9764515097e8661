"""What an archive's folder says was trained: the best mean rewards, with the assignment's bars, and learning curves."""

import io
from pathlib import Path
from typing import Any

from hw4.experiments import RESULTS_FILE, RESULTS_FILE_AAC
from hw4.files import load_training_data

BARS = {"cpg": 10.0, "aac": 50.0}  # of the published notebook


def results(folder: Path) -> dict[str, dict[str, float]]:
    """The best mean reward of each configuration, and its bar, if it has one. What cannot be read is left out."""
    found = {}
    for name, data in _training_data(folder).items():
        best = data.get("best_mean_reward")
        if isinstance(best, list) and best:
            found[name] = {"best_mean_reward": float(best[-1]), **({"bar": BARS[name]} if name in BARS else {})}
    return found


def curves(folder: Path) -> bytes | None:
    """A PNG picture of the learning curves; None if there are none."""
    from hw4.study.plots import plot_experiment_results  # takes a second to import

    data = _training_data(folder)
    if not data:
        return None
    try:
        figure = plot_experiment_results(data)
        figure.set_size_inches(7, 5)
        with io.BytesIO() as target:
            figure.savefig(target, format="png", dpi=80)
            return target.getvalue()
    except (ValueError, TypeError, KeyError, OverflowError):  # lists of other lengths, say
        return None


def _training_data(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name in (RESULTS_FILE, RESULTS_FILE_AAC):
        file = folder / "results" / name
        if file.is_file() and not file.is_symlink():
            try:
                data |= load_training_data(file)
            except (ValueError, OSError):
                continue
    return data
