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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from hw4 import answers
from hw4.env import ENV_NAME, check_env, make_env
from hw4.files import (
    PathLike,
    check_writable,
    dump_training_data,
    load_checkpoint,
    load_training_data,
    save_checkpoint,
)
from hw4.hyperparams import check_hyperparams, with_settings
from hw4.rl_ac import AACPolicyAgent, AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import check_count
from hw4.rl_pg import (
    ActionEntropyLoss,
    BaselinePolicyGradientLoss,
    PolicyAgent,
    PolicyNet,
    VanillaPolicyGradientLoss,
)
from hw4.rollout.loader import OnPolicyLoader, available_cpus, default_num_workers, torch_threads
from hw4.training import PolicyTrainer

SEED = 42
MAX_EPISODES = 6000
LONG_MAX_EPISODES = 15_000
LONG_TARGET_REWARD = 290.0  # ends the long run early, should it get there; about the best that the game allows
RESULTS_FILE = "part1_exp.dat"
RESULTS_FILE_AAC = "part1_exp_aac.dat"
CHECKPOINT_FILE = f"{ENV_NAME}-ac.dat"
CHECKPOINT_FILE_FINAL = f"{ENV_NAME}-ac_final.dat"
MANY_PARAMETERS = 50_000


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
    check_hyperparams(hp)
    loss_fns: list[nn.Module] = [BaselinePolicyGradientLoss() if baseline else VanillaPolicyGradientLoss()]
    if entropy:
        loss_fns.append(_entropy_loss(hp))
    return train_rl(PolicyAgent, PolicyNet, loss_fns, hp, **train_kwargs)


def train_aac(*, hp: dict[str, Any] | None = None, **train_kwargs: Any) -> dict[str, Any]:
    """Train an AACPolicyNet by advantage actor-critic with the entropy loss; otherwise as `train_pg`."""
    hp = answers.part1_aac_hyperparams() if hp is None else hp
    check_hyperparams(hp, required=["delta"])
    return train_rl(
        AACPolicyAgent, AACPolicyNet, [AACPolicyGradientLoss(hp["delta"]), _entropy_loss(hp)], hp, **train_kwargs
    )


def _entropy_loss(hp: dict[str, Any]) -> ActionEntropyLoss:
    _, n_actions = check_env(make_env())
    return ActionEntropyLoss(n_actions, hp["beta"])


def train_config(name: str, **kwargs: Any) -> dict[str, Any]:
    """Train a configuration by its name, one of CONFIG_NAMES."""
    if name == "aac":
        return train_aac(**kwargs)
    _, baseline, entropy = _config(name)
    return train_pg(baseline, entropy, **kwargs)


def _config(name: str) -> ExpConfig:
    for config in exp_configs():
        if config.name == name:
            return config
    raise ValueError(f"there is no configuration {name!r}; there are: {', '.join(CONFIG_NAMES)}")


def parse_settings(name: str, settings: Sequence[str]) -> dict[str, Any]:
    """A configuration's hyperparameters with some changed by texts such as "learn_rate=0.01"."""
    hyperparams = {"aac": answers.part1_aac_hyperparams, LONG_NAME: answers.part1_aac_long_hyperparams}
    return with_settings(hyperparams.get(name, answers.part1_pg_hyperparams)(), settings)


def train_rl(
    agent_type: type[PolicyAgent],
    net_type: type[PolicyNet],
    loss_fns: Sequence[nn.Module],
    hp: dict[str, Any],
    *,
    seed: int | None = None,
    checkpoints_file: PathLike | None = None,
    num_workers: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    on_interrupt: Callable[[dict[str, Any]], None] | None = None,
    **train_kw: Any,
) -> dict[str, Any]:
    """Make everything a run needs, train, and return the training data with the final parameters.

    :param hp: hyperparameters, as `answers` holds them.
    :param seed: what the run depends on, all of it; None for one drawn at random, which is printed, or when it resumes,
        for the one that it had.
    :param checkpoints_file: where the trainer saves a checkpoint at every new best mean reward.
    :param num_workers: processes that play; 0 for this one; None for what suits the machine. Makes no difference to
        the results.
    :param device: where the network learns: "cpu", "cuda", or "auto" for CUDA if there is any. Agents act on the CPU.
    :param resume: go on from `checkpoints_file`; what follows is what would have followed.
    :param on_interrupt: after Ctrl-C called with what would be returned.
    :param train_kw: target_reward, running_mean_len, max_episodes, post_batch_fn, as PolicyTrainer.train takes them.
    :return: the trainer's lists, and "model_state", the parameters as a state dict of CPU tensors. Ctrl-C ends the
        training early and returns what there is.
    """
    check_hyperparams(hp)
    learner_device = choose_device(device)
    if resume:
        if checkpoints_file is None:
            raise ValueError("to resume, name the checkpoint file to go on from")
        seed = load_checkpoint(checkpoints_file).get("seed") if seed is None else seed
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    check_count("seed", seed, minimum=0)
    if num_workers is None:
        num_workers = min(default_num_workers(), hp["batch_size"])
    if checkpoints_file is not None:
        check_writable(checkpoints_file)
    print(f"hyperparams: {hp}, seed: {seed}")

    # The caller's random stream is its own; and an orthogonal matrix is rounded otherwise by two threads than by one.
    with torch.random.fork_rng(devices=[]), torch_threads(1):
        torch.manual_seed(seed)
        p_net = net_type.build_for_env(make_env(), **hp)
    acting_net = p_net.share_memory()
    p_net = acting_net if learner_device.type == "cpu" else copy.deepcopy(acting_net).to(learner_device)
    optimizer = make_optimizer(p_net, hp)
    loader = OnPolicyLoader(
        partial(_make_agent, agent_type, acting_net),
        hp["batch_size"],
        hp["gamma"],
        seed=seed,
        num_workers=num_workers,
        publish=None if p_net is acting_net else partial(_copy_parameters, p_net, acting_net),
    )
    info = {"net_type": net_type.__name__, "hp": hp, "env_name": ENV_NAME, "seed": seed}
    trainer = PolicyTrainer(
        p_net, optimizer, loss_fns, loader, checkpoints_file, make_schedule(optimizer, loss_fns, loader, hp), info
    )
    if resume and checkpoints_file is not None:
        loader.next_episode = trainer.resume(checkpoints_file)
    interrupted = False
    try:
        with loader, torch_threads(learner_threads(p_net)):
            trainer.train(**train_kw)
    except KeyboardInterrupt:
        print("=== Training was interrupted; what was learned so far is kept.")
        interrupted = True
    model_state = {name: tensor.detach().cpu().clone() for name, tensor in p_net.state_dict().items()}
    training_data = {**trainer.training_data, "model_state": model_state}
    if interrupted and on_interrupt is not None:
        on_interrupt(training_data)
    return training_data


