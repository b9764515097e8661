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

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from cs236781.files import check_file_writable
from hw4 import answers
from hw4.env import ENV_NAME
from hw4.env import make_env as make_any_env
from hw4.files import PathLike, dump_training_data, load_checkpoint, load_training_data, save_checkpoint
from hw4.hyperparams import check_count, check_hyperparams, with_overrides
from hw4.optim import choose_device, make_optimizer, make_schedule
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    PolicyAgent,
    PolicyNet,
    PolicyTrainer,
    VanillaPolicyGradientLoss,
)
from hw4.rollout.collect import episode_seed
from hw4.rollout.lander import make_fast_env
from hw4.rollout.loader import OnPolicyLoader, available_cpus, default_num_workers, torch_threads

SEED = 42
MAX_EPISODES = 6000
LONG_MAX_EPISODES = 15_000
LONG_TARGET_REWARD = 290.0  # ends the long run early, should it get there; about the best that the game allows
RESULTS_FILE = "part1_exp.dat"
RESULTS_FILE_AAC = "part1_exp_aac.dat"
CHECKPOINT_FILE = f"{ENV_NAME}-ac.dat"
CHECKPOINT_FILE_FINAL = f"{ENV_NAME}-ac_final.dat"
MANY_PARAMETERS = 50_000
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
    return train_rl(PolicyAgent, PolicyNet, loss_fns, hp, **train_kwargs)


def train_aac(*, hp: dict[str, Any] | None = None, **train_kwargs: Any) -> dict[str, Any]:
    """Train an AACPolicyNet by advantage actor-critic with the entropy loss; otherwise as `train_pg`."""
    hp = answers.part1_aac_hyperparams() if hp is None else hp
    if "delta" not in hp:
        raise ValueError(f"the hyperparameter delta is missing (got {', '.join(hp) or 'none'})")
    loss_fns = [AACPolicyGradientLoss(hp["delta"]), ActionEntropyLoss(N_ACTIONS, hp["beta"])]
    return train_rl(AACPolicyAgent, AACPolicyNet, loss_fns, hp, **train_kwargs)


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


