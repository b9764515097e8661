"""The prose has the numbers that the data have, and each is made as it can be by hand."""

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from hw4 import experiments
from hw4.study import numbers

ROOT = Path(__file__).resolve().parents[3]
needs_results = pytest.mark.skipif(
    not (ROOT / "results" / "part1_seeds.json").exists(), reason="students receive no results"
)


def prose(name):
    """A text, or a notebook's cells one after the other."""
    if name.endswith(".ipynb"):
        return "\n\n".join(cell.source for cell in nbformat.read(ROOT / name, as_version=4).cells)
    return (ROOT / name).read_text()


@pytest.fixture(scope="module")
def committed():
    return numbers.Data(ROOT)


@needs_results
class TestCommitted:
    @pytest.mark.parametrize("name", numbers.TEXTS)
    def test_every_marked_number_is_as_the_data_have_it(self, name, committed):
        text = prose(name)
        assert numbers.MARK.search(text)
        stale = [
            f"{mark[0]!r} is now {new[0]!r}"
            for mark, new in zip(
                numbers.MARK.finditer(text), numbers.MARK.finditer(numbers.rewritten(text, committed)), strict=True
            )
            if mark[0] != new[0]
        ]
        assert stale == [], "python main.py numbers writes them anew"

    def test_every_number_is_used(self, committed):
        used = {mark["name"] for name in numbers.TEXTS for mark in numbers.MARK.finditer(prose(name))}
        assert used == set(numbers.numbers(committed))

    @pytest.mark.parametrize("name", numbers.TEXTS)
    def test_no_comment_is_left_open(self, name):
        assert re.findall(r"<!--[a-z0-9_.]+-->|<!--/-->", numbers.MARK.sub("", prose(name))) == []

    @pytest.mark.parametrize("name", numbers.TEXTS)
    def test_none_in_a_sentence_begins_a_line(self, name):
        """There Markdown would take the rest of the line for HTML."""
        marks = [mark for mark in numbers.MARK.finditer(prose(name)) if "\n" not in mark["text"]]
        assert [mark[0] for mark in marks if mark.string[: mark.start()].endswith("\n")] == []

    def test_the_notebooks_seed_shows_what_the_medians_show(self, committed):
        """As docs/results.md and the notebook's section 11 say: `aac` above `cpg`, and `cpg` above the others."""
        best = {name: [] for name in committed.own}
        for run in committed.runs["part1_seeds"]:
            if run["configuration"] in best:
                best[run["configuration"]].append(run["best_mean_reward"])
        medians = {name: np.median(values) for name, values in best.items()}
        own = {name: max(run["mean_reward"]) for name, run in committed.own.items()}
        for values in (medians, own):
            assert values["aac"] > values["cpg"] > max(values["vpg"], values["epg"], values["bpg"])


def record(name, seed, reached):
    return {
        "configuration": name,
        "overrides": [],
        "seed": seed,
        "episodes": 15_000 if name == "aac_long" else 6000,
        "best_mean_reward": 210.0,
        "final_mean_reward": 205.25,
        "episodes_to_200": reached,
        "cpu_seconds_to_200": 9.5,
        "evaluation": {"final": {choice: {"mean": 201.5} for choice in ("sampled", "greedy")}},
    }


@pytest.fixture
def data(tmp_path):
    """Two seeds of aac, one of which reaches 200; and the notebook's runs, which are short."""
    made = numbers.Data(tmp_path)
    made.runs["part1_seeds"] = [record("aac", 1, 3000), record("aac", 2, None)]
    run = {"episode_num": [100, 200], "mean_reward": [190.0, 200.5], "best_mean_reward": [190.0, 200.5]}
    made.own, made.long = {"aac": run}, {**run, "mean_reward": [190.0, 199.0]}
    made.final = {"mean": 12.34, "std": 5.678, "fraction_at_least_200": 0.5, "episodes": 7}
    return made


class TestRewritten:
    def test_a_number_in_a_sentence(self, data):
        assert numbers.rewritten("It is <!--final.mean-->99<!--/-->.", data) == "It is <!--final.mean-->12.3<!--/-->."

    def test_of_seeds(self, data):
        assert numbers.rewritten("<!--reached.aac--><!--/-->", data) == "<!--reached.aac-->1 of 2<!--/-->"

    def test_a_table(self, data):
        assert numbers.rewritten("<!--seeds.readme-->old<!--/-->", data).splitlines() == [
            "<!--seeds.readme-->",
            "",
            "|  | seeds | best mean(100): IQM (95%) | reached 200 | episodes to 200 | evaluated, sampled "
            "| evaluated, greedy |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            "| `aac` | 2 | 210.0 (210.0 to 210.0) | 1 of 2 | - | 201.5 (201.5) | 201.5 (201.5) |",
            "",
            "<!--/-->",
        ]

    def test_the_notebooks_runs(self, data):
        lines = numbers.rewritten("<!--own.table--><!--/-->", data).splitlines()
        assert lines[-4:-2] == ["| `aac` | 200 | 200.5 | 200.5 | 200 |", "| `aac`, long | 15000 | 200.5 | - | - |"]

    def test_the_long_run_has_an_end_once_it_is_among_the_seeds(self, data):
        data.runs["part1_seeds"].append(record("aac_long", experiments.SEED, 1000))
        assert "| `aac`, long | 15000 | 200.5 | 205.2 | - |" in numbers.rewritten("<!--own.table--><!--/-->", data)

    def test_twice_is_as_once(self, data):
        once = numbers.rewritten("a\n\n<!--own.table-->b<!--/-->\n\nc <!--episodes-->d<!--/-->", data)
        assert numbers.rewritten(once, data) == once

    def test_a_number_that_there_is_not(self, data):
        with pytest.raises(ValueError, match=r"there is no number 'final\.median'; there are: .*final\.mean"):
            numbers.rewritten("<!--final.median-->1<!--/-->", data)


