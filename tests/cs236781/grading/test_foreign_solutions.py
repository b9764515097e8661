"""What is right in another style is judged right, and what is wrong in it is named: as solutions of others have it."""

from pathlib import Path
from random import Random

import pytest
import torch
from torch import nn

from cs236781.checks import Reply, judge, load_asks, load_checks
from cs236781.exercises import Exercise
from cs236781.grading.transplant import Lent, look_at, transplant
from hw4 import answers, rl_ac, rl_data, rl_pg

ROOT = Path(__file__).resolve().parents[3]
ASKS = load_asks(ROOT)
CHECKS = {check.id: check for check in load_checks(ROOT)}


def found(name, value=None, error=""):
    check = CHECKS[name]
    return judge(check, check.draw(Random(0)), Reply(value, error))


# --- hyperparameters and answers

HYPERPARAMS = {"batch_size": 4, "gamma": 0.9, "beta": 0.5, "learn_rate": 1e-3, "eps": 1e-8}


def test_a_networks_own_hyperparameters_have_any_names():
    assert found("part1_pg_hyperparams: names and values", HYPERPARAMS | {"sizes": "64, 64"}).passed


@pytest.mark.parametrize(
    ("exercise", "hint"),
    [("part1_pg_hyperparams", "One of the published names"), ("part1_aac_hyperparams", "One of the published names")],
)
def test_a_published_name_that_is_missing(exercise, hint):
    lacking = {name: value for name, value in HYPERPARAMS.items() if name != "gamma"}
    finding = found(f"{exercise}: names and values", lacking)
    assert (finding.passed, finding.hint.startswith(hint)) == (False, True)


def test_only_the_critic_has_a_delta():
    assert "lacks delta" in found("part1_aac_hyperparams: names and values", HYPERPARAMS).hint


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("**Your answer:**\n\nIt takes out what all returns have in common.", True),
        ("It does.", True),
        ("\n**Your answer:**\n\n", False),
        ("**Your answer:**\n\nWrite your answer using **markdown** and $\\LaTeX$:\n", False),
        ("Your answer (part1_q1: an exercise, not written yet).", False),
        ("", False),
    ],
)
def test_an_answer_below_its_heading(text, right):
    assert found("part1_q1: a text", text).passed is right


def test_training_may_stop_exactly_at_its_target():
    assert found(": it learns by actor-critic", {"at first": 1.3, "at last": 2.6}).passed


# --- mistakes that are named


@pytest.mark.parametrize(
    ("shapes", "hint"),
    [
        ("9x1 and 9x16", "A single state (O,) becomes a batch"),
        ("1x35 and 7x3", "All states of a batch are joined"),
        ("5x9 and 8x32", "The network has sizes of another environment"),
    ],
)
def test_shapes_that_do_not_fit(shapes, hint):
    error = f"RuntimeError: mat1 and mat2 shapes cannot be multiplied ({shapes})"
    assert found("PolicyNet: shapes", error=error).hint.startswith(hint)


@pytest.mark.parametrize("last", [[[0, 1], [0, 2], [0, 3], [1, 1], [2, 1], [2, 2]]])
@pytest.mark.parametrize("first", [False, True], ids=["of the same episode", "of the next"])
def test_the_state_that_follows_the_last_step(last, first):
    states = [[1, 0] if state == [0, 3] else [2, 0] if state == [1, 1] else state for state in last] if first else last
    rewards, ends = [1, 2, 3, 11, 21, 22], [False, False, True, True, False, False]
    finding = found("PolicyAgent.step: by hand", {"states": states, "rewards": rewards, "is_done": ends})
    assert finding.hint.startswith("The experience holds the state after the step")


# --- an exercise does not pay for another


class Batches(nn.Module):
    """A network for batches only."""

    def __init__(self, in_features, out_actions, **_others):
        super().__init__()
        self.layer = nn.Linear(in_features, int(out_actions))

    def forward(self, states):
        return self.layer(states.view(len(states), -1))

    @classmethod
    def build_for_env(cls, env, device="cpu", **others):
        return cls(env.observation_space.shape[0], env.action_space.n, **others).to(device)


def test_a_network_for_batches_is_right_if_its_agent_makes_batches(monkeypatch):
    monkeypatch.setattr(rl_pg, "PolicyNet", Batches)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        ASKS["net_shapes"](critic=False, features=3, actions=2, n=5)
    monkeypatch.setattr(
        rl_pg.PolicyAgent, "current_action_distribution", lambda self: self.p_net(self.state[None]).softmax(1)[0]
    )
    shapes = ASKS["net_shapes"](critic=False, features=3, actions=2, n=5)
    assert shapes == {"of 5 states": [[5, 2]], "of one state": [[2]]}


