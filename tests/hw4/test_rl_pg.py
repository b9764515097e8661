"""The policy network and the agent; the losses are in test_losses.py."""

import itertools
import math
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from hw4.env import ENV_NAME, make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import Experience
from hw4.rl_pg import (
    PolicyAgent,
    PolicyNet,
)
from tests import toy


def same_episode(episode, other):
    return (
        torch.equal(episode.states, other.states)
        and torch.equal(episode.actions, other.actions)
        and np.array_equal(episode.rewards, other.rewards)
    )


def by_hand(agent, seed):
    """Play an episode step by step from a seed; return its states, actions and rewards as arrays."""
    agent.reset(seed=seed)
    experiences = [agent.step()]
    while not experiences[-1].is_done:
        experiences.append(agent.step())
    return (
        np.array([e.state.numpy() for e in experiences]),
        np.array([e.action for e in experiences]),
        np.array([e.reward for e in experiences], dtype=np.float64),
    )


@pytest.fixture
def lander():
    env = make_env()
    yield env
    env.close()


class TestPolicyNet:
    def test_batch_of_states(self):
        net = PolicyNet(8, 4, hidden_layers=(16, 5))
        assert net(torch.zeros(7, 8)).shape == (7, 4)

    def test_one_state(self):
        net = PolicyNet(8, 4, hidden_layers=(16,))
        assert net(torch.zeros(8)).shape == (4,)

    def test_first_policy_prefers_what_initial_scores_say(self):
        # In the state zero an orthogonally initialised network scores every action 0: its biases are zero.
        for net_type in (PolicyNet, AACPolicyNet):
            hp = {"hidden_layers": (16,), "orthogonal": True, "initial_scores": [math.log(7), 0, 0, 0]}
            net = net_type(8, 4, **hp)
            with torch.no_grad():
                out = net(torch.zeros(8))
            scores = out[0] if isinstance(out, tuple) else out
            torch.testing.assert_close(torch.softmax(scores, dim=-1), torch.tensor([0.7, 0.1, 0.1, 0.1]))

    def test_one_state_is_a_row_of_a_batch(self):
        torch.manual_seed(0)
        net, states = PolicyNet(8, 4, hidden_layers=(16, 5)), torch.randn(3, 8)
        torch.testing.assert_close(net(states)[1], net(states[1]))

    def test_has_the_layers_asked_for(self):
        layers = [m for m in PolicyNet(8, 4, hidden_layers=(16, 5)).modules() if isinstance(m, nn.Linear)]
        assert [(m.in_features, m.out_features) for m in layers] == [(8, 16), (16, 5), (5, 4)]

    def test_without_hidden_layers_it_is_linear(self):
        net, states = PolicyNet(3, 2, hidden_layers=()), torch.randn(2, 3)
        torch.testing.assert_close(net(states[0] + states[1]) + net(torch.zeros(3)), net(states[0]) + net(states[1]))

    def test_accepts_hyperparameters_that_are_not_its_own(self):
        PolicyNet(8, 4, hidden_layers=(8,), batch_size=3, gamma=0.9, beta=0.1, learn_rate=1e-3, eps=1e-8, delta=2.0)

    def test_build_for_env(self, lander):
        net = PolicyNet.build_for_env(lander, hidden_layers=(8,), gamma=0.9)
        assert isinstance(net, PolicyNet)
        assert net(torch.zeros(5, 8)).shape == (5, 4)
        assert {p.device.type for p in net.parameters()} == {"cpu"}

    def test_gradients_reach_every_parameter(self):
        torch.manual_seed(0)
        net = PolicyNet(3, 2, hidden_layers=(16,))
        net(torch.randn(32, 3)).pow(2).sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in net.parameters())


