import csv

import pytest

from cs236781.grading.sheet import load_roster, roster_notes, student_rows, table, write_sheet
from cs236781.grading.verdicts import ExerciseResult, Finding, Submission

WEIGHTS = {"add": 60.0, "double": 40.0}


def result(name, state="done", passed=1, of=1, hint="", problem=""):
    findings = [Finding(str(n), n < passed, "", "", hint="" if n < passed else hint) for n in range(of)]
    return ExerciseResult(name, state, findings, problem)


def submission(*ids, **values):
    exercises = [result("add"), result("double", "wrong", 1, 4)]
    return Submission(**{"archive": f"hw4-{'_'.join(ids)}.zip", "ids": ids, "exercises": exercises, **values})


def by_id(*submissions, roster=None):
    return {row["id"]: row for row in student_rows(submissions, WEIGHTS, roster)}


@pytest.fixture
def load(tmp_path):
    def load(text, encoding="utf-8"):
        file = tmp_path / "students.csv"
        file.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return load_roster(file)

    return load


# --- the roster


@pytest.mark.parametrize(
    "text",
    [
        "id,name\n012,Dana\n7,Noam Levi\n",
        "\ufeffid,name\r\n012,Dana\r\n7,Noam Levi\r\n",
        "name;group;ID\r\nDana;1;012\r\nNoam Levi;2;7\r\n",
        "id\tname\n012\tDana\n7\tNoam Levi",
        ' Id , Name \n 012 , "Dana"\n\n , \n7,Noam Levi,more,cells\n',
    ],
)
def test_a_roster_has_ids_and_names(load, text):
    assert load(text) == {"012": "Dana", "7": "Noam Levi"}


@pytest.mark.parametrize(
    "text",
    ["012\n7\n", "\ufeff012\r\n 7 \r\n\r\n", "id\n012\n7", "012\r7\r", "id,group\n012,1\n7,2", "id,name\n012\n7"],
)
def test_names_can_be_missing(load, text):
    assert load(text) == {"012": "", "7": ""}


def test_excels_unicode_text_is_read(load):
    assert load("id\tname\r\n012\tדנה\r\n", "utf-16") == {"012": "דנה"}


def test_ids_may_be_letters(load):
    assert load("alice\nbob") == {"alice": "", "bob": ""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no ids"),
        ("\r\n , ,\n", "holds no ids"),
        ("id,name\n", "has a header and no ids"),
        ("student,name\n1,Dana", "has no column id in its first line, only student, name"),
        ("students\n1\n2", "begins with 'students', which is no id as the others are"),
        ("id\n1\n3.1E+08", "has '3.1E+08' as an id in line 3"),
        ("id,name\n1,Dana\n,Noam", "has '' as an id in line 3"),
        ("id\n1\n2\n1", "has the id 1 again in line 4"),
        ('id,name\n1,"Dana\n2,Noam', "is no CSV file"),
        ("id,name\n1,דנה".encode("cp1255"), "is not in UTF-8: save it again"),
        (b"\xff\xfei", "is not in UTF-8"),
        (b"id\n1\0", r"'1\x00' as an id"),
        ("id,name\n1," + "x" * 200_000, "is no CSV file"),
    ],
)
def test_a_bad_roster_is_one_clear_line(load, text, said):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        load(text)
    assert said in str(error.value)
    assert "students.csv" in str(error.value)


# --- the rows


def test_both_students_of_a_pair_have_a_row():
    rows = student_rows([submission("1", "2"), submission("3")], WEIGHTS)
    assert [(row["id"], row["archive"]) for row in rows] == [
        ("1", "hw4-1_2.zip"),
        ("2", "hw4-1_2.zip"),
        ("3", "hw4-3.zip"),
    ]


def test_marks_are_by_exercise_and_in_all():
    row = by_id(submission("1", whole=(3, 4)))["1"]
    assert row == {
        "id": "1",
        "archive": "hw4-1.zip",
        "status": "ok",
        "mark": "70",
        "add": "60",
        "double": "10",
        "whole code": "0.75",
        "warnings": "",
    }


def test_the_roster_gives_order_names_and_those_who_handed_nothing_in():
    rows = student_rows([submission("9"), submission("2", "1")], WEIGHTS, {"1": "Dana", "02": "Noam", "5": ""})
    assert [(row["id"], row["name"], row["status"], row["mark"], row["warnings"]) for row in rows] == [
        ("1", "Dana", "ok", "70", ""),
        ("02", "Noam", "nothing handed in", "0", ""),
        ("5", "", "nothing handed in", "0", ""),
        ("9", "", "ok", "70", "the id is not in the roster"),
        ("2", "", "ok", "70", "the id is not in the roster, but 02 is"),
    ]
    assert rows[1]["add"] == rows[1]["whole code"] == rows[1]["archive"] == ""


def test_a_roster_without_names_makes_no_column():
    assert "name" not in by_id(submission("1"), roster={"1": ""})["1"]


def test_a_student_in_two_archives_is_told_in_both_rows():
    rows = student_rows([submission("1", "2"), submission("3"), submission("2", archive="b/hw4-2.zip")], WEIGHTS)
    assert [(row["id"], row["warnings"]) for row in rows] == [
        ("1", ""),
        ("2", "also in b/hw4-2.zip: decide which counts"),
        ("2", "also in hw4-1_2.zip: decide which counts"),
        ("3", ""),
    ]


