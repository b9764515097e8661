"""The run that the lesson shows: its policy at four stages of training, and forty flights of each.

    for episodes, p_net, flights in load().stages: ...

They lie in `lesson.npz`, beside this file, so that they can be looked at before anything is trained or written.
`python benchmarks/lesson.py` makes the file anew.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from tabulate import tabulate
from torch import Tensor, nn

from hw4.experiments import MAX_EPISODES
from hw4.files import PathLike
from hw4.rl_ac import AACPolicyAgent
from hw4.rl_pg import ACTIVATIONS
from hw4.study.analysis import HEIGHT, train_with_snapshots
from hw4.study.evaluation import ENDINGS, fresh_flights
from hw4.study.plots import LEVELS
from hw4.study.sweep import episodes_to

FILE = Path(__file__).with_suffix(".npz")
STAGES = (4, 800, 2000, 6000)  # episodes trained by then
BETWEEN = (400, 1200)  # two more, whose policies are kept without flights
FLIGHTS = 40
X, X_SPEED, Y_SPEED = 0, 2, 3  # features of an observation, beside analysis.HEIGHT
N_FEATURES = 8
N_POINTS = 60  # of a map, along each of its sides
KEPT = [X, HEIGHT, X_SPEED, Y_SPEED]  # what is kept of a flight's states


class Snapshot(nn.Module):
    """An actor-critic as it was at some time. It is made of its weights alone, so it needs no class of the assignment.

    :param weights: as a state dict has them: `logits.0.weight`, `logits.0.bias`, ..., and `values.0.weight` and so on.
    :param activation: "relu" or "tanh", between the layers.
    :param value_scale: factor on the critic's output.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], activation: str, value_scale: float):
        super().__init__()
        self.logits = _layers(weights, "logits", activation)
        self.values = _layers(weights, "values", activation)
        self.value_scale = value_scale

    def forward(self, states: Float[Tensor, "*N O"]) -> tuple[Float[Tensor, "*N A"], Float[Tensor, "*N 1"]]:
        """Logits of pi(a|s), and the states' values v(s)."""
        return self.logits(states), self.value_scale * self.values(states)


