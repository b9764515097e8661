"""The 2 x 2 grid of learning curves."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from hw4.study.plots import plot_experiment_results

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
    },
}
AAC = {"aac": {"episode_num": [2, 4], "loss_p": [3.0, 1.0], "loss_e": [-0.9, -0.8], "mean_reward": [0.0, 50.0]}}


@pytest.fixture
def figure():
    yield plot_experiment_results(RESULTS)
    plt.close("all")


def panel(figure, name):
    """Return the one of the four axes that says that it shows this."""
    found = [ax for ax in figure.axes if name in (ax.get_title(), ax.get_ylabel())]
    assert len(found) == 1
    return found[0]


def curves(figure, name):
    """Return {label: (x, y)} of the lines in a panel."""
    return {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in panel(figure, name).lines
    }


def expected_curves(results, name):
    return {config: (data["episode_num"], data[name]) for config, data in results.items() if name in data}


def test_is_a_figure_of_two_by_two(figure):
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    assert {ax.get_subplotspec().get_gridspec().get_geometry() for ax in figure.axes} == {(2, 2)}


def test_panels_are_in_the_published_order(figure):
    assert [panel(figure, name) for name in PANELS] == figure.axes


@pytest.mark.parametrize("name", PANELS)
def test_curves_are_the_training_data(figure, name):
    assert curves(figure, name) == expected_curves(RESULTS, name)


@pytest.mark.parametrize("name", PANELS)
def test_against_episodes(figure, name):
    assert "episode" in panel(figure, name).get_xlabel().lower()


@pytest.mark.parametrize("name", PANELS)
def test_a_legend_names_the_configurations(figure, name):
    legend = panel(figure, name).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(expected_curves(RESULTS, name))


def test_configurations_have_colours_of_their_own(figure):
    assert len({line.get_color() for line in panel(figure, "loss_p").lines}) == 2


@pytest.mark.parametrize("name", PANELS)
def test_over_plotting(figure, name):
    again = plot_experiment_results(AAC, fig=figure)
    assert again is figure
    assert len(figure.axes) == 4
    assert curves(figure, name) == expected_curves({**RESULTS, **AAC}, name)
    assert [t.get_text() for t in panel(figure, name).get_legend().get_texts()] == list(curves(figure, name))


def test_nothing_to_show():
    figure = plot_experiment_results({})
    assert [len(ax.lines) for ax in figure.axes] == [0] * 4
    plt.close(figure)


def test_other_keys_are_left_alone(figure):
    """model_state and the rest are in the training data too."""
    plot_experiment_results({"vpg": {**RESULTS["vpg"], "model_state": {"w": object()}}}, fig=figure)
    assert len(panel(figure, "loss_p").lines) == 3


def test_can_be_drawn(figure, tmp_path):
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
