"""The hyperparameters of the assignment's runs, and the written answers to its questions."""

from typing import Any


def part1_pg_hyperparams() -> dict[str, Any]:
    """What the four policy-gradient runs are trained with. Each value with an `_end` goes there on a straight line."""
    return {
        "batch_size": 8,  # episodes: few, so that 6000 episodes make many updates
        "action_repeat": 2,  # steps for which an action is held: to come to rest takes fewer decisions in a row
        "gamma": 0.97,  # of a decision: at first look 33 decisions ahead, which leaves less noise ...
        "gamma_end": 0.985,  # ... and at last 67: a whole landing
        "beta": 2.0,  # of the entropy loss: at first try everything ...
        "beta_end": -0.5,  # ... and at last, below 0, choose
        "learn_rate": 0.006,  # large steps at first ...
        "learn_rate_end": 0.0006,  # ... and small ones at last
        "eps": 1e-8,
        "hidden_layers": [64, 64],
        "activation": "tanh",  # bounded: what is learned in flight says less about the ground, seen later
        "orthogonal": True,  # the first policy is the same in all states
        "initial_logits": [3.0, 0.0, 0.0, 0.0],  # do nothing where nothing is known: that is how to rest on the ground
    }


def part1_aac_hyperparams() -> dict[str, Any]:
    """What the actor-critic runs are trained with. A critic leaves less noise, so it can do with less of everything."""
    return {
        **part1_pg_hyperparams(),
        "batch_size": 4,  # episodes: twice the updates
        "action_repeat": 3,
        "beta": 1.0,
        "beta_end": -0.2,
        "adam_beta2": 0.99,  # Adam remembers the size of 100 gradients, not 1000: early crashes are soon forgotten
        "delta": 0.5,  # any would do: Adam takes out a loss's scale, and the critic has its own weights
        "value_scale": 50.0,  # returns are in the hundreds, and the critic has to follow them
    }


part1_q1 = r"""
**Why.** The estimate is an average of terms $\hat q_t \nabla\log\pi(a_t|s_t)$. The gradient of the log-probability
has mean zero under the policy, $\sum_a \pi(a|s)\,\nabla\log\pi(a|s) = \nabla\sum_a\pi(a|s) = 0$, so any constant
$b$ may be taken from $\hat q_t$: it adds $-b$ times something of mean zero, and the expected gradient stays. But
not the variance. Each term is as large as the return that multiplies it, and most of a return says nothing about
the action: it is what the policy earns anyway from there on. That common part multiplies random directions, which
cancel only on average, over far more samples than a batch has. Subtract it, and what is left is how much *better
than usual* this went; the terms shrink, their mean does not. Also the signs become right in each single batch:
without a baseline, where all returns are positive, every action taken is made more likely, bad ones too, and only
the differences in how much tell them apart.

**An example.** One state, two actions, each with probability 1/2, where $\pi$ is a softmax of scores $(\theta, 0)$;
then $\frac{\partial}{\partial\theta}\log\pi(a)$ is $+\frac12$ for the first action and $-\frac12$ for the second.
Let the first return 100 and the second 101.

| | first drawn | second drawn | mean | standard deviation |
|---|---|---|---|---|
| no baseline | $+50$ | $-50.5$ | $-0.25$ | $50.25$ |
| baseline $b = 100.5$ | $-0.25$ | $-0.25$ | $-0.25$ | $0$ |

Both say, on average, to draw the first action a little less often. Without the baseline, one needs some
$(50.25/0.25)^2 \approx 40\,000$ samples before that average stands out from the noise; with it, one is enough. The
lander is the same case with more noise: in a batch of early, crashing episodes all returns are far below zero, and
in late ones far above.

**Measured.** The figure above is of one actor-critic run, seed 100. At three stages of its training 200 batches of 8
episodes were played by the same parameters, and the gradient was estimated from each in four ways; the bars are the
sum over all parameters of the variance from batch to batch.

| weight of $\nabla\log\pi$ | after 500 episodes | after 1500 | after 6000 |
|---|---|---|---|
| return of the whole episode | 53.2 | 109.7 | 462.6 |
| reward to go | 51.9 | 17.5 | 147.4 |
| less the batch's mean | 27.2 | 10.7 | 16.6 |
| less the critic's value | 29.9 | 2.3 | 13.3 |

The mean gradient is the same for all four, as it has to be: after 500 episodes its squared length, less the noise's
share, is 12.5, 14.2, 12.3 and 12.9; later it is lost in the noise. (The batch's own mean takes a little of the gradient
with it, since each sample is part of it.) The mean halves the variance early, when all returns are far below zero, and
divides it by nine at the end, when they are all far above. The critic knows nothing after 500 episodes, and is no
better than the mean; on the plateau, after 1500, it divides what the mean leaves by almost five, because it knows
*where* returns are high: all is still to come in the air, and nothing on the ground.
"""

