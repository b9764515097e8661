"""The hyperparameters of the assignment's runs, and the written answers to its questions."""

from typing import Any


def part1_pg_hyperparams() -> dict[str, Any]:
    """What the four policy-gradient runs are trained with. Each value with an `_end` goes there on a straight line."""
    return {
        "batch_size": 8,  # episodes: few, so that 6000 episodes make many updates
        "action_repeat": 2,  # steps for which an action is held: to come to rest takes fewer decisions in a row
        "gamma": 0.97,  # of a decision: at first look 33 decisions ahead, which leaves less noise ...
        "gamma_end": 0.985,  # ... and at last 67: most of a landing
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
    """What the actor-critic runs are trained with: the same, but for what the critic needs and allows."""
    return {
        **part1_pg_hyperparams(),
        "action_repeat": 3,  # a critic leaves less noise, so it learns from fewer decisions
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

**An example.** One state, two actions, each with probability 1/2, where $\pi$ is a softmax of logits $(\theta, 0)$;
then $\frac{\partial}{\partial\theta}\log\pi(a)$ is $+\frac12$ for the first action and $-\frac12$ for the second.
Let the first return 100 and the second 101.

| | first drawn | second drawn | mean | standard deviation |
|---|---|---|---|---|
| no baseline | $+50$ | $-50.5$ | $-0.25$ | $50.25$ |
| baseline $b = 100.5$ | $-0.25$ | $-0.25$ | $-0.25$ | $0$ |

Both say, on average, to draw the first action a little less often. Without the baseline, one needs some
$(50.25/0.25)^2 \approx 40\,000$ samples before that average stands out from the noise; with it, one is enough.

**Measured.** The figure above is of one actor-critic run. At three stages of its training, batches were
played by the same parameters, and the gradient was estimated from each in five ways. A bar is the sum over all
parameters of the variance from batch to batch. Three things to see:

- *Reward to go* leaves out what an action cannot have changed. That helps the more, the longer an episode is.
- *The mean* takes out what all returns of the batch have in common. That helps the more, the further they all are from
  zero: late in a run, when all landings are good, more than early, when some returns are above zero and most below.
  The batch's own mean looks quieter than leave-one-out in part because it also takes some of the gradient away:
  an episode's weight in it is about one in the number of episodes (section 6.2).
- *The critic* knows **where** the lander is: all is still to come in the air, and nothing on the ground. It can take
  out no more than it has learned, so compare its bars with the figure of question 2.

In expectation the five agree, but for the batch's mean. So the differences are noise, and noise alone is what a
baseline changes.
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
function of the state alone, learned from earlier episodes, is a valid baseline, and a poor $v$ only takes out less of
the variance.

**Measured**, in the figure above. The last panel shows how much of the returns' variance the critic explains in the
course of a run. It can't get to all: a part is the $\varepsilon$ of the draws still to come, which no function of the
state foretells. Nor does a lower value need to mean that the critic has become worse. When nearly every state
promises the same, there is little left to explain but $\varepsilon$. The other panels sort the states by the
prediction: where the mean return lies on the dotted line, the critic is right on average, however wide the band of
the returns around it. Where it lies above, the policy has improved faster than the critic could follow.
"""

part1_q3 = r"""
The curves are of one run each. The table above says when each of them passed a level, and the figures of section 11 say
which differences hold on many seeds.

**1. The four policy-gradient runs.**

*mean_reward.* All four begin alike, as the first policy does nothing most of the time (`initial_logits`), and falls. A
rise then has three parts. The first is to learn that engines help; it ends when the mean passes zero. Here the
baseline counts: it lowers the variance, so that the same episodes point in a better direction. The second is to learn
to crash less, and it leads to a shelf at 100 to 150 points: the lander flies to the pad, stands on it with its engines
pulsing, and the episode ends by the time limit. The third is to come to rest, for the last hundred points. Here the
entropy term counts. While $\beta$ is above zero it keeps actions alive that seem useless in flight, doing nothing
among them, until the ground, where just that is needed; once $\beta$ is below zero it makes the policy choose, and a
habit becomes a certainty. A curve that goes down for a while is no failure of the program. The policy that collected
the last hundred episodes is not the one that collects the next, and a step that was too long has to be learned back.

*loss_p.* It is no measure of success. Without a baseline it is about the mean return times $-\log\pi$: below zero while
returns are, and above it when they are, so it *rises* as the agent improves. With a baseline it stays near 0
throughout, because the weights have mean zero in each batch. Nor is its spread the variance of the gradient: a loss is
one number and its gradient a vector, and a weight that all steps share moves the first without saying anything
about the second. The table of section 9.5 has both side by side.

*baseline.* The mean of the q-values, so it follows the reward, much nearer to zero: it is the mean over all steps
of what is still to come, discounted.

*loss_e.* It is $-\beta$ times the entropy's share of its maximum, so it shows two things at once. The share first
rises, as the other actions are tried, and then falls, as the policy decides. $\beta$ goes down a straight line
all the while, from `beta` to `beta_end`, so the curve crosses zero where $\beta$ does, whatever the policy does.

**2. AAC beside `cpg`.**

The curve is the same in kind, with the same three parts. At first AAC is no faster, for its critic knows nothing yet.
Then its baseline is the better one. A baseline for the whole batch can tell a good episode from a bad one; one for each
state can tell, near the ground, a better step from a worse, as both are compared with what is usual *there*. That
leaves less noise, and AAC spends the gain on holding each action for 3 steps instead of 2. All its other
hyperparameters are those of `cpg`, but for the two that belong to the critic.
Its `loss_p` begins far from zero and swings more widely than that of `cpg`: its weights are not centred in each
batch, but state by state, and that is what a critic which is wrong by a constant looks like. `baseline` has no curve
for AAC, since its baseline is a function.

Is AAC better? One seed can't say. Section 11 compares the two seed by seed.

**3. What holds a run up, and what carries it over.** The figure above shows where the lander takes its decisions at
three stages, and what it decides there. To come to rest takes about 25 steps in a row in which no engine fires. A
policy that draws each of them anew and does nothing half of the time gets there once in $2^{25}$ attempts. So the
hundred points are never seen, and what is left to tell quiet from noise is the fuel, 0.03 points a pulse of a side
engine, against returns that vary by several points for other reasons. Once rest is found now and then, its hundred
points teach the policy to be quiet, and that quickly. That is why runs linger, and then jump. The recipe has a piece
against each part of this: actions are held for a few steps, so that rest takes fewer decisions; the first policy
prefers doing nothing, which flight unlearns and the ground, seen later, does not quite; $\beta$ is large while there
is much to try, and below zero when it is time to choose. `docs/results.md` looks at what each of them is
worth, so far on two or three seeds.
"""
