"""Collecting episodes: the one way in which agents play, for training, evaluation, analysis and filming.

    for index, episode in collect(PolicyAgent, p_net, seeds=[1, 2, 3]): ...

It needs of an agent what the assignment publishes: `agent_type(env, p_net, device)`, `reset()`, and `step()`, which
returns an Experience. An episode depends on its seed and the network alone: the seed sets the environment's reset and
the generators that the agent may draw from.

An agent of the assignment's own kind with a small network is played faster: several environments are stepped side by
side and share the network's calls. This bypasses its `step`. So it is done only where `step`, and all that it calls, is
to the letter what this module reproduces (`_REPRODUCED`), and where `numpy_policy` can prove the network's logits. Any
other agent or network plays by its own `step`.
"""

import ast
import bisect
import contextlib
import copy
import hashlib
import inspect
import itertools
import math
import random
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from hw4 import rl_pg
from hw4.rl_data import Episode, Experience, TrainBatch
from hw4.rollout.lander import make_fast_env
from hw4.rollout.numpy_policy import Logits, NumpyPolicy, eval_mode

ENVS_PER_PROCESS = 8  # environments that a process steps side by side, at most

MakeEnv = Callable[[], gym.Env]


def episode_seed(seed: int, number: int, purpose: str = "training") -> int:
    """The seed of episode `number` (from 0) in a run with `seed`: 64 bits that no other episode shares but by accident.

    Evaluation has episodes of its own: a policy is not asked what it was taught.
    """
    purposes = ("training", "evaluation")
    return int(np.random.SeedSequence([seed, number, purposes.index(purpose)]).generate_state(1, np.uint64)[0])


def collect(
    agent_type: Callable[..., Any],
    p_net: nn.Module,
    seeds: Iterable[int],
    *,
    make_env: MakeEnv = make_fast_env,
    greedy: bool = False,
) -> Iterator[tuple[int, Episode]]:
    """Play an episode for each seed, by the network as it is at the start.

    :param agent_type: PolicyAgent, AACPolicyAgent, or any other agent.
    :param make_env: makes an environment; called up to ENVS_PER_PROCESS times.
    :param greedy: take the most probable action instead of drawing one.
    :return: (index among the seeds, episode), each as it ends.
    """
    waiting = iter(list(enumerate(seeds)))
    with one_blas_thread(), torch_threads(1):
        actors = Actors(agent_type, p_net, make_env, ENVS_PER_PROCESS, greedy=greedy)
        try:
            for number, record in actors.play(lambda: next(waiting, None)):
                yield number, record.episode()
        finally:
            actors.close()


def collect_in_order(*args: Any, **kwargs: Any) -> list[Episode]:
    """What `collect` plays, as a list in the order of the seeds."""
    played = dict(collect(*args, **kwargs))
    return [played[index] for index in range(len(played))]


class Record(NamedTuple):
    """What an episode of T steps leaves, as arrays: small to send between processes."""

    states: Float[np.ndarray, "T O"]
    actions: Int64[np.ndarray, " T"]
    rewards: Float64[np.ndarray, " T"]

    def episode(self) -> Episode:
        """The episode that was played."""
        rewards = self.rewards.tolist()
        dones = [False] * (len(rewards) - 1) + [True]
        columns = zip(torch.from_numpy(self.states), self.actions.tolist(), rewards, dones, strict=True)
        return Episode(math.fsum(rewards), list(map(Experience._make, columns)))


def lay_out(records: Sequence[Record], gamma: float) -> TrainBatch:
    """The batch that `TrainBatch.from_episodes` makes of some episodes; from their arrays, where that is the same."""
    if not _lays_out_as_here():
        return TrainBatch.from_episodes([record.episode() for record in records], gamma)
    q_vals: list[float] = []
    for record in records:
        q, of_episode = 0.0, []
        for reward in reversed(record.rewards.tolist()):
            q = reward + gamma * q
            of_episode.append(q)
        q_vals += reversed(of_episode)
    return TrainBatch(
        states=torch.from_numpy(np.concatenate([record.states for record in records])).float(),
        actions=torch.from_numpy(np.concatenate([record.actions for record in records])),
        q_vals=torch.tensor(q_vals, dtype=torch.float32),
        total_rewards=torch.tensor([math.fsum(record.rewards) for record in records], dtype=torch.float32),
    )


Ticket = tuple[int, int]  # an episode's number and its seed


