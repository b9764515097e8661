"""Collecting episodes: whoever plays beside them, however the agent draws, and whether or not a shortcut is taken."""

import math
import random

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from hw4 import rl_pg
from hw4.env import make_env
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.rl_pg import PolicyAgent, PolicyNet
from hw4.rollout import collect as engine
from hw4.rollout.collect import collect, collect_in_order, episode_seed, sample_from_logits
from tests import toy

of_the_own_solution = pytest.mark.skipif(not hasattr(rl_pg, "build_mlp"), reason="another solution than the project's")
AGENTS = (PolicyAgent, toy.Agent, toy.EagerAgent)


class Steps(PolicyAgent):
    """Plays as PolicyAgent, but by its own step."""

    def step(self):
        return super().step()


class AACSteps(AACPolicyAgent):
    def step(self):
        return super().step()


def net_of(kind, in_features=3, out_actions=3):
    torch.manual_seed(0)
    return toy.NETS[kind](in_features, out_actions)


def agent_of(net):
    return AACPolicyAgent if isinstance(net, toy.SharedTrunk) else PolicyAgent


def scripted(**kwargs):
    return lambda: toy.ScriptedEnv(**kwargs)


def actions_of(episode):
    return [int(e.action) for e in episode.experiences]


def states_of(episode):
    return [e.state.tolist() for e in episode.experiences]


def same_episodes(episodes, others):
    return all(toy.same_episode(a, b) for a, b in zip(episodes, others, strict=True))