def _layers(weights: Mapping[str, np.ndarray], part: str, activation: str) -> nn.Sequential:
    """The linear layers of a part, with an activation after all but the last."""
    layers: list[nn.Module] = []
    for name, weight in weights.items():
        if name.startswith(f"{part}.") and name.endswith(".weight"):
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            bias = weights[name.replace(".weight", ".bias")]
            layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
            layers += [layer, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class Course(NamedTuple):
    """A flight, at each of its T decisions.

    :param states: their features `KEPT`: x, height, and the speeds along them.
    :param ending: one of evaluation.ENDINGS.
    """

    states: Float[np.ndarray, "T 4"]
    ending: str
    total_reward: float


class Stage(NamedTuple):
    """The policy when so many episodes had been played, and how it flew fresh ones."""

    episodes: int
    p_net: Snapshot
    flights: list[Course]


class Lesson(NamedTuple):
    """A run at its stages, with its seed and hyperparameters.

    :param between: {episodes: the policy when so many had been played}, besides the stages'.
    """

    seed: int
    hyperparams: dict[str, Any]
    stages: list[Stage]
    between: dict[int, Snapshot]

    def policies(self) -> dict[int, Snapshot]:
        """All policies, by the episodes that had been played, in rising order."""
        return dict(sorted({**self.between, **{stage.episodes: stage.p_net for stage in self.stages}}.items()))


def make(hp: dict[str, Any], seed: int) -> bytes:
    """Train an actor-critic, fly it at each of `STAGES`; the contents of a file for `load`.

    Weights are rounded to half precision before they fly, so that the file holds just what flew.
    """
    arrays: dict[str, np.ndarray] = {"run": np.array(json.dumps({"seed": seed, "hyperparams": hp}))}
    for episodes, p_net in train_with_snapshots(hp, seed, (*STAGES, *BETWEEN), MAX_EPISODES).items():
        weights = {name: tensor.numpy().astype(np.float16) for name, tensor in p_net.state_dict().items()}
        arrays |= {f"{episodes}/{name}": array for name, array in weights.items()}
        if episodes in BETWEEN:
            continue
        snapshot = _snapshot(weights, hp)
        flown = fresh_flights(AACPolicyAgent, snapshot, hp.get("action_repeat", 1), FLIGHTS, seed)
        courses = [torch.stack([step.state for step in flight.episode.experiences])[:, KEPT] for flight in flown]
        of_stage: dict[str, np.ndarray] = {
            "course": np.concatenate(courses).astype(np.float16),
            "length": np.array([len(course) for course in courses], dtype=np.int16),
            "ending": np.array([ENDINGS.index(flight.ending) for flight in flown], dtype=np.uint8),
            "total_reward": np.array([flight.episode.total_reward for flight in flown], dtype=np.float32),
        }
        arrays |= {f"{episodes}/{name}": array for name, array in of_stage.items()}
    contents = io.BytesIO()
    np.savez_compressed(contents, **arrays)  # type: ignore[arg-type]
    return contents.getvalue()


def load(filename: PathLike = FILE) -> Lesson:
    """Read what `make` made.

    :raises FileNotFoundError: if there is no such file.
    """
    with np.load(filename) as arrays:
        run = json.loads(arrays["run"].item())
        numbers = {int(name.partition("/")[0]) for name in arrays if "/" in name}
        parts = {number: _part(arrays, f"{number}/") for number in numbers}
    hp, flown = run["hyperparams"], {episodes for episodes, part in parts.items() if "course" in part}
    stages = [_stage(episodes, parts[episodes], hp) for episodes in sorted(flown)]
    return Lesson(**run, stages=stages, between={n: _snapshot(parts[n], hp) for n in parts.keys() - flown})


def _part(arrays: Mapping[str, np.ndarray], start: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, by the rest of their names."""
    return {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}


def _stage(episodes: int, of_stage: Mapping[str, np.ndarray], hp: Mapping[str, Any]) -> Stage:
    states = np.split(of_stage["course"].astype(np.float64), np.cumsum(of_stage["length"])[:-1])
    endings = [ENDINGS[number] for number in of_stage["ending"]]
    flights = list(map(Course, states, endings, of_stage["total_reward"].tolist()))
    return Stage(episodes, _snapshot(of_stage, hp), flights)


def _snapshot(arrays: Mapping[str, np.ndarray], hp: Mapping[str, Any]) -> Snapshot:
    weights = {name: array for name, array in arrays.items() if name.endswith((".weight", ".bias"))}
    return Snapshot(weights, hp.get("activation", "relu"), hp.get("value_scale", 1.0))


class Map(NamedTuple):
    """What a policy does and expects over a plane of states, which is 0 in all other features.

    :param across, up: the values of the two features, along the sides.
    :param probabilities: of the four actions.
    :param values: the critic's v(s).
    """

    across: Float[np.ndarray, " X"]
    up: Float[np.ndarray, " Y"]
    probabilities: Float[np.ndarray, "Y X 4"]
    values: Float[np.ndarray, "Y X"]


@torch.no_grad()
def map_of(
    p_net: nn.Module,
    across: tuple[int, float, float],
    up: tuple[int, float, float],
    elsewhere: Mapping[int, float] | None = None,
) -> Map:
    """Ask a network what it does in every state of a plane.

    :param p_net: gives logits and values, as an AACPolicyNet does.
    :param across: a feature, and its first and last value; so too `up`.
    :param elsewhere: what other features are, where they are not 0.
    """
    x, y = (torch.linspace(low, high, N_POINTS) for _, low, high in (across, up))
    states = torch.zeros(N_POINTS, N_POINTS, N_FEATURES)
    states[..., across[0]], states[..., up[0]] = x, y[:, None]
    for feature, value in (elsewhere or {}).items():
        states[..., feature] = value
    logits, values = p_net(states.reshape(-1, N_FEATURES))
    shape = (N_POINTS, N_POINTS)
    probabilities = torch.softmax(logits, dim=1).reshape(*shape, -1)
    return Map(x.numpy(), y.numpy(), probabilities.numpy(), values.reshape(shape).numpy())


def progress_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """When each run first had a mean reward of each of plots.LEVELS, as a Markdown table, with its best and its last.

    :param results: {configuration: training_data}.
    """
    rows = []
    for name, data in results.items():
        until = {f"episodes to {level}": episodes_to(level, data) for level in LEVELS}
        row = {"run": f"`{name}`", **{title: "-" if count is None else count for title, count in until.items()}}
        rows.append({**row, "best": f"{max(data['mean_reward']):.0f}", "last": f"{data['mean_reward'][-1]:.0f}"})
    return tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