class Actors:
    """Agents of one network, each in an environment of its own; they are made as they are needed.

    :param width: how many there are at most.
    """

    def __init__(
        self,
        agent_type: Callable[..., Any],
        p_net: nn.Module,
        make_env: MakeEnv,
        width: int,
        *,
        greedy: bool = False,
    ):
        self.p_net, self.greedy, self.width = p_net, greedy, width
        policy = NumpyPolicy(p_net)
        self._numpy_policy = policy if policy.exists and _is_reproduced(agent_type) else None
        kind = _greedy_type(agent_type) if greedy else agent_type
        self._make = partial(Actor, kind, p_net, make_env)
        self._free: list[Actor] = []
        self._begun: list[Actor] = []

    def begin(self, next_ticket: Callable[[], Ticket | None]) -> None:
        """Have the actors that are free begin episodes, as long as there are any to begin."""
        while len(self._begun) < self.width and (ticket := next_ticket()) is not None:
            actor = self._free.pop() if self._free else self._make()
            self._begin(actor, ticket)

    def play(self, next_ticket: Callable[[], Ticket | None], end: float = math.inf) -> Iterator[tuple[int, Record]]:
        """Play the episodes that have begun, and those that follow, by the network as it is now.

        :param next_ticket: the next episode to play; None if there is none now.
        :param end: episodes that have begun with this number or a later one are not played yet.
        :return: (number, record) of each as it ends.
        """
        self.begin(next_ticket)
        now = [actor for actor in self._begun if actor.number < end]
        logits = self._logits()
        while now:
            ended = self._step_all(now, logits) if logits is not None else self._play_whole(now[0])
            played = [(actor.number, actor.record()) for actor in ended]
            for actor in ended:
                self._begun.remove(actor)
                now.remove(actor)
                # Begun before what was played is given away: who gets it may change the network.
                if (ticket := next_ticket()) is not None:
                    now.append(self._begin(actor, ticket))
                else:
                    self._free.append(actor)
            yield from played

    def close(self) -> None:
        """Close the environments."""
        for actor in (*self._free, *self._begun):
            actor.env.close()

    def _begin(self, actor: "Actor", ticket: Ticket) -> "Actor":
        actor.number, actor.seed = ticket
        self._begun.append(actor)
        if self._numpy_policy is not None:  # a reset of these agents takes no parameters, so it may come early
            actor.reset()
        return actor

    def _logits(self) -> Logits | None:
        """What computes the logits for all actors at once; None where each plays by its own step."""
        if self._numpy_policy is None or any(_REPRODUCED.keys() & vars(actor.agent).keys() for actor in self._begun):
            return None
        return self._numpy_policy.logits()

    def _step_all(self, actors: list["Actor"], logits: Logits) -> list["Actor"]:
        """Take a step in each environment; return the actors whose episodes ended with it."""
        states = np.array([actor.observation for actor in actors], dtype=np.float32)  # a copy: it is kept
        ended = []
        for actor, state, row in zip(actors, states, logits(states).tolist(), strict=True):
            action = row.index(max(row)) if self.greedy else sample_from_logits(row, actor.draw_uniform())
            actor.observation, reward, terminated, truncated, _ = actor.step(action)
            actor.states.append(state)
            actor.actions.append(action)
            actor.rewards.append(float(reward))
            if terminated or truncated:
                ended.append(actor)
        return ended

    def _play_whole(self, actor: "Actor") -> list["Actor"]:
        with eval_mode(self.p_net), _seeded_generators(actor.seed):
            actor.play()
        return [actor]


class Actor:
    """An agent in an environment of its own, and the episode that it is in."""

    number: int
    seed: int

    def __init__(self, agent_type: Callable[..., Any], p_net: nn.Module, make_env: MakeEnv):
        self.env = _EpisodeEnv(make_env())
        device = next((parameter.device for parameter in p_net.parameters()), "cpu")
        self.step = self.env.env.step
        with _seeded_generators(0):  # a constructor may draw numbers, too
            self.agent = agent_type(self.env, p_net, device)

    def reset(self) -> None:
        """Start the episode of the actor's seed."""
        self.states: list[np.ndarray] = []
        self.actions: list[int] = []
        self.rewards: list[float] = []
        self.env.seed = self.seed
        self.agent.reset()
        self.observation = self.env.observation
        self.draw_uniform = _uniforms(self.seed).__next__

    def play(self) -> None:
        """Play the episode from its reset to its end, by the agent's own steps."""
        self.reset()
        is_done = False
        while not is_done:
            state, action, reward, is_done = self.agent.step()
            self.states.append(state.detach().cpu().numpy().copy())  # it is kept
            self.actions.append(int(action))
            self.rewards.append(float(reward))

    def record(self) -> Record:
        """What was played."""
        return Record(np.array(self.states), np.array(self.actions, dtype=np.int64), np.array(self.rewards))


