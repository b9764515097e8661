"""Results and checkpoints: written whole, sealed with a checksum, and read as data.

Results are ordinary pickles, which `pickle.load` reads, and checkpoints ordinary archives of `torch.save`, which
`torch.load` reads with its safe default. Here both are read by `decoding`, which runs nothing that a file names. A line
at their end, which pickle and PyTorch pass over, holds the format's version and a checksum. Files without it, of the
format before, are read too. What they may hold is in `contents`.
"""

import copy
import hashlib
import io
import math
import os
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cs236781.files import read_whole, write_whole
from hw4 import contents
from hw4.decoding import MAX_SIZE, decode_archive, decode_pickle

PathLike = str | os.PathLike[str]

FORMAT = 1
SEAL = re.compile(rb"(\nhw4 format (\d) sha256 )([0-9a-f]{64})\n")
SEAL_SIZE = len(f"\nhw4 format {FORMAT} sha256 \n") + 64  # bytes
TRAINED = ("episode_num", "step_num", "mean_reward", "best_mean_reward", "loss_t")  # what training keeps of a batch
ARCHIVE_END = struct.Struct("<4s16xH")  # a zip archive's last record, of which the last field is its comment's length


def dump_training_data(data: dict[str, Any], filename: PathLike) -> None:
    """Write results, {configuration: training_data}, as a pickle.

    A training_data holds equally long lists of finite numbers, may hold "model_state", a dict of tensors, and "run",
    what the run was: a dict of numbers and texts.

    :raises ValueError: if they are of another shape, or hold what is not finite; in one line.
    """
    try:
        sealed = _sealed(pickle.dumps(contents.results(data)))
    except ValueError as error:
        raise ValueError(f"{filename} is not written: {_one_line(error)}") from None
    write_whole(Path(filename), sealed)


def load_training_data(filename: PathLike) -> dict[str, Any]:
    """Read results that `dump_training_data` wrote, or `pickle.dump` of the same shape.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is damaged or of another kind; in one line.
    """
    content = read_whole(Path(filename), MAX_SIZE)
    try:
        return contents.results(decode_pickle(content[: -_seal_size(content) or None]))
    except ValueError as error:
        raise ValueError(f"{filename} is not a results file, or a damaged one: {_one_line(error)}") from None


def save_checkpoint(data: dict[str, Any], filename: PathLike) -> None:
    """Write a checkpoint, which `torch.load` reads with its safe default. NumPy's numbers become Python's.

    It holds "params", a dict of tensors. What else it may hold: "optimizer", an optimizer's state dict;
    "training_data"; "recent_rewards", a list of numbers; "best_mean_reward", a number; "seed", a whole number; "run",
    what the run was, and whether it is "finished"; "hp" and other names, with numbers, texts, and lists and dicts of
    them.

    :raises ValueError: if it is of another shape, or holds weights that are not finite; in one line.
    """
    try:
        buffer = io.BytesIO()
        torch.save(contents.checkpoint(data), buffer)
        without_length = buffer.getvalue()[:-2]
        sealed = _sealed(without_length + struct.pack("<H", SEAL_SIZE))
    except ValueError as error:
        raise ValueError(f"{filename} is not written: {_one_line(error)}") from None
    write_whole(Path(filename), sealed)


def load_checkpoint(filename: PathLike) -> dict[str, Any]:
    """Read a checkpoint, tensors on the CPU.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is damaged or of another kind; in one line.
    """
    content = read_whole(Path(filename), MAX_SIZE)
    try:
        seal_size = _seal_size(content)
        end = content[-ARCHIVE_END.size - seal_size :]
        if len(end) < ARCHIVE_END.size or ARCHIVE_END.unpack_from(end) != (b"PK\5\6", seal_size):
            raise ValueError("it does not end as an archive does")
        return contents.checkpoint(decode_archive(content))
    except ValueError as error:
        raise ValueError(f"{filename} is not a checkpoint, or a damaged one: {_one_line(error)}") from None


