"""The run that the notebook opens with: trained, and flown at its stages, into hw4/study/lesson.npz.

    python benchmarks/lesson.py

It takes about two minutes of a core.
"""

from cs236781.files import write_whole
from hw4.experiments import SEED, hyperparams_of
from hw4.study import lesson


def main() -> None:
    """Make the file anew."""
    write_whole(lesson.FILE, lesson.make(hyperparams_of("aac"), SEED))
    print(lesson.FILE)


if __name__ == "__main__":
    main()
