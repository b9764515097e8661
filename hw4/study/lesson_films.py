"""The lesson's films: the same start, flown by the run's policy at each of its stages."""

from functools import partial
from pathlib import Path

from hw4.files import PathLike
from hw4.rl_ac import AACPolicyAgent
from hw4.rollout.lander import make_fast_env
from hw4.study.evaluation import fly, record
from hw4.study.lesson import Lesson


def film_stages(run: Lesson, folder: PathLike, seed: int) -> dict[str, Path]:
    """Film an episode at each stage.

    :param folder: where the films go.
    :param seed: the episodes', all of which begin alike.
    :return: {what happened: the film}, in the order of the stages.
    """
    repeat = run.hyperparams.get("action_repeat", 1)
    films = {}
    for stage in run.stages:
        film = Path(folder) / f"after-{stage.episodes}.mp4"
        record(AACPolicyAgent, stage.p_net, repeat, film, seed=seed)
        # Once more, without a camera: how an episode ended is in no film.
        [flight] = fly(AACPolicyAgent, stage.p_net, [seed], partial(make_fast_env, action_repeat=repeat))
        reward = flight.episode.total_reward
        films[f"after {stage.episodes} episodes: {reward:.0f}, {flight.ending}"] = film
    return films
