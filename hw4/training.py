"""The training loop: a batch, a loss, a step; until the policy is good enough or the episodes are used up."""

import contextlib
import ctypes
import math
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from hw4.exercise import exercise
from hw4.files import PathLike, load_checkpoint, save_checkpoint
from hw4.rl_data import TrainBatch, check_count

TRIM_EVERY = 25  # batches


class PolicyTrainer:
    """Trains a policy network; what happened is kept in `training_data`.

    `training_data` is a dict of lists with an entry for each batch: `episode_num` and `step_num`, how many have been
    played; `mean_reward`, the mean total reward of the last episodes (`running_mean_len` of them, fewer at the start);
    `best_mean_reward`, the highest of these so far (over full windows only, once there is one); `loss_t`, the sum of
    the losses; and all that the losses report.

    :param model: the network, changed in place.
    :param optimizer: of its parameters.
    :param loss: one loss or several, to be summed; each maps (batch, the model's output) to (loss, dict of numbers).
    :param dataloader: yields batches; an OnPolicyLoader plays each by the parameters as they are when it is asked for.
    :param checkpoint_file: where to save a checkpoint at every new best mean reward.
    :param schedule: called before each batch is played with the share of `max_episodes` played so far, to set what
        changes over a run, such as the learning rate.
    :param checkpoint_info: plain data to save in the checkpoints too, such as the hyperparameters.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: nn.Module | Sequence[nn.Module],
        dataloader: Iterable[TrainBatch],
        checkpoint_file: PathLike | None = None,
        schedule: Callable[[float], None] | None = None,
        checkpoint_info: Mapping[str, Any] | None = None,
    ):
        self.model, self.optimizer, self.dataloader = model, optimizer, dataloader
        self.losses = [loss] if isinstance(loss, nn.Module) else list(loss)
        if not self.losses:
            raise ValueError("at least one loss is needed to train, got none")
        self.checkpoint_file = None if checkpoint_file is None else Path(checkpoint_file)
        self.schedule, self.checkpoint_info = schedule, dict(checkpoint_info or {})
        self.training_data: dict[str, list] = {}
        self._recent_rewards: deque[float] = deque()

    def train(
        self,
        target_reward: float = math.inf,
        running_mean_len: int = 100,
        max_episodes: int = 10_000,
        post_batch_fn: Callable[..., None] | None = None,
    ) -> None:
        """Train until the last `running_mean_len` episodes' mean reward passes the target, or for `max_episodes`.

        Called again, it goes on where it stopped. Ctrl-C ends it between two updates, as KeyboardInterrupt.

        :param post_batch_fn: called as `(batch_idx, model, batch, final=bool)` after every batch.
        :raises FloatingPointError: if a loss is not finite; the parameters stay as the last good update left them.
        """
        check_count("running_mean_len", running_mean_len)
        check_count("max_episodes", max_episodes)
        if math.isnan(target_reward):
            raise ValueError("target_reward must be a number, got nan")
        recent = self._recent_rewards = deque(self._recent_rewards, maxlen=running_mean_len)
        episodes, steps = self._last("episode_num", 0), self._last("step_num", 0)
        best, was_full = self._last("best_mean_reward", -math.inf), len(recent) == running_mean_len
        if episodes >= max_episodes:
            return

        set_all = self.schedule or (lambda progress: None)
        set_all(episodes / max_episodes)
        first_batch = len(self.training_data.get("episode_num", ()))
        with tqdm(total=max_episodes, initial=episodes, unit="ep", dynamic_ncols=True) as progress:
            for batch_idx, batch in enumerate(self.dataloader, start=first_batch):
                with uninterrupted():
                    loss_t, losses = self.train_batch(batch)

                    recent.extend(batch.total_rewards.tolist())
                    episodes += batch.num_episodes
                    steps += len(batch)
                    mean_reward, is_full = float(np.mean(recent)), len(recent) == running_mean_len
                    is_best = mean_reward > best or is_full > was_full
                    best, was_full = mean_reward if is_best else best, is_full
                    self._record(
                        **losses,
                        loss_t=loss_t,
                        mean_reward=mean_reward,
                        best_mean_reward=best,
                        episode_num=episodes,
                        step_num=steps,
                    )
                    if is_best:
                        self.save_checkpoint()

                solved = is_full and mean_reward > target_reward
                final = solved or episodes >= max_episodes
                progress.set_description_str(
                    f"#{batch_idx}: step={steps:08}, loss_t={loss_t:.2f}, "
                    f"m_reward({running_mean_len})={mean_reward:.1f} (best={best:.1f})",
                    refresh=False,
                )
                progress.update(batch.num_episodes)
                if post_batch_fn is not None:
                    post_batch_fn(batch_idx, self.model, batch, final=final)
                if final:
                    break
                set_all(episodes / max_episodes)
                if batch_idx % TRIM_EVERY == 0:
                    trim_heap()
            else:
                raise ValueError("the dataloader ended before training did: it must yield batches without end")
        if solved:
            tqdm.write(f"=== Solved: mean reward {mean_reward:.1f} passed the target, {target_reward:g}")

    @exercise(
        "Bring the batch to the model's device, compute the model's output for its states and of that each of "
        "self.losses; sum these, and take a step with self.optimizer. If the sum is not finite, raise a "
        "FloatingPointError before anything is changed. The reports of the losses are merged into one dict."
    )
    def train_batch(self, batch: TrainBatch) -> tuple[float, dict[str, float]]:
        """Take one optimizer step on the sum of a batch's losses; return that sum, and what the losses report.

        :raises FloatingPointError: if the sum is not finite; nothing is changed then.
        """
        batch = batch.to(next(self.model.parameters()).device)
        output = self.model(batch.states)
        terms, reports = zip(*(loss(batch, output) for loss in self.losses), strict=True)
        loss_t = sum(terms[1:], start=terms[0])
        if not torch.isfinite(loss_t):
            raise FloatingPointError(
                f"the loss is {loss_t.item()}, so training has diverged: try a smaller learn_rate ({reports})"
            )
        self.optimizer.zero_grad()
        loss_t.backward()
        self.optimizer.step()
        return loss_t.item(), {name: value for report in reports for name, value in report.items()}

    def save_checkpoint(self) -> None:
        """Save the run as it is, if there is a `checkpoint_file`: the parameters and all that `resume` needs."""
        if self.checkpoint_file is not None:
            checkpoint = {
                "params": {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()},
                "best_mean_reward": self._last("best_mean_reward", -math.inf),
                "optimizer": self.optimizer.state_dict(),
                "training_data": self.training_data,
                "recent_rewards": list(self._recent_rewards),
                **self.checkpoint_info,
            }
            save_checkpoint(checkpoint, self.checkpoint_file)

    def resume(self, checkpoint_file: PathLike) -> int:
        """Go back to a checkpoint; return the number of episodes that had been played by then."""
        checkpoint = load_checkpoint(checkpoint_file)
        try:
            self.model.load_state_dict(checkpoint["params"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.training_data = checkpoint["training_data"]
            self._recent_rewards = deque(checkpoint["recent_rewards"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{checkpoint_file} does not fit this network and optimizer: {error}") from error
        return self._last("episode_num", 0)

    def _record(self, **values: float) -> None:
        for name, value in values.items():
            self.training_data.setdefault(name, []).append(value)

    def _last(self, name: str, default: Any) -> Any:
        return self.training_data[name][-1] if self.training_data.get(name) else default


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library (glibc) has to be told to.

    No two batches have the same size, and over thousands of them the holes between the allocations would add up.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if malloc_trim is not None:
        malloc_trim(0)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that an update is made, and recorded, whole or not at all."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    held_back: list[tuple] = []
    handler = signal.signal(signal.SIGINT, lambda *signal_and_frame: held_back.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if held_back and callable(handler):
        handler(*held_back[0])
