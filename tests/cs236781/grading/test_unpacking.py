import stat
import struct
import zipfile

import pytest

from cs236781.grading import unpacking
from cs236781.grading.unpacking import ArchiveError, unpack


def make(path, *members, compression=zipfile.ZIP_DEFLATED):
    """A zip file of (name or ZipInfo, content) pairs."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


GOOD = ("hw4-1_2/hw4/__init__.py", "x = 1")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "unpacked"
    path.mkdir()
    return path


def everything(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_files_are_unpacked_under_the_ids(tmp_path, folder):
    archive = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/empty/", ""), ("hw4-1_2/results/é.dat", b"\0"))
    assert unpack(archive, folder) == "1_2"
    assert everything(folder) == {"hw4-1_2/hw4/__init__.py", "hw4-1_2/results/é.dat"}
    assert (folder / "hw4-1_2/hw4/__init__.py").read_text() == "x = 1"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../evil", "leads out"),
        ("hw4-1_2/../../evil", "leads out"),
        ("hw4-1_2/..", "leads out"),
        ("/tmp/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("\\\\server\\evil", "absolute"),
        ("hw4-1_2\\..\\..\\evil", "no plain name"),
        ("hw4-1_2//evil", "no plain name"),
        ("hw4-1_2/./evil", "no plain name"),
        ("hw4-1_2/e\x1b[2Jvil", "no plain name"),
        ("hw4-1_2/e\nvil", "no plain name"),
        ("hw4-1_2/" + "x" * 256, "no plain name"),
        ("hw4-1_2/" + "x/" * 40, "no plain name"),
        ("hw4-1_2/hw4/__INIT__.py", "comes twice"),
        ("hw4-1_2/hw4/__init__.py/x", "both a file and a folder"),
        ("hw4-3/x", "one folder hw4-ID_ID"),
        ("x", "one folder hw4-ID_ID"),
    ],
)
def test_names_that_are_refused(tmp_path, folder, name, problem):
    archive = make(tmp_path / "a.zip", GOOD, (name, "evil"))
    with pytest.raises(ArchiveError, match=problem) as caught:
        unpack(archive, folder)
    assert str(caught.value).isprintable()
    assert everything(tmp_path) <= {"a.zip", "unpacked/hw4-1_2/hw4/__init__.py"}


def test_a_name_that_ends_at_a_null_byte_for_some(tmp_path, folder):
    archive = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/a#b", "evil"))
    archive.write_bytes(archive.read_bytes().replace(b"hw4-1_2/a#b", b"hw4-1_2/a\0b"))
    with pytest.raises(ArchiveError, match="no plain name"):
        unpack(archive, folder)


@pytest.mark.parametrize(
    ("kind", "problem"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "special"), (stat.S_IFBLK, "special")]
)
def test_links_and_special_files_are_refused(tmp_path, folder, kind, problem):
    archive = make(tmp_path / "a.zip", GOOD, (special("hw4-1_2/x", kind), "/etc/passwd"))
    with pytest.raises(ArchiveError, match=problem):
        unpack(archive, folder)
    assert everything(folder) == set()


def test_zeros_without_end_are_refused_by_their_ratio(tmp_path, folder):
    archive = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/zeros", bytes(10_000_000)))
    with pytest.raises(ArchiveError, match="times as large as the archive"):
        unpack(archive, folder)
    assert everything(folder) == set()


@pytest.mark.parametrize(
    ("limit", "value", "problem"),
    [("MAX_FILES", 1, "2 files"), ("MAX_FILE_BYTES", 9, "'hw4-1_2/x' has"), ("MAX_BYTES", 14, "together")],
)
def test_too_much_is_refused(tmp_path, folder, monkeypatch, limit, value, problem):
    monkeypatch.setattr(unpacking, limit, value)
    archive = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/x", "0123456789"))
    with pytest.raises(ArchiveError, match=problem):
        unpack(archive, folder)


def test_a_member_that_states_less_than_it_holds(tmp_path, folder):
    archive = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/zeros", bytes(1_234_567)))
    stated = archive.read_bytes()
    assert stated.count(struct.pack("<I", 1_234_567)) == 2  # before the member and in the list at the end
    archive.write_bytes(stated.replace(struct.pack("<I", 1_234_567), struct.pack("<I", 10)))
    with pytest.raises(ArchiveError):
        unpack(archive, folder)
    assert (folder / "hw4-1_2/zeros").stat().st_size <= 10


def test_a_true_size_is_bounded_whatever_was_stated(tmp_path, folder, monkeypatch):
    archive = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/x", bytes(100)))
    monkeypatch.setattr(unpacking, "_check_size", lambda members, archive_bytes: None)
    monkeypatch.setattr(unpacking, "MAX_BYTES", 50)
    with pytest.raises(ArchiveError, match="holds more"):
        unpack(archive, folder)


def test_an_encrypted_archive(tmp_path, folder):
    archive = make(tmp_path / "a.zip", GOOD)
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # its flags, in the list at the end
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="encrypted"):
        unpack(archive, folder)


def test_another_compression(tmp_path, folder):
    with pytest.raises(ArchiveError, match="another way than deflate"):
        unpack(make(tmp_path / "a.zip", GOOD, compression=zipfile.ZIP_LZMA), folder)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04"])
def test_other_files(tmp_path, folder, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match="not a complete zip file"):
        unpack(tmp_path / "a.zip", folder)


def test_an_empty_archive(tmp_path, folder):
    with pytest.raises(ArchiveError, match="empty"):
        unpack(make(tmp_path / "a.zip"), folder)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_archive(tmp_path, folder, share):
    content = make(tmp_path / "a.zip", GOOD, ("hw4-1_2/x", "y" * 1000)).read_bytes()
    (tmp_path / "a.zip").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArchiveError, match="not a complete zip file"):
        unpack(tmp_path / "a.zip", folder)


def test_damaged_data(tmp_path, folder):
    archive = make(tmp_path / "a.zip", ("hw4-1_2/x", "some content"), compression=zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"some content", b"same content"))
    with pytest.raises(ArchiveError, match="not a complete zip file"):
        unpack(archive, folder)


def test_as_a_program_it_prints_the_ids_or_the_reason(tmp_path, folder, capsys):
    assert unpacking.main(str(make(tmp_path / "a.zip", GOOD)), str(folder)) == 0
    assert capsys.readouterr().out == "1_2\n"
    assert unpacking.main(str(make(tmp_path / "b.zip", ("../x", ""))), str(folder)) == unpacking.REFUSED
    assert capsys.readouterr().out == "'../x' leads out of the archive\n"
