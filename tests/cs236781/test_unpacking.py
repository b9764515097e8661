import io
import stat
import struct
import zipfile

import pytest

from cs236781 import unpacking
from cs236781.unpacking import ArchiveError, unpack

GOOD = ("hw4-1_2/hw4/__init__.py", "x = 1")


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    """A zip file's bytes, of (name or ZipInfo, content) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


@pytest.fixture
def unpack_all(tmp_path):
    """Unpack an archive's bytes into a folder; returns what unpack does, and the files by name."""
    (tmp_path / "unpacked").mkdir()

    def unpack_bytes(content):
        (tmp_path / "a.zip").write_bytes(content)
        ids = unpack(tmp_path / "a.zip", tmp_path / "unpacked")
        return ids, unpacked(tmp_path)

    return unpack_bytes


def unpacked(tmp_path):
    root = tmp_path / "unpacked"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_files_are_unpacked_under_the_ids(unpack_all):
    ids, files = unpack_all(zipped(GOOD, ("hw4-1_2/empty/", ""), ("hw4-1_2/results/é.dat", b"\0")))
    assert ids == "1_2"
    assert files == {"hw4-1_2/hw4/__init__.py": b"x = 1", "hw4-1_2/results/é.dat": b"\0"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../evil", "leads out"),
        ("hw4-1_2/../../evil", "leads out"),
        ("hw4-1_2/..", "leads out"),
        ("/tmp/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("\\\\server\\evil", "absolute"),
        ("hw4-1_2\\..\\..\\evil", "not a plain name"),
        ("hw4-1_2//evil", "not a plain name"),
        ("hw4-1_2/./evil", "not a plain name"),
        ("hw4-1_2/e\x1b[2Jvil", "not a plain name"),
        ("hw4-1_2/e\nvil", "not a plain name"),
        ("hw4-1_2/" + "x" * 256, "too long"),
        ("hw4-1_2/" + "שלום" * 40, "too long"),
        ("hw4-1_2/" + "x/" * 40, "30 folders deep"),
        ("hw4-1_2/" + ("x" * 200 + "/") * 6, "too long"),
        ("hw4-1_2/hw4/__INIT__.py", "comes twice"),
        ("hw4-1_2/HW4/__init__.py/x", "both a file and a folder"),
        ("hw4-1_2/hw4/__init__.py/x", "both a file and a folder"),
        ("hw4-3/x", "it must hold one folder"),
        ("x", "it must hold one folder"),
        (special("hw4-1_2/x", stat.S_IFLNK), "a link"),
        (special("hw4-1_2/x", stat.S_IFIFO), "special"),
        (special("hw4-1_2/x", stat.S_IFBLK), "special"),
    ],
)
def test_members_that_are_refused(unpack_all, tmp_path, name, problem):
    with pytest.raises(ArchiveError, match=problem) as caught:
        unpack_all(zipped(GOOD, (name, "evil")))
    assert str(caught.value).isprintable()
    assert unpacked(tmp_path).keys() <= {GOOD[0]}
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "unpacked"}


@pytest.mark.parametrize(
    "name", ["Screenshot at 4.42\u202fPM.png", "a\u00a0b", "שלום\u200f.txt", "e\u0301", "a:b", "🌙"]
)
def test_names_that_are_plain(unpack_all, name):
    assert unpack_all(zipped(GOOD, (f"hw4-1_2/{name}", "x")))[1][f"hw4-1_2/{name}"] == b"x"


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/hw4-1_2/._x",
        "__MACOSX/",
        ".DS_Store",
        "hw4-1_2/.DS_Store",
        "hw4-1_2/._rl_pg.py",
        "hw4-1_2/hw4/__MACOSX/x",
    ],
)
def test_what_macos_adds_is_passed_over(unpack_all, name):
    assert unpack_all(zipped(GOOD, (name, "x"))) == ("1_2", {GOOD[0]: b"x = 1"})


def made_by_windows(name):
    info = zipfile.ZipInfo(name)
    info.create_system = 0
    return info


def test_backslashes_of_windows_are_between_folders(unpack_all):
    _, files = unpack_all(zipped(GOOD, (made_by_windows("hw4-1_2\\results\\a.dat"), "x")))
    assert files["hw4-1_2/results/a.dat"] == b"x"


@pytest.mark.parametrize("name", ["hw4-1_2\\..\\..\\evil", "\\evil", "C:\\evil"])
def test_backslashes_of_windows_that_lead_elsewhere(unpack_all, tmp_path, name):
    with pytest.raises(ArchiveError, match=r"leads out|absolute"):
        unpack_all(zipped(GOOD, (made_by_windows(name), "x")))
    assert unpacked(tmp_path) == {}


