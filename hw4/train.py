"""One run of training: network, environments, loader, optimizer, trainer, and the files that it goes on from.

`experiments` gives the runs their names, and calls `train_rl` here.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from cs236781.files import lock_outputs
from hw4 import runs
from hw4.contents import plain_dict
from hw4.files import PathLike
from hw4.hyperparams import check_count, check_hyperparams
from hw4.optim import choose_device, make_optimizer, make_schedule
from hw4.rl_pg import PolicyAgent, PolicyNet, PolicyTrainer
from hw4.rollout.collect import episode_seed
from hw4.rollout.lander import make_fast_env
from hw4.rollout.loader import (
    LoaderWorkerError,
    OnPolicyLoader,
    available_cpus,
    default_num_workers,
    torch_threads,
)

MAX_EPISODES = 6000
MAX_SEED = 2**63 - 1
MAX_COUNT = 10**9  # of episodes
MAX_WORKERS = 1024
MAX_BATCHES = 250_000  # whose figures a file holds
MANY_PARAMETERS = 50_000


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
    on_begin: Callable[[], None] | None = None,
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
    :param on_begin: called when all is checked, before anything is played.
    :param on_interrupt: called with what would be returned, after Ctrl-C, and before a failure is raised.
    :param make_env: makes the environments to play in; None for Beresheet-v2 with the run's `action_repeat`.
    :param target_reward: this and what follows as PolicyTrainer.train takes them.
    :return: the trainer's lists; "model_state", the parameters as a state dict of CPU tensors; and "run", what the run
        was and whether it is "finished". Ctrl-C ends the training early and returns what there is.
    :raises ValueError: if a file is of another run; the message says what differs.
    :raises LoaderWorkerError: if a process that plays fails; the latest state is saved, and `on_interrupt` called.
    :raises FloatingPointError: if training diverges; `on_interrupt` is called, without the parameters.
    """
    check_hyperparams(hp)
    check_run(
        seed=seed,
        num_workers=num_workers,
        max_episodes=max_episodes,
        target_reward=target_reward,
        running_mean_len=running_mean_len,
    )
    max_episodes, running_mean_len = int(max_episodes), int(running_mean_len)  # NumPy's numbers, too
    learner_device = choose_device(device) if isinstance(device, str) else device
    best = None if checkpoints_file is None else Path(checkpoints_file)
    latest = Path(latest_file) if latest_file is not None else None if best is None else runs.latest_of(best)
    files = tuple(file for file in (latest, best) if file is not None)
    if files:  # what no file can hold is not found at the end
        plain_dict({"hp": hp}, "the run")
        if max_episodes > MAX_BATCHES * hp["batch_size"]:
            raise ValueError(f"max_episodes must be up to {MAX_BATCHES} times the batch_size, got {max_episodes}")
    with lock_outputs(*files):
        wanted = partial(runs.run_of, configuration, hp, max_episodes, target_reward, running_mean_len)
        run, start = _run_and_start(() if restart else files, wanted, seed, other_runs_aside)
        if start is not None and best is not None and start[1].get("finished"):
            problem = runs.problem_of_best(best, start[1]["training_data"])
            if problem:
                runs.say(f"=== The run is played again, for its best checkpoint: {problem}")
                restart, start = True, None
        num_workers = min(default_num_workers(), hp["batch_size"]) if num_workers is None else int(num_workers)
        print(f"hyperparams: {hp}, seed: {run['seed']}")
        if make_env is None:
            make_env = partial(make_fast_env, action_repeat=hp.get("action_repeat", 1))
        trainer, loader = _make_trainer(
            agent_type, net_type, loss_fns, run, make_env=make_env, device=learner_device, num_workers=num_workers
        )
        trainer.checkpoint_file = best
        saver = runs.Saver(trainer, latest, post_batch_fn)
        finished = False
        failure: Exception | None = None
        if start is not None:
            try:
                loader.next_episode = trainer.resume(start[0])
            except ValueError as error:  # the network's code has changed since
                if not other_runs_aside:
                    raise
                runs.say(f"=== {error}")
                restart = True
            else:
                finished = start[1].get("finished", False)
                said = "is finished already" if finished else "goes on"
                print(f"=== This run {said}, after {loader.next_episode} episodes: {start[0]}")
        if restart:  # now that nothing is left to be refused
            runs.set_aside(*files)
        if on_begin is not None:
            on_begin()
        try:
            if not finished:
                with loader, torch_threads(learner_threads(trainer.model)), torch.random.fork_rng(devices=[]):
                    trainer.train(target_reward, running_mean_len, max_episodes, saver.after_batch)
                finished = True
                saver.save(finished=True)
        except KeyboardInterrupt:
            saver.save(finished=finished)
            if not finished:
                print("=== Training was interrupted; what was learned so far is kept.")
        except LoaderWorkerError as error:  # no update was made since the last batch
            saver.save()
            failure = error
        except FloatingPointError as error:
            failure = error
        training_data = {**trainer.training_data, "run": {**run, "finished": finished}}
        if not isinstance(failure, FloatingPointError):
            states = trainer.model.state_dict().items()
            training_data["model_state"] = {name: tensor.detach().cpu().clone() for name, tensor in states}
    if not finished and on_interrupt is not None:
        try:
            on_interrupt(training_data)
        except (KeyboardInterrupt, OSError, ValueError) as error:
            if failure is None:
                raise
            if not isinstance(error, KeyboardInterrupt):
                runs.say(f"=== {error}")
    if failure is not None:
        raise failure
    return training_data


