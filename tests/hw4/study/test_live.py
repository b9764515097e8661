"""The picture of a training: endings as the environment has them, numbers as they are, and a notebook that goes on."""

import xml.etree.ElementTree as ElementTree
from functools import partial

import nbformat
import numpy as np
import pytest
import torch

from cs236781.jupyter_utils import run_notebook
from hw4.rl_ac import AACPolicyAgent
from hw4.rl_data import TrainBatch
from hw4.rollout.lander import make_fast_env
from hw4.study import lesson, live
from hw4.study.evaluation import ENDINGS, fly
from tests.notebooks import write_notebook

SVG = "{http://www.w3.org/2000/svg}"


class TestEndings:
    @pytest.mark.parametrize("action_repeat", [1, 3])
    def test_are_those_of_the_environment(self, action_repeat):
        """The policies of four stages crash, run out of time and come to rest."""
        seen = set()
        for number, stage in enumerate(lesson.load().stages):
            make_env = partial(make_fast_env, action_repeat=action_repeat)
            flights = fly(AACPolicyAgent, stage.p_net, list(range(10 * number, 10 * number + 10)), make_env)
            endings = [flight.ending for flight in flights]
            seen |= set(endings)
            assert live.endings_of(TrainBatch.from_episodes([flight.episode for flight in flights], 0.98)) == endings
        assert seen == set(ENDINGS)

    def test_of_another_environment_are_not_known(self):
        batch = TrainBatch(torch.zeros(3, 2), torch.zeros(3, dtype=int), torch.zeros(3), torch.zeros(1))
        assert live.endings_of(batch) is None

    def test_of_episodes_that_do_not_begin_at_the_start_are_not_known(self):
        batch = TrainBatch(torch.zeros(3, 8), torch.zeros(3, dtype=int), torch.zeros(3), torch.zeros(1))
        assert live.endings_of(batch) is None


def batch_of(*last_rewards):
    """Episodes of two steps, which begin at the start, upright and without a push."""
    first, then = torch.zeros(8), torch.zeros(8)
    first[1], then[1] = live.START_HEIGHT, 0.5
    q_vals = [q for last in last_rewards for q in (0.0, last)]
    n = len(last_rewards)
    return TrainBatch(
        torch.stack([first, then] * n), torch.zeros(2 * n, dtype=int), torch.tensor(q_vals), torch.tensor(last_rewards)
    )


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows what is written into it."""
    seconds = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: seconds[0])
    return seconds


def words_in(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


class TestLive:
    def test_is_drawn_every_few_seconds_and_at_the_end(self, clock):
        shown = []
        look = live.Live(40, lambda svg, words: shown.append(clock[0])).watch("cpg")
        assert shown == [0.0]  # that it begins
        shown.clear()
        for batch_idx in range(10):
            clock[0] = float(batch_idx)
            look(batch_idx, None, batch_of(-100.0, -100.0), final=batch_idx == 9)
        assert shown == [0.0, 3.0, 6.0, 9.0]
        look(10, None, batch_of(-100.0, -100.0), final=True)
        assert shown[-1] == 9.0
        assert len(shown) == 5

    def test_says_how_far_it_is(self, clock):
        said = []
        look = live.Live(40, lambda svg, words: said.append((svg, words))).watch("aac")
        assert said == [("<p>aac: the first batch is being played</p>", "aac: the first batch is being played")]
        clock[0] = 10.0
        look(4, None, batch_of(-100.0, 100.0), final=False)  # a run that was resumed: 8 episodes were before
        texts, words = words_in(said[-1][0]), said[-1][1]
        lines = ["aac: 10 of 40 episodes in 10 s, about 150 s left", "mean reward of the last 100 episodes 0.0; "]
        assert words.splitlines()[0] == lines[0].replace("150 s", "2 min")
        assert words.splitlines()[1] == f"{lines[1]}0 decisions a second"
        assert texts[:2] == words.splitlines()
        assert {"50% at rest", "50% crash", "0% time limit"} <= set(texts)

    def test_runs_are_drawn_into_one_picture(self, clock):
        shown = []
        screen = live.Live(4, lambda svg, words: shown.append(svg))
        for name in ("vpg", "cpg"):
            look = screen.watch(name)
            for batch_idx in range(2):
                look(batch_idx, None, batch_of(1.0, -1.0), final=batch_idx == 1)
        lines = list(ElementTree.fromstring(shown[-1]).iter(f"{SVG}polyline"))
        assert [len(line.get("points").split()) for line in lines] == [2, 2]
        assert {"vpg", "cpg"} <= set(words_in(shown[-1]))
        assert "100% time limit" in words_in(shown[-1])
        assert "finished" in shown[-1]

    def test_a_long_run_makes_no_large_picture(self, clock):
        shown = []
        look = live.Live(20_000, lambda svg, words: shown.append(svg)).watch("aac")
        for batch_idx in range(10_000):
            look(batch_idx, None, batch_of(100.0, -100.0), final=batch_idx == 9_999)
        assert len(shown[-1]) < 40_000
        [line] = ElementTree.fromstring(shown[-1]).iter(f"{SVG}polyline")
        assert float(line.get("points").split()[-1].split(",")[0]) == live.LEFT_PANEL[1]

    def test_without_endings_their_panel_is_left_out(self, clock):
        shown = []
        batch = TrainBatch(torch.zeros(3, 2), torch.zeros(3, dtype=int), torch.zeros(3), torch.zeros(1))
        live.Live(4, lambda svg, words: shown.append(svg)).watch("vpg")(0, None, batch, final=False)
        assert not list(ElementTree.fromstring(shown[1]).iter(f"{SVG}polygon"))

    def test_labels_that_would_lie_on_each_other_are_moved_apart(self):
        places = live._apart([100.0, 101.0, 99.0, 230.0, 231.0])
        assert places[:3] == [113.0, 127.0, 99.0]
        assert np.diff(sorted(places)).min() >= 14.0
        assert max(places) <= live.BOTTOM


TRAINING = """import os, signal
from cs236781.jupyter_utils import LiveOutput
from hw4 import experiments
from hw4.study import live

watch = live.Live(100, LiveOutput().show).watch("vpg")

def interrupt_after_three(batch_idx, p_net, batch, final):
    watch(batch_idx, p_net, batch, final=final)
    if batch_idx == 2:
        os.kill(os.getpid(), signal.SIGINT)

results = experiments.run_or_load("results.dat", ["vpg", "cpg"], seed=1, num_workers=0, max_episodes=100,
                                  watch=lambda name: interrupt_after_three, returns_early=True)"""


def test_a_notebook_shows_one_picture_and_goes_on_after_an_interrupt(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", TRAINING, "print(list(results), results['vpg']['episode_num'])")
    training, after = nbformat.read(run_notebook(path, progress=False), as_version=4).cells
    pictures = [output.data for output in training.outputs if "text/html" in output.get("data", {})]
    assert training.outputs[-1].output_type == "stream"  # what the progress line showed last, not what it showed first
    assert [data["text/html"].startswith("<svg ") for data in pictures] == [True]
    assert pictures[0]["text/plain"].startswith("vpg: 8 of 100 episodes")
    printed = "".join(output.text for output in training.outputs if output.output_type == "stream")
    assert "=== Training was interrupted; what was learned so far is kept." in printed
    assert [output.output_type for output in training.outputs].count("error") == 0
    assert after.outputs[0].text == "['vpg'] [8, 16, 24]\n"
