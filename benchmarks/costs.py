"""What a step, a reset and an update cost, each by itself, on one core; the figures of docs/scaling.md.

python benchmarks/costs.py
"""

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from throughput import CHECKPOINT, PUBLISHED, SEED, policy_actions, replay

from hw4 import answers
from hw4.env import make_env
from hw4.experiments import load_policy
from hw4.rl_ac import AACPolicyGradientLoss, AACPolicyNet
from hw4.rl_data import TrainBatch
from hw4.rl_pg import ActionEntropyLoss, BaselinePolicyGradientLoss, PolicyNet
from hw4.rollout.collect import Actors, episode_seed, one_blas_thread, torch_threads
from hw4.rollout.lander import make_fast_env
from hw4.rollout.numpy_policy import NumpyPolicy
from hw4.train import learner_threads
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


def show(what: str, cost: float, unit: str = "us", digits: int = 1) -> None:
    """Print a line.

    :param cost: in seconds.
    """
    print(f"{what:54} {cost * {'us': 1e6, 'ms': 1e3}[unit]:8.{digits}f} {unit}")


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    policy = load_policy(CHECKPOINT)
    actions = policy_actions(policy, EPISODES)
    make_held = partial(make_fast_env, action_repeat=policy.action_repeat)
    steps = sum(map(len, actions))
    for name, make in (("as Gymnasium makes it", make_env), ("with FastLander", make_fast_env)):
        env = make()
        reset = seconds(lambda env=env: [env.reset(seed=n) for n in range(100)]) / 100
        show(f"a reset {name}", reset, digits=0)
        show(f"a step of the simulator {name}", (seconds(partial(replay, make, actions)) - EPISODES * reset) / steps)

    def playing(width: int) -> Callable[[], object]:
        def play() -> None:
            tickets = iter([(number, episode_seed(SEED, number)) for number in range(EPISODES)])
            for _, record in actors.play(lambda: next(tickets, None)):
                record.episode()

        actors = Actors(policy.agent_type, policy.p_net, make_held, width)
        return play

    with one_blas_thread():
        for width in (1, 2, 4, 8):
            more = seconds_more(playing(width), lambda: replay(make_fast_env, actions)) / steps
            show(f"  all else in playing a step, {width} side by side", more)
    torch.manual_seed(SEED)
    large, small = (PolicyNet(8, 4, **{**PUBLISHED, "hidden_layers": hidden}) for hidden in ([512, 256], [128]))
    states = torch.randn(8, 8).numpy()
    with one_blas_thread():
        computing = [NumpyPolicy(net).logits() for net in (large, small)]
        more = seconds_more(*(lambda logits=logits: [logits(states) for _ in range(500)] for logits in computing))
    show("  more with a network of (512, 256) than of (128,)", more / 500 / len(states))

    hp = answers.part1_aac_hyperparams()
    for n in (600, 1600):
        losses = [AACPolicyGradientLoss(hp["delta"]), ActionEntropyLoss(4, hp["beta"])]
        show(f"an update from {n} steps, as shipped", update(AACPolicyNet(8, 4, **hp), losses, n), "ms", 2)
    losses = [BaselinePolicyGradientLoss(), ActionEntropyLoss(4, 0.7)]
    show("an update from 2700 steps, as published", update(large, losses, 2700), "ms", 2)


if __name__ == "__main__":
    main()