class _EpisodeEnv(gym.Wrapper):
    """Resets with a seed that is set beforehand, once, and gives copies: an environment may reuse its buffers."""

    seed: int | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=self.seed if seed is None else seed, options=options)
        self.seed, self.observation = None, copy.copy(observation)
        return self.observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, *rest = self.env.step(action)
        return copy.copy(observation), *rest


def sample_from_logits(logits: list[float], u: float) -> int:
    """As rl_pg's sample_by_inversion, by Python's own numbers: for a few actions they are faster than any array."""
    top = max(logits)
    cumulative = list(itertools.accumulate([math.exp(logit - top) for logit in logits]))
    if math.isnan(cumulative[-1]):
        raise FloatingPointError("the policy's logits are nan: its parameters have diverged; try a smaller learn_rate")
    return min(bisect.bisect_left(cumulative, u * cumulative[-1]), len(cumulative) - 1)


# --- what this module reproduces

# Of the methods that it bypasses, what they say, in any of their forms. It changes with every change to one of them:
# make the same change above, then put what `_fingerprint` says here.
_REPRODUCED = {
    "__init__": {"fedd4b6dba149064"},
    "reset": {"1743ec8c157e72d4"},
    "current_state": {"d84abdd73fe182ec"},
    "current_action_distribution": {"e5efdeee869ffe2b", "e7e0ba14878b15c2"},  # PolicyAgent's, AACPolicyAgent's
    "step": {"64ef283b58629354"},
}
# TrainBatch.from_episodes, Episode.__init__ and Episode.calc_qvals.
_LAYOUT = (
    "cdd3be80e35ae3dc",
    "a68e0fdbae21831f",
    "bd68d114daae5307",
)
_SAMPLER = "549ea091120a3dc9"


def _is_reproduced(agent_type: Any) -> bool:
    """Whether an agent's steps are those that Actors takes in their place."""
    methods = {name: getattr(agent_type, name, None) for name in _REPRODUCED}
    is_own = all(_fingerprint(method) in _REPRODUCED[name] for name, method in methods.items())
    return is_own and _fingerprint(getattr(rl_pg, "sample_by_inversion", None)) == _SAMPLER


def _lays_out_as_here() -> bool:
    """Whether `lay_out` may stand in for what it bypasses."""
    bypassed = (TrainBatch.from_episodes, Episode.__init__, Episode.calc_qvals)
    return tuple(map(_fingerprint, bypassed)) == _LAYOUT


@cache
def _fingerprint(function: Any) -> str:
    """A digest of a function's body, whatever its comments, docstring and layout; "" if it has none to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body[0]
    except (OSError, TypeError, SyntaxError):
        return ""
    if not isinstance(tree, ast.FunctionDef):  # a lambda
        return ""
    body = tree.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return hashlib.sha256(ast.unparse(ast.Module(body, [])).encode()).hexdigest()[:16]


def _greedy_type(agent_type: Any) -> Any:
    """An agent of the type that gives all probability to its most probable action."""

    class Greedy(agent_type):
        def current_action_distribution(self) -> Float[Tensor, " A"]:
            probabilities = super().current_action_distribution()
            return nn.functional.one_hot(probabilities.argmax(), len(probabilities)).to(probabilities.dtype)

    return Greedy


# --- generators and threads


def _agent_seed(seed: int) -> int:
    """What an agent's generators begin with in an episode: another number than the one that its environment has."""
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])


def _uniforms(seed: int) -> Iterator[float]:
    """The numbers that torch.rand((), dtype=torch.float64) gives under `_seeded_generators`, drawn many at once."""
    generator = torch.Generator().manual_seed(_agent_seed(seed))
    while True:
        yield from torch.rand(256, dtype=torch.float64, generator=generator).tolist()


@contextlib.contextmanager
def _seeded_generators(seed: int) -> Iterator[None]:
    """Have every global generator that an agent may draw from begin with a seed; and go on as before, afterwards."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - an agent may use it
    torch.manual_seed(_agent_seed(seed))
    np.random.seed(_agent_seed(seed))  # noqa: NPY002
    random.seed(_agent_seed(seed))
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all loaded libraries, so once


def one_blas_thread() -> contextlib.AbstractContextManager:
    """Have NumPy multiply on one thread, from now on or inside a `with`.

    Its products here are small, other threads belong to other actors, and one thread rounds the same everywhere.
    """
    return _thread_pools().limit(limits=1, user_api="blas")


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Have PyTorch use so many threads, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
