"""Playing fast: a small network's scores in NumPy, for several episodes in lockstep.

A policy is asked for one state at a time, 300 times an episode. For networks of this size PyTorch's bookkeeping costs
more than the simulator; NumPy computes the same products in a tenth of the time. And its own calls cost the less, the
more episodes share them: so a few agents play side by side, and each call scores the states of all.

What an episode becomes does not depend on who plays beside it: products are taken row by row, not as one matrix, whose
rounding might change with its size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from hw4.rl_data import Episode

NumpyScores = Callable[[Float32[np.ndarray, "G O"]], Float32[np.ndarray, "G A"]]

ACTIVATIONS: dict[type[nn.Module], Callable[[np.ndarray], np.ndarray]] = {
    nn.ReLU: lambda x: np.maximum(x, 0.0, out=x),
    nn.Tanh: lambda x: np.tanh(x, out=x),
}


def numpy_scores(p_net: nn.Module) -> NumpyScores | None:
    """A function that computes `p_net`'s scores in NumPy, with its parameters as they are now, or None if it can't.

    It exists where the scores are known to be those of a chain of Linear, ReLU and Tanh layers, on the CPU: because
    `p_net` is one, or says so itself by a method `scoring_chain()`.

    :param p_net: maps states (N, O) to scores (N, A), or to a tuple that begins with them.
    :return: maps states (G, O) to scores (G, A), each row by itself.
    """
    chain: Any = p_net if type(p_net) in (nn.Linear, nn.Sequential) else getattr(p_net, "scoring_chain", lambda: None)()
    layers = list(chain) if type(chain) is nn.Sequential else [chain]
    if not all(type(layer) in (nn.Linear, *ACTIVATIONS) for layer in layers):
        return None
    if not layers or type(layers[0]) is not nn.Linear:  # activations write into what they are given: not a state
        return None
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in chain.parameters()):
        return None
    if any(module._forward_hooks or module._forward_pre_hooks for module in p_net.modules()):
        return None
    steps = [_linear(layer) if isinstance(layer, nn.Linear) else ACTIVATIONS[type(layer)] for layer in layers]

    def scores(states: np.ndarray) -> np.ndarray:
        x = states[:, None, :]  # (G, 1, O): a stack of rows, each multiplied alone
        for step in steps:
            x = step(x)
        return x[:, 0, :]

    return scores


def _linear(layer: nn.Linear) -> Callable[[np.ndarray], np.ndarray]:
    weight = layer.weight.detach().numpy().T.copy()
    bias = np.zeros(layer.out_features, np.float32) if layer.bias is None else layer.bias.detach().numpy().copy()

    def linear(x: np.ndarray) -> np.ndarray:
        y = np.matmul(x, weight)
        y += bias
        return y

    return linear


def computes_the_same(scores: NumpyScores, p_net: nn.Module, n_observations: int) -> bool:
    """Whether `scores` are those of `p_net` on a few random states: what it says of itself, tried out."""
    states = torch.randn(8, n_observations, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = p_net(states)
    expected = output[0] if isinstance(output, tuple) else output
    got = torch.from_numpy(scores(states.numpy()))
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=1e-4, atol=1e-6)


@runtime_checkable
class Player(Protocol):
    """What can play in lockstep: see PolicyAgent."""

    state: Float32[np.ndarray, " O"]
    is_done: bool

    def reset(self, seed: int | None = None) -> None:
        """Start an episode, all of whose randomness depends on the seed."""

    def fast_scores(self) -> NumpyScores | None:
        """What scores the states of all players of this network, or None if each must ask it itself."""

    def act(self, scores: list[float] | None) -> tuple[int, float]:
        """Take a step by the current state's scores, or by asking the network; the action and its reward."""
        ...


class Game:
    """An episode in the making, from its reset on."""

    def __init__(self, player: Player, number: int, seed: int | None):
        self.player, self.number = player, number
        self.states: list[np.ndarray] = []
        self.actions: list[int] = []
        self.rewards: list[float] = []
        player.reset(seed)

    def step(self, scores: list[float] | None) -> bool:
        """Take a step by the current state's scores, if they are known; whether it was the last."""
        player = self.player
        self.states.append(player.state)
        action, reward = player.act(scores)
        self.actions.append(action)
        self.rewards.append(reward)
        return player.is_done

    def episode(self) -> Episode:
        """What was played."""
        return Episode.from_arrays(
            np.array(self.states, dtype=np.float32),
            np.array(self.actions, dtype=np.int64),
            np.array(self.rewards, dtype=np.float64),
        )


def play_games(games: list[Game], next_game: Callable[[Player], Game | None]) -> Iterator[Game]:
    """Play games side by side to their ends, by the network as it is at the start.

    :param games: just begun, by players of the same network; there may be none.
    :param next_game: gives a player whose game has ended the next one to play, or None.
    :return: the games as they end.
    """
    scores = games[0].player.fast_scores() if games else None
    while games:
        rows = [None] * len(games) if scores is None else scores(np.array([g.player.state for g in games])).tolist()
        ended = [game for game, row in zip(games, rows, strict=True) if game.step(row)]
        if ended:
            games = [game for game in games if game not in ended]
            # Before what ended is given away: who gets it may change the network, and begin what is another batch's.
            games += filter(None, [next_game(game.player) for game in ended])
            yield from ended


def play_episodes(players: Sequence[Player], seeds: Iterable[int | None]) -> Iterator[tuple[int, Episode]]:
    """Play an episode for each seed, as many side by side as there are players, by the network as it is at the start.

    :param players: one or more, of the same network.
    :param seeds: asked for the next one when a player is free.
    :return: (index among the seeds, episode) as each ends.
    """
    waiting = enumerate(seeds)

    def next_game(player: Player) -> Game | None:
        ticket = next(waiting, None)
        return None if ticket is None else Game(player, *ticket)

    for game in play_games(list(filter(None, map(next_game, players))), next_game):
        yield game.number, game.episode()
