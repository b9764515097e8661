"""The losses, with their gradients."""

import math
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

from cs236781.checks import Check, Mistake, OneOf

from .formulas import Rows, entropy, log_softmax, mean, softmax, transposed

BY_HAND = {"q_vals": [1.0, 0.0, 5.0], "actions": [0, 1, 1], "logits": [[0.0, 0.0], [0.0, math.log(3)], [0.0, 0.0]]}


def drawn_batch(generator: Random, n: int = 4, n_actions: int = 3, **others: Any) -> dict[str, Any]:
    """q-values, actions and logits of a batch."""
    return {
        "q_vals": [round(generator.uniform(-5, 9), 2) for _ in range(n)],
        "actions": [generator.randrange(n_actions) for _ in range(n)],
        "logits": [[round(generator.uniform(-2, 2), 2) for _ in range(n_actions)] for _ in range(n)],
        **others,
    }


def taken(actions: Sequence[int], logits: Rows) -> list[float]:
    """log pi(a|s) of each row."""
    return [log_softmax(row)[action] for row, action in zip(logits, actions, strict=True)]


def weighted(weights: Sequence[float], actions: Sequence[int], logits: Rows) -> float:
    """-(1/N) sum weight log pi(a|s)."""
    return -mean([w * log_pi for w, log_pi in zip(weights, taken(actions, logits), strict=True)])


def gradient(weights: Sequence[float], actions: Sequence[int], logits: Rows) -> list[list[float]]:
    """Of that by the logits: weight (pi - one-hot of the action) / N."""
    return [
        [w * (p - (i == action)) / len(weights) for i, p in enumerate(softmax(row))]
        for w, action, row in zip(weights, actions, logits, strict=True)
    ]


def weights_of(q_vals: Sequence[float], baseline: bool) -> list[float]:
    """q - b, with b the mean of q or 0."""
    return [q - mean(q_vals) * baseline for q in q_vals]


def loss_of(weights: Sequence[float], actions: Sequence[int], logits: Rows, **reported: float) -> dict[str, Any]:
    """The loss with these weights, as it is reported."""
    loss = weighted(weights, actions, logits)
    return {"loss": loss, "loss_p": loss, **reported, "gradient": gradient(weights, actions, logits)}


def deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample, with N - 1, as torch's."""
    return math.sqrt(sum((x - mean(values)) ** 2 for x in values) / max(1, len(values) - 1))


def only_loss(formula: Any) -> Any:
    """A mistake's value: a loss by this formula of (weights, actions, logits), whatever else is reported."""

    def gives(
        q_vals: Sequence[float],
        actions: Sequence[int],
        logits: Rows,
        baseline: bool = False,
        values: Sequence[float] | None = None,
        **_others: Any,
    ) -> dict[str, Any]:
        weights = [q - v for q, v in zip(q_vals, values, strict=True)] if values else weights_of(q_vals, baseline)
        return {"loss_p": formula(weights, actions, logits)}

    return gives


def over_batch(logits: Rows) -> list[list[float]]:
    """The log-softmax of the columns."""
    return transposed([log_softmax(column) for column in transposed(logits)])


def all_pairs(weights: Sequence[float], actions: Sequence[int], logits: Rows) -> float:
    """As (N,) times (N, 1) gives: each weight with each action."""
    return -mean(weights) * mean(taken(actions, logits))


def not_reported(*names: str) -> Mistake:
    """That the dict lacks one of these names."""
    asked = " and ".join(filter(None, (", ".join(map(repr, names[:-1])), repr(names[-1]))))
    return Mistake(
        f"The dict must also name {asked}.",
        shows=lambda got: isinstance(got, dict) and any(name not in got for name in names),
    )


