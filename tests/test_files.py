"""Files and folders are whole or absent, and damage is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from worldmodel.errors import CheckpointError
from worldmodel.files import (
    MANIFEST,
    atomic_folder,
    is_leftover,
    make_folder,
    read_manifest,
    remove_folder,
    remove_leftovers,
    temporary_path,
    verify_manifest,
    whole_folder,
    write_atomic,
)

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # SHA-256 of "hello", as published


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "parent" / "whole") as temporary:
        (temporary / "a.txt").write_text("hello")
        (temporary / "deep").mkdir()
        (temporary / "deep" / "b.bin").write_bytes(bytes(range(256)))
    return tmp_path / "parent" / "whole"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced_without_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second" and names(tmp_path) == ["file"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_new_data_reaches_the_disk_before_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace", "rename"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))[1])
    write_atomic(tmp_path / "file", b"data")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, its folder
    calls.clear()
    with atomic_folder(tmp_path / "folder") as temporary:
        (temporary / "a").write_text("a")
        (temporary / "b").write_text("b")
    # both files and their folder; the manifest as any file, with the folder; the folder's name; the parent
    assert calls == [*["fsync"] * 4, "replace", "fsync", "rename", "fsync"]
    calls.clear()
    make_folder(tmp_path / "new" / "deep")
    assert calls == ["fsync", "fsync"]  # of each parent that a name was added to
    with whole_folder(tmp_path / "whole") as temporary:
        (temporary / "a").write_text("a")
    assert calls[2:] == ["fsync", "fsync", "rename", "fsync"]  # the file, its folder, its name, the parent


def test_a_folder_appears_whole_with_the_known_hash_of_each_file(folder: Path) -> None:
    assert names(folder) == ["a.txt", "deep", MANIFEST] and names(folder.parent) == ["whole"]
    listed = json.loads((folder / MANIFEST).read_text())["sha256"]
    assert listed["a.txt"] == HELLO and set(listed) == {"a.txt", "deep/b.bin"}
    verify_manifest(folder)


def test_a_folder_has_no_name_until_it_is_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "whole") as temporary:
        (temporary / "a").write_text("a")
        assert not (tmp_path / "whole").exists()
        assert is_leftover(temporary) and temporary.parent == tmp_path


def test_an_exception_inside_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_folder(tmp_path / "whole") as temporary:
        (temporary / "a").write_text("a")
        raise KeyError
    assert names(tmp_path) == []


def test_an_existing_folder_is_an_error_and_stays(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"whole already exists: choose"), atomic_folder(folder):
        pass
    verify_manifest(folder)


@pytest.mark.parametrize("name", ["a.txt", "deep/b.bin"])
def test_any_flipped_bit_is_found_and_its_file_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"whole/{name} is damaged"):
        verify_manifest(folder)
    other = {"a.txt", "deep/b.bin"} - {name}
    verify_manifest(folder, other)
    with pytest.raises(CheckpointError, match=rf"whole/{name} is damaged"):
        verify_manifest(folder, [name])


def test_missing_cut_off_and_unlisted_files_are_named(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"manifest.json does not list c\.txt"):
        verify_manifest(folder, ["c.txt"])
    (folder / "deep" / "b.bin").write_bytes(bytes(range(255)))
    with pytest.raises(CheckpointError, match=r"deep/b\.bin is damaged"):
        verify_manifest(folder)
    (folder / "a.txt").unlink()
    with pytest.raises(CheckpointError, match=r"a\.txt is missing"):
        verify_manifest(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '"\xff', '{"schema_version": 1}'),
        *('{"schema_version": 1, "sha256": 3}', '{"schema_version": 1, "sha256": {"a.txt": 3}}'),
    ],
)
def test_a_manifest_that_is_none_is_an_error(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        verify_manifest(folder)


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"schema_version": 2, "sha256": {}}')
    with pytest.raises(CheckpointError, match="has schema version 2, this code reads 1: use the code that wrote it"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["../outside", "deep/../../outside", "ABSOLUTE", "link"])
def test_a_manifest_cannot_lead_out_of_its_folder(folder: Path, name: str) -> None:
    outside = folder.parent / "outside"
    outside.write_text("hello")
    (folder / "link").symlink_to(outside)
    name = str(outside) if name == "ABSOLUTE" else name
    (folder / MANIFEST).write_text(json.dumps({"schema_version": 1, "sha256": {name: HELLO}}))
    with pytest.raises(CheckpointError, match="lies outside"):
        verify_manifest(folder)


@pytest.mark.parametrize(
    "name",
    ["a\0b", "x" * 10**6, "deep/" * 10**5, "\ud800", "loop", "x" * 300, "a\nb", "", ".", "deep", "pipe", "device"],
)
def test_names_that_are_no_files_are_refused(folder: Path, name: str) -> None:
    """Too long, half a letter, links in circles, folders, and what one would read from forever."""
    (folder / "loop").symlink_to("loop")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / MANIFEST).write_text(json.dumps({"schema_version": 1, "sha256": {name: HELLO}}))
    with pytest.raises(CheckpointError) as error:
        verify_manifest(folder)
    told = {"device": "lies outside", "deep": "is missing", "pipe": "is missing", "": "is missing", ".": "is missing"}
    told |= {"a\nb": "is missing"}
    assert told.get(name, "cannot be a file's name") in str(error.value) and len(str(error.value)) < 500


def test_a_link_within_the_folder_is_a_file_like_any_other(folder: Path) -> None:
    (folder / "link").symlink_to("a.txt")
    (folder / MANIFEST).write_text(json.dumps({"schema_version": 1, "sha256": {"link": HELLO}}))
    verify_manifest(folder)


def test_leftovers_are_told_from_what_people_name(tmp_path: Path) -> None:
    path = tmp_path / "000012.safetensors"
    assert temporary_path(path).parent == tmp_path and temporary_path(path) != temporary_path(path)
    for kept in ("000012.safetensors", ".hidden", "notes.partial", ".notes.partial"):
        assert not is_leftover(tmp_path / kept)
        (tmp_path / kept).write_text("mine")
    temporary_path(path).write_text("half")
    temporary_path(tmp_path / "folder").mkdir()
    (next(path for path in tmp_path.iterdir() if path.is_dir()) / "file").write_text("half")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(["000012.safetensors", ".hidden", "notes.partial", ".notes.partial"])


def test_a_leftover_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    temporary_path(tmp_path / "x").symlink_to(tmp_path / "precious")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["precious"] and names(tmp_path / "precious") == ["file"]


def test_a_deletion_stopped_half_way_leaves_a_leftover(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(folder)
    assert not folder.exists() and len(names(folder.parent)) == 1
    remove_leftovers(folder.parent)
    assert names(folder.parent) == []
