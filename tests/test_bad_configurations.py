"""Kinds of bad configuration: each ends a real command with status 2 and one line that says what to set."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import Command, running
from omegaconf import OmegaConf

import configs

pytestmark = pytest.mark.faults

TRAIN, SUMMARY, EVALUATE = "worldmodel.train", "worldmodel.summary", "worldmodel.evaluate"
VIDEOS, COLLECT = "worldmodel.import_videos", "agents.collect"
COMMON = {
    TRAIN: ("data=data", "run=run", "accelerator=cpu"),
    SUMMARY: ("model=svg",),
    EVALUATE: ("checkpoint=nowhere", "run=run"),
    VIDEOS: ("videos=clips", "data=new"),
    COLLECT: ("env=gymnasium", "env.id=CartPole-v1", "run=run", "accelerator=cpu"),
}
KINDS = {
    "text for a number": (TRAIN, "updates=many", "updates is 'many': set a whole number >= 1"),
    "a negative number": (COLLECT, "seed=-1", "seed is -1: set a whole number >= 0"),
    "a fraction for a count": (TRAIN, "save_every=1.5", "save_every is 1.5: set a whole number >= 1"),
    "true for a number": (TRAIN, "updates=true", "updates is True: set a whole number >= 1"),
    "a list for a number": (VIDEOS, "bound=[1]", "bound is [1]: set a finite number > 0"),
    "null for a number": (VIDEOS, "test=null", "test is None: set a finite number"),
    "an infinite number": (SUMMARY, "train.learning_rate=1e999", "train.learning_rate is inf: set a finite number"),
    "no number": (COLLECT, "exploration=nan", "exploration is nan: set a finite number"),
    "a number for a path": (TRAIN, "run=7", "run is 7: set text, in quotes twice: run=\"'7'\""),
    "a list of numbers for paths": (TRAIN, "data=[1]", "data is 1: set text"),
    "null for a path": (TRAIN, "data=null", "data is None: set text"),
    "a mapping for a choice": (EVALUATE, "feedback={a: 1}", "feedback is {'a': 1}: set text"),
    "a name too long": (TRAIN, "data=" + "x" * 300, "and has a name of 300 bytes: files take 255"),
    "empty text": (VIDEOS, "name=", "name is '': set text"),
    "no value": (TRAIN, "data=???", "data is missing: set data="),
    "no machine's size": (SUMMARY, "model.hidden=1000000000000", "set a whole number >= 1 and <= 1048576"),
    "a share out of range": (TRAIN, "held_out=1", "held_out is 1: set the share of episodes in [0, 1)"),
    "an unknown choice": (SUMMARY, "model.layer=round", "model.layer is 'round': set one of dense, conv"),
    "a contradiction": (SUMMARY, "model.backbone=light model.skips=true", "the light backbone has no maps for layer"),
    "an empty list": (SUMMARY, "model.stages=[]", "model.stages is (): give one (channels, blocks) or more"),
    "lists too shallow": (SUMMARY, "model.stages=[8,1]", "model cannot be used as given"),
    "a key too few": (SUMMARY, "~model.hidden", "missing 1 required positional argument: 'hidden'"),
    "a key too many": (SUMMARY, "+model.dropout=0.1", "unexpected keyword argument 'dropout'"),
    "null for a group": (SUMMARY, "train.weights=null", "train cannot be used as given"),
    "text for flags": (SUMMARY, "model.skips=perhaps", "model.skips is 'perhaps': set true or false"),
    "sides that do not divide": (SUMMARY, "size=[40,40]", "frames are 40x40: this model needs sides that are"),
    "three sides": (VIDEOS, "size=[16,16,3]", "size is [16, 16, 3]: set [height, width]"),
    "counts that exceed": (COLLECT, "policy=simulator planner.elites=9999", "elites (9999) exceed candidates"),
    "what is missing beside": (COLLECT, "policy=sb3", "policy=sb3 lacks sb3: set sb3= to the path of one"),
    "a zip that is not trusted": (COLLECT, "policy=sb3 sb3=a.zip", "if you trust whoever made it, set trusted=true"),
    "weights without a hash": (EVALUATE, "weights.vgg16=a.zip", "weights.vgg16_sha256 is not set: it is not loaded"),
    "weights of another hash": (EVALUATE, "weights.vgg16=a.zip weights.vgg16_sha256=ab", "weights.vgg16_sha256 is ab"),
    "a reference to nothing": (TRAIN, "data=${nowhere}", "Interpolation key 'nowhere' not found"),
    "an unset variable": (TRAIN, "data=${oc.env:NOT_SET_ANYWHERE}", "variable 'NOT_SET_ANYWHERE' not found"),
    "a reference to itself": (VIDEOS, "name=${name}", "name"),
    "a folder that is missing": (TRAIN, "data=nowhere", "nowhere is not a folder: collect episodes"),
    "a file for a folder": (VIDEOS, "videos=a.zip", "a.zip is not a folder: give one with videos"),
    "a pattern that leads out": (VIDEOS, "pattern=/etc/*", "pattern is '/etc/*' (Non-relative patterns"),
    "another machine": (TRAIN, "accelerator=quantum", "accelerator quantum, devices 1, precision"),
    "two devices": (TRAIN, "devices=2", "devices is 2: one device fits and acts, set devices=1"),
    "an unknown precision": (TRAIN, "precision=float8", "precision is 'float8': set auto or one of"),
    "an unknown environment": (COLLECT, "env.id=Nonsense-v0", "Gymnasium has no environment 'Nonsense-v0'"),
    "a module that is missing": (COLLECT, "env.id=no_such_module:Env-v0", "no_such_module"),
    "an environment's unknown setting": (COLLECT, "+env.kwargs.colour=red", "colour"),
    "an unknown setting": (TRAIN, "trian.batch=3", "there is no setting trian.batch: did you mean train.batch"),
    "a setting like no other": (SUMMARY, "xyz=3", "there is no setting xyz: configs/summary.yaml and its"),
    "an unknown setting that is added": (COLLECT, "+episode=3", "there is no setting episode: did you mean episodes"),
    "an unknown group that is added": (SUMMARY, "++trian.batch=3", "there is no setting trian: did you mean train"),
    "a setting that is taken away": (COLLECT, "~seed", "seed is missing: leave ~seed out"),
    "another choice's setting": (SUMMARY, "model=rssm model.critics=1", "there is no setting model.critics: configs/"),
    "a mistyped one of a choice": (COLLECT, "planner=mppi planner.temprature=1", "did you mean planner.temperature"),
    "a choice that is added": (SUMMARY, "+model=rssm", "model is chosen already: choose another by model=, without +"),
    "weights of no network": (
        EVALUATE,
        "+weights.vgg=a.zip",
        "weights has vgg, which nothing measures with",
    ),
    "a choice of a group": (SUMMARY, "model=dreamer", "model is 'dreamer': set one of cnn, control, lstm, rssm, svg"),
    "a number for a group": (SUMMARY, "train=3", "the settings cannot be composed (Config group override must be"),
    "what cannot be read": (COLLECT, "env.size=[64,64", "'env.size=[64,64' cannot be read: write KEY=VALUE"),
    "no value at all": (COLLECT, "episodes", "'episodes' cannot be read: write KEY=VALUE"),
    "an unknown configuration": (COLLECT, "--config-name=none", "Cannot find primary config 'none'"),
    "a list for a backend": (COLLECT, "env.backend=[gymnasium]", "env.backend is ['gymnasium']: set one of"),
    "a run that is there": (COLLECT, "run=taken", "taken already holds a run: add resume=true"),
    "a run's damaged configuration": (COLLECT, "run=taken resume=true", "cannot be read as a run's configuration"),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Command]]:
    """Each command, in a folder that holds a zip, a folder of nothing, and a run whose configuration is damaged."""
    home = tmp_path_factory.mktemp("home")
    for name in ("data", "clips", "taken"):
        (home / name).mkdir()
    (home / "taken" / "config.yaml").write_text("seed: !!python/object/apply:os.system ['touch harmed']\n")
    with zipfile.ZipFile(home / "a.zip", "w") as archive:
        archive.writestr("data", "{}")
    with ExitStack() as stack:
        yield {module: stack.enter_context(running(module, home, MUJOCO_GL="disabled")) for module in COMMON}
    assert [path.parent.name for path in home.rglob("config.yaml")] == ["taken"]  # no run is left behind
    assert not (home / "new").exists() and not (home / "harmed").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_configuration_is_one_line(commands: dict[str, Command], kind: str) -> None:
    module, overrides, says = KINDS[kind]
    own = overrides.split(" ") if "{" not in overrides else [overrides]
    named = {override.partition("=")[0].lstrip("+~") for override in own}
    common = [override for override in COMMON[module] if override.partition("=")[0] not in named]
    status, _, said = commands[module](*common, *own)
    assert status == 2, said
    (line,) = said.splitlines()
    print(f"{kind:<34}{module:<26}{overrides}\n    {line}")
    assert line.startswith("error: ") and says in line and len(line) < 1000


def test_no_command_has_hydra_make_a_folder() -> None:
    """It would, before a command could say in a line why it cannot be made."""
    found = {path.name: OmegaConf.load(path) for path in Path(configs.__file__).parent.glob("*.yaml")}
    own = {name: config.hydra for name, config in found.items() if "hydra" in config}
    assert set(found) - set(own) == {"demo.yaml", "svg_prime.yaml"}  # which begin with another
    assert all(hydra.run.dir == "." and hydra.output_subdir is None for hydra in own.values())


def test_there_are_enough_kinds() -> None:
    assert len(KINDS) >= 20 and {module for module, *_ in KINDS.values()} == set(COMMON)