LOG_PI_MISTAKES = [
    Mistake(
        "This is the sum over the experiences, not the mean.",
        gives=only_loss(lambda w, a, z: len(w) * weighted(w, a, z)),
    ),
    Mistake(
        "The sign is wrong: an optimizer makes a loss small, so the loss is minus the weighted log-probability.",
        gives=only_loss(lambda w, a, z: -weighted(w, a, z)),
    ),
    Mistake(
        "The softmax is taken over the batch, dim=0. Take it over the actions, dim=1.",
        gives=only_loss(lambda w, a, z: -mean([x * r[i] for x, r, i in zip(w, over_batch(z), a, strict=True)])),
    ),
    Mistake(
        "These are probabilities in the place of their logarithms: use log_softmax.",
        gives=only_loss(lambda w, a, z: -mean([x * math.exp(y) for x, y in zip(w, taken(a, z), strict=True)])),
    ),
    Mistake(
        "These are logits in the place of log-probabilities: take the log_softmax first.",
        gives=only_loss(lambda w, a, z: -mean([x * r[i] for x, r, i in zip(w, z, a, strict=True)])),
    ),
    Mistake(
        "The mean is taken over all N x A numbers, also those of actions that were not taken. Divide by N only.",
        gives=only_loss(lambda w, a, z: weighted(w, a, z) / len(z[0])),
    ),
    Mistake(
        "All actions of each row are summed up. Take the entry of the action that was taken: gather.",
        gives=only_loss(lambda w, a, z: -mean([x * sum(log_softmax(r)) for x, r in zip(w, z, strict=True)])),
    ),
    Mistake(
        "Each weight meets each action: (N,) times (N, 1) is (N, N). Bring both to the shape (N,).",
        gives=only_loss(all_pairs),
    ),
    Mistake(
        "The actions are not weighted.",
        gives=only_loss(lambda w, a, z: -mean(taken(a, z))),
    ),
    Mistake(
        "The loss has no gradient: no .item(), .detach() or no_grad() on the way from the logits to it.",
        shows=lambda got: "does not require grad" in str(got) or ("gradient" in got and got["gradient"] is None),
    ),
    Mistake(
        "The loss function returns two things: the loss, and a dict of what it reports.",
        shows=lambda got: "unpack" in str(got) or "0-d tensor" in str(got),
    ),
]
BASELINE_MISTAKES = [
    Mistake(
        "The baseline is not subtracted: the loss is the vanilla one.",
        gives=lambda q_vals, actions, logits, **_: {"loss_p": weighted(q_vals, actions, logits)},
    ),
    Mistake(
        "The baseline is added. Subtract it.",
        gives=lambda q_vals, actions, logits, **_: {
            "loss_p": weighted([q + mean(q_vals) for q in q_vals], actions, logits)
        },
    ),
    Mistake(
        "The weights are divided by their spread. The baseline is subtracted only.",
        gives=lambda q_vals, actions, logits, **_: {
            "loss_p": weighted([(q - mean(q_vals)) / deviation(q_vals) for q in q_vals], actions, logits)
        },
    ),
    Mistake(
        "The baseline is the mean of the episodes' total rewards. It is the mean of the q-values of all experiences.",
        gives=lambda q_vals, actions, logits, **_: {"loss_p": weighted([q - 100.0 for q in q_vals], actions, logits)},
    ),
    Mistake(
        "The baseline is the sum of the q-values, not their mean.",
        gives=lambda q_vals, actions, logits, **_: {
            "loss_p": weighted([q - sum(q_vals) for q in q_vals], actions, logits)
        },
    ),
]


def policy_loss_checks(exercise: str, baseline: bool) -> list[Check]:
    """What both policy-gradient losses are asked."""

    def right(q_vals: Sequence[float], actions: Sequence[int], logits: Rows, **_others: Any) -> dict[str, Any]:
        reported = {"baseline": mean(q_vals)} if baseline else {}
        return loss_of(weights_of(q_vals, baseline), actions, logits, **reported)

    names = ("loss_p", "baseline") if baseline else ("loss_p",)
    mistakes = [
        *(BASELINE_MISTAKES if baseline else []),
        *LOG_PI_MISTAKES,
        not_reported(*names),
        Mistake(
            "The loss that is returned is another than the one that is reported.",
            shows=lambda got: abs(got["loss"] - got["loss_p"]) > 1e-3,
        ),
    ]
    asked = "the loss and its gradient, with q-values {q_vals}, actions {actions} and logits {logits}"
    certain = {"baseline": baseline, "q_vals": [1.0, 3.0], "actions": [0, 0], "logits": [[1e4, -1e4], [-1e4, 1e4]]}
    return [
        Check(
            exercise,
            "by hand",
            asked,
            "policy_loss",
            {"baseline": baseline, **BY_HAND},
            right,
            mistakes=mistakes,
        ),
        Check(
            exercise,
            "a drawn batch",
            asked,
            "policy_loss",
            partial(drawn_batch, baseline=baseline),
            right,
            mistakes=mistakes,
        ),
        Check(
            exercise,
            "a batch of two",
            asked,
            "policy_loss",
            partial(drawn_batch, n=2, baseline=baseline),
            right,
            mistakes=mistakes,
        ),
        Check(
            exercise,
            "certain actions",
            "the loss, with logits {logits}, where a probability is 0 to the last digit",
            "policy_loss",
            certain,
            lambda q_vals, actions, logits, **_: {"loss": weighted(weights_of(q_vals, baseline), actions, logits)},
            mistakes=[
                Mistake(
                    "The logarithm of a softmax is minus infinity where the softmax is 0: use log_softmax.",
                    shows=lambda got: not math.isfinite(got["loss"]) or "nan" in str(got),
                )
            ],
        ),
    ]


