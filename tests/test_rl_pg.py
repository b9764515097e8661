"""The policy network, the agent and the three policy-gradient losses."""

import itertools
import math
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import nn

from hw4.env import ENV_NAME, make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_data import Experience, TrainBatch
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    PolicyAgent,
    PolicyNet,
    VanillaPolicyGradientLoss,
)
from tests import toy


def make_batch(q_vals, actions, n_features=2, dtype=torch.float32):
    return TrainBatch(
        torch.zeros(len(q_vals), n_features, dtype=dtype),
        torch.tensor(actions),
        torch.tensor(q_vals, dtype=dtype),
        torch.tensor([float(sum(q_vals))], dtype=dtype),
    )


def log_softmax(scores, action):
    """The log-probability of an action, from its definition, in Python's floats."""
    return math.log(math.exp(scores[action]) / sum(math.exp(s) for s in scores))


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


def test_shapes_are_checked_in_this_run():
    """The hook of conftest.py is live: scores of one dimension are none for a batch."""
    with pytest.raises(TypeCheckError):
        VanillaPolicyGradientLoss()(make_batch([1.0, 2.0], [0, 1]), torch.zeros(4))


class TestPolicyNet:
    def test_batch_of_states(self):
        net = PolicyNet(8, 4, hidden_layers=(16, 5))
        assert net(torch.zeros(7, 8)).shape == (7, 4)

    def test_one_state(self):
        net = PolicyNet(8, 4, hidden_layers=(16,))
        assert net(torch.zeros(8)).shape == (4,)

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


def set_bias_in_place(layer, bias):
    with torch.no_grad():
        layer.bias.copy_(bias)


def set_bias_data(layer, bias):
    layer.bias.data = bias.clone()


def set_bias_parameter(layer, bias):
    layer.bias = nn.Parameter(bias.clone())


def set_bias_by_state_dict(layer, bias):
    layer.load_state_dict({"weight": layer.weight.detach(), "bias": bias})


def set_bias_by_optimizer(layer, bias):
    optimizer = torch.optim.SGD([layer.bias], lr=1.0)
    layer.bias.grad = layer.bias.detach() - bias
    optimizer.step()


