"""A run's files: what the run is, how far it is, and how it goes on after it was stopped.

A run has a checkpoint of its best policy, where the caller wants one, and one of its latest state, which is saved every
SAVE_SECONDS, when it is stopped, and at its end. Both hold all that training needs to go on, and say what run they are
of. So the same command, given again, goes on from the newer one: what follows is what would have followed.
"""

import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from tqdm import tqdm

from hw4.contents import plain_dict
from hw4.files import load_checkpoint
from hw4.training import PolicyTrainer

SAVE_SECONDS = 10.0  # a save takes some 20 ms
VERSIONS = {
    "python": platform.python_version(),
    "torch": torch.__version__.partition("+")[0],
    "numpy": np.__version__,
    "gymnasium": gymnasium.__version__,
}


def latest_of(checkpoints_file: str | Path) -> Path:
    """Where a run keeps its latest state, beside the checkpoint of its best policy."""
    path = Path(checkpoints_file)
    return path.with_stem(f"{path.stem}_latest")


def whole(files: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """The checkpoints that are there, each with its file: most episodes first, and of equals in the order of the files.

    A damaged one is passed over where another is whole.

    :raises ValueError: if all that are there are damaged.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    damage: ValueError | None = None
    for file in files:
        if file.exists():
            try:
                found.append((file, load_checkpoint(file)))
            except ValueError as error:
                damage = error
    if damage is not None and not found:
        raise ValueError(f"{damage}. To begin anew, put it aside by --restart") from None
    if damage is not None:
        say(f"=== {damage}. The run goes on from another file.")
    return sorted(found, key=lambda entry: -episodes_of(entry[1]))


def run_in(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a checkpoint says of its run; one of an earlier version says its hyperparameters and its seed."""
    return checkpoint.get("run") or {
        name: checkpoint[name] for name in ("hp", "seed") if checkpoint.get(name) is not None
    }


def episodes_of(checkpoint: Mapping[str, Any]) -> int:
    """How many episodes had been played when a checkpoint was saved."""
    numbers = checkpoint.get("training_data", {}).get("episode_num", [])
    return numbers[-1] if numbers else 0


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], file: Path) -> None:
    """Raise a ValueError that names what differs, unless a file is of the run that is wanted.

    :param found: what the file says of its run. A file of an earlier version says less, and is compared in that.
    """
    if found_here := differences(found, wanted):
        raise ValueError(
            f"{file} is of another run: {'; '.join(found_here)}. Name another file, or put it aside by --restart"
        )


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What differs between two runs, in words; of what the first does not say, nothing does."""
    told = []
    for name, here in plain_dict(wanted, "the run").items():
        there = found.get(name, here)
        if isinstance(here, dict) and isinstance(there, dict):
            names = dict.fromkeys([*here, *there])
            pairs = [(part, there.get(part), here.get(part)) for part in names]
        else:
            pairs = [(name, there, here)]
        told += [f"{part} is {x!r} there, and {y!r} here" for part, x, y in pairs if _as_list(x) != _as_list(y)]
    return told


def _as_list(value: Any) -> Any:
    return list(map(_as_list, value)) if isinstance(value, (list, tuple)) else value


def problem_of_best(checkpoints_file: Path, training_data: Mapping[str, Any]) -> str:
    """What is wrong with the checkpoint of a finished run's best policy; nothing if it is there, and whole.

    It is not where the disk was full, or where the file was removed since. To make it takes the run from its beginning.
    """
    try:
        found = load_checkpoint(checkpoints_file)
    except (OSError, ValueError) as error:
        return str(error)
    best = training_data.get("best_mean_reward")
    return f"{checkpoints_file} is an earlier one" if best and found.get("best_mean_reward") != best[-1] else ""


def set_aside(*files: Path) -> None:
    """Rename files that are there, so that nothing is written over them. A link stays, and its target is renamed."""
    for file in files:
        if file.exists():
            target = Path(os.path.realpath(file))
            number = next(n for n in range(1, 10**6) if not target.with_stem(f"{target.stem}_before{n}").exists())
            aside = target.rename(target.with_stem(f"{target.stem}_before{number}"))
            say(f"=== {file} is kept as {aside if file.is_symlink() else aside.name}")


class Saver:
    """Saves a trainer's state every SAVE_SECONDS.

    :param file: where to; None to save nothing.
    :param then: a post_batch_fn to call after every batch.
    """

    def __init__(self, trainer: PolicyTrainer, file: Path | None, then: Any = None):
        self.trainer, self.file, self.then = trainer, file, then
        self.saved = time.monotonic()

    def after_batch(self, batch_idx: int, p_net: Any, batch: Any, final: bool) -> None:
        """A post_batch_fn."""
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()
        if self.then is not None:
            self.then(batch_idx, p_net, batch, final=final)

    def save(self, *, finished: bool = False) -> None:
        """Save now. Where that fails, say so: a full disk must not cost the run."""
        if self.file is None or not self.trainer.training_data:
            return
        self.trainer.checkpoint_info["finished"] = finished
        try:
            self.trainer.save_checkpoint(self.file)
        except OSError as error:
            say(f"=== {error}. Training goes on.")
        self.trainer.checkpoint_info["finished"] = False
        self.saved = time.monotonic()


def say(message: str) -> None:
    """Print above the progress bar, to standard error."""
    tqdm.write(message, file=sys.stderr)


def run_of(
    configuration: str, hp: Mapping[str, Any], max_episodes: int, target_reward: float, running_mean_len: int, seed: int
) -> dict[str, Any]:
    """What a run is: all that its results depend on."""
    return {
        "configuration": configuration,
        "hp": dict(hp),
        "seed": seed,
        "max_episodes": max_episodes,
        "target_reward": None if target_reward == math.inf else target_reward,
        "running_mean_len": running_mean_len,
        "versions": VERSIONS,
    }
