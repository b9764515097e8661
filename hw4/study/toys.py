"""Two problems small enough to be exact, on which the policy gradient and its noise can be seen.

The two-armed case of the notebook's section 1.4: action 1 earns 3 and action 0 earns 1. Theta is the logit of action 1.

The short corridor of Sutton & Barto, example 13.1: three states that look alike, and in the second of them the actions
are exchanged. Each step costs 1; the goal is to the right of the third state. The best policy is a random one.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

REWARDS = np.array([1.0, 3.0])  # of the two arms
ARM_UPDATES = 200
ARM_LEARN_RATE = 0.1
FIFTY = 50  # sampled gradients
CRITIC_UPDATES = 100
CRITIC_RATE = 0.25  # of what would be the whole way, over delta

CORRIDOR_START = 0.05  # the probability of going right at first
CORRIDOR_RUNS = 100
CORRIDOR_EPISODES = 500
# The step size of figure 13.1, and half of that of figure 13.2: the baseline allows for a larger one.
CORRIDOR_LEARN_RATES = {"REINFORCE": 2.0**-13, "with a baseline": 2.0**-10}
CORRIDOR_BASELINE_RATE = 0.1  # of the baseline towards an episode's mean return
STALE_UPDATES = 60
STALE_BATCH = 100  # episodes
CORRIDOR_STEPS = 10_000  # more than any episode takes at a probability that the runs come to


def sigmoid(theta: Any) -> Any:
    """The probability that an action has whose logit is theta, a number or an array, and the other's is 0."""
    return 1 / (1 + np.exp(-theta))


# --- the two arms


def arms_gradient(theta: float) -> float:
    """The exact derivative of the expected reward: (3 - 1) p (1 - p)."""
    p = sigmoid(theta)
    return float((REWARDS[1] - REWARDS[0]) * p * (1 - p))


def sample_arms(
    theta: float, baseline: float, count: int, rng: np.random.Generator, more: float = 0.0
) -> Float[np.ndarray, " S"]:
    """Draw actions; of each, the estimate (reward - baseline) d/dtheta log pi(action).

    :param more: what both rewards have on top.
    """
    p = sigmoid(theta)
    actions = (rng.random(count) < p).astype(int)
    return (REWARDS[actions] + more - baseline) * (actions - p)


def train_arms(
    has_baseline: bool, seed: int, more: float = 0.0, *, theta: float = 0.0, greedy: bool = False
) -> Float[np.ndarray, " U"]:
    """The probability of action 1 over `ARM_UPDATES` updates, each from a single sample.

    :param has_baseline: subtract the mean of the rewards so far (Sutton & Barto, section 2.8).
    :param seed: of the draws. Runs with the same seed draw the same numbers.
    :param more: what both rewards have on top.
    :param theta: where the run begins.
    :param greedy: take the more probable action instead of drawing one: a mistake, to look at.
    """
    rng = np.random.default_rng(seed)
    mean, course = 0.0, []
    for update in range(ARM_UPDATES):
        p = sigmoid(theta)
        course.append(float(p))
        action = int(p > 0.5 if greedy else rng.random() < p)
        reward = REWARDS[action] + more
        mean = reward if update == 0 else mean
        theta += ARM_LEARN_RATE * (reward - (mean if has_baseline else 0.0)) * (action - float(p))
        mean += (reward - mean) / (update + 1)
    return np.array(course)


def train_arms_exactly() -> Float[np.ndarray, " U"]:
    """As `train_arms`, by the exact gradient."""
    theta, course = 0.0, []
    for _ in range(ARM_UPDATES):
        course.append(float(sigmoid(theta)))
        theta += ARM_LEARN_RATE * arms_gradient(theta)
    return np.array(course)


def arms_return(p: Any, more: float = 0.0) -> Any:
    """The expected reward where action 1 has probability p, a number or an array."""
    return REWARDS[0] + more + (REWARDS[1] - REWARDS[0]) * p


def arms_loss(p: Any, more: float = 0.0) -> Any:
    """The expected value of the vanilla loss there: the mean of -log pi(a), weighted with the reward."""
    return -(p * (REWARDS[1] + more) * np.log(p) + (1 - p) * (REWARDS[0] + more) * np.log(1 - p))


