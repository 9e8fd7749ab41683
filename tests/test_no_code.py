"""Nothing that is read as data runs code: what the source may call, configurations, and policies of SB3."""

from __future__ import annotations

import ast
import base64
import json
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from agents.sb3_policy import load_sb3
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.hashes import sha256
from worldmodel.held_out import held_out_episodes
from worldmodel.run_folder import make_run, read_config, run_config

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("worldmodel", "envs", "agents", "configs", "benchmarks")

# Each needs this argument, or is not called at all, but in the modules that are named.
ARGUMENTS = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
NEVER: dict[str, set[str]] = {
    **{name: set() for name in ("eval", "exec", "__import__", "os.system", "os.popen", "runpy.run_path")},
    **{f"{module}.{name}": set() for module in ("pickle", "cloudpickle", "marshal") for name in ("load", "loads")},
    **{f"yaml.{name}": set() for name in ("load", "load_all", "unsafe_load", "full_load", "UnsafeLoader")},
    **{f"hydra.utils.{name}": set() for name in ("instantiate", "call", "get_class", "get_method")},
    **{name: set() for name in ("torch.hub.load", "shelve.open", "joblib.load")},
    "pickle.Unpickler": {"envs/snapshot.py"},  # of what it pickled itself, in memory
    "torch.jit.load": {"worldmodel/metrics/clips.py"},  # behind a hash that the user gives
    # Names of modules that users set, or that stand in the source: never out of a file that is read as data.
    "importlib.import_module": {
        *("agents/goals.py", "agents/minari_data.py", "agents/sb3_policy.py", "agents/doctor.py", "envs/finding.py"),
    },
}


def names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, dotted."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offences(text: str, file: str) -> list[str]:
    """Lines of a module that could run what a file says."""
    tree = ast.parse(text)
    known = names(tree)

    def dotted(node: ast.expr) -> str:
        head, _, rest = ast.unparse(node).partition(".")
        return f"{known.get(head, head)}.{rest}" if rest else known.get(head, head)

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node) in NEVER and file not in NEVER[dotted(node)]:
            found.append(f"{file}:{node.lineno}: {dotted(node)}")
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        name, value = ARGUMENTS.get(dotted(node.func), (None, None))
        if name and given.get(name) != str(value):
            found.append(f"{file}:{node.lineno}: {dotted(node.func)} without {name}={value}")
        if given.get("shell", "False") != "False":
            found.append(f"{file}:{node.lineno}: shell={given['shell']}")
    return found


def test_nothing_in_the_source_runs_what_a_file_says() -> None:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 150
    found = [line for path in paths for line in offences(path.read_text(), path.relative_to(ROOT).as_posix())]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch.load(path)",
        "import torch as t; t.load(path, weights_only=False)",
        "from torch import load as read; read(path)",
        "import numpy as np; np.load(path)",
        "import pickle; pickle.loads(data)",
        "from pickle import Unpickler\nclass Mine(Unpickler): pass",
        "import torch.jit; torch.jit.load(path)",
        "import yaml; yaml.load(text, yaml.UnsafeLoader)",
        "from hydra.utils import instantiate; instantiate(config)",
        "import hydra; hydra.utils.call(config)",
        "import subprocess; subprocess.run(line, shell=True)",
        "from os import system; system(line)",
        "from importlib import import_module; import_module(name)",
        "eval(text)",
    ],
)
def test_the_rule_can_break(line: str) -> None:
    assert offences(line, "worldmodel/other.py")
    assert not offences("import torch\nimport numpy as np\ntorch.load(p, weights_only=True)\n", "worldmodel/other.py")


TARGETS = {"_target_": "os.system", "_args_": ["touch harmed"]}


class Harm:
    """Pickled, it makes a file where it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    "text",
    [
        "data: !!python/object/apply:os.system ['touch harmed']",
        "!!python/object/new:os.system ['touch harmed']",
        "data: !!python/name:os.system",
        "data: ${oc.env:SECRET}",
        "data: [{deep: 'in ${oc.env:SECRET,none}'}]",
        "${oc.env:SECRET}: 1",
        "data: ${now:%Y}\nheld_out: 0.1",
        "a: &a [x, x]\nb: [*a, *a]",
        "[1, 2]",
        "data: [",
        "data: 1\ndata: 2",
        "3",
        "data: " + "[" * 1_000,
        "data: \ud800",
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_a_runs_configuration_makes_no_object_and_reads_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "told")
    run = tmp_path / "run"
    (run / "checkpoints" / "000001").mkdir(parents=True)
    (run / "config.yaml").write_bytes(text.encode(errors="surrogatepass"))
    asked = OmegaConf.create({"run": str(run), "resume": True})
    for read in (
        lambda: read_config(run),
        lambda: run_config(asked, [], free=()),
        lambda: held_out_episodes(run / "checkpoints" / "000001"),
    ):
        with pytest.raises(ConfigError) as error:
            read()
        said = str(error.value)
        assert re.fullmatch(r".*config\.yaml cannot be read as a run's configuration \(.*\): restore it", said)
        assert "told" not in said and len(said) < 1000
    assert not Path("harmed").exists()


def test_a_target_in_a_runs_configuration_is_a_value_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(json.dumps({"env": TARGETS}))
    assert OmegaConf.to_container(read_config(tmp_path)) == {"env": TARGETS}
    assert not Path("harmed").exists()


def test_sb3_zips_are_loaded_only_when_they_are_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "policy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "data",
            json.dumps(
                {"policy_class": {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(Harm())).decode()}}
            ),
        )
    says = rf"policy\.zip runs the code that it brings .* SHA-256 is {sha256(path)}: .* set trusted=true"
    for trusted in (False, None, 1, "true"):
        with pytest.raises(ConfigError, match=says):
            load_sb3(path, "PPO", trusted=trusted)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=says):
        load_sb3(path, "PPO")
    assert not Path("harmed").exists()
    with pytest.raises(CheckpointError, match="cannot be loaded as PPO"):
        load_sb3(path, "PPO", trusted=True)
    assert Path("harmed").exists()  # this is what is meant


def test_a_resumed_run_does_not_say_what_is_trusted(tmp_path: Path) -> None:
    """Its folder may be somebody else's."""
    theirs = OmegaConf.create({"sb3": "policy.zip", "trusted": True, "run": str(tmp_path), "resume": False})
    make_run(theirs)
    for given in (False, True):
        ours = OmegaConf.merge(theirs, {"resume": True, "trusted": given})
        assert run_config(ours, ["resume=true"], free=()).trusted is given
