"""What can't be: each ends with the project's own error, in a message that says what was given.

The annotation checks are off here, as they are for a user.
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from hw4.env import ENV_NAME, seed_like_gym_0_15
from hw4.experiments import dump_training_data, load_checkpoint, load_policy, parse_settings, train_config
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import Episode, Experience, TrainBatch, TrainBatchDataset
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    PolicyAgent,
    PolicyNet,
    PolicyTrainer,
    VanillaPolicyGradientLoss,
)
from hw4.rollout.loader import OnPolicyLoader
from hw4.study.evaluation import evaluate
from tests import toy

pytestmark = [pytest.mark.usefixtures("unchecked"), pytest.mark.usefixtures("time_limit")]

BAD = (ValueError, TypeError)
HP = {"batch_size": 2, "gamma": 0.9, "beta": 0.5, "learn_rate": 0.01, "eps": 1e-8, "hidden_layers": [8], "delta": 0.1}


def batch_of(n=3, n_actions=3):
    return TrainBatch(torch.zeros(n, 2), torch.arange(n) % n_actions, torch.ones(n), torch.ones(1))


class TestData:
    def test_an_empty_episode(self):
        with pytest.raises(ValueError, match=r"(?i)experience"):
            Episode(0.0, [])

    def test_a_batch_of_no_episodes(self):
        with pytest.raises(ValueError, match=r"(?i)episode"):
            TrainBatch.from_episodes([])

    def test_an_empty_batch(self):
        with pytest.raises(ValueError, match=r"(?i)experience|empty"):
            TrainBatch(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(1))

    @pytest.mark.parametrize(
        ("states", "actions", "q_vals", "total_rewards"),
        [
            ((4, 2), (3,), (3,), (1,)),
            ((3, 2), (4,), (3,), (1,)),
            ((3, 2), (3,), (4,), (1,)),
            ((3,), (3,), (3,), (1,)),
            ((3, 2, 2), (3,), (3,), (1,)),
            ((3, 2), (3, 1), (3,), (1,)),
            ((3, 2), (3,), (3, 1), (1,)),
            ((3, 2), (3,), (3,), ()),
            ((3, 2), (3,), (3,), (1, 1)),
            ((3, 2), (), (3,), (1,)),
        ],
    )
    def test_shapes_that_disagree(self, states, actions, q_vals, total_rewards):
        with pytest.raises(ValueError, match=r"(?i)shape"):
            TrainBatch(
                torch.zeros(states),
                torch.zeros(actions, dtype=torch.int64),
                torch.zeros(q_vals),
                torch.zeros(total_rewards),
            )

    def test_actions_that_are_no_integers(self):
        with pytest.raises(BAD, match=r"(?i)action"):
            TrainBatch(torch.zeros(2, 2), torch.zeros(2), torch.zeros(2), torch.zeros(1))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("where", ["states", "q_vals", "total_rewards"])
    def test_values_that_are_no_numbers(self, where, bad):
        tensors = {
            "states": torch.zeros(2, 2),
            "actions": torch.zeros(2, dtype=torch.int64),
            "q_vals": torch.zeros(2),
            "total_rewards": torch.zeros(1),
        }
        tensors[where].view(-1)[-1] = bad
        with pytest.raises(ValueError, match=r"(?i)nan|inf"):
            TrainBatch(**tensors)

    @pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan, math.inf, "0.9", None])
    def test_gamma(self, gamma):
        episode = Episode(1.0, [Experience(torch.zeros(2), 0, 1.0, True)])
        agent_fn = partial(toy.make_agent, PolicyAgent, toy.ScriptedEnv, nn.Linear(2, 2))
        for use in (
            lambda: episode.calc_qvals(gamma),
            lambda: TrainBatch.from_episodes([episode], gamma),
            lambda: TrainBatchDataset(agent_fn, 2, gamma),
            lambda: OnPolicyLoader(agent_fn, 2, gamma, seed=0),
        ):
            with pytest.raises(BAD, match=r"(?i)gamma"):
                use()

    @pytest.mark.parametrize("size", [0, -1, 2.0, "2", None, True])
    def test_batch_size(self, size):
        agent_fn = partial(toy.make_agent, PolicyAgent, toy.ScriptedEnv, nn.Linear(2, 2))
        for use in (
            lambda: TrainBatchDataset(agent_fn, size, 0.9),
            lambda: OnPolicyLoader(agent_fn, size, 0.9, seed=0),
        ):
            with pytest.raises(BAD, match=r"(?i)batch"):
                use()

    @pytest.mark.parametrize("argument", [{"seed": -1}, {"seed": 1.5}, {"seed": 0, "num_workers": -1}])
    def test_loader_arguments(self, argument):
        agent_fn = partial(toy.make_agent, PolicyAgent, toy.ScriptedEnv, nn.Linear(2, 2))
        with pytest.raises(BAD, match=list(argument)[-1]):
            OnPolicyLoader(agent_fn, 2, 0.9, **argument)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("where", ["reward", "observation"])
    @pytest.mark.parametrize("make", ["dataset", "loader"])
    def test_an_environment_that_gives_no_numbers(self, make, where, bad):
        agent_fn = partial(toy.make_agent, PolicyAgent, partial(toy.BadValueEnv, **{where: bad}), toy.VersionNet(2))
        batches = TrainBatchDataset(agent_fn, 2, 0.9) if make == "dataset" else OnPolicyLoader(agent_fn, 2, 0.9, seed=0)
        with pytest.raises(ValueError, match=r"(?i)nan|inf"):
            next(iter(batches))

    @pytest.mark.parametrize("seed", [-1, 1.5, "42", None])
    def test_old_seeding(self, seed):
        with pytest.raises(BAD, match=r"(?i)seed"):
            seed_like_gym_0_15(toy.ScriptedEnv(), seed)


class TestEnvironments:
    VECTOR = spaces.Box(-1, 1, (3,), np.float32)
    BAD_SPACES = (
        (VECTOR, spaces.Box(-1, 1, (2,), np.float32)),
        (VECTOR, spaces.MultiDiscrete([2, 2])),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), spaces.Discrete(2)),
        (spaces.Discrete(5), spaces.Discrete(2)),
    )

    @pytest.mark.parametrize(("observations", "actions"), BAD_SPACES)
    @pytest.mark.parametrize("agent_type", [PolicyAgent, AACPolicyAgent])
    def test_agents_refuse(self, agent_type, observations, actions):
        with pytest.raises(ValueError, match=r"(?i)discrete|vector"):
            agent_type(toy.SpaceEnv(observations, actions), nn.Linear(3, 2))

    @pytest.mark.parametrize(("observations", "actions"), BAD_SPACES)
    @pytest.mark.parametrize("net_type", [PolicyNet, AACPolicyNet])
    def test_networks_refuse(self, net_type, observations, actions):
        with pytest.raises(ValueError, match=r"(?i)discrete|vector"):
            net_type.build_for_env(toy.SpaceEnv(observations, actions), hidden_layers=(4,))

    NETS = ("Linear", "PolicyNet")

    @staticmethod
    def net(kind, n_actions):
        torch.manual_seed(0)
        return nn.Linear(2, n_actions) if kind == "Linear" else PolicyNet(2, n_actions, hidden_layers=(4,))

    @pytest.mark.parametrize("kind", NETS)
    @pytest.mark.parametrize("n_actions", [1, 5])
    @pytest.mark.parametrize("play", [lambda a: a.step(), lambda a: a.play_episode(seed=0)], ids=["step", "episode"])
    def test_a_network_with_another_number_of_actions(self, kind, n_actions, play):
        """Refused whichever action is drawn, so before the environment sees one that it has not."""
        env = toy.ScriptedEnv(n_actions=2, lengths=(50,))
        with pytest.raises(ValueError, match=r"(?i)action|score"):
            play(PolicyAgent(env, self.net(kind, n_actions)))
        assert env.steps_made == 0

    @pytest.mark.parametrize("kind", NETS)
    @pytest.mark.parametrize("play", [lambda a: a.step(), lambda a: a.play_episode(seed=0)], ids=["step", "episode"])
    def test_a_network_whose_scores_are_nan(self, kind, play):
        net = self.net(kind, 3)
        for parameter in net.parameters():
            nn.init.constant_(parameter, math.nan)
        with pytest.raises((FloatingPointError, ValueError), match=r"(?i)nan"):
            play(PolicyAgent(toy.ScriptedEnv(n_actions=3), net))

    def test_no_environment_of_that_name_leaves_no_folder(self, tmp_path):
        with pytest.raises(Exception, match="Nowhere"):
            PolicyAgent.monitor_episode("Nowhere-v0", nn.Linear(8, 4), monitor_dir=tmp_path / "videos")
        assert list(tmp_path.iterdir()) == []

    def test_a_recording_that_fails_leaves_nothing_half_written(self, tmp_path):
        with pytest.raises((RuntimeError, ValueError)):
            PolicyAgent.monitor_episode(ENV_NAME, nn.Linear(3, 4), monitor_dir=tmp_path / "videos", seed=0)
        assert list(tmp_path.iterdir()) == []


class TestNetworks:
    @pytest.mark.parametrize("net_type", [PolicyNet, AACPolicyNet])
    @pytest.mark.parametrize(
        "hp",
        [{"hidden_layers": (0,)}, {"hidden_layers": (-4,)}, {"hidden_layers": (2.5,)}, {"hidden_layers": ("8",)}],
        ids=str,
    )
    def test_hidden_layers(self, net_type, hp):
        with pytest.raises(BAD, match=r"(?i)layer"):
            net_type(8, 4, **hp)

    @pytest.mark.parametrize("hidden_layers", [None, 8, "8"])
    def test_hidden_layers_that_are_no_list(self, hidden_layers):
        with pytest.raises(BAD):
            PolicyNet(8, 4, hidden_layers=hidden_layers)

    def test_hidden_layers_missing(self):
        with pytest.raises(TypeError, match="hidden_layers"):
            PolicyNet(8, 4)

    def test_initial_scores_of_another_number_of_actions(self):
        with pytest.raises(ValueError, match=r"4 numbers, one an action, got \[1, 2\]"):
            PolicyNet(8, 4, hidden_layers=(4,), initial_scores=[1, 2])

    def test_activation(self):
        with pytest.raises(ValueError, match="swish"):
            PolicyNet(8, 4, hidden_layers=(4,), activation="swish")


class TestLosses:
    POLICY_LOSSES = (VanillaPolicyGradientLoss, BaselinePolicyGradientLoss, partial(ActionEntropyLoss, 3))

    @pytest.mark.parametrize("make_loss", POLICY_LOSSES, ids=["vanilla", "baseline", "entropy"])
    @pytest.mark.parametrize("shape", [(2, 3), (4, 3), (3,), (3, 3, 3)])
    def test_scores_of_a_wrong_shape(self, make_loss, shape):
        loss_fn = make_loss()
        with pytest.raises(ValueError, match=r"(?i)shape|score"):
            loss_fn(batch_of(3), torch.zeros(shape))

    @pytest.mark.parametrize("scores_shape", [(2, 3), (3,)])
    def test_actor_critic_scores_of_a_wrong_shape(self, scores_shape):
        with pytest.raises(ValueError, match=r"(?i)shape|score"):
            AACPolicyGradientLoss(delta=1.0)(batch_of(3), (torch.zeros(scores_shape), torch.zeros(3, 1)))

    @pytest.mark.parametrize("values_shape", [(2, 1), (3,), (3, 2)])
    def test_values_of_a_wrong_shape(self, values_shape):
        with pytest.raises(ValueError, match=r"(?i)shape|value"):
            AACPolicyGradientLoss(delta=1.0)(batch_of(3), (torch.zeros(3, 3), torch.zeros(values_shape)))

    @pytest.mark.parametrize("action", [-1, 3, 100])
    def test_actions_out_of_range(self, action):
        batch = TrainBatch(torch.zeros(2, 2), torch.tensor([0, action]), torch.zeros(2), torch.zeros(1))
        scores = torch.zeros(2, 3)
        for loss_fn, output in (
            (VanillaPolicyGradientLoss(), scores),
            (BaselinePolicyGradientLoss(), scores),
            (AACPolicyGradientLoss(delta=1.0), (scores, torch.zeros(2, 1))),
        ):
            with pytest.raises(ValueError, match=str(action)):
                loss_fn(batch, output)

    @pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf, "1", None])
    def test_beta(self, beta):
        with pytest.raises(BAD, match="beta"):
            ActionEntropyLoss(4, beta=beta)

    @pytest.mark.parametrize("delta", [-0.1, math.nan, math.inf, "1", None])
    def test_delta(self, delta):
        with pytest.raises(BAD, match="delta"):
            AACPolicyGradientLoss(delta=delta)

    @pytest.mark.parametrize("n_actions", [0, 1, -2, 2.5, "4"])
    def test_number_of_actions(self, n_actions):
        with pytest.raises(BAD, match=r"(?i)actions"):
            ActionEntropyLoss(n_actions)

    def test_entropy_of_another_number_of_actions(self):
        with pytest.raises(ValueError, match=r"(?i)actions|score|shape"):
            ActionEntropyLoss(4)(batch_of(3), torch.zeros(3, 2))


class TestTrainer:
    def trainer(self, loss=None):
        model = nn.Linear(2, 3)
        loss = VanillaPolicyGradientLoss() if loss is None else loss
        return PolicyTrainer(model, torch.optim.Adam(model.parameters()), loss, iter(lambda: batch_of(3), None))

    def test_no_losses(self):
        with pytest.raises(ValueError, match=r"(?i)loss"):
            self.trainer(loss=[])

    @pytest.mark.parametrize("value", [0, -1, 1.5, "10", None])
    @pytest.mark.parametrize("name", ["max_episodes", "running_mean_len"])
    def test_counts(self, name, value):
        with pytest.raises(BAD, match=name):
            self.trainer().train(**{"max_episodes": 3, name: value})

    @pytest.mark.parametrize("value", [math.nan, "200", None])
    def test_target(self, value):
        with pytest.raises(BAD, match=r"target_reward|number"):
            self.trainer().train(target_reward=value, max_episodes=3)

    def test_a_loader_that_ends_too_soon(self):
        trainer = self.trainer()
        trainer.dataloader = [batch_of(3)]
        with pytest.raises(ValueError, match=r"(?i)loader"):
            trainer.train(max_episodes=10)


class TestHyperparameters:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("name", ["batch_size", "gamma", "beta", "learn_rate", "eps", "hidden_layers", "delta"])
    def test_missing(self, name):
        with pytest.raises(BAD, match=name):
            train_config("aac", hp={k: v for k, v in HP.items() if k != name}, max_episodes=2, num_workers=0)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *((name, bad) for name in ("batch_size", "learn_rate", "eps") for bad in (0, -1, "x", None, math.nan)),
            *((name, bad) for name in ("beta", "delta", "gamma") for bad in (-0.5, "x", None, math.nan)),
            ("batch_size", 2.5),
            ("batch_size", True),
            ("gamma", 1.5),
            ("learn_rate", math.inf),
            ("learn_rate", [0.1]),
            ("hidden_layers", 8),
            ("hidden_layers", "8"),
            ("hidden_layers", [8, -1]),
            ("hidden_layers", [8.0]),
            ("hidden_layers", None),
            ("activation", "swish"),
            ("activation", ["relu"]),
            ("activation", None),
            ("orthogonal", "yes"),
            ("value_scale", 0),
            ("initial_scores", 3.0),
            ("initial_scores", [1.0, "much"]),
            ("weight_decay", -0.1),
            ("adam_restart", 1.5),
            ("learn_rate_schedule", 0.5),
            ("learn_rate_schedule", []),
            ("learn_rate_schedule", [0, 1]),
            ("learn_rate_schedule", [[0.5, 1], [0.4, 1]]),
            ("learn_rate_schedule", [[0, 1], [1.5, 1]]),
            ("learn_rate_schedule", [[0, 1], [1, -1]]),
            ("beta_schedule", [[0, "1"]]),
            ("gamma_schedule", [[0, 0.9], [1, 1.1]]),
            ("weight_decay_schedule", [[0, 0.1], [1, -0.1]]),
        ],
    )
    def test_of_a_wrong_kind(self, name, value):
        with pytest.raises(BAD, match=name):
            train_config("aac", hp={**HP, name: value}, max_episodes=2, num_workers=0)

    def test_those_of_a_students_own_are_left_alone(self):
        """A network may take hyperparameters that ours does not have."""
        data = train_config("cpg", hp={**HP, "dropout": 0.1}, max_episodes=2, num_workers=0)
        assert data["episode_num"] == [2]

    @pytest.mark.parametrize("setting", ["learning_rate=0.1", "gamma", "gamma=2", "batch_size=x", "=1", ""])
    def test_settings(self, setting):
        """A slip of the pen would otherwise train with something else."""
        with pytest.raises(ValueError, match=setting.partition("=")[0] or "setting|hyperparameter"):
            parse_settings("aac", [setting])

    def test_no_such_configuration(self):
        with pytest.raises(ValueError, match="ppo"):
            train_config("ppo", hp=HP, max_episodes=2)

    @pytest.mark.parametrize("device", ["tpu", "", "cuda:x"])
    def test_no_such_device(self, device):
        with pytest.raises(ValueError, match=r"(?i)device"):
            train_config("cpg", hp=HP, max_episodes=2, device=device, num_workers=0)

    @pytest.mark.parametrize("argument", [{"seed": -1}, {"seed": "1"}, {"num_workers": -1}, {"num_workers": 1.5}])
    def test_arguments(self, argument):
        with pytest.raises(BAD, match=next(iter(argument))):
            train_config("cpg", **{"hp": HP, "max_episodes": 2, "num_workers": 0, **argument})


class TestFiles:
    @pytest.fixture
    def blocked(self, tmp_path):
        """A path that can't be written to, for root neither: a file is where its folder would be."""
        (tmp_path / "file").write_text("here")
        return tmp_path / "file" / "folder" / "data.dat"

    def test_results(self, blocked):
        with pytest.raises((OSError, ValueError), match="file"):
            dump_training_data({"vpg": {}}, blocked)

    def test_a_checkpoint_is_refused_before_training(self, blocked, capsys):
        episodes = []
        with pytest.raises((OSError, ValueError), match="file"):
            train_config(
                "cpg",
                hp=HP,
                max_episodes=2,
                num_workers=0,
                checkpoints_file=blocked,
                post_batch_fn=lambda *args, **kwargs: episodes.append(1),
            )
        assert episodes == []

    def test_recording(self, blocked):
        with pytest.raises((OSError, ValueError), match="file"):
            PolicyAgent.monitor_episode(ENV_NAME, nn.Linear(8, 4), monitor_dir=blocked.parent, seed=0)

    @pytest.mark.parametrize(
        "change",
        [
            {"net_type": "Transformer"},
            {"env_name": "Nowhere-v0"},
            {"env_name": 3},
            {"hp": {"hidden_layers": "x"}},
            {"hp": [1]},
            {"hp": None},
            {"params": {"weight": torch.ones(2)}},
            {"params": 3},
        ],
        ids=str,
    )
    def test_a_checkpoint_that_holds_something_else(self, change, tmp_path):
        file = tmp_path / "checkpoint.dat"
        train_config("cpg", hp=HP, max_episodes=2, num_workers=0, seed=0, checkpoints_file=file)
        torch.save({**load_checkpoint(file), **change}, file)
        with pytest.raises(ValueError, match=r"checkpoint\.dat"):
            load_policy(file)

    @pytest.mark.parametrize("argument", [{"episodes": 0}, {"episodes": -3}, {"episodes": 1.5}, {"seed": -1}])
    def test_evaluation(self, argument):
        with pytest.raises(BAD, match=next(iter(argument))):
            evaluate(PolicyAgent, nn.Linear(8, 4), **argument)
