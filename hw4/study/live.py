"""A training as it goes on, as a picture: for a notebook, whose reader waits for it.

    live = Live(episodes=6000, show=...)
    train_pg(..., post_batch_fn=live.watch("cpg"))

The picture is an SVG that is written here, because that takes 2 ms, where matplotlib takes 50. Between two batches
nobody plays, so what the picture takes is lost to the training.
"""

import html
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hw4.env import REWARD_THRESHOLD
from hw4.rl_data import TrainBatch
from hw4.study.analysis import HEIGHT
from hw4.study.evaluation import ENDINGS
from hw4.study.plots import COLOURS
from hw4.training import defer_interrupt

SECONDS = 2.5  # between two pictures
RECENT = 100  # episodes, over which the mean and the fractions are taken
MAX_POINTS = 300  # of a curve

# How an episode begins. The simulator puts the lander at the start, gives it a push and takes one step.
START_HEIGHT = 1.4109
PER_SPEED = {"x": 0.01, "height": 0.0225}  # what one step with a speed of 1 moves, in the observation's units
START_ERROR = 2e-4
# How it ends. The last step pays +100 for rest and -100 for a crash, and the held ones before it little beside that.
LAST_REWARD = 50.0

PostBatch = Callable[..., None]


def endings_of(batch: TrainBatch) -> list[str] | None:
    """How each of the lander's episodes in a batch ended: one of evaluation.ENDINGS.

    A batch does not say it, but it can be told from what is there. An episode begins with a state that is one step away
    from the start, and the q-value of its last step is that step's reward.

    :return: in the order of the batch; None if there are not as many beginnings as episodes.
    """
    states = batch.states.cpu().numpy()
    if states.shape[1] != 8:
        return None
    x, height, x_speed, y_speed = (states[:, feature] for feature in (0, HEIGHT, 2, 3))
    is_first = np.abs(x - PER_SPEED["x"] * x_speed) < START_ERROR
    is_first &= np.abs(height - START_HEIGHT - PER_SPEED["height"] * y_speed) < START_ERROR
    firsts = np.flatnonzero(is_first)
    if len(firsts) != batch.num_episodes or firsts[0] != 0:
        return None
    last_rewards = batch.q_vals.cpu().numpy()[[*(firsts[1:] - 1), -1]]
    at_rest, crash, time_limit = ENDINGS
    return [at_rest if last > LAST_REWARD else crash if last < -LAST_REWARD else time_limit for last in last_rewards]


class Course:
    """What has been seen of one run: curves, with an entry for each batch.

    :param name: the configuration.
    """

    def __init__(self, name: str):
        self.name = name
        self.began = time.monotonic()
        self.episodes: list[int] = []
        self.mean_reward: list[float] = []
        self.fractions: list[list[float]] = []  # of ENDINGS; shorter than the others if some batch did not tell
        self.steps, self.played = 0, 0  # while it was watched
        self._rewards: deque[float] = deque(maxlen=RECENT)
        self._endings: deque[str] = deque(maxlen=RECENT)

    def add(self, batch_idx: int, batch: TrainBatch) -> None:
        """Take a batch in."""
        self._rewards.extend(batch.total_rewards.tolist())
        self._endings.extend(endings_of(batch) or [])
        self.steps, self.played = self.steps + len(batch), self.played + batch.num_episodes
        self.episodes.append((batch_idx + 1) * batch.num_episodes)  # of all batches, also those before a resumption
        self.mean_reward.append(sum(self._rewards) / len(self._rewards))
        if self._endings:
            self.fractions.append([self._endings.count(ending) / len(self._endings) for ending in ENDINGS])

    def status(self, of: int, final: bool) -> str:
        """Two lines on how far the run is, and how it does.

        :param of: the number of episodes of the whole run.
        """
        seconds = max(time.monotonic() - self.began, 1e-3)
        left = (of - self.episodes[-1]) * seconds / self.played
        then = "finished" if final else f"about {_duration(left)} left"
        how_far = f"{self.name}: {self.episodes[-1]} of {of} episodes in {_duration(seconds)}, {then}"
        speed = f"{self.steps / seconds:,.0f} decisions a second"
        return f"{how_far}\nmean reward of the last {RECENT} episodes {self.mean_reward[-1]:.1f}; {speed}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


class Live:
    """Shows runs, one after the other, in one picture.

    :param episodes: how many episodes each run has, at most.
    :param show: shows a picture in place of the one before; called with an SVG and with what it says in words.
    """

    def __init__(self, episodes: int, show: Callable[[str, str], None]):
        self.total, self.show = episodes, show
        self.courses: list[Course] = []
        self._shown = -SECONDS

    def watch(self, name: str) -> PostBatch:
        """A post_batch_fn for the run that begins now.

        :param name: what it is called in the picture.
        """
        course = Course(name)
        if not self.courses:  # so that the picture stands above all that the training prints
            waiting = f"{name}: the first batch is being played"
            self.show(f"<p>{html.escape(waiting)}</p>", waiting)

        def look(batch_idx: int, p_net: Any, batch: TrainBatch, final: bool) -> None:
            if not course.episodes:
                self.courses.append(course)
            course.add(batch_idx, batch)
            if final or time.monotonic() - self._shown >= SECONDS:
                with defer_interrupt():  # half a message would stop the notebook
                    self.show(draw(self.courses, self.total, final), course.status(self.total, final))
                self._shown = time.monotonic()

        return look


# --- the picture

