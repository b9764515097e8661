"""Sweeps: which runs there are, what a record says, and that nothing is run twice or lost."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from cs236781.files import lock
from hw4.env import make_env
from hw4.experiments import hyperparams_of, train_config
from hw4.rl_ac import AACPolicyAgent, AACPolicyNet
from hw4.study import plots
from hw4.study import sweep as sweep_module
from hw4.study.evaluation import evaluate
from hw4.study.sweep import Run, SweepError, compact_curves, episodes_to, load_runs, run_one, runs_of, sweep

ROOT = Path(__file__).resolve().parents[3]
RECORD = {"overrides": [], "episodes": 6000, "best_mean_reward": 1.0, "episodes_to_200": None, "evaluation": {}}
TINY = ("hidden_layers=[4]", "batch_size=2")


def without_seconds(record):
    return {name: value for name, value in record.items() if name not in ("train_seconds", "name")}


@pytest.fixture
def done(monkeypatch):
    """Do no training; the list of the runs that would have been done."""
    runs = []

    def pretend(function, arguments, *, at_once):
        for number, (run, folder) in enumerate(arguments):
            runs.append(run)
            if run.seed != 13:
                record = {**RECORD, "configuration": run.configuration, "seed": run.seed}
                (folder / f"{run.name}.json").write_text(json.dumps(record))
            yield number, "ValueError: no luck" if run.seed == 13 else None

    monkeypatch.setattr(sweep_module.local, "call_each", pretend)
    return runs


class TestRuns:
    def test_each_configuration_with_each_seed(self):
        runs = runs_of(["vpg", "aac_long"], [3, 4])
        assert [(run.configuration, run.seed, run.episodes) for run in runs] == [
            ("vpg", 3, 6000),
            ("aac_long", 3, 15_000),
            ("vpg", 4, 6000),
            ("aac_long", 4, 15_000),
        ]

    def test_each_combination_of_values(self):
        overrides = ["learn_rate=0.1,0.2", "hidden_layers=[4],[8,8]", "activation=relu,tanh"]
        combinations = {
            (hp["learn_rate"], tuple(hp["hidden_layers"]), hp["activation"])
            for hp in (run.hyperparams() for run in runs_of(["aac"], [0], overrides))
        }
        assert combinations == {
            (rate, layers, activation)
            for rate in (0.1, 0.2)
            for layers in ((4,), (8, 8))
            for activation in ("relu", "tanh")
        }

    def test_the_same_run_is_there_once(self):
        assert len(runs_of(["vpg", "vpg"], [1, 1], ["gamma=0.9,0.9"])) == 1

    @pytest.mark.parametrize(
        "override",
        [
            *("no_such=1", "learn_rate=-1", "learn_rate", "learn_rate=", "learn_rate={[]:1}"),
            pytest.param(f"learn_rate={'-' * 100_000}1", id="deep"),
        ],
    )
    def test_refuses_what_can_not_be_set(self, override):
        with pytest.raises(ValueError, match=r"learn_rate|no_such"):
            runs_of(["vpg"], [0], [override])

    def test_names_tell_all_that_matters_apart(self):
        runs = [("cpg", 1), ("aac", 1), ("aac", 2), ("aac", 1, ("gamma=0.5",)), ("aac", 1, (), 10)]
        assert len({Run(*run).name for run in [*runs, ("aac", 1, (), 6000, 10)]}) == 6

    def test_the_committed_records_are_of_the_runs_of_make_seeds(self):
        """From 1100 on; without a critic also from 1000 on, which were made before."""
        file = ROOT / "results" / "part1_seeds.json"
        if not file.exists():
            pytest.skip("the results are not handed out")
        runs = runs_of(["cpg"], range(1000, 1200), evaluation_episodes=1000)
        runs += runs_of(["aac"], range(1100, 1200), evaluation_episodes=1000)
        runs += runs_of(["vpg", "epg", "bpg"], range(1000, 1120), evaluation_episodes=1000)
        runs += runs_of(["aac_long"], range(1100, 1120), evaluation_episodes=1000)
        assert {record["name"] for record in load_runs(file)} <= {run.name for run in runs}

    def test_the_order_in_which_hyperparameters_are_written_changes_no_name(self, monkeypatch):
        run, hp = Run("aac", 1), Run("aac", 1).hyperparams()
        name = run.name
        monkeypatch.setattr(Run, "hyperparams", lambda self: dict(reversed(hp.items())))
        assert run.name == name


class TestRecord:
    def test_is_of_the_training_that_train_config_does(self):
        record = run_one(Run("aac", 5, TINY, episodes=8))
        data = train_config("aac", hp=hyperparams_of("aac", TINY), seed=5, max_episodes=8, num_workers=0)
        assert record["best_mean_reward"] == data["best_mean_reward"][-1]
        assert record["final_mean_reward"] == data["mean_reward"][-1]
        assert record["steps"] == data["step_num"][-1]
        assert record["evaluation"] == {}

    def test_evaluates_the_final_weights(self):
        hp = hyperparams_of("aac", TINY)
        record = run_one(Run("aac", 5, TINY, episodes=8, evaluation_episodes=3))
        p_net = AACPolicyNet.build_for_env(make_env(), **hp)
        p_net.load_state_dict(train_config("aac", hp=hp, seed=5, max_episodes=8, num_workers=0)["model_state"])
        for choice in ("sampled", "greedy"):
            expected = evaluate(
                AACPolicyAgent, p_net, hp["action_repeat"], episodes=3, seed=5, greedy=choice == "greedy"
            )
            assert record["evaluation"]["final"][choice] == expected
        assert record["evaluation"].keys() == {"final"}

    def test_curves_by_hand(self):
        data = {"episode_num": [40, 80, 120], "mean_reward": [1.0, 2.0, 3.0], "loss_p": [10.0, 20.0, 50.0]}
        assert compact_curves(data) == {
            "episode_num": [80, 120],
            "mean_reward": [2.0, 3.0],
            "loss_p": [15.0, 50.0],  # the mean since the last point
        }

    @pytest.mark.parametrize(
        ("rewards", "episodes"), [([250.0, 100.0, 200.0], 150), ([0.0, 0.0, 199.9], None), ([0.0, 300.0, 0.0], 100)]
    )
    def test_episodes_to_200_count_from_the_first_full_window(self, rewards, episodes):
        data = {"episode_num": [50, 100, 150], "mean_reward": rewards}
        assert episodes_to(200, data) == episodes


POINT = {"episode_num": [50], "mean_reward": [1.0]}
MEAN = {"mean": 1.0}
HUGE = 10**400
BAD_RECORDS = {
    **{
        f"a mean that is {bad!r:.5}": {"evaluation": {"final": {"sampled": {"mean": bad}, "greedy": MEAN}}}
        for bad in ("x", None, [1], HUGE, 1e308)
    },
    "no final policy": {"evaluation": {"best": {"sampled": MEAN, "greedy": MEAN}}},
    "sampled alone": {"evaluation": {"final": {"sampled": MEAN}}},
    "curves of nothing": {"curves": {"mean_reward": [1.0]}},
    "curves of two lengths": {"curves": {**POINT, "loss_p": []}},
    "a curve with a huge number": {"curves": {**POINT, "loss_p": [HUGE]}},
    **{
        f"{name} of {bad!r:.5}": {name: bad}
        for name in ("episodes", "episodes_to_200", "best_mean_reward", "cpu_seconds_to_200")
        for bad in (HUGE, "x")
    },
    "half an episode": {"episodes_to_200": 0.5},
}
NAMED = {**RECORD, "name": "aac-1-0123456789ab", "configuration": "aac", "seed": 1}


class TestFile:
    """What a file of records may hold: all that the table and the figures need of it."""

    @pytest.mark.parametrize("change", BAD_RECORDS.values(), ids=BAD_RECORDS)
    def test_refuses_what_no_figure_could_show(self, tmp_path, change):
        (tmp_path / "out.json").write_text(json.dumps({"runs": [{**NAMED, **change}]}))
        with pytest.raises(ValueError, match=r"\A[^\n]*out\.json is damaged[^\n]*\Z"):
            load_runs(tmp_path / "out.json")
        folder = tmp_path / "new.json.runs"
        folder.mkdir()
        (folder / f"{NAMED['name']}.json").write_text(json.dumps({**NAMED, **change}))
        with pytest.raises(ValueError, match=r"aac-1-0123456789ab\.json is damaged.* Remove it, and the run is"):
            sweep(runs_of(["aac"], [2]), tmp_path / "new.json")

    def test_refuses_two_records_of_one_name(self, tmp_path):
        (tmp_path / "out.json").write_text(json.dumps({"runs": [NAMED, {**NAMED, "best_mean_reward": 2.0}]}))
        with pytest.raises(ValueError, match=r"out\.json is damaged: it has 2 records that are called aac-1-01"):
            load_runs(tmp_path / "out.json")

    @pytest.mark.parametrize(
        "more",
        [
            {},
            {"curves": POINT, "cpu_seconds_to_200": None},
            {"curves": {"episode_num": [], "mean_reward": []}, "episodes_to_200": 80, "cpu_seconds_to_200": 1.5},
            {"evaluation": {"final": {"sampled": MEAN, "greedy": MEAN}}},
        ],
        ids=["an older one", "never", "a short run", "evaluated"],
    )
    def test_what_it_takes_is_shown(self, tmp_path, more):
        (tmp_path / "out.json").write_text(json.dumps({"runs": [{**NAMED, **more}]}))
        records = load_runs(tmp_path / "out.json")
        assert "| aac " in sweep_module.table(records)
        for draw in (plots.plot_seeds, plots.plot_evaluations, plots.plot_fraction_reached):
            plots.save(draw(records), tmp_path / "x.png", dpi=20)
        plt.close("all")


class TestSweep:
    def test_gathers_all_runs_in_their_order(self, tmp_path, done):
        sweep(runs_of(["aac", "vpg"], [2, 1]), tmp_path / "out.json")
        runs = load_runs(tmp_path / "out.json")
        assert [(run["seed"], run["configuration"]) for run in runs] == [(2, "aac"), (2, "vpg"), (1, "aac"), (1, "vpg")]
        assert [path.name for path in tmp_path.iterdir()] == ["out.json"]

    def test_again_does_only_what_is_missing(self, tmp_path, done):
        sweep(runs_of(["aac"], [1]), tmp_path / "out.json")
        sweep(runs_of(["aac"], [1, 2]), tmp_path / "out.json")
        assert [run.seed for run in done] == [1, 2]

    def test_keeps_the_records_of_other_runs(self, tmp_path, done):
        sweep(runs_of(["vpg"], [1]), tmp_path / "out.json")
        sweep(runs_of(["aac"], [1]), tmp_path / "out.json")
        assert [run["configuration"] for run in load_runs(tmp_path / "out.json")] == ["aac", "vpg"]

    def test_a_failure_is_named_and_the_others_are_kept(self, tmp_path, done):
        with pytest.raises(SweepError, match=r"1 of 3 runs failed: aac-13-\w+: ValueError: no luck"):
            sweep(runs_of(["aac"], [12, 13, 14]), tmp_path / "out.json")
        assert not (tmp_path / "out.json").exists()
        with pytest.raises(SweepError):
            sweep(runs_of(["aac"], [12, 13, 14]), tmp_path / "out.json")
        assert [run.seed for run in done] == [12, 13, 14, 13]

    def test_passes_over_files_of_other_names(self, tmp_path, done):
        """A note among the records stopped every sweep at its end."""
        folder = tmp_path / "out.json.runs"
        folder.mkdir()
        (folder / "my-notes.json").write_text(json.dumps({**RECORD, "configuration": "aac", "seed": 1}))
        (folder / "some-thing.json").write_text("{")
        assert [run["seed"] for run in sweep(runs_of(["aac"], [1]), tmp_path / "out.json")] == [1]
        assert sorted(path.name for path in folder.iterdir()) == ["my-notes.json", "some-thing.json"]

    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"runs": [1]}', "[" * 100_000])
    def test_refuses_a_file_of_another_kind(self, tmp_path, content):
        (tmp_path / "out.json").write_text(content)
        with pytest.raises(ValueError, match=r"out\.json"):
            sweep(runs_of(["aac"], [1]), tmp_path / "out.json")

    @pytest.mark.parametrize("name", ["../../precious", "aac-1-0123456789ab/../x", "aac-1", 3])
    def test_a_name_in_a_file_is_never_a_path(self, tmp_path, done, name):
        (tmp_path / "precious.json").write_text("{}")
        record = {**RECORD, "name": name, "configuration": "aac", "seed": 1}
        (tmp_path / "out.json").write_text(json.dumps({"runs": [record]}))
        with pytest.raises(ValueError, match=r"out\.json is damaged, or of another kind"):
            sweep(runs_of(["aac"], [1]), tmp_path / "out.json")
        assert (tmp_path / "precious.json").exists()

    def test_files_whose_names_begin_alike_share_no_folder(self, tmp_path, done):
        for name in ("s.v1", "s.v2"):
            with pytest.raises(SweepError):
                sweep(runs_of(["aac"], [12, 13]), tmp_path / name)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["s.v1.runs", "s.v2.runs"]

    def test_a_second_sweep_on_the_file_is_refused(self, tmp_path, done):
        with (
            lock(tmp_path / "out.json"),
            pytest.raises(BlockingIOError, match=r"out\.json is being written by this process"),
        ):
            sweep(runs_of(["aac"], [1]), tmp_path / "out.json")
        assert done == []

    def test_processes_give_the_records_of_this_one(self, tmp_path):
        runs = runs_of(["aac", "vpg"], [1], TINY, episodes=4)
        gathered = sweep(runs, tmp_path / "out.json", jobs=2)
        assert [without_seconds(record) for record in gathered] == [without_seconds(run_one(run)) for run in runs]


def test_the_command_says_what_came_out(tmp_path):
    command = [sys.executable, str(ROOT / "main.py"), "sweep", "vpg", "--seeds", "2", "--first-seed", "7"]
    command += ["--episodes", "4", "--set", "hidden_layers=[4]", "--set", "gamma=0.9,0.99", "--out", "tried.json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "vpg hidden_layers=[4] gamma=0.99" in result.stdout
    assert sorted((run["seed"], run["hyperparams"]["gamma"]) for run in load_runs(tmp_path / "tried.json")) == [
        (7, 0.9),
        (7, 0.99),
        (8, 0.9),
        (8, 0.99),
    ]


def test_the_table_by_hand():
    records = [
        {"configuration": "aac", "overrides": [], "best_mean_reward": best, "evaluation": {}}
        | {"episodes_to_200": to_200, "cpu_seconds_to_200": to_200 and to_200 / 100}
        for best, to_200 in ((100.0, None), (250.0, 900), (260.0, 800))
    ]
    for record, mean in zip(records, (90.0, 240.0, 250.0), strict=True):
        record["evaluation"] = {"final": {choice: {"mean": mean} for choice in ("sampled", "greedy")}}
    cells = [cell.strip() for cell in sweep_module.table(records).splitlines()[-1].split("|")[1:-1]]
    assert cells[:2] == ["aac", "3"]
    assert cells[2].startswith("203.3 (")
    assert cells[3:] == ["250.0", "100.0 to 260.0", "2 of 3", "900", "9", *["240.0 (105.0)"] * 2]


def test_a_run_leaves_the_callers_random_stream_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    run_one(Run("vpg", 1, TINY, episodes=2))
    assert torch.equal(torch.rand(1), expected)
