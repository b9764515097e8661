"""Figures: what they draw is what the training data, a sweep's records and an analysis say."""

import matplotlib.pyplot as plt
import pytest

from hw4.study import plots

PANELS = ("loss_p", "baseline", "loss_e", "mean_reward")
RESULTS = {
    "vpg": {"episode_num": [4, 8, 12], "loss_p": [1.0, 2.0, 1.5], "mean_reward": [-200.0, -150.0, -100.0]},
    "cpg": {
        "episode_num": [5, 10],
        "loss_p": [0.5, 0.25],
        "baseline": [-9.0, -7.0],
        "loss_e": [-1.0, -0.5],
        "mean_reward": [-180.0, 20.0],
        "loss_t": [1.0, 1.0],
        "model_state": {"w": object()},
    },
}
AAC = {"aac": {"episode_num": [2, 4], "loss_p": [3.0, 1.0], "loss_e": [-0.9, -0.8], "mean_reward": [0.0, 50.0]}}


def record(configuration, seed, reward, episodes_to_200=None):
    evaluation = {choice: {"mean": reward} for choice in ("sampled", "greedy")}
    return {
        "configuration": configuration,
        "seed": seed,
        "episodes": 100,
        "episodes_to_200": episodes_to_200,
        "best_mean_reward": reward,
        "overrides": [],
        "curves": {"episode_num": [50, 100], "mean_reward": [0.0, reward], "loss_p": [1.0, 2.0]},
        "evaluation": {"final": evaluation},
    }