class TestAgent:
    def test_distribution_is_the_softmax_of_the_scores(self):
        agent = PolicyAgent(toy.ScriptedEnv(n_actions=3), toy.ConstantNet([math.log(1), math.log(2), math.log(5)]))
        torch.testing.assert_close(agent.current_action_distribution(), torch.tensor([1 / 8, 2 / 8, 5 / 8]))

    def test_distribution_of_beresheet_sums_to_1(self, lander):
        torch.manual_seed(1)
        agent = PolicyAgent(lander, PolicyNet(8, 4, hidden_layers=(16,)))
        distribution = agent.current_action_distribution()
        assert distribution.shape == (4,)
        assert float(distribution.sum()) == pytest.approx(1.0, abs=1e-6)
        assert not distribution.requires_grad

    def test_distribution_is_that_of_the_current_state(self, lander):
        torch.manual_seed(1)
        net = PolicyNet(8, 4, hidden_layers=(16,))
        agent = PolicyAgent(lander, net)
        for _ in range(3):
            distribution = agent.current_action_distribution()
            state = agent.step().state
            torch.testing.assert_close(distribution, torch.softmax(net(state), dim=0).detach())

    def test_actions_come_as_often_as_the_distribution_says(self):
        weights, n = np.array([1, 2, 5, 12]) / 20, 4000
        scores = np.log(weights).tolist()
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(n,), n_actions=4), toy.ConstantNet(scores))
        torch.manual_seed(3)
        counts = np.bincount([agent.step().action for _ in range(n)], minlength=4)
        assert scipy.stats.chisquare(counts, weights * n).pvalue > 1e-3

    def test_actions_of_whole_episodes_come_as_often_as_the_distribution_says(self):
        weights, n = np.array([1, 2, 5, 12]) / 20, 4000
        scores = np.log(weights).tolist()
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(n,), n_actions=4), toy.ConstantNet(scores))
        counts = np.bincount(agent.play_episode(seed=11).actions.numpy(), minlength=4)
        assert scipy.stats.chisquare(counts, weights * n).pvalue > 1e-3

    def test_draws_by_inversion(self):
        """One double from torch's generator; the first action whose cumulative probability is at least that."""
        net = nn.Linear(2, 4)
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(10_000,), n_actions=4), net)
        for seed in range(100):
            torch.manual_seed(seed)
            u = torch.rand((), dtype=torch.float64).item()
            nn.init.normal_(net.weight, std=0.1)
            torch.manual_seed(seed)
            experience = agent.step()
            assert experience.action == toy.first_index_reaching(u, net(experience.state))

    def test_a_step_draws_one_number(self):
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(10_000,)), nn.Linear(2, 2))
        torch.manual_seed(5)
        for _ in range(3):
            agent.step()
        following = torch.rand((), dtype=torch.float64)
        torch.manual_seed(5)
        assert following == torch.rand(4, dtype=torch.float64)[3]

    def test_step_gives_an_experience_of_these_types(self, lander):
        experience = PolicyAgent(lander, nn.Linear(8, 4)).step()
        assert isinstance(experience, Experience)
        assert isinstance(experience.state, torch.Tensor)
        assert experience.state.dtype == torch.float32
        assert experience.state.shape == (8,)
        assert [type(value) for value in experience[1:]] == [int, float, bool]

    def test_states_are_not_overwritten_by_later_steps(self):
        agent = PolicyAgent(toy.ScriptedEnv(), nn.Linear(2, 2))
        assert [e.state.tolist() for e in [agent.step() for _ in range(3)]] == [[0, 0], [0, 1], [0, 2]]

    def test_starts_the_next_episode_by_itself(self):
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(2, 1)), nn.Linear(2, 2))
        experiences = [agent.step() for _ in range(5)]
        assert [e.state.tolist() for e in experiences] == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1]]
        assert [e.is_done for e in experiences] == [False, True, True, False, True]

    @pytest.mark.parametrize("env_type", [toy.ScriptedEnv, toy.TruncatedEnv])
    def test_truncation_ends_an_episode_too(self, env_type):
        agent = PolicyAgent(env_type(lengths=(2,)), nn.Linear(2, 2))
        assert [agent.step().is_done for _ in range(4)] == [False, True, False, True]

    def test_next_episode_is_started_lazily(self):
        env = toy.ScriptedEnv(lengths=(2,))
        agent = PolicyAgent(env, nn.Linear(2, 2))
        resets = env.resets_made
        agent.step()
        agent.step()
        assert env.resets_made == resets
        agent.current_action_distribution()
        assert env.resets_made == resets + 1

    def test_constructor_resets_once(self):
        env = toy.ScriptedEnv()
        PolicyAgent(env, nn.Linear(2, 2))
        assert env.resets_made == 1

    def test_acting_builds_no_graph(self):
        net = nn.Linear(2, 2)
        agent = PolicyAgent(toy.ScriptedEnv(), net)
        assert not agent.step().state.requires_grad
        assert net.weight.grad is None

    def test_greedy_takes_the_most_probable_action(self):
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(20,), n_actions=3), toy.ConstantNet([0.0, 0.1, 0.05]), greedy=True)
        assert {agent.step().action for _ in range(20)} == {1}
        assert set(agent.play_episode(seed=0).actions.tolist()) == {1}

    @pytest.mark.parametrize("net_type", ["Linear", "PolicyNet"])
    def test_greedy_on_a_network(self, net_type):
        torch.manual_seed(4)
        net = nn.Linear(3, 3) if net_type == "Linear" else PolicyNet(3, 3, hidden_layers=(4,))
        agent = PolicyAgent(toy.RandomEnv(n_actions=3, max_length=100), net, greedy=True)
        episode = agent.play_episode(seed=0)
        assert episode.actions.tolist() == net(episode.states).argmax(dim=1).tolist()
        assert len(set(episode.actions.tolist())) > 1