MAX_ENTROPY_CHECKS = [
    Check(
        "ActionEntropyLoss.calc_max_entropy",
        name,
        "the largest entropy of a distribution over {n_actions} actions",
        "max_entropy",
        inputs,
        lambda n_actions: math.log(n_actions),
        mistakes=[
            Mistake(
                "This is the entropy in bits. Use the natural logarithm, as the entropy does.",
                gives=lambda n_actions: math.log2(n_actions),
            ),
            Mistake("Use the natural logarithm, not log10.", gives=lambda n_actions: math.log10(n_actions)),
            Mistake(
                "The sign is wrong: an entropy is not negative.",
                gives=lambda n_actions: OneOf((-math.log(n_actions), -math.log2(n_actions))),
            ),
            Mistake(
                "This is the term of one action. Sum over the actions.",
                gives=lambda n_actions: math.log(n_actions) / n_actions,
            ),
            Mistake("This is the number of actions, not an entropy.", gives=lambda n_actions: n_actions),
            Mistake("This is the probability of an action, not an entropy.", gives=lambda n_actions: 1 / n_actions),
            Mistake("The method returns nothing.", shows=lambda got: got is None or "NoneType" in str(got)),
        ],
    )
    for name, inputs in (
        ("four actions", {"n_actions": 4}),
        ("a drawn number", lambda generator: {"n_actions": generator.randint(5, 40)}),
    )
]


def entropy_of(logits: Rows, beta: float, **_others: Any) -> dict[str, Any]:
    """-beta H / log A."""
    loss = -beta * mean([entropy(softmax(row)) for row in logits]) / math.log(len(logits[0]))
    return {"loss": loss, "loss_e": loss, "a finite gradient": True}


def entropy_mistake(hint: str, formula: Any) -> Mistake:
    """One that is known by the loss that it gives, a function of logits, beta and the largest entropy."""
    return Mistake(hint, gives=lambda logits, beta, **_: {"loss": formula(logits, beta, math.log(len(logits[0])))})


def entropies(logits: Rows) -> list[float]:
    """Of each row."""
    return [entropy(softmax(row)) for row in logits]