def learner_threads(p_net: nn.Module) -> int:
    """How many threads PyTorch learns with, for a network of this size: all there are for large ones, or one.

    Below, the threads would spend longer waiting for each other than computing; and between updates they would take
    processors from those who play. And the rounding of sums depends on their number.
    """
    is_large = sum(p.numel() for p in p_net.parameters()) >= MANY_PARAMETERS
    return available_cpus() if is_large else 1


def _make_agent(agent_type: type[PolicyAgent], p_net: nn.Module) -> PolicyAgent:
    return agent_type(make_env(), p_net)


@torch.no_grad()
def _copy_parameters(source: nn.Module, target: nn.Module) -> None:
    for from_, to in zip(source.parameters(), target.parameters(), strict=True):
        to.copy_(from_)


def make_optimizer(p_net: nn.Module, hp: dict[str, Any]) -> torch.optim.Optimizer:
    """Adam. Where there is a `weight_decay`, the weights shrink by that times the learning rate at each update.

    That is decoupled weight decay (Loshchilov & Hutter, 2019). A critic, `values`, is left out: its values are in
    the hundreds, while an actor's scores are to stay so small that no action's probability is gone for good.
    """
    parameters = dict(p_net.named_parameters())
    critic = [parameter for name, parameter in parameters.items() if name.startswith("values.")]
    actor = [parameter for name, parameter in parameters.items() if not name.startswith("values.")]
    groups = [{"params": actor, "weight_decay": hp.get("weight_decay", 0.0)}, {"params": critic}]
    return torch.optim.Adam(
        groups if critic else groups[:1],
        lr=hp["learn_rate"],
        eps=hp["eps"],
        fused=True,
        decoupled_weight_decay=True,
    )


def make_schedule(
    optimizer: torch.optim.Optimizer, loss_fns: Sequence[nn.Module], loader: OnPolicyLoader, hp: dict[str, Any]
) -> Callable[[float], None]:
    """What changes over a run, by the share of it that is done: the learning rate, weight decay, beta and gamma.

    Each goes linearly from point to point of its `..._schedule`, a list of (share of the run, value), where there is
    one. Two points at one share make a step. At the share `adam_restart`, Adam forgets the gradients that it has seen:
    its second moment remembers a thousand updates, which is longer than a run, so that the large gradients of the first
    crashes would keep all steps small.
    """

    def at(name: str, progress: float) -> float:
        shares, values = zip(*hp.get(f"{name}_schedule") or [(0, hp.get(name, 0.0))], strict=True)
        return float(np.interp(progress, shares, values))

    def set_all(progress: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = at("learn_rate", progress)
        first_group = optimizer.param_groups[0]  # the actor's; a checkpoint keeps what is written there
        first_group["weight_decay"] = at("weight_decay", progress)
        if progress >= hp.get("adam_restart", np.inf) and not first_group.get("restarted"):
            optimizer.state.clear()
            first_group["restarted"] = True
        for loss in loss_fns:
            if isinstance(loss, ActionEntropyLoss):
                loss.beta = at("beta", progress)
        loader.gamma = at("gamma", progress)

    return set_all


def choose_device(name: str) -> torch.device:
    """The device that "cpu", "cuda" or "auto" names here; ValueError if it is none of these, or CUDA and not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but PyTorch finds none here: use auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_policy(checkpoint_file: PathLike) -> tuple[type[PolicyAgent], PolicyNet]:
    """The agent's type and the network that a checkpoint of `train_rl` holds, ready to play."""
    checkpoint = load_checkpoint(checkpoint_file)
    kinds: dict[str, tuple[type[PolicyAgent], type[PolicyNet]]] = {
        "PolicyNet": (PolicyAgent, PolicyNet),
        "AACPolicyNet": (AACPolicyAgent, AACPolicyNet),
    }
    try:
        agent_type, net_type = kinds[checkpoint["net_type"]]
        p_net = net_type.build_for_env(make_env(checkpoint["env_name"]), **checkpoint["hp"])
        p_net.load_state_dict(checkpoint["params"])
    except (KeyError, TypeError, ValueError, RuntimeError, gym.error.Error) as error:
        raise ValueError(f"{checkpoint_file} does not say what network it holds: {error}") from error
    return agent_type, p_net


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
    check_writable(filename)
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

    :param hp: its hyperparameters; `answers.part1_aac_long_hyperparams()` if none are given.
    :return: its training data.
    :raises KeyboardInterrupt: after Ctrl-C; the best checkpoint so far stays, but is not final.
    """

    def stop(training_data: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    directory = Path(checkpoints_dir)
    training_data = train_aac(
        hp=answers.part1_aac_long_hyperparams() if hp is None else hp,
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
