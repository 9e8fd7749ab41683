"""A run says where it came from, and is told what has changed since."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from worldmodel import provenance as module
from worldmodel.provenance import last_origin, other_machine, other_versions, processor, provenance, versions


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_provenance_names_commit_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "records.py"
    monkeypatch.setattr(module, "__file__", str(source))  # as if the package lay there
    assert (provenance({})["commit"], provenance({})["dirty"]) == ("", False)  # no repository

    source.touch()
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--no-gpg-sign", "--message", "first")
    clean = provenance({})
    assert (clean["commit"], clean["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    source.write_text("changed")
    assert provenance({})["dirty"] is True


def test_provenance_names_command_versions_machine_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["env.size=[16, 16]", "run=it's here"]
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    header = provenance({"seed": 3})
    assert set(header) == {"commit", "dirty", "machine", "threads", "command", "versions", "config"}
    command = shlex.split(header["command"])
    assert command[0] == "python" and command[-2:] == arguments  # can be pasted into a shell
    assert header["config"] == {"seed": 3}
    assert set(header["versions"]) == {"python", *module.DISTRIBUTIONS}
    assert header["versions"]["torch"] == version("torch")
    assert processor() and processor() in header["machine"]


def test_the_last_origin_is_how_a_run_was_last_resumed(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert last_origin(metrics) == {}
    metrics.write_text('{"kind": "header", "threads": 1}\n{"kind": "fit"}\n{"kind": "resume", "threads": 2}\n')
    assert last_origin(metrics)["threads"] == 2
    with metrics.open("a") as file:
        file.write('{"kind": "resume", "thre')  # killed while writing
    assert last_origin(metrics)["threads"] == 2


def test_what_is_no_longer_as_it_was_is_named_with_both() -> None:
    origin = provenance({})
    assert other_versions(origin) == other_machine(origin) == []
    assert other_versions({}) == other_machine({}) == []
    now = versions()
    origin["versions"] |= {"torch": "1.0", "mujoco": "2.0", "forgotten": "3.0"}
    origin |= {"threads": 77, "machine": "Linux x86_64, Abacus, 1 cores"}
    assert other_versions(origin) == [f"torch 1.0 then, {now['torch']} now", f"mujoco 2.0 then, {now['mujoco']} now"]
    found = other_machine(origin)
    assert [difference.split()[0] for difference in found] == ["machine", "threads"] and "Abacus" in found[0]
