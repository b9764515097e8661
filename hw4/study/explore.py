"""Flights to look into, as HTML that moves by itself: on a page, in a notebook, without a kernel or a script.

    explore(load(), seeds=[1, 2])

Each policy of the lesson's run has a part that can be opened. There it flies from each start, over and over, with the
probabilities of its actions and the value that its critic expects beside it.
"""

import html
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from hw4.rl_ac import AACPolicyAgent
from hw4.rollout.lander import make_fast_env
from hw4.study.analysis import HEIGHT
from hw4.study.evaluation import fly
from hw4.study.lesson import Lesson, Snapshot

WIDTH, HIGH = 680, 250  # pixels
SCENE = (10, 300)  # from x to x; the panels beside it
PANELS = (370, 590)
TOP, BOTTOM = 24, 226
MIDDLE = (126, 150)  # the end of the upper panel, and the start of the lower one
ACTIONS = {"no engine": "#c8c8c8", "left engine": "#E69F00", "main engine": "#D55E00", "right engine": "#009E73"}
X, ANGLE = 0, 4  # features of an observation, beside HEIGHT
SECONDS_PER_STEP = 1 / 50
REST = 12  # decisions, for which the end is held before the flight begins again
INK, VALUE_COLOUR = "#222222", "#0072B2"
# The lander, its middle at the origin and its flames, 12 pixels high.
BODY = "M-6,-7 L6,-7 L8,2 L-8,2 Z M-6,2 L-10,8 L-6,8 M6,2 L10,8 L6,8"
FLAMES = {1: "M8,-4 L16,-2 L8,0 Z", 2: "M-3,3 L3,3 L0,14 Z", 3: "M-8,-4 L-16,-2 L-8,0 Z"}


class Course(NamedTuple):
    """A flight of T decisions, with what the policy thought of each.

    :param seconds: how long it took.
    """

    states: Float[np.ndarray, "T 8"]
    actions: Int[np.ndarray, " T"]
    probabilities: Float[np.ndarray, "T 4"]
    values: Float[np.ndarray, " T"]
    seconds: float
    summary: str


def explore(run: Lesson, seeds: Sequence[int]) -> str:
    """A part to open for each policy of the run, with a moving picture for each start.

    :param seeds: the starts'.
    """
    parts = []
    for episodes, p_net in run.policies().items():
        courses = fly_and_ask(p_net, seeds, run.hyperparams.get("action_repeat", 1))
        ends = "; ".join(course.summary for course in courses)
        pictures = "".join(draw(course, f"After {episodes} episodes: {course.summary}") for course in courses)
        title = html.escape(f"after {episodes} episodes: {ends}")
        parts.append(f'<details name="explore"><summary>{title}</summary>{pictures}</details>')
    return "".join(parts)


@torch.no_grad()
def fly_and_ask(p_net: Snapshot, seeds: Sequence[int], action_repeat: int) -> list[Course]:
    """Fly from each start, and ask the networks about each state on the way."""
    courses = []
    make_env = partial(make_fast_env, action_repeat=action_repeat)
    for flight in fly(AACPolicyAgent, p_net, list(seeds), make_env):
        steps = flight.episode.experiences
        states = torch.stack([step.state for step in steps])
        logits, values = p_net(states)
        courses.append(
            Course(
                states.numpy(),
                np.array([step.action for step in steps]),
                torch.softmax(logits, dim=1).numpy(),
                values.squeeze(1).numpy(),
                flight.n_steps * SECONDS_PER_STEP,
                f"{flight.episode.total_reward:.0f}, {flight.ending}",
            )
        )
    return courses