def _make_trainer(
    agent_type: type[PolicyAgent],
    net_type: type[PolicyNet],
    loss_fns: Sequence[nn.Module],
    run: dict[str, Any],
    *,
    make_env: Callable[[], gym.Env],
    device: torch.device,
    num_workers: int,
) -> tuple[PolicyTrainer, OnPolicyLoader]:
    """What a run trains with, and the loader that its batches come from.

    :param run: what the run is, as `runs.run_of` says it.
    """
    hp, seed, max_episodes = run["hp"], run["seed"], run["max_episodes"]
    env = make_env()
    acting_net = _shared_network(net_type, env, hp, seed)
    p_net = acting_net if device == torch.device("cpu") else copy.deepcopy(acting_net).to(device)
    optimizer = make_optimizer(p_net, hp)

    # A network may have dropout. torch.manual_seed sets every device's generator, and takes long to find them.
    seed_learner = torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed

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
    trainer = PolicyTrainer(p_net, optimizer, loss_fns, loader)
    env_name = env.spec.id if env.spec else None
    trainer.checkpoint_info = {"net_type": net_type.__name__, "hp": hp, "env_name": env_name, "seed": seed}
    trainer.checkpoint_info |= {"run": run, "finished": False}
    return trainer, loader


def _run_and_start(
    files: Sequence[Path], wanted: Callable[[int], dict[str, Any]], seed: int | None, other_runs_aside: bool
) -> tuple[dict[str, Any], tuple[Path, dict[str, Any]] | None]:
    """What the run is, and the checkpoint that it goes on from, with its file; None where it begins.

    :param wanted: makes of a seed what the run is.
    :raises ValueError: if the files are of another run, and are not to be kept aside.
    """
    drawn = int(np.random.SeedSequence().generate_state(1)[0])
    try:
        checkpoints = runs.whole(files)
        found = runs.run_in(checkpoints[0][1]) if checkpoints else {}
        run = wanted(int(found.get("seed", drawn) if seed is None else seed))
        for file, checkpoint in checkpoints:  # also one that it does not go on from: it would be written over
            runs.check_same(runs.run_in(checkpoint), run, file)
        return run, checkpoints[0] if checkpoints else None
    except ValueError as error:
        if not other_runs_aside:
            raise
        runs.say(f"=== {error}")
        runs.set_aside(*files)
        return wanted(drawn if seed is None else int(seed)), None


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


def check_run(
    *,
    seed: int | None = None,
    num_workers: int | None = None,
    max_episodes: int = 1,
    running_mean_len: int = 1,
    target_reward: float = math.inf,
) -> None:
    """Refuse what no run can have with a ValueError."""
    lengths = {"max_episodes": max_episodes, "running_mean_len": running_mean_len}
    numbers = {"seed": (seed, 0, MAX_SEED), "num_workers": (num_workers, 0, MAX_WORKERS)}
    numbers |= {name: (value, 1, MAX_COUNT) for name, value in lengths.items()}
    for name, (value, smallest, largest) in numbers.items():
        if value is not None:
            check_count(name, value, smallest)
            if value > largest:
                raise ValueError(f"{name} must be a whole number up to {largest}, got {value}")
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
