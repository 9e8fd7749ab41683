"""A run's folder is made once, and a resumed run is the run that was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from worldmodel.errors import ConfigError
from worldmodel.run_folder import check_new, make_run, new_run, run_config

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parent.parent
FREE = ("episodes", "feedback", "goal")


def config(folder: Path, *, resume: bool = False, **values: Any) -> DictConfig:
    """As Hydra would compose it."""
    defaults = {
        "env": {"name": "cartpole", "size": [64, 64]},
        "title": "in ${env.name}",
        "seed": 0,
        "episodes": 40,
        "goal": None,
    }
    return OmegaConf.create({**defaults, **values, "run": str(folder), "resume": resume})


def test_a_new_runs_configuration_is_written_resolved(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "first"
    given = config(folder, seed=3)
    assert run_config(given, ["seed=3"], free=FREE) is given
    assert not folder.exists()  # nothing is left behind should something else refuse it
    assert make_run(given) == folder
    assert OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")) == {
        "env": {"name": "cartpole", "size": [64, 64]},
        "title": "in cartpole",
        "seed": 3,
        "episodes": 40,
        "goal": None,
        "run": str(folder),
        "resume": False,
    }


def test_a_folder_with_a_run_is_not_written_over(tmp_path: Path) -> None:
    make_run(config(tmp_path, seed=3))
    with pytest.raises(ConfigError, match=r"already holds a run: add resume=true .* or choose another run="):
        run_config(config(tmp_path, seed=4), [], free=FREE)
    assert OmegaConf.load(tmp_path / "config.yaml").seed == 3


def test_without_a_run_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no run to resume \(no config.yaml\): give run=.*, or drop resume"):
        run_config(config(tmp_path / "new", resume=True), [], free=FREE)
    assert not (tmp_path / "new").exists()


def test_a_resumed_run_takes_the_saved_values_and_new_ones_win(tmp_path: Path) -> None:
    started = config(tmp_path, seed=3, episodes=10, env={"name": "reacher", "size": [16, 16]})
    make_run(started)
    asked = config(tmp_path, resume=True, episodes=80, goal="a=b")  # the rest are defaults nobody asked for
    overrides = [f"run={tmp_path}", "resume=true", "episodes=80", "goal='a=b'"]
    resumed = OmegaConf.to_container(run_config(asked, overrides, free=FREE), resolve=True)
    assert resumed == {
        "env": {"name": "reacher", "size": [16, 16]},
        "title": "in reacher",
        "seed": 3,
        "episodes": 80,
        "goal": "a=b",
        "run": str(tmp_path),
        "resume": True,
    }
    make_run(run_config(asked, overrides, free=FREE))
    remembered = OmegaConf.load(tmp_path / "config.yaml")
    assert (remembered.episodes, remembered.resume) == (80, False)  # the next resume need not say it again
    with pytest.raises(
        ConfigError, match="was begun otherwise: seed 3 then, 4 now: resume it as it was, or with resume=anyway"
    ):
        run_config(config(tmp_path, resume=True, seed=4), ["seed=4"], free=FREE)
    newer = config(tmp_path, resume=True, latents="mean")
    with pytest.raises(ConfigError, match=r"config\.yaml lacks latents: resume with the version that began it"):
        run_config(newer, [], free=FREE)


def test_a_run_can_be_moved(tmp_path: Path) -> None:
    make_run(config(tmp_path / "old"))
    (tmp_path / "old").rename(tmp_path / "new")
    moved = tmp_path / "new"
    assert run_config(config(moved, resume=True), [f"run={moved}", "resume=true"], free=FREE).run == str(moved)


def test_a_resumed_run_keeps_its_groups(tmp_path: Path) -> None:
    make_run(config(tmp_path))
    other = config(tmp_path, resume=True, env={"name": "reacher", "size": [64, 64]})
    with pytest.raises(ConfigError, match=r"another choice: env\.name cartpole then, reacher now: leave env= out"):
        run_config(other, ["env=reacher"], free=FREE)
    other.resume = "anyway"
    with pytest.raises(ConfigError, match="begun with another choice"):
        run_config(other, ["env=reacher"], free=FREE)
    other.resume = True
    for override in ("env.name=reacher", "++env.name=reacher"):
        with pytest.raises(ConfigError, match=r"was begun otherwise: env\.name cartpole then, reacher now: resume it"):
            run_config(other, [override], free=FREE)
    same = run_config(config(tmp_path, resume=True), ["resume=true", "env=cartpole"], free=FREE)
    assert same.env.name == "cartpole"


def test_a_resumed_run_keeps_who_plays(tmp_path: Path) -> None:
    """Half a folder of episodes by one policy and half by another would be told as the second's."""
    make_run(config(tmp_path, policy="random", sb3=None, algorithm="PPO"))
    for key, value in (("policy", "sb3"), ("sb3", "other.zip")):
        changed = config(tmp_path, resume=True, **{"policy": "random", "sb3": None, "algorithm": "PPO", key: value})
        with pytest.raises(ConfigError, match=f"was begun otherwise: {key} .* then, {value} now"):
            run_config(changed, [f"{key}={value}"], free=FREE)