def draw(course: Course, name: str) -> str:
    """An SVG of a flight that goes on for ever: the lander and its flames, and a line that moves over the two panels.

    :param name: what it is, for those who do not see it.
    """
    moments = len(course.states)
    x = np.interp(course.states[:, X], (-1.0, 1.0), SCENE)
    y = np.interp(course.states[:, HEIGHT], (-0.05, 1.55), (BOTTOM - 8, TOP))
    across = np.linspace(*PANELS, moments)
    turn = _moves("rotate", -np.degrees(course.states[:, ANGLE]).round(1), course)
    pad = np.interp((-0.2, 0.2), (-1.0, 1.0), SCENE)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HIGH}" width="{WIDTH}" role="img" '
        f'aria-label="{html.escape(name)}" font-family="sans-serif" '
        f'font-size="11"><rect width="{WIDTH}" height="{HIGH}" fill="white"/>',
        _text(SCENE[0], 14, name),
        f'<path d="M{SCENE[0]},{BOTTOM} H{SCENE[1]}" stroke="{INK}"/>',
        f'<path d="M{pad[0]:.0f},{BOTTOM} H{pad[1]:.0f}" stroke="{INK}" stroke-width="4"/>',
        f'<polyline points="{_points(x, y)}" fill="none" stroke="#9a9a9a" stroke-dasharray="2 3"/>',
        f"<g>{_moves('translate', _pairs(x, y), course)}<g>{turn}",
        *(_flame(action, path, course) for action, path in FLAMES.items()),
        f'<path d="{BODY}" fill="#dddddd" stroke="{INK}"/></g></g>',
        *_probabilities(course, across),
        *_values(course, across),
        f'<g><path d="M0,{TOP} V{BOTTOM}" stroke="{INK}" stroke-width="1.5"/>',
        _moves("translate", _pairs(across, np.zeros(moments)), course),
        "</g></svg>",
    ]
    return "".join(parts)


def _probabilities(course: Course, across: np.ndarray) -> list[str]:
    """The four probabilities, one upon the other."""
    levels = np.cumsum(np.concatenate([np.zeros((len(across), 1)), course.probabilities], axis=1), axis=1)
    heights = np.interp(levels, (0, 1), (MIDDLE[0], TOP))
    parts = []
    for action, (name, colour) in enumerate(ACTIONS.items()):
        edge, floor = _points(across, heights[:, action + 1]), _points(across[::-1], heights[::-1, action])
        parts.append(f'<polygon points="{edge} {floor}" fill="{colour}"/>')
        place = TOP + 22 * (len(ACTIONS) - action) - 2
        parts.append(f'<rect x="{PANELS[1] + 6}" y="{place - 8}" width="9" height="9" fill="{colour}"/>')
        parts.append(_text(PANELS[1] + 18, place, name))
    return [_text(PANELS[0], 14, "probability of each action"), *parts]


def _values(course: Course, across: np.ndarray) -> list[str]:
    """What the critic expects."""
    low, high = min(float(course.values.min()), 0.0), max(float(course.values.max()), 1.0)
    y = np.interp(course.values, (low, high), (BOTTOM - 2, MIDDLE[1]))
    zero = float(np.interp(0.0, (low, high), (BOTTOM - 2, MIDDLE[1])))
    return [
        _text(PANELS[0], MIDDLE[1] - 6, "points still to come, by the critic"),
        f'<path d="M{PANELS[0]},{zero:.1f} H{PANELS[1]}" stroke="#b0b0b0"/>',
        f'<polyline points="{_points(across, y)}" fill="none" stroke="{VALUE_COLOUR}" stroke-width="1.6"/>',
        _text(PANELS[0] - 6, zero + 4, "0", "end"),
        _text(PANELS[1] + 6, float(y[-1]) + 4, f"{course.values[-1]:.0f}"),
        _text(PANELS[0], BOTTOM + 16, f"{course.seconds:.1f} seconds, from left to right"),
    ]


def _flame(action: int, path: str, course: Course) -> str:
    burns = (course.actions == action).astype(int)
    if not burns.any():
        return ""
    values = ";".join(map(str, [*burns, *[0] * REST]))
    animation = f'<animate attributeName="opacity" values="{values}" calcMode="discrete" {_clock(course)}/>'
    return f'<path d="{path}" fill="{list(ACTIONS.values())[action]}" opacity="0">{animation}</path>'


def _moves(kind: str, values: Iterable[object], course: Course) -> str:
    """A movement through values, one for each decision; the last of them is held for a while."""
    through = list(values)
    through += [through[-1]] * REST
    text = ";".join(map(str, through))
    return f'<animateTransform attributeName="transform" type="{kind}" values="{text}" {_clock(course)}/>'


def _clock(course: Course) -> str:
    moments = len(course.states)
    return f'dur="{course.seconds * (moments + REST) / moments:.2f}s" repeatCount="indefinite"'


def _pairs(x: np.ndarray, y: np.ndarray) -> list[str]:
    return [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(_pairs(x, y))


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{html.escape(text)}</text>'
