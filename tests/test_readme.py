"""What README and the pages beside it tell people to type exists, and its settings are ones that commands take."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from agents import results, study_results
from benchmarks import accelerator, large

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CONFIGS = {
    "agents.cem_plan": "cem_plan",
    "agents.collect": "collect",
    "agents.film": "film",
    "agents.ladder": "ladder",
    "agents.minari_export": "minari_export",
    "agents.minari_import": "minari_import",
    "agents.model_free": "model_free",
    "agents.play": "play",
    "agents.ppo_imagine": "ppo_imagine",
    "agents.reach_goals": "reach_goals",
    "agents.repeat": "repeat",
    "agents.show_plan": "show_plan",
    "agents.study": "study",
    "worldmodel.count_votes": "count_votes",
    "worldmodel.evaluate": "evaluate",
    "worldmodel.make_bouncing": "make_bouncing",
    "worldmodel.import_bair": "import_bair",
    "worldmodel.import_videos": "import_videos",
    "worldmodel.prefer": "prefer",
    "worldmodel.report": "report",
    "worldmodel.summary": "summary",
    "worldmodel.train": "train_model",
    "worldmodel.visualize": "visualize",
}
PARSERS = {  # of commands that take arguments, not settings
    "agents.results": results.arguments,
    "agents.study_results": study_results.arguments,
    "benchmarks.accelerator": accelerator.arguments,
    "benchmarks.large": large.arguments,
}
PAGES = [README, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
LINES = [line for page in PAGES for line in page.splitlines() if line.startswith("    python -m ")]
COMMANDS = sorted({line.partition("#")[0].strip() for line in LINES})


def test_the_commands_are_found() -> None:
    assert {shlex.split(command)[2] for command in COMMANDS} == {*CONFIGS, *PARSERS}


@pytest.mark.parametrize("command", [command for command in COMMANDS if shlex.split(command)[2] in PARSERS])
def test_arguments_are_ones_that_commands_take(command: str) -> None:
    given = PARSERS[shlex.split(command)[2]]().parse_args(shlex.split(command)[3:])
    for pattern in getattr(given, "logs", ()):
        assert list(ROOT.glob(str(pattern))) or str(pattern).startswith("runs/")
    figure = getattr(given, "figure", None)
    assert figure is None or (ROOT / figure).is_file() or not figure.is_relative_to("docs")


@pytest.mark.parametrize("command", [command for command in COMMANDS if shlex.split(command)[2] not in PARSERS])
def test_every_command_and_its_settings_exist(command: str) -> None:
    _, _, module, *overrides = shlex.split(command)
    assert find_spec(module) is not None
    config = CONFIGS[module]
    if overrides[:1] == ["--config-name"]:
        _, config, *overrides = overrides
    with initialize_config_module("configs", version_base="1.3"):
        composed = compose(config, overrides=overrides)
        if "run" in composed:  # by default it holds the time, which Hydra knows in a command only
            composed.run = "unused"
        OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)


def test_the_example_of_ones_own_environment_is_the_one_that_is_tested() -> None:
    tested = (ROOT / "tests" / "dot.py").read_text().partition("class Dot")[2].replace("  # noqa: RUF012", "")
    assert tested.strip() in README


def test_the_pipeline_of_sb3_trains_in_the_dream_and_acts_in_reality(
    gl: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its code as it stands, with less of everything."""
    section = README.partition("## Use it in your SB3 pipeline")[2].partition("\n## ")[0]
    code = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    for much, less in (("100_000", "400"), ("n_steps=100", "n_steps=25"), ("n_eval_episodes=10", "n_eval_episodes=1")):
        assert code.count(much) == 1
        code = code.replace(much, less)
    monkeypatch.chdir(ROOT)
    found: dict[str, Any] = {}
    exec(code.replace('"ppo.zip"', repr(str(tmp_path / "ppo.zip"))), found)
    assert found["ppo"].num_timesteps == 400 and (tmp_path / "ppo.zip").is_file()
    assert 0 <= found["mean"] <= 1000 and found["std"] == 0


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)(?=`|\s+#)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_every_file_it_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links and all((ROOT / link).is_file() for link in links)
    pictures = [ROOT / link for link in links if link.endswith((".png", ".gif"))]
    assert pictures and sum(path.stat().st_size for path in pictures) <= 2_000_000


def test_the_system_packages_it_names_are_those_that_ci_installs() -> None:
    installed = re.search(r"^packages=\((.*)\)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert installed and set(installed[1].split()) == {"make", "git", "g++", "libegl1", "libgl1", "chromium"}
    assert "`apt-get install chromium`" in README
    assert "`apt-get install libegl1 libgl1`" in README and "`make git g++`" in README