def settled_critic(delta: float, *, detached: bool) -> float:
    """Where the exact gradient of the actor-critic loss takes the value of the arms' only state, from 0, for p = 1/2.

    :param delta: the weight of the critic's term.
    :param detached: without it, the actor's term moves the critic, too: a mistake, to look at.
    """
    value = 0.0
    for _ in range(CRITIC_UPDATES):
        actors_term = 0.0 if detached else np.log(0.5)  # the mean of log pi
        value -= CRITIC_RATE / delta * (actors_term + 2 * delta * (value - REWARDS.mean()))
    return float(value)


# --- the short corridor


def corridor_value(p: Any) -> Any:
    """The exact value of the corridor's first state, where the policy goes right with probability p, in (0, 1).

    p is a number or an array. It solves v1 = -1 + p v2 + (1 - p) v1, v2 = -1 + p v1 + (1 - p) v3, v3 = -1 + (1 - p) v2.
    """
    return (2 * p - 4) / (p * (1 - p))


CORRIDOR_BEST = 2 - np.sqrt(2)  # the probability of going right at which that is largest


class CorridorEpisode(NamedTuple):
    """An episode in each of R runs, with what an update needs of it.

    :param length: the number of steps; the return is minus that.
    :param score: sum over the steps of d/dtheta log pi(a_t).
    :param weighted: the same, each weighted by the return from there on.
    """

    length: Float[np.ndarray, " R"]
    score: Float[np.ndarray, " R"]
    weighted: Float[np.ndarray, " R"]


def play_corridor(p: Float[np.ndarray, " R"], rng: np.random.Generator) -> CorridorEpisode:
    """Play an episode in each run.

    :param p: each run's probability of going right; theta is its logit.
    """
    states = np.zeros(len(p), dtype=int)
    length, score, weighted = np.zeros(len(p)), np.zeros(len(p)), np.zeros(len(p))
    going = np.ones(len(p), dtype=bool)
    for _ in range(CORRIDOR_STEPS):
        right = rng.random(len(p)) < p
        length += going
        score += going * (right - p)
        # The return from step t on is t - length. So each step pays minus the sum of the scores up to it.
        weighted -= going * score
        moves = np.where(right ^ (states == 1), 1, -1)
        states = np.maximum(states + moves, 0)
        going = going & (states < 3)
        states[~going] = 0
        if not going.any():
            break
    return CorridorEpisode(length, score, weighted)


def train_corridor(learn_rate: float, has_baseline: bool, seed: int) -> Float[np.ndarray, " E"]:
    """REINFORCE in the corridor: the exact value of the policy before each episode, the mean over `CORRIDOR_RUNS` runs.

    :param has_baseline: subtract a learned value, the same for all states, as they look alike (section 13.4).
    """
    rng = np.random.default_rng(seed)
    theta = np.full(CORRIDOR_RUNS, np.log(CORRIDOR_START / (1 - CORRIDOR_START)))
    baseline = np.zeros(CORRIDOR_RUNS)
    curve = []
    for _ in range(CORRIDOR_EPISODES):
        p = sigmoid(theta)
        curve.append(corridor_value(p).mean())
        episode = play_corridor(p, rng)
        theta = theta + learn_rate * (episode.weighted - has_baseline * baseline * episode.score)
        mean_return = -(episode.length + 1) / 2
        baseline = baseline + CORRIDOR_BASELINE_RATE * (mean_return - baseline)
    return np.array(curve)


def train_corridor_stale(learn_rate: float, age: int, seed: int) -> Float[np.ndarray, " U"]:
    """The probability of going right, over `STALE_UPDATES` updates from batches with their mean as the baseline.

    :param age: how many updates have been made since a batch was played. Only 0 is right.
    """
    rng = np.random.default_rng(seed)
    theta, course = np.log(CORRIDOR_START / (1 - CORRIDOR_START)), []
    waiting: deque[tuple[float, CorridorEpisode]] = deque()
    for _ in range(STALE_UPDATES):
        p = float(sigmoid(theta))
        course.append(p)
        waiting.append((p, play_corridor(np.full(STALE_BATCH, p), rng)))
        if len(waiting) <= age:
            continue
        played_by, episodes = waiting.popleft()
        # As learner and player differ, log pi is differentiated at another p than that which played.
        returns = -episodes.length * (episodes.length + 1) / 2  # summed over the steps
        score = episodes.score + (played_by - p) * episodes.length
        weighted = episodes.weighted + (played_by - p) * returns
        steps = episodes.length.sum()
        theta += learn_rate * (weighted - returns.sum() / steps * score).sum() / steps
    return np.array(course)