part1_q2 = r"""
Because the state value is the mean of the action values under the policy that acts,

$$ v_\pi(s) = \sum_a \pi(a|s)\, q_\pi(s, a) = \mathbb{E}_{a\sim\pi(\cdot|s)}\left[ q_\pi(s, a) \right], $$

and because regression finds means. When the agent passes through $s$, it draws $a$ from $\pi(\cdot|s)$, and the
return that follows, $\hat q$, has mean $q_\pi(s, a)$ by that function's definition. Averaged over both draws, the
target has exactly the mean we want: $\mathbb{E}[\hat q \mid s] = v_\pi(s)$. Among all functions of the state, the
mean squared error $\mathbb{E}[(v(s) - \hat q)^2]$ is least for this conditional mean: write
$\hat q = v_\pi(s) + \varepsilon$ with $\mathbb{E}[\varepsilon \mid s] = 0$, and the error is
$\mathbb{E}[(v(s) - v_\pi(s))^2] + \mathbb{E}[\varepsilon^2]$, whose second term no choice of $v$ changes. So the
targets may be as noisy as they like: they are unbiased, and the noise costs samples, not correctness.

What it rests on: the actions must come from the current policy, or the average is taken with the wrong weights,
which is one more reason to learn from on-policy data only. Even so the target moves with each update, and the
critic follows a little behind. And here episodes are cut off after 300 steps, which the state does not show; the
critic learns the mean over the times at which a state is visited. None of this biases the policy's gradient: any
function of the state alone is a valid baseline, and a poor $v$ only takes out less of the variance.

**Measured**, in the figure above (seed 100). The critic explains none of the returns' variance until about episode 500,
64% after 1000, and 66% to 89% from there to episode 3250. It can't get to all: a part is the $\varepsilon$ of
the draws still to come, which no function of the state foretells. From episode 4000 on it explains 7% to 24%, and is
no worse for that. The lander now comes to rest, so that nearly every state promises the same 60 to 100 points, and
$\varepsilon$ is most of the variance there is. The other panels sort the states by the prediction: where the mean
return lies on the dotted line, the critic is right on average, however wide the band of the returns around it.
"""

