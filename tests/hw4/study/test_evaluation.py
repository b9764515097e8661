"""How good a policy is: the figures of `evaluate` from episodes made by hand, and one episode on film."""

import pytest
import torch
from torch import nn

from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import Episode, Experience
from hw4.rl_pg import PolicyAgent, PolicyNet
from hw4.rollout.collect import collect, episode_seed
from hw4.study import evaluation
from hw4.study.evaluation import evaluate, fresh_episodes, record
from tests import toy


@pytest.fixture
def net():
    torch.manual_seed(0)
    return PolicyNet(8, 4, **toy.hyperparams())


def test_figures_by_hand(monkeypatch):
    """collect may end episodes in any order."""
    rewards = [[99.0, 100.0], [100.0, 100.0], [100.0, 102.0, -1.0]]
    episodes = [
        Episode(sum(steps), [Experience(torch.zeros(8), 0, reward, False) for reward in steps]) for steps in rewards
    ]
    asked = []

    def collect_backwards(agent_type, p_net, seeds, **how):
        asked.extend(seeds)
        yield from reversed(list(enumerate(episodes)))

    monkeypatch.setattr(evaluation, "collect", collect_backwards)
    assert evaluate(PolicyAgent, nn.Linear(8, 4), episodes=3, seed=7) == {
        "mean": 200.0,
        "std": 1.0,
        "share_at_least_200": pytest.approx(2 / 3),
        "share_at_rest": pytest.approx(2 / 3),
        "mean_length": pytest.approx(7 / 3),
        "episodes": 3,
    }
    assert asked == [episode_seed(7, number, "evaluation") for number in range(3)]
    assert fresh_episodes(PolicyAgent, nn.Linear(8, 4), 3, 7) == episodes


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
    episodes = fresh_episodes(PolicyAgent, toy.ConstantNet([0.0, 0.0, 0.01, 0.0]), 2, 0, greedy=greedy)
    assert {experience.action for episode in episodes for experience in episode.experiences} == taken


@pytest.mark.parametrize(("suffix", "start"), [(".mp4", b"\x00\x00\x00 ftyp"), (".gif", b"GIF89a")])
def test_a_film_is_of_the_episode_of_its_seed(suffix, start, net, tmp_path):
    out = tmp_path / "new folder" / f"film{suffix}"
    steps, reward = record(PolicyAgent, net, out, seed=3, greedy=True)
    env = make_env(render_mode="rgb_array")
    [(_, episode)] = collect(PolicyAgent, net, [3], make_env=lambda: env, greedy=True)
    assert (steps, reward) == (len(episode.experiences), episode.total_reward)
    assert out.read_bytes().startswith(start)
    assert list(out.parent.iterdir()) == [out]


def test_a_film_of_another_kind_is_refused(net, tmp_path):
    with pytest.raises(ValueError, match=r"film\.avi is neither"):
        record(PolicyAgent, net, tmp_path / "film.avi")
