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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from cs236781.files import lock_outputs
from hw4 import answers, runs
from hw4.env import ENV_NAME
from hw4.env import make_env as make_any_env
from hw4.files import PathLike, check_fits, dump_training_data, load_checkpoint, load_training_data, save_checkpoint
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

SEED = 1003  # shows what many seeds show: see docs/results.md
MAX_EPISODES = 6000
LONG_MAX_EPISODES = 15_000
LONG_TARGET_REWARD = 290.0  # ends the long run early, should it get there; about the best that the game allows
RESULTS_FILE = "part1_exp.dat"
RESULTS_FILE_AAC = "part1_exp_aac.dat"
CHECKPOINT_FILE = f"{ENV_NAME}-ac.dat"
CHECKPOINT_FILE_FINAL = f"{ENV_NAME}-ac_final.dat"
MAX_SEED = 2**63 - 1
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


def train_rl(
    agent_type: type[PolicyAgent],
    net_type: type[PolicyNet],
    loss_fns: Sequence[nn.Module],
    hp: dict[str, Any],
    *,
    configuration: str = "",
    seed: int | None = None,
    checkpoints_file: PathLike | None = None,
    latest_file: PathLike | None = None,
    restart: bool = False,
    other_runs_aside: bool = False,
    num_workers: int | None = None,
    device: torch.device | str = "cpu",
    on_interrupt: Callable[[dict[str, Any]], None] | None = None,
    max_episodes: int = MAX_EPISODES,
    make_env: Callable[[], gym.Env] | None = None,
    target_reward: float = math.inf,
    running_mean_len: int = 100,
    post_batch_fn: Callable[..., None] | None = None,
) -> dict[str, Any]:
    """Make everything a run needs, train, and return the training data with the final parameters.

    Where its files are there already, from a run that was stopped, it goes on with them. What follows is what would
    have followed. A run that is finished is not trained again.

    :param hp: hyperparameters, as `answers` holds them.
    :param configuration: a name for what is trained; the files keep it.
    :param seed: all that the run's randomness depends on; None for that of the files that are there, or one drawn at
        random, which is printed.
    :param checkpoints_file: where the trainer saves a checkpoint at every new best mean reward.
    :param latest_file: where the latest state is saved: see `runs`; None for a file beside `checkpoints_file`.
    :param restart: begin anew. Files that are there are kept aside.
    :param other_runs_aside: whether files of another run are kept aside. If not, they are an error.
    :param num_workers: processes that play; 0 for this one; None for what suits the machine. Makes no difference to
        the results.
    :param device: where the network learns; a torch.device, or "cpu", "cuda", "auto". Agents act on the CPU.
    :param on_interrupt: called after Ctrl-C with what would be returned.
    :param make_env: makes the environments to play in; None for Beresheet-v2 with the run's `action_repeat`.
    :param target_reward: this and what follows as PolicyTrainer.train takes them.
    :return: the trainer's lists; "model_state", the parameters as a state dict of CPU tensors; and "run", what the run
        was and whether it is "finished". Ctrl-C ends the training early and returns what there is.
    :raises ValueError: if a file is of another run; the message says what differs.
    """
    check_hyperparams(hp)
    check_run(
        seed=seed,
        num_workers=num_workers,
        max_episodes=max_episodes,
        target_reward=target_reward,
        running_mean_len=running_mean_len,
    )
    learner_device = choose_device(device) if isinstance(device, str) else device
    best = None if checkpoints_file is None else Path(checkpoints_file)
    latest = Path(latest_file) if latest_file is not None else None if best is None else runs.latest_of(best)
    files = tuple(file for file in (latest, best) if file is not None)
    with lock_outputs(*files):
        if restart:
            runs.set_aside(*files)
        start = runs.newest(files)
        if seed is None:
            drawn = int(np.random.SeedSequence().generate_state(1)[0])
            seed = drawn if start is None else runs.run_in(start[1]).get("seed", drawn)
        run = runs.run_of(configuration, hp, seed, max_episodes, target_reward, running_mean_len)
        if start is not None:
            try:
                runs.check_same(runs.run_in(start[1]), run, start[0])
            except ValueError as error:
                if not other_runs_aside:
                    raise
                runs.say(f"=== {error}")
                runs.set_aside(*files)
                start = None
        num_workers = min(default_num_workers(), hp["batch_size"]) if num_workers is None else num_workers
        print(f"hyperparams: {hp}, seed: {seed}")

        if make_env is None:
            make_env = partial(make_fast_env, action_repeat=hp.get("action_repeat", 1))
        env = make_env()
        acting_net = _shared_network(net_type, env, hp, seed)
        on_cpu = learner_device == torch.device("cpu")
        p_net = acting_net if on_cpu else copy.deepcopy(acting_net).to(learner_device)
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
        trainer.checkpoint_info |= {"run": run, "finished": False}
        saver = runs.Saver(trainer, latest, post_batch_fn)
        finished = False
        if start is not None:
            loader.next_episode = trainer.resume(start[0])
            finished = start[1].get("finished", False)
            said = "is finished already" if finished else "goes on"
            print(f"=== This run {said}, after {loader.next_episode} episodes: {start[0]}")
        try:
            if not finished:
                with loader, torch_threads(learner_threads(p_net)), torch.random.fork_rng(devices=[]):
                    trainer.train(target_reward, running_mean_len, max_episodes, saver.after_batch)
                finished = True
                saver.save(finished=True)
        except KeyboardInterrupt:
            saver.save()
            print("=== Training was interrupted; what was learned so far is kept.")
        model_state = {name: tensor.detach().cpu().clone() for name, tensor in p_net.state_dict().items()}
        training_data = {**trainer.training_data, "model_state": model_state, "run": {**run, "finished": finished}}
    if not finished and on_interrupt is not None:
        on_interrupt(training_data)
    return training_data


