"""The moving pictures show what was flown, and what the networks say of it."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch

from hw4.study import explore, lesson

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run():
    return lesson.load()


def course(**changes):
    """Three decisions: the lander falls by half its height, turns, and fires its main engine once."""
    states = np.zeros((3, 8), dtype=np.float32)
    states[:, explore.HEIGHT], states[:, explore.ANGLE] = [1.5, 0.75, 0.0], [0.0, np.pi / 2, 0.0]
    probabilities = np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [1.0, 0, 0, 0]])
    made = explore.Course(states, np.array([0, 2, 0]), probabilities, np.array([10.0, -5.0, 0.0]), 0.18, "-1, crash")
    return made._replace(**changes)


def moves(svg, kind):
    """The values of each movement of a kind."""
    tags = ElementTree.fromstring(svg).iter(f"{SVG}animateTransform")
    return [tag.get("values").split(";") for tag in tags if tag.get("type") == kind]


def test_every_policy_can_be_opened_and_says_how_each_start_ended(run):
    part = explore.explore(run._replace(stages=run.stages[:1], between={}), [1, 3])
    assert part.count("<details ") == 1
    [title] = re.findall("<summary>(.*?)</summary>", part)
    assert re.fullmatch(r"after 4 episodes: -\d+, crash; -\d+, crash", title)
    pictures = re.findall("<svg.*?</svg>", part)
    assert [ElementTree.fromstring(svg).get("role") for svg in pictures] == ["img", "img"]
    assert all("After 4 episodes: -" in svg for svg in pictures)


def test_what_is_shown_is_what_the_networks_say(run):
    stage = run.stages[2]
    [flown] = explore.fly_and_ask(stage.p_net, [1], 3)
    with torch.no_grad():
        logits, values = stage.p_net(torch.from_numpy(flown.states[:1]))
    assert flown.probabilities[0] == pytest.approx(torch.softmax(logits[0], dim=0).numpy())
    assert flown.values[0] == pytest.approx(values.item())
    assert flown.states.shape == (len(flown.actions), 8)
    assert flown.seconds == pytest.approx(3 / 50 * len(flown.actions), abs=3 / 50)


def test_the_lander_goes_along_its_path_and_turns():
    svg = explore.draw(course(), "a flight")
    path, line = moves(svg, "translate")
    assert len(path) == len(line) == 3 + explore.REST
    middle = sum(explore.SCENE) / 2
    heights = [float(place.split(",")[1]) for place in path]
    assert [float(place.split(",")[0]) for place in path] == [middle] * len(path)
    assert heights[1] == pytest.approx((heights[0] + heights[2]) / 2, abs=0.1)
    assert heights[0] < heights[2] == heights[-1]
    [turn] = moves(svg, "rotate")
    assert list(map(float, turn[:3])) == [0, -90, 0]  # an angle is positive counter-clockwise, and here clockwise
    ends = [float(place.split(",")[0]) for place in (line[0], line[-1])]
    assert tuple(ends) == explore.PANELS


def test_only_engines_that_fire_have_a_flame():
    flames = list(ElementTree.fromstring(explore.draw(course(), "a flight")).iter(f"{SVG}animate"))
    assert [flame.get("values").split(";")[:4] for flame in flames] == [["0", "1", "0", "0"]]


def test_the_probabilities_fill_their_panel():
    polygons = list(ElementTree.fromstring(explore.draw(course(), "a flight")).iter(f"{SVG}polygon"))
    assert len(polygons) == 4
    edges = [[float(point.split(",")[1]) for point in polygon.get("points").split()[:3]] for polygon in polygons]
    height = explore.MIDDLE[0] - explore.TOP
    assert edges[0] == pytest.approx([explore.TOP, explore.MIDDLE[0] - height / 4, explore.TOP], abs=0.1)
    assert edges[-1] == [explore.TOP] * 3


def test_values_of_one_sign_have_their_zero_in_the_panel():
    for values in ([10.0, 20.0, 30.0], [-3.0, -2.0, -1.0]):
        texts = ElementTree.fromstring(explore.draw(course(values=np.array(values)), "a")).iter(f"{SVG}text")
        [zero] = [text for text in texts if text.text == "0"]
        assert explore.MIDDLE[1] <= float(zero.get("y")) <= explore.BOTTOM + 4
