"""Named runs: from a configuration and a seed to a trained policy and a results file.

| configuration | loss                                      |
|---------------|-------------------------------------------|
| vpg           | vanilla policy gradient                   |
| epg           | vanilla, with the entropy loss            |
| bpg           | baseline policy gradient                  |
| cpg           | baseline and entropy, combined            |
| aac           | advantage actor-critic, with entropy      |

The notebook and the command line both train through here: `train_pg`, `train_aac` or, by name, `train_config`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cs236781.files import lock_outputs
from hw4 import answers, runs
from hw4.contents import plain_dict
from hw4.env import ENV_NAME, make_env
from hw4.files import PathLike, check_fits, dump_training_data, load_checkpoint, load_training_data, save_checkpoint
from hw4.hyperparams import check_hyperparams, with_overrides
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    PolicyAgent,
    PolicyNet,
    VanillaPolicyGradientLoss,
)
from hw4.train import MAX_EPISODES, train_rl

SEED = 1000  # shows what many seeds show: see docs/results.md
LONG_MAX_EPISODES = 15_000
LONG_TARGET_REWARD = 290.0  # ends the long run early, should it get there; about the best that the game allows
RESULTS_FILE = "part1_exp.dat"
RESULTS_FILE_AAC = "part1_exp_aac.dat"
CHECKPOINT_FILE = f"{ENV_NAME}-ac.dat"
CHECKPOINT_FILE_FINAL = f"{ENV_NAME}-ac_final.dat"
N_ACTIONS = 4  # the lander's


class ExpConfig(NamedTuple):
    """A policy-gradient configuration: which terms its loss has."""

    name: str
    baseline: bool
    entropy: bool


def exp_configs() -> list[ExpConfig]:
    """The four configurations that the assignment compares."""
    return [
        ExpConfig("vpg", baseline=False, entropy=False),
        ExpConfig("epg", baseline=False, entropy=True),
        ExpConfig("bpg", baseline=True, entropy=False),
        ExpConfig("cpg", baseline=True, entropy=True),
    ]


LONG_NAME = "aac_long"  # the last run: aac, for longer
CONFIG_NAMES = (*(config.name for config in exp_configs()), "aac")


def train_pg(
    baseline: bool = False, entropy: bool = False, *, hp: dict[str, Any] | None = None, **train_kwargs: Any
) -> dict[str, Any]:
    """Train a PolicyNet by policy gradients, with the hyperparameters of `answers` unless others are given.

    :param train_kwargs: as `train_rl` takes them.
    """
    hp = answers.part1_pg_hyperparams() if hp is None else hp
    loss_fns: list[nn.Module] = [BaselinePolicyGradientLoss() if baseline else VanillaPolicyGradientLoss()]
    if entropy:
        loss_fns.append(ActionEntropyLoss(N_ACTIONS, hp["beta"]))
    [name] = [config.name for config in exp_configs() if (config.baseline, config.entropy) == (baseline, entropy)]
    return train_rl(PolicyAgent, PolicyNet, loss_fns, hp, **{"configuration": name, **train_kwargs})


def train_aac(*, hp: dict[str, Any] | None = None, **train_kwargs: Any) -> dict[str, Any]:
    """Train an AACPolicyNet by advantage actor-critic with the entropy loss; otherwise as `train_pg`."""
    hp = answers.part1_aac_hyperparams() if hp is None else hp
    if "delta" not in hp:
        raise ValueError(f"the hyperparameter delta is missing (got {', '.join(hp) or 'none'})")
    loss_fns = [AACPolicyGradientLoss(hp["delta"]), ActionEntropyLoss(N_ACTIONS, hp["beta"])]
    return train_rl(AACPolicyAgent, AACPolicyNet, loss_fns, hp, **{"configuration": "aac", **train_kwargs})


def train_config(name: str, **kwargs: Any) -> dict[str, Any]:
    """Train a configuration by its name, one of CONFIG_NAMES."""
    if name == "aac":
        return train_aac(**kwargs)
    for config in exp_configs():
        if config.name == name:
            return train_pg(config.baseline, config.entropy, **kwargs)
    raise ValueError(f"there is no configuration {name!r}; there are: {', '.join(CONFIG_NAMES)}")


def hyperparams_of(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A configuration's hyperparameters, with some changed by texts such as "learn_rate=0.01"."""
    is_actor_critic = name in ("aac", LONG_NAME)
    hp = answers.part1_aac_hyperparams() if is_actor_critic else answers.part1_pg_hyperparams()
    return with_overrides(hp, overrides)