def test_an_archive_without_ids_has_a_row_at_the_end():
    rows = student_rows([submission(archive="x.zip", status="broken archive", exercises=()), submission("1")], WEIGHTS)
    assert [(row["id"], row["archive"], row["mark"]) for row in rows] == [("1", "hw4-1.zip", "70"), ("", "x.zip", "0")]
    assert rows[1]["warnings"] == "whose it is, is not known: it has no ids"


def test_the_archives_own_warnings_come_first():
    row = by_id(submission("1", warnings=["Its folder is hw4-2."]), roster={"2": ""})["1"]
    assert row["warnings"] == "Its folder is hw4-2; the id is not in the roster"


def test_results_have_columns_with_their_bars():
    one = submission("1", results={"vpg": {"best_mean_reward": -9.876}, "cpg": {"best_mean_reward": 10.5, "bar": 10.0}})
    two = submission("2", results={"cpg": {"best_mean_reward": 9.5, "bar": 10.0}})
    rows = by_id(one, two, submission("3"))
    columns = ["vpg: best mean reward", "cpg: best mean reward", "cpg: bar"]
    assert {student: [row[column] for column in columns] for student, row in rows.items()} == {
        "1": ["-9.88", "10.5", "passed"],
        "2": ["", "9.5", "not passed"],
        "3": ["", "", ""],
    }
    assert not any("vpg: bar" in row for row in rows.values())


def test_an_archive_cannot_fill_the_sheet_with_columns():
    common = {"cpg": {"best_mean_reward": 1.0}}
    many = {f"own{n}": {"best_mean_reward": 1.0} for n in range(1000)} | {"=1+1": {}, "a,b": {}, "x" * 100: {}}
    row = by_id(submission("1", results=many | common), submission("2", results=common))["1"]
    columns = [name.partition(":")[0] for name in row if name.endswith(": best mean reward")]
    assert len(columns) == 12
    assert columns[0] == "cpg"


# --- the file


def written(tmp_path, rows, delimiter=","):
    write_sheet(tmp_path / "marks.csv", rows)
    with (tmp_path / "marks.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_the_file_is_read_back(tmp_path):
    rows = student_rows([submission("1", status='a, "b"')], WEIGHTS, {"1": "דנה", "2": "Noam"})
    assert written(tmp_path, rows) == [list(rows[0]), list(rows[0].values()), list(rows[1].values())]
    assert (tmp_path / "marks.csv").read_bytes().startswith(b"\xef\xbb\xbfid,name,")


def test_a_sheet_without_rows_has_a_header(tmp_path):
    assert written(tmp_path, student_rows([], WEIGHTS)) == [["id"]]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "a;=1", "a, =1", 'a"=1', "\0=1"]
)
def test_no_cell_is_a_formula(tmp_path, text):
    """Neither where the columns' separator is the comma, nor where it is the semicolon."""
    hostile = submission(text, archive=text, status=text, warnings=[text])
    for delimiter in ",;":
        for row in written(tmp_path, student_rows([hostile], WEIGHTS, {text: text}), delimiter):
            assert [cell for cell in row if cell.strip('" \t\r\n\0').startswith(("=", "+", "-", "@", "\uff1d"))] == []


def test_negative_rewards_stay_numbers(tmp_path):
    rows = student_rows([submission("1", results={"cpg": {"best_mean_reward": -5.0}})], WEIGHTS)
    assert "-5" in written(tmp_path, rows)[1]


def test_long_texts_are_cut(tmp_path):
    long = "x" * 1_000_000
    rows = student_rows([submission(long, archive=long, status=long, warnings=[long] * 9)], WEIGHTS, {long: long})
    assert all(len(cell) < 1100 for cell in rows[0].values())


# --- the terminal


def test_the_table_has_a_line_for_each_archive():
    wrong = [
        result("a", "to do", 0, 1),
        result("b", "wrong", 0, 2, hint="This is the sum: take the mean."),
        result("c", "broken", 0, 0, problem="SyntaxError: no"),
        result("d"),
    ]
    lines = table([submission("1", "2", exercises=wrong), submission("3")], WEIGHTS | {"d": 7.5}).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "ids mark status not done",
        "1_2 7.5 ok b (This is the sum); c (SyntaxError: no); a (to do)",
        "3 70 ok double (wrong)",
    ]


def test_only_the_first_that_are_not_done_are_named():
    line = table([submission("1", exercises=[result(f"e{n}", "to do", 0, 1) for n in range(9)])], WEIGHTS)
    assert line.endswith("e0 (to do); e1 (to do); e2 (to do); e3 (to do); and 5 more")


def test_hostile_text_moves_nothing_in_the_terminal():
    hostile = "\x1b[2J\nok\r" + "y" * 9999
    shown = table([submission(hostile, status=hostile, exercises=[result("a", "wrong", 0, 1, hostile)])], WEIGHTS)
    assert len(shown.splitlines()) == 2
    assert all(character.isprintable() for character in shown.replace("\n", ""))
    assert len(shown) < 1500


def test_a_broken_archive_is_called_by_its_name():
    assert table([submission(archive="x.zip", exercises=(), status="broken archive: empty")], WEIGHTS).splitlines()[
        1:
    ] == ["x.zip       0  broken archive: empty"]


def test_a_table_of_nothing_is_empty():
    assert table([], WEIGHTS) == ""


def test_what_the_rows_say_of_the_students():
    submissions = [submission("1", "2"), submission("2", archive="other.zip"), submission("9")]
    rows = student_rows(submissions, WEIGHTS, {"1": "Dana", "2": "Noam", "3": "Tal"})
    assert roster_notes(rows) == [
        "1 handed nothing in: 3 Tal",
        "1 not in the roster: 9",
        "1 in more than one archive: 2 Noam",
    ]