def train_rl(
    agent_type: type[PolicyAgent],
    net_type: type[PolicyNet],
    loss_fns: Sequence[nn.Module],
    hp: dict[str, Any],
    *,
    seed: int | None = None,
    checkpoints_file: PathLike | None = None,
    num_workers: int | None = None,
    device: torch.device | str = "cpu",
    resume: bool = False,
    on_interrupt: Callable[[dict[str, Any]], None] | None = None,
    max_episodes: int = MAX_EPISODES,
    make_env: Callable[[], gym.Env] | None = None,
    **train_kw: Any,
) -> dict[str, Any]:
    """Make everything a run needs, train, and return the training data with the final parameters.

    :param hp: hyperparameters, as `answers` holds them.
    :param seed: all that the run's randomness depends on; None for one drawn at random, which is printed, or when it
        resumes, for the one that it had.
    :param checkpoints_file: where the trainer saves a checkpoint at every new best mean reward.
    :param num_workers: processes that play; 0 for this one; None for what suits the machine. Makes no difference to
        the results.
    :param device: where the network learns; a torch.device, or "cpu", "cuda", "auto". Agents act on the CPU.
    :param resume: go on from `checkpoints_file`; what follows is what would have followed.
    :param on_interrupt: called after Ctrl-C with what would be returned.
    :param make_env: makes the environments to play in; None for Beresheet-v2 with the run's `action_repeat`.
    :param train_kw: target_reward, running_mean_len, post_batch_fn, as PolicyTrainer.train takes them.
    :return: the trainer's lists, and "model_state", the parameters as a state dict of CPU tensors. Ctrl-C ends the
        training early and returns what there is.
    """
    check_hyperparams(hp)
    check_run(seed=seed, num_workers=num_workers, max_episodes=max_episodes, **train_kw)
    learner_device = choose_device(device) if isinstance(device, str) else device
    if checkpoints_file is not None:
        check_file_writable(Path(checkpoints_file))
    if resume:
        if checkpoints_file is None:
            raise ValueError("to resume, name the checkpoint file to go on from")
        seed = load_checkpoint(checkpoints_file).get("seed") if seed is None else seed
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    num_workers = min(default_num_workers(), hp["batch_size"]) if num_workers is None else num_workers
    print(f"hyperparams: {hp}, seed: {seed}")

    if make_env is None:
        make_env = partial(make_fast_env, action_repeat=hp.get("action_repeat", 1))
    env = make_env()
    # The caller's random stream is its own; and an orthogonal matrix is rounded otherwise by two threads than by one.
    with torch.random.fork_rng(devices=[]), torch_threads(1):
        torch.manual_seed(seed)
        acting_net = net_type.build_for_env(env, **hp).share_memory()
    p_net = acting_net if learner_device == torch.device("cpu") else copy.deepcopy(acting_net).to(learner_device)
    optimizer = make_optimizer(p_net, hp)

    # A network may have dropout. torch.manual_seed sets every device's generator, and takes long to find them.
    seed_learner = torch.default_generator.manual_seed if learner_device.type == "cpu" else torch.manual_seed

    def before_batch(episodes: int) -> None:
        set_schedules(episodes / max_episodes)
        seed_learner(episode_seed(seed, episodes))
        if p_net is not acting_net:
            sync_policy(p_net, acting_net)

    loader = OnPolicyLoader(
        agent_type,
        acting_net,
        hp["batch_size"],
        hp["gamma"],
        seed=seed,
        num_workers=num_workers,
        make_env=make_env,
        before_batch=before_batch,
    )
    set_schedules = make_schedule(optimizer, loss_fns, loader, hp)
    trainer = PolicyTrainer(p_net, optimizer, loss_fns, loader, checkpoints_file)
    env_name = env.spec.id if env.spec else None
    trainer.checkpoint_info = {"net_type": net_type.__name__, "hp": hp, "env_name": env_name, "seed": seed}
    if resume and checkpoints_file is not None:
        loader.next_episode = trainer.resume(checkpoints_file)
    interrupted = False
    try:
        with loader, torch_threads(learner_threads(p_net)), torch.random.fork_rng(devices=[]):
            trainer.train(max_episodes=max_episodes, **train_kw)
    except KeyboardInterrupt:
        print("=== Training was interrupted; what was learned so far is kept.")
        interrupted = True
    model_state = {name: tensor.detach().cpu().clone() for name, tensor in p_net.state_dict().items()}
    training_data = {**trainer.training_data, "model_state": model_state}
    if interrupted and on_interrupt is not None:
        on_interrupt(training_data)
    return training_data


def check_run(
    *,
    seed: int | None = None,
    num_workers: int | None = None,
    max_episodes: int = 1,
    running_mean_len: int = 1,
    target_reward: float = math.inf,
    post_batch_fn: Any = None,
) -> None:
    """Refuse what no run can have with a ValueError."""
    numbers = {"seed": (seed, 0), "num_workers": (num_workers, 0)}
    numbers |= {"max_episodes": (max_episodes, 1), "running_mean_len": (running_mean_len, 1)}
    for name, (value, smallest) in numbers.items():
        if value is not None:
            check_count(name, value, smallest)
    if not isinstance(target_reward, (int, float)) or math.isnan(target_reward):
        raise ValueError(f"target_reward must be a number, got {target_reward!r}")


def learner_threads(p_net: nn.Module) -> int:
    """How many threads PyTorch learns with, for a network of this size: all there are for large ones, or one.

    Below, the threads would wait for each other longer than they compute; and between updates they would take
    processors from those who play. The rounding of sums depends on their number, too.
    """
    is_large = sum(p.numel() for p in p_net.parameters()) >= MANY_PARAMETERS
    return available_cpus() if is_large else 1


@torch.no_grad()
def sync_policy(learner: nn.Module, actor: nn.Module) -> None:
    """Bring the learner's parameters and buffers to the network that acts."""
    target = actor.state_dict()
    for name, value in learner.state_dict().items():
        target[name].copy_(value)


