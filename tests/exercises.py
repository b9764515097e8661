"""Which tests are about which exercise; and, at the end of a test run, which exercises are done and which are to do.

An exercise that is not written raises NotImplementedError with its name. A test that fails for this reason, directly or
in a process that it started, still fails, but is shown as one of those to do, without a traceback.
"""

import re
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

NOT_WRITTEN = "an exercise, not written yet"
_NAMED = re.compile(rf"([\w.]+): {NOT_WRITTEN}")

# In the order of the assignment: what is to be written, and the tests, by the beginning of their names, that are about
# it. Others may need it too.
TESTS_OF = {
    "build_mlp": ["hw4/test_rl_pg.py::TestPolicyNet", "hw4/test_bad_input.py::TestNetworks"],
    "PolicyNet.__init__": ["hw4/test_rl_pg.py::TestPolicyNet"],
    "PolicyNet.forward": ["hw4/test_rl_pg.py::TestPolicyNet"],
    "PolicyNet.build_for_env": ["hw4/test_rl_pg.py::TestPolicyNet::test_build_for_env"],
    "PolicyAgent.current_action_distribution": ["hw4/test_rl_pg.py::TestAgent::test_distribution"],
    "PolicyAgent.act": ["hw4/test_rl_pg.py::TestPlayEpisode", "hw4/test_rl_pg.py::TestAgent::test_actions"],
    "PolicyAgent.step": ["hw4/test_rl_pg.py::TestAgent"],
    "PolicyAgent.monitor_episode": ["hw4/test_rl_pg.py::TestMonitorEpisode"],
    "play_by_steps": ["hw4/test_rl_data.py::TestTrainBatchDataset"],
    "TrainBatchDataset.episode_batch_generator": [
        "hw4/test_rl_data.py::TestTrainBatchDataset",
        "hw4/test_published_figures.py::test_episode_lengths",
    ],
    "Episode.calc_qvals": ["hw4/test_rl_data.py::TestQvals"],
    "TrainBatch.from_episodes": ["hw4/test_rl_data.py::TestTrainBatch::"],
    "policy_loss": ["hw4/test_losses.py::TestPolicyGradientLosses"],
    "action_log_probs": [
        "hw4/test_losses.py::TestPolicyGradientLosses",
        "hw4/test_bad_input.py::TestLosses::test_actions",
    ],
    "VanillaPolicyGradientLoss.forward": [
        "hw4/test_losses.py::TestPolicyGradientLosses::test_vanilla_by_hand",
        "hw4/test_published_figures.py::test_vanilla_loss",
    ],
    "BaselinePolicyGradientLoss.forward": [
        "hw4/test_losses.py::TestPolicyGradientLosses::test_baseline",
        "hw4/test_published_figures.py::test_baseline_loss",
    ],
    "ActionEntropyLoss.calc_max_entropy": [
        "hw4/test_losses.py::TestActionEntropyLoss::test_max_entropy",
        "hw4/test_published_figures.py::test_max_entropy",
    ],
    "ActionEntropyLoss.forward": [
        "hw4/test_losses.py::TestActionEntropyLoss",
        "hw4/test_published_figures.py::test_entropy_loss",
    ],
    "PolicyTrainer.train_batch": ["hw4/test_training.py::TestTrainBatch", "hw4/test_training.py::TestNan"],
    "part1_aac_hyperparams": ["hw4/test_experiments.py::TestConfigurations::test_shipped_hyperparameters"],
    "part1_aac_long_hyperparams": ["hw4/test_experiments.py::TestConfigurations::test_shipped_hyperparameters_have"],
    "AACPolicyNet.__init__": ["hw4/test_rl_ac.py::TestNet"],
    "AACPolicyNet.forward": ["hw4/test_rl_ac.py::TestNet"],
    "AACPolicyAgent.current_action_distribution": ["hw4/test_rl_ac.py::TestAgent"],
    "AACPolicyGradientLoss.forward": [
        "hw4/test_rl_ac.py::TestLoss",
        "hw4/test_published_figures.py::test_actor_critic_loss",
    ],
    "part1_q1": ["hw4/test_answers.py::test_the_question_is_answered[part1_q1]"],
    "part1_q2": ["hw4/test_answers.py::test_the_question_is_answered[part1_q2]"],
    "part1_q3": ["hw4/test_answers.py::test_the_question_is_answered[part1_q3]"],
}


def not_written() -> dict[str, str]:
    """The exercises that are to do, and where: file:line, by name."""
    return {
        name: f"{file.relative_to(ROOT).as_posix()}:{number}"
        for file in sorted((ROOT / "hw4").glob("*.py"))
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        for name in _NAMED.findall(line)
    }


TO_DO = not_written()


def exercise_in(error: BaseException | None, stderr: str) -> str | None:
    """The exercise to do that an error names, or one that led to it, or a process's last words; None if none does."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    named = [name for text in [*texts, stderr] for name in _NAMED.findall(text) if name in TO_DO]
    return named[0] if named else None


# --- pytest's hooks, which conftest.py takes from here


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.excinfo is not None and (name := exercise_in(call.excinfo.value, report.capstderr)):
        report.exercise = name
        report.longrepr = f"NotImplementedError: {name}: {NOT_WRITTEN}"
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    if report.failed and hasattr(report, "exercise"):
        return "to do", "t", ("TO DO", {"yellow": True})
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    yield  # the exercises come last
    reports = [
        report
        for category, reports in terminalreporter.stats.items()
        for report in reports
        if category and isinstance(report, pytest.TestReport)
    ]
    lines = [summary_line(name, prefixes, reports) for name, prefixes in TESTS_OF.items()]
    if all(line.startswith("done") for line in lines):
        terminalreporter.write_line(f"exercises: all {len(lines)} are done")
    elif TO_DO:
        terminalreporter.section("exercises")
        terminalreporter.write_line("\n".join(lines))


def summary_line(name: str, prefixes: list[str], reports: list[pytest.TestReport]) -> str:
    """What a test run says of an exercise."""
    if name in TO_DO:
        waiting = {report.nodeid for report in reports if getattr(report, "exercise", None) == name}
        return f"to do   {name:<44} {TO_DO[name]:<19} {f'{len(waiting)} tests stop here' if waiting else ''}".rstrip()
    own = [report for report in reports if any(f"tests/{prefix}" in report.nodeid for prefix in prefixes)]
    failed = {report.nodeid for report in own if report.failed and not hasattr(report, "exercise")}
    if failed:
        return f"wrong   {name:<44} {len(failed)} of its {len({report.nodeid for report in own})} tests fail"
    others = sorted({report.exercise for report in own if hasattr(report, "exercise")})
    if others:
        return f"waits   {name:<44} for {', '.join(others)}"
    return f"done    {name}" if own else f"written {name:<44} none of its tests was run"
