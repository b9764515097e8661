"""How good a policy is: the figures of `evaluate` from episodes made by hand, and one episode on film."""

import gymnasium as gym
import pytest
import torch
from gymnasium.envs.box2d.lunar_lander import heuristic
from torch import nn

from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import Episode, Experience
from hw4.rl_pg import PolicyAgent, PolicyNet
from hw4.rollout.collect import collect, episode_seed
from hw4.study import evaluation
from hw4.study.evaluation import Flight, evaluate, fly, fresh_flights, record
from tests import toy


@pytest.fixture
def net():
    torch.manual_seed(0)
    return PolicyNet(8, 4, **toy.hyperparams())


def test_figures_by_hand(monkeypatch):
    rewards = [[99.0, 100.0], [100.0, 100.0], [100.0, 102.0, -1.0]]
    endings = [("at rest", 4), ("time limit", 300), ("at rest", 5)]
    flights = [
        Flight(Episode(sum(steps), [Experience(torch.zeros(8), 0, reward, False) for reward in steps]), *ending)
        for steps, ending in zip(rewards, endings, strict=True)
    ]
    asked = []

    def fly(agent_type, p_net, seeds, make_env, **how):
        asked.extend(seeds)
        return flights

    monkeypatch.setattr(evaluation, "fly", fly)
    assert evaluate(PolicyAgent, nn.Linear(8, 4), episodes=3, seed=7) == {
        "mean": 200.0,
        "std": 1.0,
        "fraction_at_least_200": pytest.approx(2 / 3),
        "fraction_landed": pytest.approx(2 / 3),
        "mean_length": 103.0,
        "episodes": 3,
    }
    assert asked == [episode_seed(7, number, "evaluation") for number in range(3)]
    assert fresh_flights(PolicyAgent, nn.Linear(8, 4), 1, 3, 7) == flights


def test_one_episode_has_no_spread(net):
    assert evaluate(PolicyAgent, net, episodes=1)["std"] == 0.0


@pytest.mark.parametrize("argument", [{"episodes": 0}, {"seed": -1}])
def test_what_can_not_be_is_refused(argument, net):
    with pytest.raises(ValueError, match=f"{next(iter(argument))} must be"):
        evaluate(PolicyAgent, net, **argument)


def test_the_seed_and_the_policy_decide(net):
    torch.manual_seed(1)
    first = evaluate(PolicyAgent, net, episodes=3, seed=5)
    torch.manual_seed(2)
    assert evaluate(PolicyAgent, net, episodes=3, seed=5) == first
    assert evaluate(PolicyAgent, net, episodes=3, seed=6) != first
    critic_beside = AACPolicyNet(8, 4, **toy.hyperparams())
    critic_beside.load_state_dict(net.state_dict(), strict=False)
    assert evaluate(AACPolicyAgent, critic_beside, episodes=3, seed=5) == first


@pytest.mark.parametrize(("greedy", "taken"), [(True, {2}), (False, {0, 1, 2, 3})])
def test_actions_are_sampled_unless_greedy_ones_are_asked_for(greedy, taken):
    flights = fresh_flights(PolicyAgent, toy.ConstantNet([0.0, 0.0, 0.01, 0.0]), 1, 2, 0, greedy=greedy)
    assert {experience.action for flight in flights for experience in flight.episode.experiences} == taken


class Heuristic(PolicyAgent):
    """Gymnasium's own, which lands nearly always."""

    def step(self):
        action, state = heuristic(self.env.unwrapped, self.state.numpy()), self.state
        observation, reward, terminated, truncated, _ = self.env.step(action)
        self.state, is_done = torch.from_numpy(observation), terminated or truncated
        return Experience(state, action, reward, is_done)


@pytest.mark.parametrize("repeat", [1, 3])
@pytest.mark.parametrize(
    ("agent_type", "ending"), [(Heuristic, "at rest"), (PolicyAgent, "crash")], ids=["heuristic", "falls"]
)
def test_an_ending_is_the_environments(agent_type, ending, repeat):
    """Who always does nothing falls. At Gymnasium's end a reward of +-100 is given."""
    falls = toy.ConstantNet([50.0, 0.0, 0.0, 0.0])
    flights = fresh_flights(agent_type, falls, repeat, 4, 0)
    assert [flight.ending for flight in flights] == [ending] * 4
    for flight in flights:
        decisions = len(flight.episode.experiences)
        assert repeat * (decisions - 1) < flight.n_steps <= repeat * decisions
        assert flight.episode.experiences[-1].reward * (1 if ending == "at rest" else -1) > 50


def test_an_ending_by_the_time_limit():
    [flight] = fly(PolicyAgent, nn.Linear(8, 4), [1], lambda: gym.make("Beresheet-v2", max_episode_steps=5))
    assert (flight.ending, flight.n_steps) == ("time limit", 5)


@pytest.mark.parametrize(("suffix", "start"), [(".mp4", b"\x00\x00\x00 ftyp"), (".gif", b"GIF89a")])
def test_a_film_is_of_the_episode_of_its_seed(suffix, start, net, tmp_path):
    out = tmp_path / "new folder" / f"film{suffix}"
    steps, reward = record(PolicyAgent, net, 1, out, seed=3, greedy=True)
    env = make_env(render_mode="rgb_array")
    [(_, episode)] = collect(PolicyAgent, net, [3], make_env=lambda: env, greedy=True)
    assert (steps, reward) == (len(episode.experiences), episode.total_reward)
    assert out.read_bytes().startswith(start)
    assert list(out.parent.iterdir()) == [out]


def test_a_film_of_another_kind_is_refused(net, tmp_path):
    with pytest.raises(ValueError, match=r"film\.avi is neither"):
        record(PolicyAgent, net, 1, tmp_path / "film.avi")
