"""The policy network and the agent; the losses are in test_losses.py."""

import math
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium import spaces
from torch import nn

from hw4 import rl_pg
from hw4.env import make_env
from hw4.rl_data import Experience
from hw4.rl_pg import PolicyAgent, PolicyNet
from tests import toy

# Of the project's own solution, in which there is more than was asked for. The students' copy is without it.
of_the_own_solution = pytest.mark.skipif(not hasattr(rl_pg, "build_mlp"), reason="another solution than the project's")


def make_net(in_features=8, out_actions=4, **changes):
    torch.manual_seed(0)
    return PolicyNet(in_features, out_actions, **toy.hyperparams(**changes)).eval()


class TestPolicyNet:
    def test_logits_of_a_batch_and_of_one_state(self):
        net = make_net(hidden_layers=[16, 5])
        assert net(torch.zeros(7, 8)).shape == (7, 4)
        assert net(torch.zeros(8)).shape == (4,)

    def test_one_state_is_a_row_of_a_batch(self):
        net, states = make_net(hidden_layers=[16, 5]), torch.randn(3, 8)
        torch.testing.assert_close(net(states)[1], net(states[1]))

    def test_published_call(self):
        """The number of actions is one of NumPy's; the whole dict is passed."""
        env = make_env()
        net = PolicyNet(env.observation_space.shape[0], env.action_space.n, **toy.hyperparams())
        assert net(torch.zeros(1, 8)).shape == (1, 4)

    @pytest.mark.parametrize(("name", "sizes"), [("Beresheet-v2", (8, 4)), ("CartPole-v1", (4, 2))])
    def test_build_for_env(self, name, sizes):
        net = PolicyNet.build_for_env(make_env(name), "cpu", **toy.hyperparams())
        assert isinstance(net, PolicyNet)
        assert net(torch.zeros(5, sizes[0])).shape == (5, sizes[1])
        assert {p.device.type for p in net.parameters()} == {"cpu"}

    def test_gradients_reach_every_parameter(self):
        net = make_net(3, 2, hidden_layers=[16])
        net(torch.randn(32, 3)).pow(2).sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@of_the_own_solution
class TestOwnNet:
    def test_has_the_layers_asked_for(self):
        layers = [m for m in make_net(hidden_layers=(16, 5)).modules() if isinstance(m, nn.Linear)]
        assert [(m.in_features, m.out_features) for m in layers] == [(8, 16), (16, 5), (5, 4)]

    @pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("tanh", nn.Tanh)])
    def test_activations_are_between_layers(self, activation, kind):
        net = rl_pg.build_mlp(3, 2, [4, 5], activation)
        assert [type(m) for m in net] == [nn.Linear, kind, nn.Linear, kind, nn.Linear]

    def test_relu_unless_told_otherwise(self):
        assert [type(m) for m in PolicyNet(3, 2, hidden_layers=[4]).modules() if type(m) in (nn.ReLU, nn.Tanh)] == [
            nn.ReLU
        ]

    def test_without_hidden_layers_it_is_linear(self):
        assert [type(m) for m in rl_pg.build_mlp(3, 2, [])] == [nn.Linear]

    def test_orthogonal_initialisation(self):
        """Rows or columns of length gain, at right angles; no biases; the last layer's gain is its own."""
        first, _, last = rl_pg.build_mlp(3, 2, [4], orthogonal=True, out_gain=0.01)
        torch.testing.assert_close(first.weight.T @ first.weight, 2 * torch.eye(3))
        torch.testing.assert_close(last.weight @ last.weight.T, 1e-4 * torch.eye(2))
        assert not first.bias.any()
        assert not last.bias.any()

    def test_otherwise_pytorchs(self):
        torch.manual_seed(0)
        expected = nn.Linear(3, 4)
        torch.manual_seed(0)
        assert torch.equal(rl_pg.build_mlp(3, 2, [4])[0].weight, expected.weight)
        torch.manual_seed(0)
        assert torch.equal(PolicyNet(3, 2, hidden_layers=[4]).logits[0].weight, expected.weight)

    def test_first_policy_is_nearly_uniform_if_orthogonal(self):
        logits = make_net(orthogonal=True, hidden_layers=[16])(torch.randn(50, 8))
        assert 0 < logits.abs().max() < 0.1

    def test_initial_logits_of_another_number_of_actions_are_refused(self):
        with pytest.raises(ValueError, match=r"initial_logits must be 4 numbers"):
            make_net(initial_logits=[1.0])

    def test_first_policy_prefers_what_initial_logits_say(self):
        """In the state zero: an orthogonally initialised network has no biases else."""
        net = make_net(orthogonal=True, initial_logits=[math.log(7), 0, 0, 0])
        pi = torch.softmax(net(torch.zeros(8)).detach(), dim=-1)
        torch.testing.assert_close(pi, torch.tensor([0.7, 0.1, 0.1, 0.1]))


