"""The lesson's pictures draw what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.text import Annotation

from hw4.study import lesson, lesson_plots, lesson_update, toys
from hw4.study.clouds import Cloud


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run():
    """Two stages of the committed run, with few flights."""
    committed = lesson.load()
    stages = [stage._replace(flights=stage.flights[:3]) for stage in committed.stages[::3]]
    return committed._replace(stages=stages)


def test_each_flight_is_a_line_of_the_colour_of_its_ending(run):
    axes = lesson_plots.plot_landings(run).axes
    assert len(axes) == len(run.stages)
    for ax, stage in zip(axes, run.stages, strict=True):
        lines = [line for line in ax.lines if len(line.get_xdata()) > 2]
        assert len(lines) == len(stage.flights)
        for line, flight in zip(lines, stage.flights, strict=True):
            assert np.array_equal(line.get_xdata(), flight.states[:, 0])
            assert np.array_equal(line.get_ydata(), flight.states[:, 1])
            assert line.get_color() == lesson_plots.ENDINGS[flight.ending][0]
        assert f"after {stage.episodes} episodes" in ax.get_title()
        counts = {ending: sum(f.ending == ending for f in stage.flights) for ending in lesson_plots.ENDINGS}
        said = [text.get_text() for text in ax.texts]
        assert [f"{count} {ending}" for ending, count in counts.items()] == said[:3]


@pytest.mark.parametrize(
    ("plot", "features"), [(lesson_plots.plot_braking, (1, 3)), (lesson_plots.plot_places, (0, 1))]
)
def test_maps_lie_under_the_flights(run, plot, features):
    top_left = plot(run).axes[0]
    [image] = top_left.images
    assert image.get_array().shape == (lesson.N_POINTS, lesson.N_POINTS)
    assert (image.get_clim(), image.origin) == ((0, 1), "lower")
    first, columns = run.stages[0].flights[0], [lesson.KEPT.index(feature) for feature in features]
    drawn = top_left.lines[0]
    assert np.array_equal(np.column_stack([drawn.get_xdata(), drawn.get_ydata()]), first.states[:, columns])


def test_arrows_are_the_sampled_gradients_and_lines_the_updates():
    top_left, _, bottom_left, _ = lesson_plots.plot_arms(0).axes
    arrows = [text for text in top_left.texts if isinstance(text, Annotation)]
    assert len(arrows) == toys.FIFTY
    assert {arrow.xy[0] for arrow in arrows} == {-0.5, 1.5}
    exact, with_it, without = [line.get_ydata() for line in bottom_left.lines]
    assert np.array_equal(exact, toys.train_arms_exactly())
    assert np.array_equal(with_it, toys.train_arms(True, 0))
    assert np.array_equal(without, toys.train_arms(False, 0))


def test_the_corridor_is_drawn_exactly_and_as_it_is_learned(monkeypatch):
    monkeypatch.setattr(toys, "CORRIDOR_RUNS", 3)
    left, right = lesson_plots.plot_corridor(0).axes
    curve = left.lines[0]
    assert np.array_equal(curve.get_ydata(), toys.corridor_value(curve.get_xdata()))
    assert [len(line.get_ydata()) for line in right.lines[:2]] == [toys.CORRIDOR_EPISODES] * 2


def test_batches_of_each_age_have_a_line(monkeypatch):
    monkeypatch.setattr(toys, "STALE_BATCH", 5)
    short, long = lesson_plots.plot_stale(0).axes
    for age, line in zip((0, 1, 4), long.lines[:3], strict=True):
        assert np.array_equal(line.get_ydata(), toys.train_corridor_stale(1.0, age, 0))
    assert short.get_title() == "learning rate 0.3"


@pytest.mark.filterwarnings("error")
def test_each_batch_is_a_dot_of_its_estimators_cloud():
    points = np.array([[1.0, 0.5], [2.0, -0.5], [30.0, 0.0]])
    cloud = Cloud(points, 1.0, 0.0, 5.0, 1.0)
    near = cloud._replace(points=points[:2])
    figure = lesson_plots.plot_clouds({"total return": cloud, "reward to go": near, "leave-one-out": near})
    figure.draw_without_rendering()  # a layout that fails is a warning, which is an error here
    axes = figure.axes
    inside, beyond = axes[0].lines[:2]
    assert np.array_equal(np.column_stack(inside.get_data()), points[:2])
    assert list(beyond.get_xdata()) == [axes[0].get_xlim()[1]]
    assert "variance 5" in axes[0].get_title()


def test_each_step_of_an_update_is_a_dot_in_its_actions_row():
    states = torch.zeros(4, 8)
    states[:, lesson.HEIGHT], states[:, lesson.Y_SPEED] = torch.arange(4), -torch.arange(4)
    weights, changes = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    update = lesson_update.Update(states, torch.tensor([0, 1, 2, 2]), weights, changes)
    top_left, top_right, bottom_left, bottom_right = (
        ax.collections[0] for ax in lesson_plots.plot_update(update).axes[:4]
    )
    assert np.array_equal(top_left.get_offsets(), [[0, 0]])
    assert np.array_equal(bottom_right.get_offsets(), [[2, -2], [3, -3]])
    for dots, of_step in ((top_left, [1]), (top_right, [0.1]), (bottom_left, [3, 4]), (bottom_right, [0.3, 0.4])):
        assert dots.get_array().tolist() == pytest.approx(of_step)