RUNS = [
    record("aac", 1, 250.0, episodes_to_200=40),
    record("aac", 2, 270.0, episodes_to_200=80),
    record("vpg", 1, 100.0),
    record("aac", 3, 260.0),
]
NOISE = {name: {"variance": 10.0} for name in ("total return", "reward to go", "batch mean", "leave-one-out", "critic")}
STAGE = {
    "episodes": 500,
    "batches": 200,
    "gradient": NOISE,
    "critic": {"v": [0.0, 1.0], "q": [0.5, 1.5], "q10": [0.0, 1.0], "q90": [1.0, 2.0], "explained_variance": 0.5},
    "time": {
        "where": {place: {"share": 0.5, "actions": [0.5, 0.5, 0.0, 0.0]} for place in ("in the air", "on both legs")},
        "ends": {"at rest": 0.25, "crash": 0.0, "time limit": 0.75},
        "height": [1.4, 1.0, 0.2],
    },
}
ANALYSIS = {
    "stages": {"early": STAGE, "late": {**STAGE, "episodes": 6000}},
    "explained_variance": {"episodes": [250, 500], "value": [-0.1, 0.5]},
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def curves(ax):
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_learning_curves_are_the_training_data_in_two_by_two_panels():
    figure = plots.plot_experiment_results(RESULTS)
    assert {ax.get_subplotspec().get_gridspec().get_geometry() for ax in figure.axes} == {(2, 2)}
    assert [ax.get_title() for ax in figure.axes] == list(PANELS)
    again = plots.plot_experiment_results(AAC, fig=figure)  # over-plotted
    assert again is figure
    for ax, name in zip(figure.axes, PANELS, strict=True):
        expected = {
            config: (data["episode_num"], data[name]) for config, data in {**RESULTS, **AAC}.items() if name in data
        }
        assert curves(ax) == expected
        assert sorted(text.get_text() for text in ax.texts) == sorted(expected)  # each named once, at its end
        assert len({line.get_color() for line in ax.lines}) == len(expected)
        assert ax.get_xlabel() == "episode"


def test_nothing_to_show():
    assert [len(ax.lines) for ax in plots.plot_experiment_results({}).axes] == [0] * 4


@pytest.mark.parametrize("name", ["$x_{$", "$$", "a $", "two\nlines", "_hidden"])
def test_a_configurations_name_is_drawn_as_it_is(tmp_path, name):
    figure = plots.plot_experiment_results({name: RESULTS["vpg"]})
    plots.save(figure, tmp_path / "x.png", dpi=20)
    assert [text.get_text() for text in figure.axes[0].texts] == [name]


@pytest.mark.parametrize("ends", [(1e300, -1e300), (1e-320, 0.0), (2**63 - 1, -(2**63) + 1), (5, 5)])
def test_whatever_results_hold_is_drawn(tmp_path, ends):
    results = {"vpg": {"episode_num": [1, 2], "mean_reward": [*ends]}, "cpg": {"episode_num": [], "mean_reward": []}}
    plots.save(plots.plot_experiment_results(results), tmp_path / "x.png", dpi=20)


def test_records_are_grouped_in_the_order_of_the_configurations():
    groups = plots.group_by_configuration(RUNS)
    assert [(name, [run["seed"] for run in group]) for name, group in groups.items()] == [
        ("vpg", [1]),
        ("aac", [1, 2, 3]),
    ]


def test_curves_of_seeds_are_their_interquartile_mean():
    axes = plots.plot_seeds(RUNS).axes
    assert curves(axes[3]) == {"vpg (1)": ([50, 100], [0.0, 100.0]), "aac (3)": ([50, 100], [0.0, 260.0])}
    assert len(axes[3].collections) == 2  # the bands
    assert curves(axes[1]) == {}  # not recorded


def test_curves_of_runs_of_two_lengths_are_refused():
    longer = {**RUNS[0], "curves": {name: [*curve, 150.0] for name, curve in RUNS[0]["curves"].items()}}
    with pytest.raises(ValueError, match="the runs of aac are not of one length: draw those of one sweep alone"):
        plots.plot_seeds([*RUNS, longer])


def test_every_seed_is_a_dot_beside_the_bar_of_all():
    [ax] = plots.plot_evaluations(RUNS).axes
    assert "actions sampled; right and empty: greedy" in ax.get_title()
    dots = sorted(y for line in ax.lines if line.get_marker() == "o" for y in line.get_ydata())
    assert dots == [100.0, 100.0, 250.0, 250.0, 260.0, 260.0, 270.0, 270.0]  # sampled and greedy
    assert sorted(bar.get_height() for bar in ax.patches) == [100.0, 100.0, 260.0, 260.0]


def test_an_ablation_has_a_row_for_each_piece_that_is_left_out():
    runs = [{**run, "overrides": overrides} for run in RUNS for overrides in ([], ["gamma=0.9"])]
    vpg, aac = plots.plot_ablation(runs).axes
    assert [label.get_text() for label in aac.get_yticklabels()] == ["the recipe", "gamma=0.9"]
    dots = [list(line.get_xdata()) for line in aac.lines if line.get_marker() == "o"]
    assert dots == [[250.0, 260.0, 270.0]] * 2
    assert vpg.get_title() == "vpg"


def test_the_fraction_of_seeds_that_reached_200_rises_with_each():
    [vpg, aac] = plots.plot_fraction_reached(RUNS).axes[0].lines
    assert list(vpg.get_ydata()) == [0.0, 0.0]
    assert list(aac.get_xdata()) == [0, 40, 80, 100]
    assert list(aac.get_ydata()) == pytest.approx([0.0, 100 / 3, 200 / 3, 200 / 3])


def test_ends_that_are_close_are_named_one_above_the_other():
    ends = {name: {"episode_num": [1, 2], "mean_reward": [0.0, y]} for name, y in {"vpg": 50.0, "cpg": 50.1}.items()}
    ax = plots.plot_experiment_results(ends).axes[3]
    [low, high] = sorted(text.get_position()[1] for text in ax.texts)
    assert high - low > 1


@pytest.mark.parametrize("draw", [plots.plot_seeds, plots.plot_fraction_reached])
def test_long_runs_do_not_draw_out_the_axis_of_the_others(draw):
    long = {**record("aac_long", 1, 250.0), "episodes": 1000}
    names = {label.split()[0].rstrip(":") for ax in draw([*RUNS, long]).axes for label in curves(ax)}
    assert names == {"aac", "vpg"}
    assert {label.split()[0].rstrip(":") for ax in draw([long]).axes for label in curves(ax)} == {"aac_long"}


class TestRace:
    RUNS = (
        record("aac", 1, 250.0, episodes_to_200=40),
        record("aac", 2, 270.0, episodes_to_200=80),
        record("cpg", 1, 120.0),
        record("aac_long", 1, 120.0),
    )

    def dots(self, ax):
        return [sorted(line.get_xdata()) for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]

    def test_each_seed_is_a_dot_at_each_level_that_it_reached(self):
        to_0, to_100, to_150, to_200 = plots.plot_race(self.RUNS).axes
        never = to_0.get_xticks()[-1]
        assert (
            self.dots(to_0) == self.dots(to_100) == [[100], [100, 100]]
        )  # cpg first; no mean of fewer episodes counts
        assert self.dots(to_150) == [[never], [100, 100]]
        assert self.dots(to_200) == [[never], [40, 80]]  # what is known exactly
        assert [label.get_text() for label in to_0.get_yticklabels()] == ["cpg (1)", "aac (2)"]

    def test_the_median_counts_who_never_came(self):
        medians = [
            line.get_xdata()[0] for line in plots.plot_race(self.RUNS).axes[3].lines if line.get_color() == "black"
        ]
        assert medians == [plots.plot_race(self.RUNS).axes[3].get_xticks()[-1], 60]

    def test_the_notebooks_own_seed_is_a_ring(self):
        own = {"aac": {"episode_num": [50, 100, 150], "mean_reward": [0.0, 90.0, 160.0]}}
        rings = [
            [line.get_xdata()[0] for line in ax.lines if line.get_markerfacecolor() == "none"]
            for ax in plots.plot_race(self.RUNS, own).axes
        ]
        never = plots.plot_race(self.RUNS).axes[0].get_xticks()[-1]
        assert rings == [[100], [150], [150], [never]]


class TestPairs:
    def records(self, rewards, configuration):
        kept = {"best_mean_reward": 0.0}
        return [
            {**record(configuration, seed, reward, reached), **kept} for seed, (reward, reached) in enumerate(rewards)
        ]

    def test_differences_are_of_the_same_seed(self):
        runs = self.records([(250.0, 40), (260.0, None), (270.0, 50)], "aac")
        runs += self.records([(200.0, 60), (255.0, 90)], "cpg")
        until, _, final = plots.plot_pairs(runs).axes
        assert list(until.lines[1].get_xdata()) == [-20]  # the other seed has no such figure in one of the two
        assert "1 of 2 seeds" in until.get_title()
        assert list(final.lines[1].get_xdata()) == [5.0, 50.0]
        assert "2 of 2 seeds" in final.get_title()

    def test_no_pair_at_all(self):
        assert all("0 of 0 seeds" in ax.get_title() for ax in plots.plot_pairs([]).axes)


def test_gradient_noise_has_a_bar_for_each_estimator_and_stage():
    assert [bar.get_height() for bar in plots.plot_gradient_noise(ANALYSIS).axes[0].patches] == [10.0] * 10


def test_the_critic_has_a_panel_for_each_stage_and_one_over_training():
    axes = plots.plot_critic({**ANALYSIS, "stages": {**ANALYSIS["stages"], "middle": STAGE}}).axes
    assert len(axes) == 4
    assert list(axes[3].lines[0].get_ydata()) == [-0.1, 0.5]


def test_time_is_split_by_place_and_action():
    heights, times = plots.plot_state_occupancy(ANALYSIS).axes
    assert list(heights.lines[0].get_ydata()) == [1.4, 1.0, 0.2]
    assert sum(bar.get_width() for bar in times.patches) == pytest.approx(200)  # two stages, 100% each


@pytest.mark.parametrize("name", ["curves.png", "curves.svg", "curves.pdf"])
def test_a_figure_is_saved_in_the_format_its_name_says(tmp_path, name):
    plots.save(plots.plot_fraction_reached(RUNS), tmp_path / name, dpi=40)
    start = {"curves.svg": b"<?xml", "curves.pdf": b"%PDF"}.get(name, b"\x89PNG")
    assert (tmp_path / name).read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["curves.xyz", "curves"])
def test_a_figure_of_no_known_format_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"{name} is no kind of figure: .*png"):
        plots.save(plots.plot_fraction_reached(RUNS), tmp_path / name, dpi=40)
    assert list(tmp_path.iterdir()) == []
