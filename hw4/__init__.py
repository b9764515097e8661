"""Policy gradients and advantage actor-critic, landing `Beresheet-v2` on the moon.

Read the modules in the order of the data: an agent (`rl_pg`, `rl_ac`) plays an environment (`env`); what it lives
through becomes an Experience, an Episode and a TrainBatch (`rl_data`); a loss and a trainer (`rl_pg`, `rl_ac`) learn
from it; `experiments` names the runs and keeps their results; `evaluation` and `plots` say how good they are.

Importing the package registers `Beresheet-v2` with Gymnasium.
"""

from hw4.env import ENV_NAME, MAX_EPISODE_STEPS, REWARD_THRESHOLD, make_env

__all__ = ["ENV_NAME", "MAX_EPISODE_STEPS", "REWARD_THRESHOLD", "make_env"]