class Policy(NamedTuple):
    """What plays: an agent's type, its network, and for how many steps of the environment it holds each action."""

    agent_type: type[PolicyAgent]
    p_net: PolicyNet
    action_repeat: int


def load_policy(checkpoint_file: PathLike) -> Policy:
    """The policy that a checkpoint of `train_rl` holds."""
    checkpoint = load_checkpoint(checkpoint_file)
    kinds: dict[str, tuple[type[PolicyAgent], type[PolicyNet]]] = {
        "PolicyNet": (PolicyAgent, PolicyNet),
        "AACPolicyNet": (AACPolicyAgent, AACPolicyNet),
    }
    try:
        agent_type, net_type = kinds[checkpoint["net_type"]]
        p_net = net_type.build_for_env(make_any_env(checkpoint["env_name"]), **checkpoint["hp"])
        p_net.load_state_dict(checkpoint["params"])
        return Policy(agent_type, p_net, checkpoint["hp"].get("action_repeat", 1))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, gym.error.Error) as error:
        raise ValueError(f"{checkpoint_file} does not say what network it holds: {error}") from error


def run_or_load(
    filename: PathLike,
    names: Sequence[str],
    *,
    force_run: bool = False,
    max_episodes: int = MAX_EPISODES,
    **train_kwargs: Any,
) -> dict[str, dict[str, Any]]:
    """The results of some configurations, {name: training_data}: from their file, or trained and written to it.

    :param force_run: train even if the file exists, and replace it.
    :raises KeyboardInterrupt: after Ctrl-C; what was trained until then is in a file of its own beside `filename`.
    """
    path = Path(filename)
    if path.exists() and not force_run:
        print(f"=== results file {filename} exists, skipping its experiments.")
        return load_training_data(filename)
    check_file_writable(path)
    results: dict[str, dict[str, Any]] = {}

    def keep_apart(training_data: dict[str, Any]) -> None:
        interrupted = path.with_stem(f"{path.stem}_interrupted")
        dump_training_data({**results, name: training_data}, interrupted)
        print(f"=== Results so far are in {interrupted}")
        raise KeyboardInterrupt

    for name in names:
        print(f"=== Experiment {name}")
        results[name] = train_config(name, max_episodes=max_episodes, on_interrupt=keep_apart, **train_kwargs)
    dump_training_data(results, filename)
    return results


def train_long(
    checkpoints_dir: PathLike = "checkpoints",
    *,
    hp: dict[str, Any] | None = None,
    max_episodes: int = LONG_MAX_EPISODES,
    **train_kwargs: Any,
) -> dict[str, Any]:
    """The long actor-critic run; at its end, its best checkpoint is kept as the final one.

    :param hp: its hyperparameters; `answers.part1_aac_hyperparams()` if none are given.
    :return: its training data.
    :raises KeyboardInterrupt: after Ctrl-C; the best checkpoint so far stays, but is not final.
    """

    def stop(training_data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    directory = Path(checkpoints_dir)
    training_data = train_aac(
        hp=hp,
        checkpoints_file=directory / CHECKPOINT_FILE,
        max_episodes=max_episodes,
        on_interrupt=stop,
        **train_kwargs,
    )
    save_checkpoint(load_checkpoint(directory / CHECKPOINT_FILE), directory / CHECKPOINT_FILE_FINAL)
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
    train_kwargs = {"seed": SEED, **train_kwargs}
    run_or_load(Path(results_dir) / RESULTS_FILE, CONFIG_NAMES[:4], max_episodes=max_episodes, **train_kwargs)
    run_or_load(Path(results_dir) / RESULTS_FILE_AAC, CONFIG_NAMES[4:], max_episodes=max_episodes, **train_kwargs)
    final = Path(checkpoints_dir) / CHECKPOINT_FILE_FINAL
    if final.exists():
        print(f"=== checkpoint {final} exists, skipping the long run.")
    else:
        print("=== The long run")
        train_long(checkpoints_dir, max_episodes=long_max_episodes, target_reward=LONG_TARGET_REWARD, **train_kwargs)