def train_into(
    name: str, out: PathLike, *, seed: int | None = None, restart: bool = False, hp: dict[str, Any], **train_kwargs: Any
) -> dict[str, Any]:
    """As `train_config`, and write the results file. A run whose results are there already is not trained again.

    :param out: the file. After Ctrl-C it holds what there is, and the same call goes on where there are checkpoints.
        What it holds beside this configuration stays; a file without it is of another run.
    :raises ValueError: if the file is of another run; the message says what differs.
    :raises KeyboardInterrupt: after Ctrl-C, once all is kept.
    """
    out = Path(out)

    def keep(training_data: dict[str, Any]) -> None:
        is_longer = len(training_data.get("episode_num", [])) > len(earlier.get("episode_num", []))
        if is_longer and ("model_state" in training_data or "model_state" not in earlier):
            dump_training_data({**held, name: training_data}, out)
            print(f"results so far: {out}")
        raise KeyboardInterrupt

    plain_dict({"hp": hp}, "the run")  # what no file can hold is not found at the end
    with lock_outputs(out):
        held = load_training_data(out) if out.exists() and not restart else {}
        earlier = held.get(name, {})
        if held:
            found = earlier.get("run") or {"configuration": "not said" if name in held else ", ".join(held)}
            seed = found.get("seed") if seed is None else seed
            length = train_kwargs.get("max_episodes", MAX_EPISODES)
            target = train_kwargs.get("target_reward", math.inf)
            runs.check_same(found, runs.run_of(name, hp, length, target, 100, seed or 0), out)
            if found.get("finished", False):
                print(f"=== This run is finished already: {out}")
                best = train_kwargs.get("checkpoints_file")
                if best is None or not runs.problem_of_best(Path(best), earlier):
                    return earlier
        if restart:
            train_kwargs["on_begin"] = lambda: runs.set_aside(out)
        data = train_config(name, hp=hp, seed=seed, restart=restart, on_interrupt=keep, **train_kwargs)
        dump_training_data({**held, name: data}, out)
    print(f"results: {out}")
    return data


class Policy(NamedTuple):
    """What plays: an agent's type, its network, and for how many steps of the environment it holds each action."""

    agent_type: type[PolicyAgent]
    p_net: PolicyNet
    action_repeat: int


def load_policy(checkpoint_file: PathLike) -> Policy:
    """The policy that a checkpoint of `train_rl` holds.

    :raises ValueError: if it holds none, or one of another environment than Beresheet-v2; in one line.
    """
    checkpoint = load_checkpoint(checkpoint_file)
    kinds: dict[str, tuple[type[PolicyAgent], type[PolicyNet]]] = {
        "PolicyNet": (PolicyAgent, PolicyNet),
        "AACPolicyNet": (AACPolicyAgent, AACPolicyNet),
    }
    try:
        agent_type, net_type = kinds[checkpoint["net_type"]]
        if checkpoint["env_name"] != ENV_NAME:
            raise ValueError(f"it is of {checkpoint['env_name']}, and only {ENV_NAME} is played here")
        env, hp = make_env(), checkpoint["hp"]
        check_hyperparams(hp)
        # A network of any size is only described, until it is known to be the one that is here.
        with torch.device("meta"):
            check_fits(checkpoint, net_type.build_for_env(env, "meta", **hp))
        p_net = net_type.build_for_env(env, **hp)
        p_net.load_state_dict(checkpoint["params"])
        return Policy(agent_type, p_net, hp.get("action_repeat", 1))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{checkpoint_file} does not say what network it holds: {error}") from error