ENTROPY_MISTAKES = [
    entropy_mistake(
        "The sign is wrong: the entropy is to grow, so the loss is minus it.",
        lambda logits, beta, largest: beta * mean(entropies(logits)) / largest,
    ),
    entropy_mistake(
        "The entropy is not divided by the largest one.", lambda logits, beta, largest: -beta * mean(entropies(logits))
    ),
    entropy_mistake("beta is left out.", lambda logits, beta, largest: -mean(entropies(logits)) / largest),
    entropy_mistake(
        "This is the sum over the experiences, not the mean.",
        lambda logits, beta, largest: -beta * sum(entropies(logits)) / largest,
    ),
    entropy_mistake(
        "This is the entropy of the batch's mean policy. Take the entropy of each row, then the mean.",
        lambda logits, beta, largest: (
            -beta * entropy([mean(column) for column in transposed([softmax(row) for row in logits])]) / largest
        ),
    ),
    entropy_mistake(
        "The softmax is taken over the batch, dim=0. Take it over the actions, dim=1.",
        lambda logits, beta, largest: OneOf(
            (
                -beta * sum(map(entropy, map(softmax, transposed(logits)))) / len(logits) / largest,
                -beta * mean([entropy(softmax(column)) for column in transposed(logits)]) / largest,
            )
        ),
    ),
    entropy_mistake(
        "The mean is taken over all N x A terms. Sum over the actions, then take the mean over the batch.",
        lambda logits, beta, largest: -beta * mean(entropies(logits)) / len(logits[0]) / largest,
    ),
    entropy_mistake(
        "The entropy is in bits, and the largest one is not: use natural logarithms in both.",
        lambda logits, beta, largest: -beta * mean(entropies(logits)) / math.log(2) / largest,
    ),
    Mistake(
        "The loss or its gradient is not finite where a probability is 0: use log_softmax, not the log of a softmax.",
        shows=lambda got: not math.isfinite(got["loss"]) or got["a finite gradient"] is False,
    ),
    Mistake(
        "The loss must also take a tuple of outputs, as the actor-critic network gives: its first part are the logits.",
        shows=lambda got: "tuple" in str(got),
    ),
    *LOG_PI_MISTAKES[-2:],
]
ENTROPY_CHECKS = [
    Check(
        "ActionEntropyLoss.forward",
        name,
        asked,
        "entropy_loss",
        inputs,
        entropy_of,
        mistakes=ENTROPY_MISTAKES,
    )
    for name, asked, inputs in (
        (
            "by hand",
            "the loss with beta 2 of two policies: one in two actions alike and never the third, and (1/4, 1/4, 1/2)",
            {"logits": [[0.0, 0.0, -50.0], [0.0, 0.0, math.log(2)]], "beta": 2.0},
        ),
        (
            "drawn logits",
            "the loss with beta {beta} and logits {logits}",
            lambda generator: {
                "logits": [[round(generator.uniform(-2, 2), 2) for _ in range(4)] for _ in range(3)],
                "beta": round(generator.uniform(0.2, 0.9), 2),
            },
        ),
        (
            "a tuple of outputs",
            "the loss of logits {logits}, given in a tuple with values",
            lambda generator: {
                "logits": [[round(generator.uniform(-2, 2), 2) for _ in range(3)] for _ in range(2)],
                "beta": 0.7,
                "with_values": True,
            },
        ),
        (
            "certain actions",
            "the loss, and a finite gradient, where one action is certain: logits {logits}",
            {"logits": [[1000.0, 0.0, 0.0], [0.0, 0.0, 1000.0]], "beta": 1.0},
        ),
    )
]


def actor_critic(
    delta: float,
    q_vals: Sequence[float],
    actions: Sequence[int],
    logits: Rows,
    values: Sequence[float],
    detached: bool = True,
) -> dict[str, Any]:
    """-(1/N) sum (q - v) log pi(a|s) + delta (1/N) sum (v - q)^2, what is reported, and the gradients.

    :param detached: whether q - v is a constant in the first term.
    """
    advantages = [q - v for q, v in zip(q_vals, values, strict=True)]
    loss_p, squares = weighted(advantages, actions, logits), mean([a * a for a in advantages])
    of_values = [-2 * delta * a / len(values) for a in advantages]
    if not detached:
        log_pi = taken(actions, logits)
        of_values = [g + x / len(values) for g, x in zip(of_values, log_pi, strict=True)]
    return {
        "loss": loss_p + delta * squares,
        "loss_p": loss_p,
        "loss_v": OneOf((delta * squares, squares)),
        "adv_m": mean(advantages),
        "gradient of logits": gradient(advantages, actions, logits),
        "gradient of values": of_values,
    }


def aac_mistake(hint: str, loss: Any) -> Mistake:
    """One that is known by its loss, of the right one's parts: loss_p, the mean square, delta."""

    def gives(delta: float, q_vals: Sequence[float], values: Sequence[float], **others: Any) -> dict[str, Any]:
        squares = mean([(q - v) ** 2 for q, v in zip(q_vals, values, strict=True)])
        loss_p = actor_critic(delta=delta, q_vals=q_vals, values=values, **others)["loss_p"]
        return {"loss": loss(loss_p, squares, delta)}

    return Mistake(hint, gives=gives)