class TestEpisodes:
    @pytest.mark.parametrize("agent_type", AGENTS)
    @pytest.mark.parametrize("env_type", [toy.ScriptedEnv, toy.TruncatedEnv, toy.ReusingEnv])
    def test_hold_what_the_environment_gave(self, agent_type, env_type):
        def make():
            return env_type(lengths=(3,))

        (_, episode), (_, other) = collect(agent_type, nn.Linear(2, 2), [5, 6], make_env=make)
        assert states_of(episode) == states_of(other) == [[0, 0], [0, 1], [0, 2]]
        assert [e.reward for e in episode.experiences] == [1, 2, 3]
        assert [e.is_done for e in episode.experiences] == [False, False, True]
        assert episode.total_reward == 6
        assert [type(value) for value in episode.experiences[0]] == [torch.Tensor, int, float, bool]
        assert episode.experiences[0].state.is_floating_point()

    @of_the_own_solution
    def test_come_as_they_end_with_their_places(self):
        places = [index for index, _ in collect(PolicyAgent, nn.Linear(3, 3), range(20), make_env=toy.RandomEnv)]
        assert sorted(places) == list(range(20))
        assert places != sorted(places)

    def test_none_for_no_seeds(self):
        assert list(collect(PolicyAgent, nn.Linear(3, 3), [], make_env=toy.RandomEnv)) == []

    @pytest.mark.parametrize("agent_type", AGENTS)
    @pytest.mark.parametrize("kind", ["linear", "dropout"])
    def test_depend_on_the_seed_alone(self, agent_type, kind):
        """Not on who plays beside them, on what was played before, or on the caller's generators."""
        net = net_of(kind)
        together = collect_in_order(agent_type, net, range(12), make_env=toy.RandomEnv)
        torch.rand(3)
        np.random.rand(3)  # noqa: NPY002
        for seed in (11, 3):
            (_, alone), *_ = collect(agent_type, net, [seed], make_env=toy.RandomEnv)
            assert toy.same_episode(alone, together[seed])
        assert len({episode.total_reward for episode in together}) == 12

    @pytest.mark.parametrize("agent_type", AGENTS)
    def test_actions_come_as_often_as_the_distribution_says(self, agent_type):
        weights, n = np.array([1, 2, 5, 12]) / 20, 2000
        net, make = toy.ConstantNet(np.log(weights).tolist()), scripted(lengths=(n // 2,), n_actions=4)
        for networks in (net, nn.Sequential(nn.Linear(2, 4))):
            if networks is not net:
                nn.init.zeros_(networks[0].weight)
                networks[0].bias.data = net.scores.data
            episodes = collect_in_order(agent_type, networks, [11, 12], make_env=make)
            counts = np.bincount([action for episode in episodes for action in actions_of(episode)], minlength=4)
            assert scipy.stats.chisquare(counts, weights * n).pvalue > 1e-3

    @pytest.mark.parametrize("agent_type", AGENTS)
    @pytest.mark.parametrize("kind", ["linear", "temperature"])
    def test_greedy(self, agent_type, kind):
        net = net_of(kind)
        for episode in collect_in_order(agent_type, net, range(5), make_env=toy.RandomEnv, greedy=True):
            logits = net(torch.stack([e.state.float() for e in episode.experiences]))
            assert actions_of(episode) == logits.argmax(dim=1).tolist()

    @of_the_own_solution
    @pytest.mark.parametrize("agent_type", [PolicyAgent, Steps])
    def test_a_policy_that_has_diverged(self, agent_type):
        net = nn.Linear(3, 3)
        nn.init.constant_(net.bias, math.nan)
        with pytest.raises(FloatingPointError, match="nan: its parameters have diverged"):
            collect_in_order(agent_type, net, [0], make_env=toy.RandomEnv)


class TestOwnAgents:
    """What the shortcut plays is what the agents' own steps play."""

    @pytest.mark.parametrize("make", [toy.RandomEnv, engine.make_fast_env], ids=["random", "lander"])
    @pytest.mark.parametrize("greedy", [False, True])
    @pytest.mark.parametrize("changes", [{}, {"activation": "tanh"}, {"hidden_layers": []}], ids=str)
    def test_policy_agent(self, make, greedy, changes):
        self.compare(PolicyNet, PolicyAgent, Steps, make, greedy, changes)

    @pytest.mark.parametrize("greedy", [False, True])
    def test_actor_critic(self, greedy):
        self.compare(AACPolicyNet, AACPolicyAgent, AACSteps, engine.make_fast_env, greedy, {})

    @staticmethod
    def compare(net_type, agent_type, steps_type, make, greedy, changes):
        torch.manual_seed(3)
        net = net_type.build_for_env(make(), **toy.hyperparams(**{"hidden_layers": [16, 8], **changes}))
        fast = collect_in_order(agent_type, net, range(4), make_env=make, greedy=greedy)
        assert same_episodes(fast, collect_in_order(steps_type, net, range(4), make_env=make, greedy=greedy))

    @of_the_own_solution
    @pytest.mark.parametrize("agent_type", [PolicyAgent, AACPolicyAgent])
    def test_are_reproduced_to_the_letter(self, agent_type):
        """Who changes one of their methods changes the engine too, and _REPRODUCED, or they play slowly."""
        assert engine._is_reproduced(agent_type)

    @pytest.mark.parametrize("u", [1e-9, 0.2, 0.5, 0.7, 0.999])
    def test_draws_by_inversion(self, u):
        for logits in torch.randn(50, 4, generator=torch.Generator().manual_seed(0)):
            assert sample_from_logits(logits.tolist(), u) == toy.first_index_reaching(u, logits)
        assert sample_from_logits([-1000.0, 1000.0, 990.0], u) == 1


class TestOverrides:
    """An agent that is not the project's own to the letter plays by its own methods."""

    MAKE = staticmethod(scripted(lengths=(6,), n_actions=3))

    @staticmethod
    def always_two(self):
        return torch.tensor([0.0, 0.0, 1.0])

    def play(self, agent_type, **kwargs):
        return collect_in_order(agent_type, nn.Linear(2, 3), [1, 2, 3], make_env=self.MAKE, **kwargs)

    @pytest.mark.parametrize("greedy", [False, True])
    def test_a_distribution(self, greedy):
        agent_type = type("Odd", (PolicyAgent,), {"current_action_distribution": self.always_two})
        assert {tuple(actions_of(e)) for e in self.play(agent_type, greedy=greedy)} == {(2,) * 6}

    def test_a_distribution_of_one_agent(self):
        class Odd(PolicyAgent):
            def __new__(cls, *args):
                agent = super().__new__(cls)
                agent.current_action_distribution = lambda: TestOverrides.always_two(agent)
                return agent

        assert {tuple(actions_of(e)) for e in self.play(Odd)} == {(2,) * 6}

    @pytest.mark.parametrize("of_one_agent", [False, True])
    def test_a_step(self, of_one_agent):
        class Doubles(PolicyAgent):
            def __init__(self, *args):
                super().__init__(*args)
                if of_one_agent:
                    self.step = lambda: PolicyAgent.step(self)._replace(reward=7.0)

            def step(self):
                return super().step()._replace(reward=7.0)

        assert [e.total_reward for e in self.play(Doubles)] == [42.0] * 3

    def test_a_reset(self):
        class Waits(PolicyAgent):
            def reset(self):
                super().reset()
                for _ in range(2):
                    self.state = torch.from_numpy(self.env.step(0)[0])

        assert states_of(self.play(Waits)[0]) == [[0, 2], [0, 3], [0, 4], [0, 5]]

    @of_the_own_solution
    def test_another_sampler(self, monkeypatch):
        monkeypatch.setattr(rl_pg, "sample_by_inversion", lambda probabilities, u: 1)
        assert {tuple(actions_of(e)) for e in self.play(PolicyAgent)} == {(1,) * 6}

    def test_a_function_that_makes_agents(self):
        def make_agent(env, p_net, device):
            agent = PolicyAgent(env, p_net, device)
            agent.current_action_distribution = lambda: self.always_two(agent)
            return agent

        assert {tuple(actions_of(e)) for e in self.play(make_agent)} == {(2,) * 6}


class TestNetworks:
    @pytest.mark.parametrize("kind", toy.NETS)
    def test_of_any_kind_play_by_their_logits(self, kind):
        """In eval mode; afterwards all their parts are in the mode that they were in."""
        net = net_of(kind)
        modules = list(net.modules())
        modules[-1].eval()
        modes = [module.training for module in modules]
        played = collect_in_order(agent_of(net), net, range(3), make_env=toy.RandomEnv, greedy=True)
        assert [module.training for module in modules] == modes
        net.eval()
        for episode in played:
            output = net(torch.stack([e.state.float() for e in episode.experiences]))
            logits = output[0] if isinstance(output, tuple) else output
            assert actions_of(episode) == logits.argmax(dim=1).tolist()

    @pytest.mark.parametrize("agent_type", AGENTS)
    def test_cartpole(self, agent_type):
        episodes = collect_in_order(agent_type, nn.Linear(4, 2), range(3), make_env=lambda: make_env("CartPole-v1"))
        assert all(episode.total_reward == len(episode.experiences) >= 8 for episode in episodes)
        assert episodes[0].experiences[0].state.shape == (4,)


class TestLeavesNoTrace:
    @pytest.mark.usefixtures("unchecked")  # the checks draw from Python's generator
    def test_in_the_callers_generators(self):
        def states():
            return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

        for agent_type in AGENTS:
            playing, before = collect(agent_type, net_of("dropout"), range(3), make_env=toy.RandomEnv), states()
            for _ in playing:
                assert states() == before
            assert states() == before

    @pytest.mark.parametrize("n_seeds", [3, 40])
    def test_in_environments(self, n_seeds):
        """At most ENVS_PER_PROCESS are made, and all are closed, also if the caller takes no more."""
        made, closed = [], []

        class Closing(toy.RandomEnv):
            def close(self):
                closed.append(self)

        def make():
            made.append(Closing())
            return made[-1]

        for agent_type in (PolicyAgent, toy.Agent):
            playing = collect(agent_type, nn.Linear(3, 3), range(n_seeds), make_env=make)
            next(playing)
            playing.close()
            assert len(made) == len(closed) == min(n_seeds, engine.ENVS_PER_PROCESS)
            made.clear()
            closed.clear()

    def test_in_threads(self):
        with engine.torch_threads(2):
            list(collect(PolicyAgent, nn.Linear(3, 3), [0], make_env=toy.RandomEnv))
            assert torch.get_num_threads() == 2


class TestSeeds:
    def test_are_those_of_the_committed_results(self):
        assert [episode_seed(42, 0), episode_seed(42, 1), episode_seed(42, 0, "evaluation")] == [
            11465652750463011511,
            15658369528003122356,
            16016570408942317940,
        ]

    def test_no_two_are_equal(self):
        seeds = {episode_seed(s, n, p) for s in range(5) for n in range(50) for p in ("training", "evaluation")}
        assert len(seeds) == 500

    def test_an_episodes_seed_resets_the_environment(self):
        (_, episode), *_ = collect(PolicyAgent, nn.Linear(3, 3), [123], make_env=toy.RandomEnv)
        assert episode.experiences[0].state.tolist() == toy.RandomEnv().reset(seed=123)[0].tolist()


def test_make_fast_env_is_what_it_plays_unless_told_otherwise():
    (_, episode), *_ = collect(PolicyAgent, nn.Linear(8, 4), [1])
    env = gym.make("Beresheet-v2")
    assert episode.experiences[0].state.tolist() == env.reset(seed=1)[0].tolist()