def test_accents_that_are_the_same_on_macos_come_twice(unpack_all):
    with pytest.raises(ArchiveError, match="comes twice"):
        unpack_all(zipped(("hw4-1/é", "x"), ("hw4-1/e\u0301", "y")))


def test_a_name_that_ends_at_a_null_byte_for_some(unpack_all):
    content = zipped(GOOD, ("hw4-1_2/a#b", "evil"))
    with pytest.raises(ArchiveError, match="not a plain name"):
        unpack_all(content.replace(b"hw4-1_2/a#b", b"hw4-1_2/a\0b"))


def test_zeros_without_end_are_refused_by_their_ratio(unpack_all, tmp_path):
    with pytest.raises(ArchiveError, match="times as large as the archive"):
        unpack_all(zipped(GOOD, ("hw4-1_2/zeros", bytes(10_000_000))))
    assert unpacked(tmp_path) == {}


@pytest.mark.parametrize(
    ("limit", "value", "problem"),
    [("MAX_FILES", 1, "2 files"), ("MAX_FILE_BYTES", 9, "'hw4-1_2/x' has"), ("MAX_BYTES", 14, "together")],
)
def test_too_much_is_refused(unpack_all, monkeypatch, limit, value, problem):
    monkeypatch.setattr(unpacking, limit, value)
    with pytest.raises(ArchiveError, match=problem):
        unpack_all(zipped(GOOD, ("hw4-1_2/x", "0123456789")))


def test_a_member_that_states_less_than_it_holds(unpack_all, tmp_path):
    content = zipped(GOOD, ("hw4-1_2/zeros", bytes(1_234_567)))
    assert content.count(struct.pack("<I", 1_234_567)) == 2  # before the member and in the list at the end
    with pytest.raises(ArchiveError):
        unpack_all(content.replace(struct.pack("<I", 1_234_567), struct.pack("<I", 10)))
    assert len(unpacked(tmp_path)["hw4-1_2/zeros"]) <= 10


def test_a_true_size_is_bounded_whatever_was_stated(unpack_all, monkeypatch):
    monkeypatch.setattr(unpacking, "check_sizes", lambda sizes: None)
    monkeypatch.setattr(unpacking, "MAX_BYTES", 50)
    with pytest.raises(ArchiveError, match="holds more"):
        unpack_all(zipped(GOOD, ("hw4-1_2/x", bytes(100))))


def encrypted():
    content = bytearray(zipped(GOOD))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # its flags, in the list at the end
    return bytes(content)


def misplaced():
    """Its last record says that the list of members ends far beyond it, so that members begin before the file."""
    content = bytearray(zipped(GOOD))
    where = content.index(b"PK\x05\x06") + 16
    content[where : where + 4] = (2**32 - 2).to_bytes(4, "little")
    return bytes(content)


LONG = zipped(GOOD, ("hw4-1_2/x", "y" * 1000))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (encrypted(), "encrypted"),
        (zipped(GOOD, compression=zipfile.ZIP_LZMA), "not compressed by deflate"),
        (zipped(), "empty"),
        (b"", "not a complete zip file"),
        (b"not a zip", "not a complete zip file"),
        (b"PK\x03\x04", "not a complete zip file"),
        *((LONG[: len(LONG) * percent // 100], "not a complete zip file") for percent in (30, 60, 95)),
        (zipped(GOOD, compression=zipfile.ZIP_STORED).replace(b"x = 1", b"x = 2"), "not a complete zip file"),
        (misplaced(), "not a complete zip file"),
    ],
    # By default a part of an id is the archive, and so the time at which a worker made it.
    ids=["encrypted", "lzma", "no member", "no byte", "text", "start", "30%", "60%", "95%", "changed", "misplaced"],
)
def test_other_files(unpack_all, content, problem):
    with pytest.raises(ArchiveError, match=problem):
        unpack_all(content)


def test_as_a_program_it_prints_the_ids_or_the_reason(tmp_path, capsys):
    (tmp_path / "a.zip").write_bytes(zipped(GOOD))
    (tmp_path / "b.zip").write_bytes(zipped(("../x", "")))
    assert unpacking.main(str(tmp_path / "a.zip"), str(tmp_path)) == 0
    assert capsys.readouterr().out == "1_2\n"
    assert unpacking.main(str(tmp_path / "b.zip"), str(tmp_path)) == unpacking.REFUSED
    assert capsys.readouterr().out == "'../x' leads out of the archive\n"