def every_pair(
    delta: float, q_vals: Sequence[float], actions: Sequence[int], logits: Rows, values: Sequence[float]
) -> dict[str, Any]:
    """As (N,) minus (N, 1) gives: each q-value with each value."""
    return {
        "adv_m": mean(q_vals) - mean(values),
        "loss": delta * mean([(q - v) ** 2 for q in q_vals for v in values])
        + all_pairs_of(q_vals, actions, logits, values),
    }


def value_pairs(delta: float, q_vals: Sequence[float], values: Sequence[float], **_others: Any) -> dict[str, Any]:
    """The second term, where each q-value meets each value."""
    squares = mean([(q - v) ** 2 for q in q_vals for v in values])
    return {"loss_v": OneOf((squares, delta * squares))}


def all_pairs_of(q_vals: Sequence[float], actions: Sequence[int], logits: Rows, values: Sequence[float]) -> float:
    """The first term, where the matrix of q - v meets the row of log-probabilities."""
    log_pi = taken(actions, logits)
    return -mean([(q - v) * x for v in values for q, x in zip(q_vals, log_pi, strict=True)])


AAC_MISTAKES = [
    Mistake(
        "The gradient of the policy's term reaches the critic: detach the advantage in it.",
        gives=partial(actor_critic, detached=False),
    ),
    Mistake(
        "The advantage is v - q. It is q - v: what was better than expected.",
        gives=lambda q_vals, values, **_: {"adv_m": mean(values) - mean(q_vals)},
    ),
    Mistake(
        "Both terms are sums over the experiences, not means.",
        gives=lambda q_vals, **others: {
            "loss": len(q_vals) * actor_critic(q_vals=q_vals, **others)["loss"],
            "loss_p": len(q_vals) * actor_critic(q_vals=q_vals, **others)["loss_p"],
        },
    ),
    aac_mistake("The critic's term is not weighted: multiply it by delta.", lambda p, v, delta: p + v),
    aac_mistake("delta weights the policy's term. It is the weight of the critic's.", lambda p, v, d: d * p + v),
    aac_mistake("delta weights both terms. It is the weight of the critic's only.", lambda p, v, d: d * (p + v)),
    aac_mistake(
        "The critic's term is subtracted. It is an error, to be made small: add it.", lambda p, v, d: p - d * v
    ),
    aac_mistake("The critic's term is left out of the loss that is returned.", lambda p, v, d: p),
    aac_mistake("The policy's term has the wrong sign.", lambda p, v, d: -p + d * v),
    aac_mistake("The critic's term is halved: it is the mean of the squares.", lambda p, v, d: p + d * v / 2),
    Mistake(
        "The weight is q. It is the advantage, q - v.",
        gives=lambda q_vals, actions, logits, **_: {"loss_p": weighted(q_vals, actions, logits)},
    ),
    *[
        Mistake(
            "Each q-value is compared with each value: (N,) minus (N, 1) is (N, N). Squeeze the values to (N,).",
            gives=gives,
        )
        for gives in (
            every_pair,
            value_pairs,
            lambda delta, **inputs: {"loss_p": all_pairs_of(**inputs)},
        )
    ],
    Mistake(
        "The critic learns nothing: its values are detached in its own term, or all made alike, as a softmax does.",
        shows=lambda got: got["gradient of values"] is None or not any(got["gradient of values"]),
    ),
    *LOG_PI_MISTAKES,
    not_reported("loss_p", "loss_v", "adv_m"),
]
AAC_CHECKS = [
    Check(
        "AACPolicyGradientLoss.forward",
        name,
        "the loss and its gradients, with delta {delta}, q-values {q_vals}, values {values}, actions {actions}, "
        "logits {logits}",
        "actor_critic_loss",
        inputs,
        actor_critic,
        mistakes=AAC_MISTAKES,
    )
    for name, inputs in (
        ("by hand", {"delta": 0.5, **BY_HAND, "values": [0.0, 2.0, 0.5]}),
        (
            "a drawn batch",
            lambda generator: drawn_batch(
                generator,
                delta=round(generator.uniform(0.2, 0.8), 2),
                values=[round(generator.uniform(-5, 5), 2) for _ in range(4)],
            ),
        ),
        (
            "a batch of two",
            lambda generator: drawn_batch(
                generator, n=2, delta=1.5, values=[round(generator.uniform(-5, 5), 2) for _ in range(2)]
            ),
        ),
    )
]
