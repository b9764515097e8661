"""What is right of what `asks.py` asks, and the mistakes that are known by the values they give.

All is worked out here in plain Python, from the formulas of the assignment, and never by the code of hw4. The first
example of an exercise is small enough to follow by hand. Others are drawn, so that no answer can be prepared.
"""

from cs236781.checks import Check

from .agents import MONITOR_CHECKS, STEP_CHECKS, agent_checks
from .answers import ANSWER_CHECKS, WHOLE_CHECKS
from .data import BATCH_CHECKS, DATASET_CHECKS, Q_CHECKS
from .losses import AAC_CHECKS, ENTROPY_CHECKS, MAX_ENTROPY_CHECKS, policy_loss_checks
from .networks import net_checks
from .training import UPDATE_CHECKS

CHECKS: list[Check] = [
    *net_checks("PolicyNet", critic=False),
    *agent_checks("PolicyAgent.current_action_distribution", critic=False),
    *STEP_CHECKS,
    *MONITOR_CHECKS,
    *DATASET_CHECKS,
    *Q_CHECKS,
    *BATCH_CHECKS,
    *policy_loss_checks("VanillaPolicyGradientLoss.forward", baseline=False),
    *policy_loss_checks("BaselinePolicyGradientLoss.forward", baseline=True),
    *MAX_ENTROPY_CHECKS,
    *ENTROPY_CHECKS,
    *UPDATE_CHECKS,
    *ANSWER_CHECKS[:1],
    *net_checks("AACPolicyNet", critic=True),
    *agent_checks("AACPolicyAgent.current_action_distribution", critic=True),
    *AAC_CHECKS,
    *ANSWER_CHECKS[1:],
    *WHOLE_CHECKS,
]