def test_speeds_are_read_from_their_table(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "throughput.txt").write_text("training shipped 0   100 90\ntraining shipped 2   41499 3\n")
    data = numbers.Data(tmp_path)
    assert numbers.rewritten("<!--speed.training--><!--/-->", data) == "<!--speed.training-->41,500<!--/-->"
    with pytest.raises(ValueError, match=r"throughput\.txt has no row 'training published"):
        numbers.rewritten("<!--speed.of_published--><!--/-->", data)


def test_a_round_is_computed_from_the_costs_of_its_parts(tmp_path):
    """With 8 episodes of 200 steps: four of them at 20 + 5 us a step take 20 ms, and the update 2 ms more."""
    (tmp_path / "results").mkdir()
    rows = dict.fromkeys(numbers.COSTS.values(), "10.04 us")
    rows[numbers.COSTS["step"]], rows[numbers.COSTS["update_600"]] = "20.0 us", "2.00 ms"
    rows |= {
        numbers.COSTS[f"playing_{width}"]: f"{cost} us" for width, cost in ((1, 10.0), (2, 5.0), (4, 5.0), (8, 4.0))
    }
    text = "".join(f"{row}     {cost}\n" for row, cost in rows.items())
    (tmp_path / "results" / "costs.txt").write_text(text)
    data = numbers.Data(tmp_path)
    assert numbers.rewritten("<!--cost.reset--><!--/-->", data) == "<!--cost.reset-->10 us<!--/-->"
    assert numbers.rewritten("<!--rounds.table--><!--/-->", data).splitlines()[2:-2] == [
        "| workers | most episodes for one | $c$ | round | speed |",
        "| --- | --- | --- | --- | --- |",
        "| 1 | 8 | 24 us | 40 ms | 1.0 |",
        "| 2 | 4 | 25 us | 22 ms | 1.8 |",
        "| 4 | 2 | 25 us | 12 ms | 3.4 |",
        "| 8 or more | 1 | 30 us | 8 ms | 5.0 |",
    ]


def test_a_peer_s_levels_are_medians_of_the_seeds_that_passed_them():
    def run(name, **passed):
        levels = {level: {"seconds": seconds, "episodes": 100 * seconds} for level, seconds in passed.items()}
        return {"name": name, "steps_per_second": 1234.5, "best_mean_reward": 150.0, "passed": levels}

    others = [run(name) for name in numbers.PEERS if name != "a2c zoo"]
    runs = [run("a2c zoo", **{"100": 4, "150": 7}), run("a2c zoo", **{"100": 6}), *others]
    assert numbers._peers_table(runs).splitlines()[-1] == (
        "| A2C, the Zoo's settings | 1,230 | 150.0 | 2 of 2: 5 s, 500 ep | 1 of 2: 7 s, 700 ep | 0 of 2 |"
    )


def test_how_often_the_lander_did_nothing():
    """Of twenty entries the fifth to the ninth count: the others are larger here."""

    def run(reached, quiet):
        curve = [0.9] * 4 + [0.0, quiet, 0.0, 0.0, 0.0] + [0.9] * 11
        return {"episodes_to_200": 100 if reached else None, "curves": {"quiet": curve}}

    groups = {"cpg": [run(True, 0.5)], "aac": [run(True, 0.25), run(True, 0.75), run(False, 0.04)]}
    assert [line.split("|")[1:6] for line in numbers._quiet_table(groups).splitlines()[2:]] == [
        [" `cpg` ", " reached ", " 1 ", " 50.0% (50.0%, 50.0%) ", " 0 "],
        [" `aac` ", " reached ", " 2 ", " 50.0% (25.0%, 75.0%) ", " 0 "],
        [" `aac` ", " not reached ", " 1 ", " 4.0% (4.0%, 4.0%) ", " 1 "],
    ]


def test_what_was_tried_has_a_row_for_each_set_of_overrides(data):
    tried = [{**record("aac", seed, 3000), "overrides": ["beta=2.0", "delta=1.0"]} for seed in (0, 1)]
    data.runs["tuning"] = [*tried, record("aac", 0, 2000)]
    assert numbers.rewritten("<!--tuning.table--><!--/-->", data).splitlines()[4:6] == [
        "| beta=2.0 delta=1.0 | 2 | 2 of 2 | 210.0 | 210.0 to 210.0 | 3000 |",
        "|  | 1 | 1 of 1 | 210.0 | 210.0 to 210.0 | 2000 |",
    ]


def test_an_ablation_has_a_row_for_the_recipe_and_for_each_piece(data):
    data.runs["ablation"] = [record("aac", 0, 2000), {**record("aac", 0, None), "overrides": ["beta_end=0.0"]}]
    assert numbers.rewritten("<!--ablation.table--><!--/-->", data).splitlines()[4:6] == [
        "| `aac` | the recipe | 1 | 1 of 1 | 2000 | 210.0 | 210.0 (210.0 to 210.0) |",
        "| `aac` | beta_end=0.0 | 1 | 0 of 1 | - | 210.0 | 210.0 (210.0 to 210.0) |",
    ]


def test_how_many_seeds_got_there_with_actions_of_one_step(data):
    held_not = {**record("cpg", 0, 2000), "overrides": ["action_repeat=1", "gamma=0.99"]}
    data.runs["ablation"] = [held_not, record("cpg", 0, None)]
    assert numbers.rewritten("By <!--one_step.cpg--><!--/-->.", data) == "By <!--one_step.cpg-->1 of 1<!--/-->."
