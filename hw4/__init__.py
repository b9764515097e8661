"""Policy gradients and advantage actor-critic, landing `Beresheet-v2` on the moon.

Read the modules in the order of the data. An agent plays an environment (`env`). Its steps become an Experience, an
Episode and a TrainBatch (`rl_data`). Losses learn from a batch (`rl_pg`, then `rl_ac`), and a trainer steps them
(`training`). `answers`, `hyperparams`, `optim` and `files` say with what, and keep it. `rollout` plays agents fast.
`train` puts a run together. `experiments` names it: a configuration becomes a results file. `study` says what many runs
are worth.

Importing the package registers `Beresheet-v2` with Gymnasium.
"""

from hw4.env import ENV_NAME, MAX_EPISODE_STEPS, REWARD_THRESHOLD, make_env

__all__ = ["ENV_NAME", "MAX_EPISODE_STEPS", "REWARD_THRESHOLD", "make_env"]
