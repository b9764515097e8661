"""What a step, a reset and an update cost, each by itself, on one core: the figures of docs/scaling.md.

python benchmarks/costs.py
"""

import contextlib
import io
import statistics
import time
from collections.abc import Callable

import torch
from throughput import CHECKPOINT, PUBLISHED, SEED, as_gymnasium_makes_it, policy_actions, replay

from hw4 import answers
from hw4.env import make_env
from hw4.experiments import learner_threads, load_policy
from hw4.rl_ac import AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import TrainBatch
from hw4.rl_pg import ActionEntropyLoss, BaselinePolicyGradientLoss, PolicyAgent, PolicyNet
from hw4.rollout.collect import numpy_scores, play_episodes
from hw4.rollout.loader import episode_seed, one_blas_thread, torch_threads
from hw4.training import PolicyTrainer

EPISODES = 48
REPETITIONS = 7


def seconds(task: Callable[[], object]) -> float:
    """How long a task takes: the median of some repetitions, after one that does not count."""
    taken = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            task()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def seconds_more(task: Callable[[], object], other: Callable[[], object]) -> float:
    """How much longer a task takes than another: the median difference, the two taken in turns."""
    differences = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        other()
        between = time.perf_counter()
        task()
        differences.append((time.perf_counter() - between) - (between - began))
    return statistics.median(differences)


def update(p_net: PolicyNet, loss_fns: list[torch.nn.Module], steps: int) -> float:
    """Seconds that an update from a batch of some steps takes."""
    batch = TrainBatch(torch.randn(steps, 8), torch.randint(4, (steps,)), torch.randn(steps) * 100, torch.randn(8))
    trainer = PolicyTrainer(p_net, torch.optim.Adam(p_net.parameters(), fused=True), loss_fns, [])
    with torch_threads(learner_threads(p_net)):
        return seconds(lambda: [trainer.train_batch(batch) for _ in range(10)]) / 10


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    agent_type, p_net = load_policy(CHECKPOINT)
    actions = policy_actions((agent_type, p_net), EPISODES)
    steps = sum(map(len, actions))
    env = make_env()
    reset = seconds(lambda: [env.reset(seed=n) for n in range(100)]) / 100
    print(f"{'a reset':54} {reset * 1e6:8.0f} us")

    def per_step(task: Callable[[], object]) -> float:
        return (seconds(task) - EPISODES * reset) / steps * 1e6

    bare = per_step(lambda: replay(as_gymnasium_makes_it, actions))
    print(f"{'a step of the simulator as Gymnasium makes it':54} {bare:8.1f} us")
    quick = per_step(lambda: replay(make_env, actions))
    print(f"{'a step of the simulator as make_env makes it':54} {quick:8.1f} us")

    def playing(net: torch.nn.Module, kind: type[PolicyAgent], lockstep: int) -> Callable[[], object]:
        players = [kind(make_env(), net) for _ in range(lockstep)]
        return lambda: list(play_episodes(players, (episode_seed(SEED, n) for n in range(EPISODES))))

    with one_blas_thread():
        for lockstep in (1, 2, 4, 8):
            more = seconds_more(playing(p_net, agent_type, lockstep), lambda: replay(make_env, actions)) / steps * 1e6
            print(f"{f'  all else in playing a step, {lockstep} in lockstep':54} {more:8.1f} us")
    torch.manual_seed(SEED)
    large, small = (PolicyNet(8, 4, **{**PUBLISHED, "hidden_layers": hidden}) for hidden in ([512, 256], [128]))
    state = torch.randn(8, 8).numpy()
    with one_blas_thread():
        scoring = [numpy_scores(net) for net in (large, small)]
        more = seconds_more(*(lambda scores=scores: [scores(state) for _ in range(500)] for scores in scoring))
    print(f"{'  more with a network of (512, 256) than of (128,)':54} {more / 500 / len(state) * 1e6:8.1f} us")

    hp = answers.part1_aac_hyperparams()
    for n in (600, 1600):
        losses = [AACPolicyGradientLoss(hp["delta"]), ActionEntropyLoss(4, hp["beta"])]
        print(
            f"{f'an update from {n} steps, as shipped':54} {update(AACPolicyNet(8, 4, **hp), losses, n) * 1e3:8.2f} ms"
        )
    losses = [BaselinePolicyGradientLoss(), ActionEntropyLoss(4, 0.7)]
    print(f"{'an update from 2700 steps, as published':54} {update(large, losses, 2700) * 1e3:8.2f} ms")


if __name__ == "__main__":
    main()
