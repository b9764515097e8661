"""The lesson's run: the committed file holds what its pictures need, and making it anew gives the same kind of file."""

from collections import Counter

import numpy as np
import pytest
import torch

from hw4.rl_ac import AACPolicyNet
from hw4.study import lesson
from hw4.study.evaluation import ENDINGS
from tests import toy

HP = {**toy.hyperparams(batch_size=2), "hidden_layers": [5], "activation": "tanh", "value_scale": 3.0}


@pytest.fixture(scope="module")
def committed():
    return lesson.load()


class TestCommitted:
    def test_has_forty_flights_at_each_stage(self, committed):
        assert [stage.episodes for stage in committed.stages] == list(lesson.STAGES)
        assert list(committed.policies()) == sorted([*lesson.STAGES, *lesson.BETWEEN])
        for stage in committed.stages:
            assert len(stage.flights) == lesson.FLIGHTS
            for flight in stage.flights:
                assert flight.ending in ENDINGS
                assert flight.states.shape[1] == len(lesson.KEPT)
                assert np.isfinite(flight.states).all()

    def test_tells_the_story_that_the_notebook_tells(self, committed):
        """It falls; then half crash, and half last until the limit; then half come to rest, and at last nearly all."""
        ends = [Counter(flight.ending for flight in stage.flights) for stage in committed.stages]
        assert ends[0]["crash"] == lesson.FLIGHTS
        assert min(ends[1]["crash"], ends[1]["time limit"]) > 0.4 * lesson.FLIGHTS
        assert 0.4 * lesson.FLIGHTS < ends[2]["at rest"] < 0.9 * lesson.FLIGHTS < ends[3]["at rest"]

    def test_is_small(self):
        assert lesson.FILE.stat().st_size < 300_000


def test_a_snapshot_gives_what_its_network_gives():
    torch.manual_seed(0)
    net = AACPolicyNet(8, 4, **HP)
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    snapshot = lesson.Snapshot(weights, HP["activation"], HP["value_scale"])
    for expected, obtained in zip(net(torch.ones(3, 8)), snapshot(torch.ones(3, 8)), strict=True):
        torch.testing.assert_close(obtained, expected)


def test_what_is_made_can_be_loaded(tmp_path, monkeypatch):
    for name, value in {"STAGES": (2, 6), "BETWEEN": (4,), "FLIGHTS": 3, "MAX_EPISODES": 6}.items():
        monkeypatch.setattr(lesson, name, value)
    (tmp_path / "made.npz").write_bytes(lesson.make(HP, 3))
    made = lesson.load(tmp_path / "made.npz")
    assert (made.seed, made.hyperparams) == (3, HP)
    assert [(stage.episodes, len(stage.flights)) for stage in made.stages] == [(2, 3), (6, 3)]
    assert list(made.policies()) == [2, 4, 6]
    for flight in made.stages[0].flights:
        assert flight.states[0, lesson.KEPT.index(lesson.HEIGHT)] == pytest.approx(1.4, abs=0.05)  # where all begin


def test_a_map_asks_for_each_state_of_its_plane():
    """Of a network whose value is feature 1 less 3 and plus 6, and whose action 2 is sure where x is large."""

    class Net(torch.nn.Module):
        def forward(self, states):
            logits = torch.zeros(len(states), 4)
            logits[:, 2] = 50 * states[:, 0]
            return logits, (states[:, 1] - states[:, 3] + states[:, 6])[:, None]

    made = lesson.map_of(Net(), (0, -1.0, 1.0), (1, 0.0, 2.0), {6: 5.0})
    assert (made.across[0], made.across[-1], made.up[0], made.up[-1]) == (-1.0, 1.0, 0.0, 2.0)
    assert made.values[0] == pytest.approx(5.0)
    assert made.values[-1] == pytest.approx(7.0)
    assert made.probabilities[:, 0, 2] == pytest.approx(0.0, abs=1e-6)
    assert made.probabilities[:, -1, 2] == pytest.approx(1.0)
    assert made.probabilities.shape == (lesson.N_POINTS, lesson.N_POINTS, 4)


def test_progress_is_when_a_full_window_first_was_there():
    data = {"episode_num": [50, 100, 150], "mean_reward": [120.0, 90.0, 160.0]}
    header, _, row = lesson.progress_table({"cpg": data}).splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]][:2] == ["run", "episodes to 0"]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["`cpg`", "100", "150", "150", "-", "160", "160"]
