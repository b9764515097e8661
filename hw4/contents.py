"""What results and checkpoints may hold.

Each function returns a copy in plain types, or raises a ValueError that says where the first fault is. `files` calls
`results` and `checkpoint` before it writes and after it reads: so nothing is written that cannot be read.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hw4.decoding import DTYPES, MAX_MEMBERS, MAX_OPCODES

MAX_PLAIN_DEPTH = 8
MAX_PLAIN_LENGTH = 3000
LARGEST = 1e300  # so that differences are finite, and can be drawn


def results(data: Any) -> dict[str, Any]:
    """Results: {configuration: training_data}."""
    return _small_enough({name: training_data(value, name) for name, value in _items(data, "it")})


def training_data(data: Any, where: str) -> dict[str, Any]:
    """A run's equally long lists of finite numbers; and where they are there, "model_state" (tensors) and "run"."""
    kinds: dict[str, Callable[[Any, str], Any]] = {"model_state": _tensors, "run": _run}
    kinds |= dict.fromkeys(("episode_num", "step_num"), _counts)
    checked = {name: kinds.get(name, _numbers)(value, f"{where}: {name}") for name, value in _items(data, where)}
    lengths = {name: len(value) for name, value in checked.items() if isinstance(value, list)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{where}: the lists are not of one length: {lengths}")
    return checked


def checkpoint(data: Any) -> dict[str, Any]:
    """A checkpoint: "params" (tensors), and other names, of which those below have a form of their own."""
    known: dict[str, Callable[[Any, str], Any]] = {
        "params": _tensors,
        "best_mean_reward": _best,
        "optimizer": _optimizer,
        "training_data": training_data,
        "recent_rewards": _numbers,
        "seed": lambda value, where: None if value is None else _count(value, where),
        "run": _run,
        "finished": _flag,
        "env_name": _env_name,
        "hp": plain_dict,
    }
    checked = {name: known.get(name, _plain)(value, name) for name, value in _items(data, "it")}
    if "params" not in checked:
        raise ValueError("it has no 'params'")
    return _small_enough(checked)


def _small_enough(data: dict[str, Any]) -> dict[str, Any]:
    if _opcodes(data) > MAX_OPCODES // 2:
        raise ValueError("it holds too many values: millions of numbers, or tens of thousands of tensors")
    return data


def _opcodes(value: Any) -> int:
    """A bound on half of the opcodes that a value takes in a pickle."""
    if isinstance(value, Tensor):
        return MAX_OPCODES // MAX_MEMBERS  # so that there are half as many at the most
    if isinstance(value, dict):
        return 4 + 2 * len(value) + sum(map(_opcodes, value.values()))
    if isinstance(value, (list, tuple)):
        return 4 + sum(1 if isinstance(item, (int, float)) else _opcodes(item) for item in value)
    return 2


def _items(data: Any, where: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(data, dict):
        raise ValueError(f"{where} is a {type(data).__name__}, not a dict")
    for name, value in data.items():
        if not isinstance(name, str):
            raise ValueError(f"a name in {where} is a {type(name).__name__}, not a text")
        yield _text(name, f"a name in {where}"), value


def _text(text: str, where: str) -> str:
    if text.encode(errors="ignore").decode() != text:
        raise ValueError(f"{where} is {ascii(text)[:80]}, which has half a character")
    return str.__str__(text)


def _numbers(values: Any, where: str) -> list[int | float]:
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{where} is a {type(values).__name__}, not a list of numbers")
    if set(map(type, values)) == {float} and all(map(LARGEST.__ge__, map(abs, values))):  # most lists; much faster
        return list(values)
    return [_number(value, where) for value in values]


def _counts(values: Any, where: str) -> list[int | float]:
    counts = _numbers(values, where)
    if not all(isinstance(count, int) for count in counts) or counts != sorted(counts) or min(counts, default=0) < 0:
        raise ValueError(f"{where} is not a list of rising whole numbers")
    return counts


def _number(value: Any, where: str) -> int | float:
    value = _to_python(value)
    if isinstance(value, float) and abs(value) <= LARGEST:
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return int(value)
    raise ValueError(f"{where} holds {_shown(value)}, which is not a finite number, or too large a one")


def _to_python(value: Any) -> Any:
    """NumPy's numbers, and tensors of one number, as Python's."""
    is_number = isinstance(value, np.generic) or (isinstance(value, Tensor) and value.ndim == 0 and not value.is_meta)
    return value.item() if is_number else value


def _best(value: Any, where: str) -> int | float:
    value = _to_python(value)
    return value if isinstance(value, float) and value == -math.inf else _number(value, where)


def _run(data: Any, where: str) -> dict[str, Any]:
    """What a run was; other names hold what they like."""
    kinds: dict[str, Callable[[Any, str], Any]] = {"hp": plain_dict, "finished": _flag}
    kinds |= dict.fromkeys(("seed", "max_episodes", "running_mean_len"), _count)
    return {name: kinds.get(name, _plain)(value, f"{where}: {name}") for name, value in _items(data, where)}


def _flag(value: Any, where: str) -> bool:
    value = _plain(value, where)
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {_shown(value)}, not True or False")
    return value


def _count(value: Any, where: str) -> int:
    value = _plain(value, where)
    if type(value) is not int or value < 0:
        raise ValueError(f"{where} is {_shown(value)}, not a whole number from 0")
    return value


def _env_name(value: Any, where: str) -> str | None:
    value = _plain(value, where)
    if value is not None and (not isinstance(value, str) or ":" in value):  # Gymnasium imports what is before a colon
        raise ValueError(f"{where} is {_shown(value)}, not an environment's name")
    return value


def _tensors(data: Any, where: str) -> dict[str, Tensor]:
    return {name: _tensor(value, f"{where}: {name}") for name, value in _items(data, where)}


def _tensor(value: Any, where: str) -> Tensor:
    """On the CPU, and in memory of its own: a part of a larger tensor would be written with the whole."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{where} is a {type(value).__name__}, not a tensor")
    if value.layout != torch.strided or value.is_meta or value.dtype not in DTYPES.values():
        raise ValueError(f"{where} is a tensor that a file cannot hold ({value.dtype}, {value.layout}, {value.device})")
    copied = value.detach().as_subclass(Tensor).cpu().clone(memory_format=torch.contiguous_format)
    if not copied.isfinite().all():
        raise ValueError(f"{where} holds NaN or infinity")
    return copied


def _optimizer(data: Any, where: str) -> dict[str, Any]:
    parts = dict(_items(data, where))
    if parts.keys() != {"state", "param_groups"} or [*map(type, parts.values())] != [dict, list]:
        raise ValueError(f"{where} is not an optimizer's state dict")
    state = {}
    for index, values in parts["state"].items():
        if type(index) is not int or abs(index) >= 2**31:
            raise ValueError(f"{where} has a state for {_shown(index)}, which is not a parameter's number")
        state[index] = {
            name: (_tensor if isinstance(value, Tensor) else _plain)(value, f"{where}: {name} of parameter {index}")
            for name, value in _items(values, f"{where}: the state of parameter {index}")
        }
    groups = [plain_dict(group, f"{where}: a parameter group") for group in parts["param_groups"]]
    return {"state": state, "param_groups": groups}


def plain_dict(data: Any, where: str) -> dict[str, Any]:
    """A dict of numbers, texts, and lists and dicts of them; `where` names it in errors."""
    return {name: _plain(value, f"{where}: {name}") for name, value in _items(data, where)}


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """Numbers (NaN excepted), texts, None, and lists, tuples and dicts of them."""
    value = value.tolist() if isinstance(value, np.ndarray) else _to_python(value)
    if isinstance(value, (list, tuple, dict)) and (len(value) > MAX_PLAIN_LENGTH or depth > MAX_PLAIN_DEPTH):
        raise ValueError(f"{where} holds too many values, or too deep ones")
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, where)
        case int() if abs(value) < 2**64:
            return int(value)
        case float() if not math.isnan(value):
            return float(value)
        case list():
            return [_plain(item, where, depth + 1) for item in value]
        case tuple():
            return tuple([_plain(item, where, depth + 1) for item in value])
        case dict():
            return {name: _plain(item, f"{where}: {name}", depth + 1) for name, item in _items(value, where)}
    raise ValueError(f"{where} is {_shown(value)}; a file holds numbers, texts, and lists and dicts of them")


def _shown(value: Any) -> str:
    """A number as it is; of anything else, its type."""
    return repr(value) if isinstance(value, (bool, float)) else f"a {type(value).__name__}"
