"""The hyperparameters of the assignment's runs, and the written answers to its questions."""

from typing import Any

from hw4.exercise import exercise


@exercise(
    "These are good enough to see training work. Change them until the experiments pass their bars; what you add is "
    "passed to PolicyNet too, and hw4/hyperparams.py says what else training understands.",
    start={
        "batch_size": 32,
        "gamma": 0.99,
        "beta": 0.5,
        "learn_rate": 1e-3,
        "eps": 1e-8,
        "hidden_layers": [128, 128],
    },
)
def part1_pg_hyperparams() -> dict[str, Any]:
    """What the four policy-gradient runs are trained with."""
    return {
        "batch_size": 10,  # episodes: small, for many updates in the 6000 episodes
        "gamma": 0.99,  # a horizon of 100 steps: at 50, hovering pays as well as landing; at 200, there is more noise
        "beta": 1.0,  # of the entropy loss: explore, calm down, and then, below 0, give options up
        "beta_schedule": [[0, 1.0], [0.15, 0.5], [0.3, 0.1], [0.5, 0.01], [0.6, -0.2], [0.75, -0.2], [0.85, 0]],
        "learn_rate": 0.006,
        "learn_rate_schedule": [[0, 0.006], [0.35, 0.005], [0.5, 0.003], [0.8, 0.002], [1, 0.0005]],
        "adam_restart": 0.5,  # it would remember the large gradients of early crashes, and hardly move
        "weight_decay": 0.2,  # keeps scores small, so that no action's probability is gone before it is needed
        "eps": 1e-8,
        "hidden_layers": [64, 64],
        "activation": "tanh",  # bounded: what it learns in flight says less about the ground, where it has not been
        "orthogonal": True,
        "initial_scores": [3.0, 0.0, 0.0, 0.0],  # do nothing where you know nothing: that is how to rest on the ground
    }


@exercise("Return a dict as above, with delta, the weight of the critic's term, in addition.")
def part1_aac_hyperparams() -> dict[str, Any]:
    """What the actor-critic runs are trained with: the same, but for a few."""
    return {
        **part1_pg_hyperparams(),
        "batch_size": 8,  # episodes: with a critic, as few give a gradient that is good enough
        "beta": 0.7,  # explore, and calm down soon, for what tells quiet from noise is small; then give options up
        "beta_schedule": [[0, 0.7], [0.12, 0.35], [0.25, 0.07], [0.5, 0.01], [0.6, -0.2], [0.75, -0.2], [0.85, 0]],
        "delta": 0.03,  # any would do, as Adam takes out a loss's scale, and the critic has its own weights
        "value_scale": 10.0,  # returns are in the hundreds, and the critic has to follow them
    }


@exercise("Return what the long run is trained with: the same dict, or one that suits 15,000 episodes better.")
def part1_aac_long_hyperparams() -> dict[str, Any]:
    """What the long actor-critic run is trained with: the same, for the schedules go by shares of a run."""
    return part1_aac_hyperparams()


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

**Measured.** The figure above is of one actor-critic run, seed 42. At three stages of its training 200 batches of 8
episodes were played by the same parameters, and the gradient was estimated from each in four ways; the bars are the
sum over all parameters of the variance from batch to batch.

| weight of $\nabla\log\pi$ | after 500 episodes | after 1500 | after 6000 |
|---|---|---|---|
| return of the whole episode | 20.7 | 201.5 | 503.0 |
| reward to go | 7.0 | 28.3 | 179.0 |
| less the batch's mean | 6.5 | 19.4 | 12.0 |
| less the critic's value | 7.1 | 4.7 | 7.9 |

The mean gradient is the same for all four, as it has to be: after 500 episodes its squared length, less the noise's
share, is 1.0 for the first, of which 200 batches know least, and 1.7, 1.6 and 1.6 for the others; later it is lost in
the noise of the first two. (The batch's own mean takes a little of the gradient with it, since each sample is part of
it.) The baselines bring nothing while returns are around 0, and much once they are high: at the end reward to go alone
is fifteen times as noisy as with the mean. And the critic divides what is left by four on the plateau, after 1500
episodes, because it knows *where* returns are high: all is still to come in the air, and nothing on the ground.
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

**Measured**, in the figure above (seed 42). The critic explains none of the returns' variance until about episode 500,
half of it after 1000, and 55% to 87% from there to episode 3500. It can't get to all: a part is the $\varepsilon$ of
the draws still to come, which no function of the state foretells. From episode 3750 on it explains 3% to 25%, and is
no worse for that. The lander now comes to rest, so that nearly every state promises the same 60 to 115 points, and
$\varepsilon$ is most of the variance there is. The other panels sort the states by the prediction: where the mean
return lies on the dotted line, the critic is right on average, however wide the band of the returns around it.
"""

part1_q3 = r"""
All figures are of the runs shown above: one run each, with seed 42, of 6000 episodes.