def test_a_run_too_short_to_resume_is_made_once(tmp_path: Path) -> None:
    """Its configuration knows no `resume`, and is not given one."""
    given = OmegaConf.create({"name": "drawing", "title": "of ${name}", "run": str(tmp_path / "runs" / "first")})
    folder = new_run(given)
    assert folder == tmp_path / "runs" / "first"
    written = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert written == {"name": "drawing", "title": "of drawing", "run": str(folder)}
    with pytest.raises(ConfigError, match=r"first already holds a run: choose another run=$"):
        new_run(OmegaConf.merge(given, {"name": "other"}))
    assert OmegaConf.load(folder / "config.yaml").name == "drawing"


def test_a_folder_without_a_run_in_it_takes_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert new_run(config(tmp_path)) == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_has_changed_is_allowed_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_run(config(tmp_path, env={"name": "cartpole", "size": [16, 16]}))
    header = {"kind": "header", "versions": {"torch": "1.0"}, "threads": 77}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(header) + "\n")
    now = config(tmp_path, resume=True, seed=4, env={"name": "reacher", "size": [64, 64]})
    given = ["env.name=reacher", "seed=4"]
    with pytest.raises(ConfigError) as refusal:
        run_config(now, given, free=FREE)
    changes = ["env.name cartpole then, reacher now", "seed 0 then, 4 now", f"torch 1.0 then, {torch.__version__} now"]
    assert f"was begun otherwise: {'; '.join(changes)}: resume it" in str(refusal.value)
    now.resume = "anyway"
    resumed = run_config(now, given, free=FREE)
    assert (resumed.env.name, resumed.env.size, resumed.seed, resumed.resume) == ("reacher", [16, 16], 4, "anyway")
    for change in [*changes, "threads 77 then"]:
        assert f"goes on with {change}" in caplog.text
    later = OmegaConf.merge(now, {"latents": "mean"})
    assert isinstance(later, DictConfig)
    assert run_config(later, given, free=FREE).latents == "mean"  # what a later version knows is as by default there
    now.resume = "maybe"
    with pytest.raises(ConfigError, match="resume is 'maybe': set true, false, or anyway"):
        run_config(now, given, free=FREE)


def test_a_model_and_a_budget_are_not_chosen_anew(tmp_path: Path) -> None:
    groups = {"model": {"K": 1, "skips": None}, "budget": "hour"}
    make_run(config(tmp_path, **groups))
    for key, override in (("model", {"K": 2, "skips": None}), ("budget", "quick")):
        now = config(tmp_path, **{**groups, key: override})
        now.resume = "anyway"
        given = "model.K=2" if key == "model" else "budget=quick"
        with pytest.raises(
            ConfigError, match=r"begun with another choice: (model\.K 1 then, 2|budget hour then, quick) now"
        ):
            run_config(now, [given], free=FREE)
    same = config(tmp_path, **groups)
    same.resume = True
    assert run_config(same, ["model.skips=null", "budget=hour"], free=FREE).model.K == 1


def test_a_run_that_another_made_in_the_meantime_is_not_written_over(tmp_path: Path) -> None:
    mine = run_config(config(tmp_path), [], free=FREE)  # there is none yet
    make_run(config(tmp_path, seed=3))
    with pytest.raises(ConfigError, match=r"already holds a run \(config\.yaml\): choose another run="):
        make_run(mine)
    (tmp_path / "config.yaml").unlink()
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match=r"already holds a run \(metrics\.jsonl\)"):
        make_run(mine)


ANOTHER = """
import sys
from pathlib import Path
from omegaconf import OmegaConf
from worldmodel.run_folder import make_run, run_config
made = OmegaConf.create({"run": sys.argv[1], "resume": sys.argv[2] == "resume"})
make_run(run_config(made, [], free=()))
print("running", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(folder: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs there until its standard input closes."""
    command = [sys.executable, "-c", ANOTHER, str(folder), how]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        yield process


def test_one_process_runs_in_a_folder(tmp_path: Path) -> None:
    with another(tmp_path, "new") as first:
        assert first.stdout is not None and first.stdout.readline() == "running\n"
        message = r"another process is running in .*: wait for its end, or choose another run="
        with pytest.raises(ConfigError, match=message):
            run_config(config(tmp_path, resume=True), [], free=FREE)
        with pytest.raises(ConfigError, match=message):
            make_run(config(tmp_path))  # begun side by side, before either has written its configuration
        assert OmegaConf.load(tmp_path / "config.yaml").run == str(tmp_path)
        first.kill()
    with another(tmp_path, "resume") as second:  # a killed one keeps nobody out
        assert second.stdout is not None and second.stdout.readline() == "running\n"


def test_a_folder_that_cannot_be_made_is_told_early(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = config(tmp_path / "file" / "run")
    with pytest.raises(ConfigError, match=r"file is no folder to write in: choose another run="):
        check_new(given)
    with pytest.raises(ConfigError, match=r"run cannot be made \(File exists\): choose another run="):
        make_run(given)
    check_new(config(tmp_path / "new" / "run"))
    assert not (tmp_path / "new").exists()