class TestAgent:
    def test_distribution_is_the_softmax_of_the_logits(self):
        agent = PolicyAgent(toy.ScriptedEnv(n_actions=3), toy.ConstantNet([math.log(1), math.log(2), math.log(5)]))
        distribution = agent.current_action_distribution()
        torch.testing.assert_close(distribution.detach(), torch.tensor([1 / 8, 2 / 8, 5 / 8]))

    def test_distribution_is_that_of_the_current_state(self):
        torch.manual_seed(1)
        net = nn.Linear(8, 4)
        agent = PolicyAgent(make_env(), net)
        for _ in range(3):
            distribution = agent.current_action_distribution()
            state = agent.step().state
            torch.testing.assert_close(distribution, torch.softmax(net(state.float()), dim=0))

    def test_actions_come_as_often_as_the_distribution_says(self):
        weights, n = np.array([1, 2, 5, 12]) / 20, 2000
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(n,), n_actions=4), toy.ConstantNet(np.log(weights).tolist()))
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002 - an agent may draw from it
        counts = np.bincount([int(agent.step().action) for _ in range(n)], minlength=4)
        assert scipy.stats.chisquare(counts, weights * n).pvalue > 1e-3

    def test_step_gives_an_experience(self):
        experience = PolicyAgent(make_env(), nn.Linear(8, 4)).step()
        assert isinstance(experience, Experience)
        assert isinstance(experience.state, torch.Tensor)
        assert experience.state.is_floating_point()
        assert experience.state.shape == (8,)
        assert int(experience.action) in range(4)
        assert isinstance(float(experience.reward), float)
        assert not experience.is_done

    @pytest.mark.parametrize("env_type", [toy.ScriptedEnv, toy.TruncatedEnv])
    def test_starts_the_next_episode_by_itself(self, env_type):
        agent = PolicyAgent(env_type(lengths=(2, 1)), nn.Linear(2, 2))
        experiences = [agent.step() for _ in range(5)]
        assert [e.state.tolist() for e in experiences] == [[0, 0], [0, 1], [1, 0], [2, 0], [2, 1]]
        assert [e.reward for e in experiences] == [1, 2, 11, 21, 22]
        assert [bool(e.is_done) for e in experiences] == [False, True, True, False, True]

    def test_the_environment_takes_the_action_that_is_reported(self):
        env = toy.ScriptedEnv(lengths=(100,), n_actions=3)
        agent = PolicyAgent(env, toy.ConstantNet([0.0, 0.0, 0.0]))
        reported = [int(agent.step().action) for _ in range(20)]
        assert [int(action) for action in env.actions] == reported
        assert set(reported) == {0, 1, 2}

    def test_reset_starts_an_episode(self):
        agent = PolicyAgent(toy.ScriptedEnv(), nn.Linear(2, 2))
        agent.step()
        agent.reset()
        assert agent.step().state.tolist() == [0, 0]