NETS = {
    "PolicyNet": lambda: PolicyNet(8, 4, hidden_layers=(16, 8)),
    "PolicyNet-tanh": lambda: PolicyNet(8, 4, hidden_layers=(16,), activation="tanh"),
    "PolicyNet-no-hidden": lambda: PolicyNet(8, 4, hidden_layers=()),
    "Linear": lambda: nn.Linear(8, 4),
    "Sequential": lambda: nn.Sequential(nn.Linear(8, 6), nn.Sigmoid(), nn.Linear(6, 4)),
    "temperature": lambda: toy.TemperatureNet(8, 4),
    "AACPolicyNet": lambda: AACPolicyNet(8, 4, hidden_layers=(16, 8)),
}


class TestPlayEpisode:
    @pytest.fixture(params=NETS)
    def agent(self, request, lander):
        torch.manual_seed(0)
        agent_type = AACPolicyAgent if request.param.startswith("AAC") else PolicyAgent
        return agent_type(lander, NETS[request.param]())

    @pytest.mark.parametrize("seed", [0, 123])
    def test_is_stepping_by_hand(self, agent, seed):
        states, actions, rewards = by_hand(agent, seed)
        episode = agent.play_episode(seed)
        assert np.array_equal(episode.states.numpy(), states)
        assert np.array_equal(episode.actions.numpy(), actions)
        assert np.array_equal(episode.rewards, rewards)
        assert episode.total_reward == pytest.approx(rewards.sum())

    def test_depends_on_the_seed_only(self, agent):
        first = agent.play_episode(7)
        agent.play_episode(8)
        torch.rand(3)
        agent.step()
        assert same_episode(agent.play_episode(7), first)

    def test_another_seed_another_episode(self, agent):
        assert not same_episode(agent.play_episode(7), agent.play_episode(8))

    def test_acts_by_the_distribution(self, agent):
        """The same episode, from distributions that the network gives: no action is one it all but excludes."""
        episode = agent.play_episode(3)
        scores = agent.p_net(episode.states) if hasattr(agent, "p_net") else None
        if scores is None:
            pytest.skip("the agent does not show its network")
        scores = scores[0] if isinstance(scores, tuple) else scores
        taken = torch.softmax(scores.detach(), dim=1).gather(1, episode.actions[:, None])
        assert taken.min() > 1e-5

    def test_whole_episodes_only(self, agent):
        episode = agent.play_episode(1)
        *before, last = [e.is_done for e in episode.experiences]
        assert not any(before)
        assert last

    def test_without_a_seed_draws_from_torch_as_steps_do(self):
        def agent():
            return PolicyAgent(toy.ScriptedEnv(lengths=(30,), n_actions=4), toy.ConstantNet([0.0, 0.3, 0.2, -0.1]))

        torch.manual_seed(9)
        player = agent()
        episode = player.play_episode()
        torch.manual_seed(9)
        stepper = agent()
        assert episode.actions.tolist() == [stepper.step().action for _ in range(30)]

    def test_the_environment_is_seeded(self):
        episodes = [PolicyAgent(toy.RandomEnv(), nn.Linear(3, 3)).play_episode(4) for _ in range(2)]
        assert torch.equal(episodes[0].states[0], episodes[1].states[0])

    def test_a_network_that_is_an_mlp_only_near_0(self):
        """It clips what it sees: the same as its Linear for small observations, not for the environment's 5 and 6."""

        class Clipped(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(2, 2)

            def forward(self, states):
                return self.linear(states.clamp(-5.0, 5.0))

        net = Clipped()
        with torch.no_grad():  # action 1 where the second feature is above 5.5, which clipped it never is
            net.linear.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 1000.0]]))
            net.linear.bias.copy_(torch.tensor([0.0, -5500.0]))
        episode = PolicyAgent(toy.ScriptedEnv(lengths=(9,)), net).play_episode(seed=0)
        assert episode.actions.tolist() == [0] * 9

    def test_a_reset_without_a_seed_goes_back_to_torchs_generator(self):
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(30,), n_actions=4), toy.ConstantNet([0.0, 0.3, 0.2, -0.1]))
        torch.manual_seed(9)
        expected = agent.play_episode().actions.tolist()
        agent.play_episode(seed=1)
        torch.manual_seed(9)
        assert agent.play_episode().actions.tolist() == expected

    def test_resets_first(self):
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(3,)), nn.Linear(2, 2))
        agent.step()
        assert agent.play_episode(0).states.tolist() == [[0, 0], [0, 1], [0, 2]]

    def test_states_and_rewards_are_the_environments(self):
        episode = PolicyAgent(toy.ScriptedEnv(lengths=(3,)), nn.Linear(2, 2)).play_episode(0)
        assert episode.states.tolist() == [[0, 0], [0, 1], [0, 2]]
        assert episode.rewards.tolist() == [1, 2, 3]


