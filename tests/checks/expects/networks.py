"""The networks: shapes, one state and many, any environment, gradients."""

import math
import re
from functools import partial
from random import Random
from typing import Any

from cs236781.checks import Check, Mistake

SIZES = "size the network by the environment: its observation_space.shape[0] and action_space.n, or check_env(env)"
_SHAPES = re.compile(r"shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x\d+\)")


def reshaped(got: Any) -> str:
    """What a network made of states before its layers, by PyTorch's error: a batch of one state, or one of many."""
    found = _SHAPES.search(str(got))
    if found is None:
        return ""
    rows, columns, inputs = map(int, found.groups())
    if rows == inputs and columns == 1:
        return "batch"
    return "row" if rows == 1 and columns > inputs and columns % inputs == 0 else ""


RESHAPED = [
    Mistake(
        "A single state (O,) becomes a batch (O, 1) of states of one feature. The network is given single states, too, "
        "unless the agent makes a batch of them, (1, O): layers take both as they are, without view.",
        shows=lambda got: reshaped(got) == "batch",
    ),
    Mistake(
        "All states of a batch are joined to a single one: give the layers the batch as it is, without view.",
        shows=lambda got: reshaped(got) == "row",
    ),
]
WRONG_SIZES = Mistake(
    f"The network has sizes of another environment than the one given to build_for_env: {SIZES}.",
    shows=lambda got: "shapes cannot be multiplied" in str(got) or "size mismatch" in str(got),
)
UNKNOWN_NAME = Mistake(
    "The network asks for a hyperparameter that it is not given: add it to the dict in hw4/answers.py, and pass the "
    "whole dict on in build_for_env, **hp.",
    shows=lambda got: "KeyError" in str(got),
)
GENERAL = [*RESHAPED, WRONG_SIZES, UNKNOWN_NAME]

NOT_RETURNED = Mistake(
    "build_for_env does not return the network.", shows=lambda got: "NoneType" in str(got) and "eval" in str(got)
)


def drawn_sizes(generator: Random, **others: Any) -> dict[str, Any]:
    """Sizes of an environment other than the lander's, 8 and 4."""
    return {"features": generator.choice([3, 5, 6, 7, 9]), "actions": generator.choice([3, 5, 6, 7]), **others}


def net_checks(exercise: str, critic: bool) -> list[Check]:
    """What both networks are asked."""

    def shapes(features: int, actions: int, n: int, **_others: Any) -> dict[str, Any]:
        batch, one = [[n, actions]], [[actions]]
        return {f"of {n} states": batch + [[n, 1]] * critic, "of one state": one + [[1]] * critic}

    gives = "logits (N, A) and values (N, 1)" if critic else "logits (N, A)"
    mistakes = [*GENERAL, NOT_RETURNED]
    if critic:
        mistakes += [
            Mistake(
                "There is a value for each action. A state has one value: of N states they are (N, 1).",
                gives=lambda features, actions, n, **_: {
                    f"of {n} states": [[n, actions]] * 2,
                    "of one state": [[actions]] * 2,
                },
            ),
            Mistake(
                "The values have lost their last axis: of N states they are (N, 1), of one state (1,). "
                "Without it, (N,) minus (N, 1) becomes (N, N) in a loss.",
                gives=lambda features, actions, n, **_: {
                    f"of {n} states": [[n, actions], [n]],
                    "of one state": [[actions], []],
                },
            ),
            Mistake(
                "The outputs are in the wrong order: the logits come first, the values second.",
                gives=lambda features, actions, n, **_: {
                    f"of {n} states": [[n, 1], [n, actions]],
                    "of one state": [[1], [actions]],
                },
            ),
            Mistake(
                "The network gives logits only. It returns a tuple: logits and values.",
                gives=lambda features, actions, n, **_: {f"of {n} states": [[n, actions]], "of one state": [[actions]]},
            ),
        ]
    else:
        mistakes.append(
            Mistake(
                "The network works for batches only. A single state (O,) has to give logits (A,), too: "
                "use dim=-1, and no reshaping.",
                shows=lambda got: "Dimension out of range" in str(got) or "expected 2D" in str(got),
            )
        )
    return [
        Check(
            exercise,
            "shapes",
            f"{gives} from a network for {{features}} features and {{actions}} actions",
            "net_shapes",
            partial(drawn_sizes, critic=critic, n=5),
            lambda critic, **inputs: shapes(**inputs),
            mistakes=mistakes,
        ),
        Check(
            exercise,
            "a state alone",
            "the same output for a state alone as for that state in a batch",
            "net_rows",
            partial(drawn_sizes, critic=critic),
            lambda **_: "equal numbers",
            right=lambda got, **_: all(
                math.isclose(x, y, rel_tol=1e-4, abs_tol=1e-5)
                for alone, row in zip(got["alone"], got["in a batch"], strict=True)
                for x, y in zip(alone, row, strict=True)
            ),
            mistakes=[
                *GENERAL,
                NOT_RETURNED,
                Mistake(
                    "A state's output depends on the other states of its batch: is there a softmax or a normalisation "
                    "over dim=0?",
                    shows=lambda got: len(got["alone"][0]) == len(got["in a batch"][0]),
                ),
            ],
        ),
        Check(
            exercise,
            "the published call",
            "a network for {features} features and np.int64({actions}) actions, with the whole dict of hyperparameters",
            "net_published_call",
            partial(drawn_sizes, critic=critic),
            lambda features, actions, critic: [[1, actions]] + [[1, 1]] * critic,
            mistakes=[
                *GENERAL,
                Mistake(
                    "The constructor refuses hyperparameters that it does not use: take **kw, since the whole dict is "
                    "passed.",
                    shows=lambda got: "unexpected keyword argument" in str(got),
                ),
            ],
        ),
        Check(
            exercise,
            "gradients",
            f"a gradient from {'each output' if critic else 'the logits'} to the parameters",
            "net_learns",
            {"critic": critic, "features": 3, "actions": 2},
            lambda critic, **_: [True] * (1 + critic),
            mistakes=[
                NOT_RETURNED,
                Mistake(
                    "No gradient reaches the network's parameters: forward must not detach its output, nor run under "
                    "no_grad; layers in a plain list are not registered, use nn.Sequential or nn.ModuleList.",
                    shows=lambda got: False in got or "empty parameter list" in str(got),
                ),
            ],
        ),
        Check(
            exercise,
            "build_for_env",
            "a network of this class from build_for_env",
            "net_build",
            {"critic": critic},
            lambda **_: {"a network of the class": True, "parameters": True},
            mistakes=[
                Mistake(
                    "build_for_env makes a network of another class: call cls(...), so that a subclass gets its own.",
                    gives=lambda **_: {"a network of the class": False, "parameters": True},
                ),
                NOT_RETURNED,
            ],
        ),
    ]