WIDTH, HIGH = 700, 290  # pixels
TOP, BOTTOM = 70, 250  # of both panels
LEFT_PANEL, RIGHT_PANEL = (46, 330), (420, 570)  # from x to x
INK, GRID = "#222222", "#d5d5d5"
ENDING_COLOURS = dict(zip(ENDINGS, ("#0072B2", "#D55E00", "#9A9A9A"), strict=True))
STACK = (ENDINGS[0], ENDINGS[2], ENDINGS[1])  # from below: the better, the lower
TICKS = 3  # of the axis of episodes
DASHES = {"vpg": "2 2", "epg": "6 2 2 2", "bpg": "5 2 1 2", "cpg": "", "aac": "7 2"}


class _Scale(NamedTuple):
    """From values to pixels."""

    low: float
    high: float
    at_low: float
    at_high: float

    def __call__(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return round(self.at_low + part * (self.at_high - self.at_low), 1)


def draw(courses: Sequence[Course], episodes: int, final: bool) -> str:
    """An SVG of runs, the last of which is under way: their mean rewards, and how its episodes ended.

    :param episodes: how many episodes a run has, at most.
    """
    now = courses[-1]
    status = now.status(episodes, final)
    rewards = [reward for course in courses for reward in course.mean_reward]
    reward_at = _Scale(min([*rewards, 0]) - 10, max([*rewards, REWARD_THRESHOLD]) + 10, BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HIGH}" width="{WIDTH}" role="img" '
        f'aria-label="{html.escape(" ".join(status.splitlines()))}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HIGH}" fill="white"/>',
        *(_text(LEFT_PANEL[0], 16 + 17 * row, line) for row, line in enumerate(status.splitlines())),
    ]
    at = _Scale(0, episodes, *LEFT_PANEL)
    step = 100 * math.ceil((reward_at.high - reward_at.low) / 800)
    for level in range(step * math.ceil(reward_at.low / step), int(reward_at.high) + 1, step):
        parts += [_line(LEFT_PANEL[0], reward_at(level), LEFT_PANEL[1], reward_at(level))]
        parts += [_text(LEFT_PANEL[0] - 5, reward_at(level) + 4, str(level), "end")]
    parts += [_text(LEFT_PANEL[0], TOP - 6, f"mean reward of the last {RECENT}"), *_episode_axis(at, episodes)]
    for course, place in zip(courses, _apart([reward_at(course.mean_reward[-1]) for course in courses]), strict=True):
        points = [(at(x), reward_at(y)) for x, y in zip(*_thinned(course.episodes, course.mean_reward), strict=True)]
        colour, dashes = COLOURS.get(course.name, INK), DASHES.get(course.name, "")
        parts.append(
            f'<polyline points="{_joined(points)}" fill="none" stroke="{colour}" stroke-width="1.6" '
            f'stroke-dasharray="{dashes or "none"}"/>'
        )
        parts.append(_text(points[-1][0] + 5, place + 4, course.name))
    if len(now.fractions) == len(now.episodes):
        parts += _endings(now, _Scale(0, episodes, *RIGHT_PANEL), episodes)
    return "".join([*parts, "</svg>"])


def _endings(course: Course, at: _Scale, episodes: int) -> list[str]:
    """The fractions of the endings, one upon the other, with their names and last values at the right."""
    share_at = _Scale(0, 1, BOTTOM, TOP)
    xs, fractions = _thinned(course.episodes, course.fractions)
    parts, floor, places = [], [0.0] * len(xs), []
    for ending in STACK:
        roof = [low + row[ENDINGS.index(ending)] for low, row in zip(floor, fractions, strict=True)]
        edge = [(at(x), share_at(y)) for x, y in zip(xs, roof, strict=True)]
        base = [(at(x), share_at(y)) for x, y in zip(xs, floor, strict=True)]
        parts.append(f'<polygon points="{_joined([*edge, *base[::-1]])}" fill="{ENDING_COLOURS[ending]}"/>')
        places.append(share_at((floor[-1] + roof[-1]) / 2))
        floor = roof
    x = at(xs[-1]) + 5
    for ending, place in zip(STACK, _apart(places), strict=True):
        percent = 100 * fractions[-1][ENDINGS.index(ending)]
        parts.append(f'<rect x="{x}" y="{place - 5}" width="9" height="9" fill="{ENDING_COLOURS[ending]}"/>')
        parts.append(_text(x + 13, place + 4, f"{percent:.0f}% {ending}"))
    return [_text(RIGHT_PANEL[0], TOP - 6, f"how the last {RECENT} ended"), *parts, *_episode_axis(at, episodes)]


def _episode_axis(at: _Scale, episodes: int) -> list[str]:
    ticks = [episodes * number // (TICKS - 1) for number in range(TICKS)]
    ends = [at(0), at(episodes)]
    numbers = [_text(at(tick), BOTTOM + 16, str(tick), "middle") for tick in ticks]
    name = _text(sum(ends) / 2, BOTTOM + 32, "episode", "middle")
    return [_line(ends[0], BOTTOM, ends[1], BOTTOM, INK), *numbers, name]


def _thinned(*columns: Sequence[Any]) -> list[list[Any]]:
    """Of each column at most about MAX_POINTS values, the last among them."""
    count = len(columns[0])
    kept = sorted({*range(0, count, max(1, count // MAX_POINTS)), count - 1})
    return [[column[index] for index in kept] for column in columns]


def _apart(places: Sequence[float], gap: float = 14.0) -> list[float]:
    """Where labels stand that belong to these places: one below the other, where the places are close."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    for above, below in itertools.pairwise(order):
        moved[below] = max(moved[below], moved[above] + gap)
    for rank, index in enumerate(reversed(order)):  # none below the panel
        moved[index] = min(moved[index], BOTTOM - gap / 2 - gap * rank)
    return moved


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = GRID) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    halo = 'stroke="white" stroke-width="3" paint-order="stroke"'
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}" {halo}>{html.escape(text)}</text>'