def _shared_network(net_type: type[PolicyNet], env: gym.Env, hp: dict[str, Any], seed: int) -> PolicyNet:
    """A run's network before training, in memory that the processes which play can read."""
    # The caller's random stream is its own; and an orthogonal matrix is rounded otherwise by two threads than by one.
    with torch.random.fork_rng(devices=[]), torch_threads(1):
        torch.manual_seed(seed)
        p_net = net_type.build_for_env(env, **hp)
    try:
        return p_net.share_memory()
    except RuntimeError as error:
        raise OSError(f"there is not enough shared memory, in /dev/shm, for the network: {error}") from error


def train_into(
    name: str, out: PathLike, *, seed: int | None = None, restart: bool = False, hp: dict[str, Any], **train_kwargs: Any
) -> dict[str, Any]:
    """As `train_config`, and write the results file. A run whose results are there already is not trained again.

    :param out: the file; after Ctrl-C it holds what there is, and the same call goes on where there are checkpoints.
    :raises ValueError: if the file is of another run; the message says what differs.
    :raises KeyboardInterrupt: after Ctrl-C, once all is kept.
    """
    out = Path(out)

    def keep(training_data: dict[str, Any]) -> None:
        if len(training_data.get("episode_num", [])) > len(earlier.get("episode_num", [])):
            dump_training_data({name: training_data}, out)
            print(f"results so far: {out}")
        raise KeyboardInterrupt

    with lock_outputs(out):
        if restart:
            runs.set_aside(out)
        earlier: dict[str, Any] = load_training_data(out).get(name, {"run": {}}) if out.exists() else {}
        if earlier:
            found = earlier.get("run") or {"configuration": "not said"}
            seed = found.get("seed") if seed is None else seed
            length = train_kwargs.get("max_episodes", MAX_EPISODES)
            target = train_kwargs.get("target_reward", math.inf)
            runs.check_same(found, runs.run_of(name, hp, seed or 0, length, target, 100), out)
            if found.get("finished", False):
                print(f"=== This run is finished already: {out}")
                return earlier
        data = train_config(name, hp=hp, seed=seed, restart=restart, on_interrupt=keep, **train_kwargs)
        dump_training_data({name: data}, out)
    print(f"results: {out}")
    return data


def check_run(
    *,
    seed: int | None = None,
    num_workers: int | None = None,
    max_episodes: int = 1,
    running_mean_len: int = 1,
    target_reward: float = math.inf,
) -> None:
    """Refuse what no run can have with a ValueError."""
    numbers = {"seed": (seed, 0), "num_workers": (num_workers, 0)}
    numbers |= {"max_episodes": (max_episodes, 1), "running_mean_len": (running_mean_len, 1)}
    for name, (value, smallest) in numbers.items():
        if value is not None:
            check_count(name, value, smallest)
    if seed is not None and seed > MAX_SEED:
        raise ValueError(f"seed must be a whole number up to {MAX_SEED}, got {seed}")
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
        env, hp = make_any_env(checkpoint["env_name"]), checkpoint["hp"]
        with torch.device(
            "meta"
        ):  # a network of any size is only described, until it is known to be the one that is here
            check_fits(checkpoint, net_type.build_for_env(env, "meta", **hp))
        p_net = net_type.build_for_env(env, **hp)
        p_net.load_state_dict(checkpoint["params"])
        return Policy(agent_type, p_net, hp.get("action_repeat", 1))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, gym.error.Error) as error:
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
    was stopped.

    :param force_run: train even if the file exists, and replace it.
    :param returns_early: after Ctrl-C return what there is, as a notebook's next cells need it, instead of raising.
    :param watch: makes of a run's name the post_batch_fn that watches it.
    :raises KeyboardInterrupt: after Ctrl-C; what was trained until then is in a file of its own beside `filename`.
    """
    path = Path(filename)
    states = {name: path.with_name(f".{path.stem}_{name}.dat") for name in names}
    if path.exists() and not force_run:
        print(f"=== results file {filename} exists, skipping its experiments.")
        return load_training_data(filename)
    results: dict[str, dict[str, Any]] = {}

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
        dump_training_data(results, filename)
        for state in states.values():
            state.unlink(missing_ok=True)
    return results


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
    train_kwargs = {"seed": SEED, **train_kwargs}
    run_or_load(Path(results_dir) / RESULTS_FILE, CONFIG_NAMES[:4], max_episodes=max_episodes, **train_kwargs)
    run_or_load(Path(results_dir) / RESULTS_FILE_AAC, CONFIG_NAMES[4:], max_episodes=max_episodes, **train_kwargs)
    final = Path(checkpoints_dir) / CHECKPOINT_FILE_FINAL
    if final.exists():
        print(f"=== checkpoint {final} exists, skipping the long run.")
    else:
        print("=== The long run")
        train_long(checkpoints_dir, max_episodes=long_max_episodes, target_reward=LONG_TARGET_REWARD, **train_kwargs)