def test_steps_do_not_pay_for_the_distribution(monkeypatch):
    monkeypatch.setattr(rl_pg.PolicyAgent, "current_action_distribution", lambda self: self.p_net(self.state))
    counts = ASKS["actions"](logits=[0.0, 0.0], probabilities=[0.5, 0.5], n=400, seed=0)["counts"]
    assert sum(counts) == 400
    assert 120 < counts[0] < 280


def test_the_distribution_does_not_pay_for_steps(monkeypatch):
    monkeypatch.delattr(rl_pg.PolicyAgent, "step")
    weights = [[0.0, 0.0], [0.0, 1.0]]
    rows = ASKS["distribution_of_states"](critic=False, weights=weights, n=2)
    torch.testing.assert_close(torch.stack(rows), torch.tensor([[0.5, 0.5], [0.2689414, 0.7310586]]))


def test_a_critics_network_has_the_policys_hyperparameters_if_its_own_are_not_written(monkeypatch):
    def not_written():
        raise NotImplementedError

    class Sized(Batches):
        def __init__(self, in_features, out_actions, *, width, **_others):
            super().__init__(in_features, out_actions)
            self.width = width

        def forward(self, states):
            return self.layer(states), states.sum(dim=-1, keepdim=True)

    monkeypatch.setattr(answers, "part1_pg_hyperparams", lambda: HYPERPARAMS | {"width": 3})
    monkeypatch.setattr(answers, "part1_aac_hyperparams", not_written)
    monkeypatch.setattr(rl_ac, "AACPolicyNet", Sized)
    assert ASKS["net_published_call"](critic=True, features=3, actions=2) == [[1, 2], [1, 1]]


@pytest.mark.parametrize(("casts", "kind"), [(True, "integers"), (False, "floats")])
def test_actions_are_floats_only_where_the_own_loss_takes_none(monkeypatch, casts, kind):
    right, loss = rl_data.TrainBatch.from_episodes, rl_pg.VanillaPolicyGradientLoss.forward

    def as_floats(episodes, gamma):
        batch = right(episodes, gamma)
        batch.actions = batch.actions.float()
        return batch

    def cast(self, batch, scores):
        batch.actions = batch.actions.long()
        return loss(self, batch, scores)

    monkeypatch.setattr(rl_data.TrainBatch, "from_episodes", as_floats)
    if casts:
        monkeypatch.setattr(rl_pg.VanillaPolicyGradientLoss, "forward", cast)
    assert ASKS["train_batch_of"](rewards=[[1.0, 2.0]], gamma=0.5)["actions are"] == kind


# --- where an exercise is

ADD = Exercise("Sum.add", "1", "hw4/sums.py", "", [], ["Sum.add"])
HANDED_OUT = f"class Sum:\n    def add(self):\n        raise NotImplementedError('{ADD.mark}')\n"
WRITTEN = "class Sum:\n    def add(self):\n        return 1\n"


def test_what_was_handed_out_does_not_hide_what_is_written_in_another_file():
    survey = look_at({"sums.py": HANDED_OUT, "all.py": WRITTEN}, [ADD])
    assert (survey.places, survey.to_do) == ({"Sum.add": "hw4/all.py:2"}, [])


def test_an_exercise_that_is_handed_in_as_it_was():
    assert look_at({"sums.py": HANDED_OUT, "all.py": ""}, [ADD]).to_do == ["Sum.add"]


# --- names of the published template

SUM = Exercise("Sum.forward", "1", "hw4/losses.py", "", [], ["Sum.forward"])
MEAN = Exercise("Mean.forward", "1", "hw4/losses.py", "", [], ["Mean.forward"])
GIVEN = {
    "losses.py": """
class Sum:
    def forward(self, x):
        return sum(x)

class Mean:
    def forward(self, x):
        return sum(x) / len(x)
"""
}
MINE = {
    "losses.py": """
class Sum:
    def forward(self, x):
        return self.total(x)

    def total(self, x):
        return 0

class Mean(Sum):
    def forward(self, x):
        return self.total(x) / len(x)
"""
}
TOTAL = Lent("total", "hw4/losses.py", "\nif not hasattr(Sum, 'total'):\n    Sum.total = lambda self, x: sum(x)\n")


def run(mine, exercise):
    names = {}
    files = transplant(GIVEN, mine, exercise, [SUM, MEAN], lent=[TOTAL])
    exec("".join(text for text, _ in files["losses.py"]), names)
    return names


def test_a_method_that_builds_on_another_exercise_is_lent_what_is_right():
    assert run(MINE, MEAN)["Mean"]().forward([1, 2, 6]) == 3


def test_a_method_of_the_exercise_itself_stays_as_it_is():
    assert run(MINE, SUM)["Sum"]().forward([1, 2, 6]) == 0


def test_a_name_that_is_nowhere_defined_is_not_lent():
    mine = {"losses.py": MINE["losses.py"].replace("def total", "def other")}
    with pytest.raises(AttributeError, match="total"):
        run(mine, MEAN)["Mean"]().forward([1, 2, 6])
