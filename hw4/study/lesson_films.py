"""The lesson's films: the same start, flown by the run's policies, of its stages and between them."""

from functools import partial
from pathlib import Path

from hw4.files import PathLike
from hw4.rl_ac import AACPolicyAgent
from hw4.rollout.lander import make_fast_env
from hw4.study.evaluation import fly, record
from hw4.study.lesson import Lesson


def film_policies(run: Lesson, folder: PathLike, seed: int) -> dict[str, Path]:
    """Film an episode of each policy.

    :param folder: where the films go.
    :param seed: the episodes', all of which begin alike.
    :return: {what happened: the film}, in the order of training.
    """
    repeat = run.hyperparams.get("action_repeat", 1)
    films = {}
    for episodes, p_net in run.policies().items():
        film = Path(folder) / f"after-{episodes}.mp4"
        record(AACPolicyAgent, p_net, repeat, film, seed=seed)
        # Once more, without a camera: how an episode ended is in no film.
        [flight] = fly(AACPolicyAgent, p_net, [seed], partial(make_fast_env, action_repeat=repeat))
        reward = flight.episode.total_reward
        films[f"after {episodes} episodes: {reward:.0f}, {flight.ending}"] = film
    return films