**1. The four policy-gradient runs.**

*mean_reward.* All begin at about $-180$, a lander that tumbles. The two with a baseline learn faster at first:
`bpg` passes a mean reward of 0 after 370 episodes and `cpg` after 450, against 770 for `vpg` and 790 for `epg`;
they pass 100 after 770 and 820, against 1370 and 1720. That is what lower variance buys: the same number of samples
points in a better direction. Then all meet the same obstacle, a plateau between 100 and 170, where episodes last
nearly the full 300 steps: the lander has learned not to crash, and hovers. Only coming to rest earns the last
hundred points, and ends the episode; it takes dozens of quiet steps in a row, which a policy that still draws its
actions at random almost never plays, so that there is little to learn from. `vpg` gets over it, for a while (best
241, last 197); `cpg` ends at 162 (best 168), `epg` at 134 (153), and `bpg`, which loses its entropy with nothing to
hold it up, falls back from 131 to 75. Who gets over it is, in a single run, mostly luck: that the vanilla run has
the highest peak here does not show that it is the better method. The early part of the curves is what the theory
speaks of.

*loss_p.* It is no measure of success. Without a baseline it is about the mean return times $-\log\pi$: deeply
negative while returns are ($-150$), and about $+36$ (`vpg`) and $+23$ (`epg`) in the last third, when they are
positive. With a baseline it stays near 0 throughout, $+2$ and $-6$, because the weights have mean zero in each
batch; its fluctuations there are a quarter of those of `vpg` (standard deviation 2 against 9). This is the variance
reduction, seen directly.

*baseline.* The mean of the q-values, so it follows the reward: from about $-100$ to about $+35$ for `cpg`. It is
far below the total reward, being the mean over all steps of what is still to come, discounted.

*loss_e.* It is $-\beta$ times the entropy's share of its maximum, and $\beta$ falls linearly to 0 over the run, so
the curve ends at 0 whatever the policy does. Divided by $\beta$, it says: after 3000 episodes the policies still
have 74% (`epg`) and 68% (`cpg`) of the maximal entropy.

**2. AAC beside `cpg`.**

The two begin alike: AAC passes 0 after 504 episodes (`cpg` after 450) and 100 after 680 (820). At first its critic
knows nothing, and while that is so it is hardly better than no baseline. That shows in `loss_p`, which begins as low
as that of `vpg` (below $-100$): its weights are not centred in each batch, but state by state. Then the critic pays:
AAC passes 150 after 1760 episodes, `cpg` after 3310. Both now meet the plateau, and AAC gets over it, from 173 at
episode 3500 to 232 at 4000, 253 at 5000 and 270 at the end (best 274), where `cpg` is at 162. A baseline for the whole
batch can tell a good episode from a bad one; one for each state can tell, at the ground, a quiet step from a needless
pulse of an engine, as both are compared with what is usual *there*. But not all of the difference is the critic's:
AAC's hyperparameters are its own, among them the $\beta$ that falls below 0, which makes the policy choose. `baseline`
has no curve for AAC, since its baseline is a function; `loss_e` starts at $-0.3$ instead of $-1$ because its $\beta$
is smaller, and ends above 0, at $+0.1$, because its $\beta$ is below.

**3. What the plateau is.** The figure above shows the AAC run before, on and after it. Early, two episodes of three
end in a crash, and the others by the time limit. On the plateau, after 1500 episodes, 89% of them end by the time
limit: the lander has learned to fly to the pad and to stand there, but its engines go on pulsing. It does nothing in
40% of its steps on both legs, and coming to rest takes some 25 such steps in a row: at 40%, one try in $9 \cdot 10^9$.
So the hundred points are almost never seen, and what is left to tell quiet from noise is the fuel, 0.03 points a
pulse, against returns that vary by several points for other reasons. In the end it does nothing in 99% of its steps
there, and 97% of its episodes end at rest. In between lies a threshold: once rest is found now and then, its hundred
points teach the policy to be quiet within a few hundred episodes. That is why results over seeds have two humps and
hardly a middle (section 11). And it is why on some seeds the same plateau policy, choosing its likeliest action
instead of drawing one, comes to rest at once: it knew what to do, and was never quiet enough to find out.
"""