@of_the_own_solution
class TestOwnAgent:
    @pytest.mark.parametrize(
        ("u", "action"), [(0.0, 0), (0.24, 0), (0.25, 0), (0.26, 1), (0.5, 1), (0.76, 3), (1 - 1e-9, 3)]
    )
    def test_inversion(self, u, action):
        """The first action whose cumulative probability reaches u; the third has none."""
        assert rl_pg.sample_by_inversion(torch.tensor([0.25, 0.5, 0.0, 0.25]), u) == action

    def test_inversion_where_the_sum_is_rounded_down(self):
        assert rl_pg.sample_by_inversion(torch.tensor([0.5, 0.499999]), 1 - 1e-12) == 1

    def test_nan(self):
        agent = PolicyAgent(toy.ScriptedEnv(), toy.ConstantNet([math.nan, 0.0]))
        with pytest.raises(FloatingPointError, match="nan: its parameters have diverged"):
            agent.step()

    def test_a_step_draws_one_double_from_torchs_generator(self):
        net = nn.Linear(2, 4)
        agent = PolicyAgent(toy.ScriptedEnv(lengths=(100,), n_actions=4), net)
        torch.manual_seed(5)
        experiences = [agent.step() for _ in range(30)]
        torch.manual_seed(5)
        for experience, u in zip(experiences, torch.rand(30, dtype=torch.float64).tolist(), strict=True):
            assert experience.action == toy.first_index_reaching(u, net(experience.state))

    def test_types(self):
        experience = PolicyAgent(make_env(), nn.Linear(8, 4)).step()
        assert experience.state.dtype == torch.float32
        assert [type(value) for value in experience[1:]] == [int, float, bool]

    def test_resets_once_in_the_constructor_and_then_only_for_a_state_to_act_in(self):
        env = toy.ScriptedEnv(lengths=(2,))
        agent = PolicyAgent(env, nn.Linear(2, 2))
        agent.step()
        agent.step()
        assert env.resets_made == 1
        agent.current_action_distribution()
        agent.step()
        assert env.resets_made == 2

    def test_the_distribution_has_no_graph(self):
        assert not PolicyAgent(toy.ScriptedEnv(), nn.Linear(2, 2)).current_action_distribution().requires_grad

    def test_states_are_copies(self):
        agent = PolicyAgent(toy.ReusingEnv(), nn.Linear(2, 2))
        assert [e.state.tolist() for e in [agent.step() for _ in range(3)]] == [[0, 0], [0, 1], [0, 2]]

    @pytest.mark.usefixtures("unchecked")
    def test_other_kinds_of_environment_are_refused(self):
        env = toy.ScriptedEnv()
        env.action_space = spaces.MultiBinary(2)
        with pytest.raises(ValueError, match="must be Discrete"):
            PolicyAgent(env, nn.Linear(2, 2))


class TestMonitorEpisode:
    """CartPole pays 1 at each step."""

    @pytest.fixture(scope="class")
    @classmethod
    def recorded(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("monitor") / "videos"
        torch.manual_seed(0)
        PolicyAgent.monitor_episode("CartPole-v1", nn.Linear(4, 2), folder)
        (folder / "notes.txt").write_text("mine")
        return folder, PolicyAgent.monitor_episode("CartPole-v1", nn.Linear(4, 2), monitor_dir=folder, device="cpu")

    def test_reports_one_whole_episode(self, recorded):
        _, (env, n_steps, reward) = recorded
        assert n_steps == reward
        assert n_steps >= 5
        assert len(env.videos) == 1

    def test_video_has_a_frame_for_each_state(self, recorded):
        _, (env, n_steps, _) = recorded
        n_frames, _ = imageio_ffmpeg.count_frames_and_secs(str(env.videos[0][0]))
        assert n_steps <= n_frames <= n_steps + 1

    def test_replaces_old_videos_and_leaves_other_files_alone(self, recorded):
        folder, (env, _, _) = recorded
        assert {p.resolve() for p in folder.iterdir()} == {
            Path(env.videos[0][0]).resolve(),
            (folder / "notes.txt").resolve(),
        }

    def test_leaves_nothing_beside_the_folder(self, recorded):
        assert [p.name for p in recorded[0].parent.iterdir()] == ["videos"]

    def test_beresheet(self, tmp_path):
        env, n_steps, reward = PolicyAgent.monitor_episode("Beresheet-v2", nn.Linear(8, 4), tmp_path)
        assert Path(env.videos[0][0]).parent == tmp_path
        assert 1 <= n_steps <= 300
        assert math.isfinite(reward)
