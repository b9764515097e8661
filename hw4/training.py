"""The training loop: a batch, a loss, a step; until the policy is good enough or the episodes are used up."""

import contextlib
import math
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hw4.files import PathLike, check_fits, load_checkpoint, save_checkpoint
from hw4.rl_data import TrainBatch


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
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: nn.Module | Sequence[nn.Module],
        dataloader: Iterable[TrainBatch],
        checkpoint_file: PathLike | None = None,
    ):
        self.model, self.optimizer, self.dataloader = model, optimizer, dataloader
        self.losses = [loss] if isinstance(loss, nn.Module) else list(loss)
        self.checkpoint_file, self.checkpoint_info = checkpoint_file, dict[str, Any]()
        self.training_data: dict[str, list] = {}
        self.recent_rewards: deque[float] = deque()

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
        :raises FloatingPointError: if a loss is not finite. Nothing is recorded or saved of that batch.
        """
        device = next(self.model.parameters()).device
        self.recent_rewards = deque(self.recent_rewards, maxlen=running_mean_len)
        best, was_full = self._last("best_mean_reward", -math.inf), len(self.recent_rewards) == running_mean_len
        episodes, steps = self._last("episode_num", 0), self._last("step_num", 0)
        if episodes >= max_episodes or (was_full and float(np.mean(self.recent_rewards)) > target_reward):
            return
        with tqdm(total=max_episodes, initial=episodes, unit="ep", dynamic_ncols=True) as progress:
            for batch_idx, batch in enumerate(self.dataloader, start=len(self.training_data.get("episode_num", []))):
                with defer_interrupt():
                    total, reports = self.train_batch(batch.to(device))
                    losses = {name: _to_float(value) for name, value in {**reports, "loss_t": total}.items()}
                    if not math.isfinite(losses["loss_t"]):
                        raise FloatingPointError(
                            f"the loss of batch {batch_idx} is {losses['loss_t']}: training has diverged ({losses}); "
                            "try a smaller learn_rate"
                        )
                    if not all(parameter.isfinite().all() for parameter in self.model.parameters()):
                        raise FloatingPointError(
                            f"after batch {batch_idx} the network's weights are not finite ({losses}): training has "
                            "diverged; try a smaller learn_rate"
                        )
                    self.recent_rewards.extend(batch.total_rewards.tolist())
                    episodes, steps = episodes + batch.num_episodes, steps + len(batch)
                    mean_reward = float(np.mean(self.recent_rewards))
                    is_full = len(self.recent_rewards) == running_mean_len
                    is_best = mean_reward > best or (is_full and not was_full)  # the first full window starts anew
                    best, was_full = mean_reward if is_best else best, is_full
                    means = {"mean_reward": mean_reward, "best_mean_reward": best}
                    counts = {"episode_num": episodes, "step_num": steps}
                    for name, value in {**losses, **means, **counts}.items():
                        self.training_data.setdefault(name, []).append(value)
                    if is_best and self.checkpoint_file is not None:
                        try:
                            self.save_checkpoint(self.checkpoint_file)
                        except OSError as error:  # a full disk must not cost the run
                            tqdm.write(f"=== {error}. Training goes on.", file=sys.stderr)

                solved = is_full and mean_reward > target_reward
                final = solved or episodes >= max_episodes
                progress.set_description_str(
                    f"#{batch_idx}: step={steps:08}, loss_t={losses['loss_t']:.2f}, "
                    f"m_reward({running_mean_len})={mean_reward:.1f} (best={best:.1f})",
                    refresh=False,
                )
                progress.update(batch.num_episodes)
                if post_batch_fn is not None:
                    post_batch_fn(batch_idx, self.model, batch, final=final)
                if final:
                    break
            else:
                raise ValueError("the dataloader ended before training did: it must yield batches without end")
        if solved:
            tqdm.write(f"=== Target reached: mean reward {mean_reward:.1f} passed the target, {target_reward:g}")

    def train_batch(self, batch: TrainBatch) -> tuple[float | Tensor, dict[str, float | Tensor]]:
        """Take one optimizer step on the sum of a batch's losses; return that sum, and what the losses report."""
        output = self.model(batch.states)
        loss_t, reports = torch.zeros(()), dict[str, float | Tensor]()
        for loss in self.losses:
            value, report = loss(batch, output)
            loss_t = loss_t + value
            reports |= report
        self.optimizer.zero_grad()
        loss_t.backward()
        self.optimizer.step()
        return loss_t.item(), reports

    def save_checkpoint(self, checkpoint_file: PathLike) -> None:
        """Save the run as it is: the parameters, all that `resume` needs, and `checkpoint_info`."""
        checkpoint = {
            "params": {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()},
            "best_mean_reward": self._last("best_mean_reward", -math.inf),
            "optimizer": self.optimizer.state_dict(),
            "training_data": self.training_data,
            "recent_rewards": list(self.recent_rewards),
            **self.checkpoint_info,
        }
        save_checkpoint(checkpoint, checkpoint_file)

    def resume(self, checkpoint_file: PathLike) -> int:
        """Go back to a checkpoint; return the number of episodes that had been played by then."""
        checkpoint = load_checkpoint(checkpoint_file)
        try:
            check_fits(checkpoint, self.model, self.optimizer)
        except ValueError as error:
            raise ValueError(f"{checkpoint_file} does not fit this network and optimizer: {error}") from error
        self.model.load_state_dict(checkpoint["params"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.training_data = checkpoint["training_data"]
        self.recent_rewards = deque(checkpoint["recent_rewards"])
        return self._last("episode_num", 0)

    def _last(self, name: str, default: Any) -> Any:
        return self.training_data[name][-1] if self.training_data.get(name) else default


def _to_float(value: float | Tensor) -> float:
    return float(value.detach() if isinstance(value, Tensor) else value)


@contextlib.contextmanager
def defer_interrupt() -> Iterator[None]:
    """Hold signals back until the block is done, so that an update is made and recorded whole or not at all.

    These are Ctrl-C, and SIGTERM and SIGHUP where Python handles them.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {number: handler for number in numbers if callable(handler := signal.getsignal(number))}
    deferred: list[tuple[int, Any]] = []
    for number in handlers:
        signal.signal(number, lambda *number_and_frame: deferred.append(number_and_frame))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in deferred[:1]:
        handlers[number](number, frame)