def run_or_load(
    filename: PathLike,
    names: Sequence[str],
    *,
    force_run: bool = False,
    returns_early: bool = False,
    watch: Callable[[str], Callable[..., None]] | None = None,
    max_episodes: int = MAX_EPISODES,
    **train_kwargs: Any,
) -> dict[str, dict[str, Any]]:
    """The results of some configurations, {name: training_data}: from their file, or trained and written to it.

    Each run keeps its latest state beside the file, until the file is written. So the same call goes on with a run that
    was stopped. Of a file that lacks some of them, or holds them unfinished, these are trained, and the rest stays.

    :param force_run: train even if the file exists, and replace it.
    :param returns_early: after Ctrl-C return what there is, as a notebook's next cells need it, instead of raising.
    :param watch: makes of a run's name the post_batch_fn that watches it.
    :raises KeyboardInterrupt: after Ctrl-C; what was trained until then is in a file of its own beside `filename`.
    """
    path = Path(filename)
    held = {} if force_run or not path.exists() else load_training_data(filename)
    results: dict[str, dict[str, Any]] = {name: held[name] for name in names if is_whole(held, name)}
    asked = {name: train_kwargs[name] for name in ("seed", "hp") if train_kwargs.get(name) is not None}
    for name, data in results.items():
        if differences := runs.differences(data.get("run", {}), {**asked, "max_episodes": max_episodes}):
            runs.say(f"=== In {filename}, {name} is of another run than was asked for: {'; '.join(differences)}")
    if held and len(results) == len(names):
        print(f"=== results file {filename} exists, skipping its experiments.")
        return held
    states = {name: path.with_name(f".{path.stem}_{name}.dat") for name in names if name not in results}

    def keep_apart(training_data: dict[str, Any]) -> None:
        interrupted = path.with_stem(f"{path.stem}_interrupted")
        dump_training_data({**results, name: training_data}, interrupted)
        print(f"=== Results so far are in {interrupted}")
        if not returns_early:
            raise KeyboardInterrupt

    with lock_outputs(path):
        for name, state in states.items():
            print(f"=== Experiment {name}")
            kept = {"latest_file": state, "other_runs_aside": True, "on_interrupt": keep_apart}
            if watch is not None:
                kept["post_batch_fn"] = watch(name)
            results[name] = train_config(name, max_episodes=max_episodes, **kept, **train_kwargs)
            if not is_whole(results, name):
                print("=== The same call goes on from here.")
                return {name: data for name, data in results.items() if data.get("episode_num")}
        dump_training_data({**held, **results}, filename)
        for state in states.values():
            state.unlink(missing_ok=True)
    return {name: results[name] for name in names}


def is_whole(results: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    """Whether a configuration is among some results, trained to its end. Those of earlier versions hold no others."""
    return name in results and results[name].get("run", {}).get("finished", True)


def train_long(
    checkpoints_dir: PathLike = "checkpoints",
    *,
    hp: dict[str, Any] | None = None,
    returns_early: bool = False,
    max_episodes: int = LONG_MAX_EPISODES,
    **train_kwargs: Any,
) -> dict[str, Any]:
    """The long actor-critic run; at its end, its best checkpoint is kept as the final one.

    :param hp: its hyperparameters; `answers.part1_aac_hyperparams()` if none are given.
    :param returns_early: after Ctrl-C return what there is instead of raising.
    :return: its training data.
    :raises KeyboardInterrupt: after Ctrl-C; the best checkpoint so far stays, but is not final.
    """

    def stop(training_data: dict[str, Any]) -> None:
        if not returns_early:
            raise KeyboardInterrupt

    directory = Path(checkpoints_dir)
    training_data = train_aac(
        hp=hp,
        checkpoints_file=directory / CHECKPOINT_FILE,
        other_runs_aside=True,
        max_episodes=max_episodes,
        on_interrupt=stop,
        **train_kwargs,
    )
    if training_data["run"]["finished"]:
        save_checkpoint(load_checkpoint(directory / CHECKPOINT_FILE), directory / CHECKPOINT_FILE_FINAL)
        runs.latest_of(directory / CHECKPOINT_FILE).unlink(missing_ok=True)
    return training_data


def run_experiments(
    results_dir: PathLike = "results",
    checkpoints_dir: PathLike = "checkpoints",
    *,
    max_episodes: int = MAX_EPISODES,
    long_max_episodes: int = LONG_MAX_EPISODES,
    **train_kwargs: Any,
) -> None:
    """Train the whole assignment: the four configurations, aac, and the long run; what has its file is skipped."""
    final = Path(checkpoints_dir) / CHECKPOINT_FILE_FINAL
    if final.exists():
        try:
            load_checkpoint(final)  # a damaged one is not found after an hour
        except ValueError as error:
            raise ValueError(f"{error}. Remove it, and the long run is played again") from None
    train_kwargs = {"seed": SEED, **train_kwargs}
    run_or_load(Path(results_dir) / RESULTS_FILE, CONFIG_NAMES[:4], max_episodes=max_episodes, **train_kwargs)
    run_or_load(Path(results_dir) / RESULTS_FILE_AAC, CONFIG_NAMES[4:], max_episodes=max_episodes, **train_kwargs)
    if final.exists():
        print(f"=== checkpoint {final} exists, skipping the long run.")
    else:
        print("=== The long run")
        train_long(checkpoints_dir, max_episodes=long_max_episodes, target_reward=LONG_TARGET_REWARD, **train_kwargs)