class TestMonitorEpisode:
    @pytest.fixture(scope="class")
    @classmethod
    def recorded(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("monitor") / "videos"
        torch.manual_seed(0)
        net = PolicyNet(8, 4, hidden_layers=(8,))
        first = PolicyAgent.monitor_episode(ENV_NAME, net, monitor_dir=folder, seed=0)
        (folder / "notes.txt").write_text("mine")
        second = PolicyAgent.monitor_episode(ENV_NAME, net, monitor_dir=folder, seed=1)
        return folder, net, first, second

    def test_video_has_a_frame_for_each_state(self, recorded):
        _, _, _, (env, n_steps, _) = recorded
        n_frames, _ = imageio_ffmpeg.count_frames_and_secs(str(env.videos[0][0]))
        assert n_steps <= n_frames <= n_steps + 1

    def test_plays_the_episode_of_the_seed(self, recorded):
        _, net, _, (_, n_steps, reward) = recorded
        env = make_env()
        episode = PolicyAgent(env, net).play_episode(1)
        env.close()
        assert (n_steps, reward) == (len(episode.actions), pytest.approx(episode.total_reward))

    def test_replaces_old_videos(self, recorded):
        folder, _, _, (env, _, _) = recorded
        assert [p.resolve() for p in folder.rglob("*.mp4")] == [Path(env.videos[0][0]).resolve()]

    def test_leaves_other_files_alone(self, recorded):
        assert (recorded[0] / "notes.txt").read_text() == "mine"

    def test_leaves_nothing_beside_the_folder(self, recorded):
        assert [p.name for p in recorded[0].parent.iterdir()] == ["videos"]


def test_constant_net_is_independent_of_the_state():
    """What the tests above build on."""
    rows = toy.ConstantNet([1.0, 2.0])(torch.randn(3, 5)).tolist()
    assert all(a == b for a, b in itertools.pairwise(rows))