class TestFollowsTheNetwork:
    """A network whose parameters change is followed from the next episode on, in whatever way they change."""

    @pytest.mark.parametrize(
        "change",
        [set_bias_in_place, set_bias_data, set_bias_parameter, set_bias_by_state_dict, set_bias_by_optimizer],
        ids=lambda change: change.__name__,
    )
    @pytest.mark.parametrize(
        "make_net",
        [
            lambda: PolicyNet(2, 3, hidden_layers=(4,)),
            lambda: nn.Linear(2, 3),
            lambda: AACPolicyNet(2, 3, hidden_layers=(4,)),
        ],
        ids=["PolicyNet", "Linear", "AACPolicyNet"],
    )
    def test_change_of_the_bias(self, make_net, change):
        net = make_net()
        head = next(m for m in net.modules() if isinstance(m, nn.Linear) and m.out_features == 3)
        nn.init.zeros_(head.weight)
        agent_type = AACPolicyAgent if isinstance(net, AACPolicyNet) else PolicyAgent
        agent = agent_type(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        for action in (2, 0, 1):
            change(head, 1000.0 * torch.eye(3)[action])
            assert agent.play_episode(seed=0).actions.tolist() == [action] * 5
            assert agent.step().action == action

    def test_a_frozen_parameter(self):
        class Signed(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(2, 3)
                self.sign = nn.Parameter(torch.tensor(1.0), requires_grad=False)

            def forward(self, states):
                return self.sign * self.linear(states)

        net = Signed()
        nn.init.zeros_(net.linear.weight)
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        set_bias_in_place(net.linear, torch.tensor([1000.0, 0.0, -1000.0]))
        assert agent.play_episode(seed=0).actions.tolist() == [0] * 5
        net.sign.fill_(-1.0)
        assert agent.play_episode(seed=0).actions.tolist() == [2] * 5

    def test_a_setting_that_is_no_parameter(self):
        """Such as a temperature that a student anneals."""

        class Sharpened(nn.Linear):
            temperature = 1.0

            def forward(self, states):
                return super().forward(states) / self.temperature

        class Wrapped(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear, self.temperature = nn.Linear(2, 3), 1.0

            def forward(self, states):
                return self.linear(states) / self.temperature

        class SharpenedPolicyNet(PolicyNet):
            temperature = 1.0

            def forward(self, states):
                return super().forward(states) / self.temperature

        for net in (Sharpened(2, 3), Wrapped(), SharpenedPolicyNet(2, 3, hidden_layers=())):
            layer = next(m for m in net.modules() if isinstance(m, nn.Linear))
            nn.init.zeros_(layer.weight)
            agent = PolicyAgent(toy.ScriptedEnv(lengths=(200,), n_actions=3), net)
            set_bias_in_place(layer, torch.tensor([0.1, 0.0, 0.0]))
            assert set(agent.play_episode(seed=0).actions.tolist()) == {0, 1, 2}
            net.temperature = 1e-4
            assert set(agent.play_episode(seed=0).actions.tolist()) == {0}

    def test_a_network_of_any_kind(self):
        net = toy.VersionNet(3)
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(5,), n_actions=3), net)
        for version in range(1, 5):
            with torch.no_grad():
                net.version += 1
            assert agent.play_episode(seed=0).actions.tolist() == [version % 3] * 5


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


class TestPolicyGradientLosses:
    SCORES = ((0.5, -1.0, 2.0), (0.0, 0.0, 0.0), (3.0, 1.0, -2.0))
    ACTIONS = (2, 0, 1)
    Q_VALS = (4.0, -2.0, 7.0)

    def loss_by_hand(self, baseline):
        terms = [
            (q - baseline) * log_softmax(scores, action)
            for q, scores, action in zip(self.Q_VALS, self.SCORES, self.ACTIONS, strict=True)
        ]
        return -sum(terms) / 3

    @pytest.fixture
    def batch_and_scores(self):
        return make_batch(self.Q_VALS, self.ACTIONS), torch.tensor(self.SCORES)

    def test_vanilla_by_hand(self, batch_and_scores):
        loss, losses = VanillaPolicyGradientLoss()(*batch_and_scores)
        assert loss.shape == ()
        assert loss.item() == pytest.approx(self.loss_by_hand(0), rel=1e-5)
        assert set(losses) == {"loss_p"}
        assert float(losses["loss_p"]) == pytest.approx(self.loss_by_hand(0), rel=1e-5)

    def test_baseline_by_hand(self, batch_and_scores):
        loss, losses = BaselinePolicyGradientLoss()(*batch_and_scores)
        assert loss.item() == pytest.approx(self.loss_by_hand(3.0), rel=1e-5)
        assert set(losses) == {"loss_p", "baseline"}
        assert float(losses["loss_p"]) == pytest.approx(self.loss_by_hand(3.0), rel=1e-5)
        assert float(losses["baseline"]) == pytest.approx(3.0)

    def test_uniform_policy_in_closed_form(self):
        loss, _ = VanillaPolicyGradientLoss()(make_batch([1.0, 2.0, 6.0], [0, 3, 1]), torch.zeros(3, 4))
        assert loss.item() == pytest.approx(3 * math.log(4))

    def test_is_the_mean_over_experiences(self):
        batch, twice = make_batch([1.0, 5.0], [0, 1]), make_batch([1.0, 5.0] * 2, [0, 1] * 2)
        scores = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
        for loss_fn in (VanillaPolicyGradientLoss(), BaselinePolicyGradientLoss()):
            torch.testing.assert_close(loss_fn(batch, scores)[0], loss_fn(twice, scores.repeat(2, 1))[0])

    @given(st.floats(-100, 100))
    def test_baseline_does_not_see_a_constant_added_to_q(self, constant):
        torch.manual_seed(0)
        scores = torch.randn(4, 3, dtype=torch.float64)
        q_vals = [1.0, -3.0, 0.5, 2.0]
        losses = [
            BaselinePolicyGradientLoss()(make_batch([q + c for q in q_vals], [0, 2, 1, 1], dtype=torch.float64), scores)
            for c in (0.0, constant)
        ]
        assert losses[1][0].item() == pytest.approx(losses[0][0].item(), abs=1e-9)
        assert float(losses[1][1]["baseline"]) == pytest.approx(0.125 + constant, abs=1e-9)

    def test_equal_q_vals_leave_nothing_over_the_baseline(self):
        loss, _ = BaselinePolicyGradientLoss()(make_batch([2.5] * 3, [0, 1, 1]), torch.randn(3, 2))
        assert loss.item() == 0

    @given(st.floats(-50, 50))
    def test_a_constant_added_to_the_scores_changes_nothing(self, constant):
        batch = make_batch([1.0, -3.0], [0, 2], dtype=torch.float64)
        scores = torch.tensor([[0.1, 0.5, -1.0], [2.0, 0.0, 0.3]], dtype=torch.float64)
        loss = VanillaPolicyGradientLoss()
        assert loss(batch, scores + constant)[0].item() == pytest.approx(loss(batch, scores)[0].item(), abs=1e-9)

    @pytest.mark.parametrize(
        "loss_fn",
        [VanillaPolicyGradientLoss(), BaselinePolicyGradientLoss(), ActionEntropyLoss(4, beta=0.7)],
        ids=lambda loss_fn: type(loss_fn).__name__,
    )
    def test_gradient_against_finite_differences(self, loss_fn):
        torch.manual_seed(2)
        scores = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
        batch = make_batch([3.0, -1.0, 0.5, 10.0, 2.0], [0, 1, 2, 3, 0], dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda s: loss_fn(batch, s)[0], (scores,))

    def test_gradient_in_closed_form(self):
        """d loss / d score = q (pi - one-hot of the action) / N."""
        scores = torch.tensor(self.SCORES, requires_grad=True)
        VanillaPolicyGradientLoss()(make_batch(self.Q_VALS, self.ACTIONS), scores)[0].backward()
        pi, taken = torch.softmax(scores.detach(), 1), torch.eye(3)[list(self.ACTIONS)]
        torch.testing.assert_close(scores.grad, torch.tensor(self.Q_VALS)[:, None] * (pi - taken) / 3)

    def test_a_step_down_makes_well_paid_actions_likelier(self):
        scores = torch.zeros(2, 3, requires_grad=True)
        VanillaPolicyGradientLoss()(make_batch([1.0, -1.0], [0, 0]), scores)[0].backward()
        good, bad = torch.softmax(scores.detach() - scores.grad, 1)[:, 0].tolist()
        assert bad < 1 / 3 < good

    def test_extreme_scores_stay_finite(self):
        scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
        loss, _ = VanillaPolicyGradientLoss()(make_batch([1.0, 1.0], [0, 0]), scores)
        loss.backward()
        assert loss.item() == pytest.approx(1e4)
        assert torch.isfinite(scores.grad).all()

    def test_reported_losses_hold_no_graph(self):
        scores = torch.zeros(2, 3, requires_grad=True)
        for loss_fn in (VanillaPolicyGradientLoss(), BaselinePolicyGradientLoss(), ActionEntropyLoss(3)):
            _, losses = loss_fn(make_batch([1.0, -1.0], [0, 0]), scores)
            assert not any(getattr(value, "requires_grad", False) for value in losses.values())


class TestActionEntropyLoss:
    BATCH = make_batch([1.0, 2.0], [0, 1])

    @pytest.mark.parametrize("n_actions", [2, 3, 4, 18])
    def test_max_entropy_is_the_logarithm(self, n_actions):
        assert float(ActionEntropyLoss(n_actions).max_entropy) == pytest.approx(math.log(n_actions), rel=1e-6)

    @pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0])
    def test_is_minus_beta_at_the_uniform_policy(self, beta):
        loss, losses = ActionEntropyLoss(4, beta=beta)(self.BATCH, torch.full((2, 4), 1.7))
        assert loss.item() == pytest.approx(-beta)
        assert set(losses) == {"loss_e"}
        assert float(losses["loss_e"]) == pytest.approx(-beta)

    def test_beta_is_1_unless_given(self):
        assert ActionEntropyLoss(4)(self.BATCH, torch.zeros(2, 4))[0].item() == pytest.approx(-1.0)

    def test_is_0_where_one_action_is_certain(self):
        loss, _ = ActionEntropyLoss(3)(self.BATCH, torch.tensor([[1000.0, 0.0, 0.0], [0.0, 0.0, 1000.0]]))
        assert loss.item() == pytest.approx(0.0, abs=1e-6)

    def test_gradient_is_finite_where_one_action_is_certain(self):
        scores = torch.tensor([[1000.0, 0.0, 0.0], [0.0, 0.0, 1000.0]], requires_grad=True)
        ActionEntropyLoss(3)(self.BATCH, scores)[0].backward()
        assert torch.isfinite(scores.grad).all()

    def test_by_hand(self):
        """Entropies of (1/2, 1/2, 0) and (1/4, 1/4, 1/2) are log 2 and 3/2 log 2."""
        scores = torch.tensor([[0.0, 0.0, -1000.0], [0.0, 0.0, math.log(2)]])
        loss, _ = ActionEntropyLoss(3, beta=2.0)(self.BATCH, scores)
        assert loss.item() == pytest.approx(-2.0 * 1.25 * math.log(2) / math.log(3))

    def test_takes_a_tuple_that_begins_with_the_scores(self):
        scores = torch.randn(2, 4)
        loss_fn = ActionEntropyLoss(4)
        assert torch.equal(loss_fn(self.BATCH, (scores, torch.zeros(2, 1)))[0], loss_fn(self.BATCH, scores)[0])

    @given(st.lists(st.floats(-20, 20), min_size=4, max_size=4))
    def test_lies_between_minus_beta_and_0(self, row):
        loss = ActionEntropyLoss(4)(self.BATCH, torch.tensor([row, row]))[0].item()
        assert -1 - 1e-6 <= loss <= 1e-6


def test_constant_net_is_independent_of_the_state():
    """What the tests above build on."""
    rows = toy.ConstantNet([1.0, 2.0])(torch.randn(3, 5)).tolist()
    assert all(a == b for a, b in itertools.pairwise(rows))