def check_fits(checkpoint: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Raise a ValueError of one line unless a checkpoint's state is one that a model, and its optimizer, can have.

    A fused optimizer does not look at its moments' shapes, and would write beyond them. The model may be on the "meta"
    device: so the memory that a checkpoint's hyperparameters ask for is not taken before they are known to be right.

    :param checkpoint: as `load_checkpoint` returns it.
    :param optimizer: of the model's parameters; with it, all that resuming takes must be there.
    """
    expected = {name: _described(tensor) for name, tensor in model.state_dict().items()}
    _check_equal(expected, {name: _described(tensor) for name, tensor in checkpoint["params"].items()}, "parameter")
    if optimizer is None:
        return
    for name in ("optimizer", "training_data", "recent_rewards"):
        if name not in checkpoint:
            raise ValueError(f"it has no {name!r}, so nothing can go on from it")
    saved, fresh = checkpoint["optimizer"], optimizer.state_dict()
    _check_equal(len(fresh["param_groups"]), len(saved["param_groups"]), "number of parameter groups")
    for group, saved_group in zip(fresh["param_groups"], saved["param_groups"], strict=True):
        rate = saved_group.get("lr")  # it changes over a run
        _check_equal({**group, "lr": rate}, saved_group, "option")
        if not (isinstance(rate, (int, float)) and 0 <= rate < math.inf):
            raise ValueError("its optimizer's learning rate is not a number from 0")
    _check_went_on(checkpoint)
    states = _state_after_a_step(optimizer)
    if states and checkpoint["training_data"] and not saved["state"]:
        raise ValueError("its optimizer has no state, though it made steps")
    for index, state in saved["state"].items():
        if index not in states:
            raise ValueError(f"its optimizer has a state for a parameter {index}, which there is not")
        _check_equal(states[index], {name: _described(value) for name, value in state.items()}, "state")


def _check_went_on(checkpoint: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a checkpoint's lists are such as training leaves after some batches, or before any."""
    data, recent, run = checkpoint["training_data"], checkpoint["recent_rewards"], checkpoint.get("run", {})
    for name in TRAINED if data else ():
        if not data.get(name):
            raise ValueError(f"its training data have no {name!r}, so nothing can go on from them")
    counts = data.get("episode_num", [])
    batch_size, episodes = run.get("hp", {}).get("batch_size"), counts[-1] if counts else 0
    if isinstance(batch_size, int) and counts != [number * batch_size for number in range(1, len(counts) + 1)]:
        raise ValueError(f"its episode_num are not those of batches of {batch_size!r}")
    expected = min(run.get("running_mean_len", len(recent) or 1), episodes)
    if len(recent) != expected:
        raise ValueError(f"its recent_rewards are {len(recent)}, not those of the last {expected} episodes")


def _state_after_a_step(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Any]]:
    """What an optimizer remembers of each parameter, described; learned from a step of a copy."""
    probe = copy.deepcopy(optimizer)
    probe.state.clear()
    for group in probe.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    probe.step()
    states = probe.state_dict()["state"]
    return {index: {name: _described(value) for name, value in state.items()} for index, state in states.items()}


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _check_equal(expected: Any, found: Any, what: str) -> None:
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *found]:
            if name not in found:
                raise ValueError(f"the {what} {name!r} is missing")
            if name not in expected:
                raise ValueError(f"the {what} {name!r} is one too many")
            _check_equal(expected[name], found[name], f"{what} {name!r}")
    elif expected != found:
        raise ValueError(f"the {what} is {str(found)[:80]}, not {str(expected)[:80]}")


def _sealed(content: bytes) -> bytes:
    """Content, and a line that holds the checksum of all before it."""
    begun = content + f"\nhw4 format {FORMAT} sha256 ".encode()
    sealed = begun + hashlib.sha256(begun).hexdigest().encode() + b"\n"
    if len(sealed) > MAX_SIZE:
        raise ValueError(f"it would be larger than {MAX_SIZE // 2**20} MiB")
    return sealed


def _seal_size(content: bytes) -> int:
    """How long the line with the checksum is; 0 if there is none. ValueError if the checksum is another."""
    seal = SEAL.fullmatch(content, len(content) - SEAL_SIZE) if len(content) > SEAL_SIZE else None
    if seal is None:
        return 0
    if hashlib.sha256(content[: seal.end(1)]).hexdigest().encode() != seal[3]:
        raise ValueError("its checksum is not the one that was written")
    if int(seal[2]) != FORMAT:
        raise ValueError(f"its format is {int(seal[2])}, and this version reads {FORMAT}")
    return SEAL_SIZE


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())[:200]