part1_q3 = r"""
All figures of parts 1 and 2 are of the runs shown above: one run each, with seed 42, of 6000 episodes.

**1. The four policy-gradient runs.**

*mean_reward.* All begin at about $-130$: the first policy prefers to do nothing (`initial_scores`), and falls. To
find that engines help takes `cpg` the shortest time: it passes 0 after 500 episodes, `bpg` after 1000, `vpg` after
1770, `epg` after 1960. That is the baseline: it lowers the variance, so that the same samples point in a better
direction. Then all meet the same obstacle, a plateau at about 100, where episodes last nearly the full 300 steps:
the lander has learned not to crash. Only coming to rest earns the last hundred points, and ends the episode; it
takes dozens of steps in a row in which no engine fires. Here the other term counts. The two runs with an entropy
loss get over: `epg` passes 150 after 4560 episodes (best 191, last 136); `cpg` does after 3060, falls back to 90,
and is over for good at 5500 (best 195, last 172). The two without stay: `vpg` (best 141, last 135) and `bpg` (best
131, last 115). Over 150 fresh episodes of the final parameters, the mean probability of doing nothing on both legs
is 0.90 for `cpg` and 0.99 for `epg`, and 57% and 55% of their episodes end at rest. It is less than 0.01 for `bpg`,
and 0.65 for `vpg`, which is not enough: 67% and 88% of their episodes end by the time limit. An entropy loss keeps
actions alive that seem useless in flight, until the ground, where one of them is just what is needed. Is that a
rule? Not alone: on ten other seeds each (section 11), six of the `vpg` runs, five of `epg`, four of `bpg` and all
ten of `cpg` reach a mean reward of 200. Neither term by itself is better than none, and both together leave little
to luck, with hyperparameters that were tuned for both.

*loss_p.* It is no measure of success. Without a baseline it is about the mean return times $-\log\pi$: about $-60$
at first, while returns are negative, and $+18$ (`vpg`) and $+26$ (`epg`) in the last third, when they are positive.
With a baseline it stays near 0 throughout, because the weights have mean zero in each batch, and its fluctuations
are smaller: over the first thousand episodes it has a standard deviation of 1.1 (`bpg`) and 0.7 (`cpg`), against 14
and 17. This is the variance reduction, seen directly.

*baseline.* The mean of the q-values, so it follows the reward: from about $-70$ to $+19$ for `bpg`, which stays on
the plateau, and $+48$ for `cpg`, which lands. It is far below the total reward, being the mean over all steps of
what is still to come, discounted.

*loss_e.* It is $-\beta$ times the entropy's share of its maximum. $\beta$ begins at 1, so that $-0.38$, with which
both curves start, is the share of a first policy that does nothing with probability 0.87. It goes down to $-0.9$
(`cpg`) and $-0.7$ (`epg`) as the other actions are tried. Then $\beta$ falls, to 0.01 at half of the run, is below
zero for a while, and ends at 0: the curve follows it, whatever the policy does.

**2. AAC beside `cpg`.**

The curve is the same in kind: AAC passes 0 after 968 episodes (`cpg` after 500) and 100 after 1376 (1320), and both
come to the plateau. AAC is slower at first, for its critic knows nothing yet, and while that is so it is hardly
better than no baseline. That shows in `loss_p`, which begins at $-32$: its weights are not centred in each batch,
but state by state. From there to the middle of the run the two are close, 131 and 139 after 3000 episodes. A
baseline for the whole batch can tell a good episode from a bad one; one for each state can tell, near the ground, a
better step from a worse, as both are compared with what is usual *there*. `baseline` has no curve for AAC, since
its baseline is a function; `loss_e` starts nearer to 0 because its $\beta$ is smaller.

With this seed `cpg` lands in the end and AAC does not (best means of 195 and 145). One seed says little, and the
comparison is one for section 11: there all ten AAC runs reach a mean reward of 200, with a median best of 267, and
all ten `cpg` runs, with 242. AAC gets there sooner, after 2900 episodes in the median, and `cpg`, for which noise
has to be kept small, after 3800. The long run, which begins as AAC does and goes on to 15,000 episodes, lands with
seed 42 too, though late: it passes 200 after 6992 episodes, and its best mean is 275.

**3. What the plateau is.** The figure above shows the AAC run with seed 100 before, on and after it. Early, 96% of
the episodes end in a crash. On the plateau, after 1500 episodes, 96% end by the time limit: the lander has learned
to fly to the pad and to stand there, but its engines go on firing. It does nothing in less than 1% of its steps on
both legs, and coming to rest takes some 25 such steps in a row. So the hundred points are never seen, and what is
left to tell quiet from noise is the fuel, 0.03 points a pulse of a side engine, against returns that vary by
several points for other reasons. In the end it does nothing in 95% of its steps there, and 89% of its episodes end
at rest. In between lies a threshold: once rest is found now and then, its hundred points teach the policy to be
quiet within a few hundred episodes. That is why results over seeds have two humps and hardly a middle. Three things
carry a run over: a first policy that prefers doing nothing, which flight unlearns and the ground, seen later, does
not quite; an entropy loss that is large only while it is needed; and then, for a while, a $\beta$ below zero, which
makes a habit a certainty, so that it can be found out what it is worth. Without a critic it takes a shorter horizon
too ($\gamma = 0.988$), and smaller steps early: on the ground every return is below the batch's mean, so that every
action drawn there is made less likely, which cancels only on average (`docs/search.md`).
"""
