"""The lesson's films say what is seen in them."""

from hw4.study import lesson, lesson_films


def test_each_policy_has_a_film_that_says_what_happened(tmp_path):
    run = lesson.load()
    films = lesson_films.film_policies(run._replace(stages=run.stages[:1], between={}), tmp_path, seed=1)
    [(what, film)] = films.items()
    assert what.startswith("after 4 episodes: -")
    assert what.endswith(", crash")
    assert film.read_bytes()[4:8] == b"ftyp"
