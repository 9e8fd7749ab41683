"""Runs a run again, from its own record of how it was begun, and compares: ``python -m agents.repeat run=RUN``.

On the same processor, with as many threads and the same versions, a run on the CPU ends with the same weights, episodes
and records but for what clocks gave. What has changed since is said first; exit status 1 says that the two differ.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.comparison import differences, digests, repeatable_records
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, DataError, WorldModelError
from worldmodel.provenance import last_origin, other_machine, other_versions
from worldmodel.records import read_all_records
from worldmodel.run_folder import ANYWAY, CONFIG

COMMANDS = {
    "agents.cem_plan": "cem_plan",
    "agents.collect": "collect",
    "agents.model_free": "model_free",
    "agents.ppo_imagine": "ppo_imagine",
    "worldmodel.train": "train_model",
}
"""What can be repeated, and its configuration."""

OWN = ("run", "resume", "trusted")  # settings that are given anew
CODE = ("env.id", "goal_cost", "sb3")  # settings that may name code: a module's, or a zip's


@configured("repeat")
def main(config: DictConfig) -> None:
    run = Path(config.run)
    again = Path(config.again or f"{run}-again")
    if (again / CONFIG).exists():
        raise ConfigError(f"{again} already holds a run: set again= to a new folder")
    count, known = len(repeatable_records(run)), digests(run)
    calls = recorded_calls(run, trusted=config.trusted)
    origin = last_origin(run / "metrics.jsonl")
    for change in [*other_versions(origin), *other_machine(origin)]:
        print(f"not as it was: {change}")
    for call in calls:
        print("$ python", shlex.join([*call, f"run={again}"]), flush=True)
        if subprocess.run([sys.executable, *call, f"run={again}"], check=False).returncode:
            raise WorldModelError(f"the command above failed, so {run} cannot be repeated here: mend what it says")
    found = list(differences(run, again))
    for difference in found:
        print(f"differs: {difference}")
    if found and len(calls) > 1:
        print(f"{run} went on by other settings; what they changed before an earlier end of it cannot be repeated")
    same = f"{again} is {run} again: {count} records, {len(known)} files of episodes and weights"
    print(f"{again} differs from {run}" if found else same)
    sys.exit(1 if found else 0)


def recorded_calls(run: Path, *, trusted: bool) -> list[list[str]]:
    """The arguments of Python that began a run, and that went on with it by other settings, but for where it lies.

    Resumptions that changed nothing made no difference, and are left out. A record is data, and may be somebody else's:
    only commands of ours that learn or collect are taken from it, and settings of theirs, never options of Hydra's.

    Code of others, such as an environment's module or a policy's zip, is run only if the record is `trusted`.

    Raises DataError for a record without a command, ConfigError for a command that is not repeated.
    """
    began = [record for record in read_all_records(run / "metrics.jsonl") if record["kind"] in ("header", "resume")]
    if not began:
        raise DataError(f"{run / 'metrics.jsonl'} does not say how the run was begun: it has no header")
    settings = began[0].get("config")
    if isinstance(settings, dict) and settings.get("resume"):
        raise ConfigError(
            f"{run} was killed before it wrote down how it was begun: repeat it yourself, by its {run / CONFIG}"
        )
    first, *others = (_call(record, run) for record in began)
    for call in (first, *others):
        if not trusted and (code := _code(call, run)):
            raise ConfigError(
                f"{run} was begun with {', '.join(code)}, which runs code: set trusted=true if you trust it"
            )
    return [[*first.command, *first.settings]] + [
        [*other.command, *other.settings, f"resume={other.resume}"] for other in others if other.settings
    ]


class _Call(NamedTuple):
    command: list[str]  # the module, and the choice of a configuration
    settings: list[str]
    resume: str


def _call(record: dict[str, Any], run: Path) -> _Call:
    try:
        python, option, module, *arguments = shlex.split(str(record["command"]))
    except (KeyError, ValueError) as error:
        raise DataError(f"{run} does not say by which command it was begun ({error!r})") from error
    if (python, option) != ("python", "-m") or module not in COMMANDS:
        raise ConfigError(f"{run} was begun by {record['command']!r}: what can be repeated is {', '.join(COMMANDS)}")
    options = []
    if arguments[:1] == ["--config-name"]:
        options, arguments = arguments[:2], arguments[2:]
        if not re.fullmatch(r"\w+", options[-1]):
            raise ConfigError(f"{run} was begun with the configuration {options[-1]!r}, which is none of ours")
    resume, settings = "true", []
    for argument in arguments:
        key, _, value = argument.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if argument.startswith("-") or group.startswith("hydra") or "${" in argument:
            raise ConfigError(f"{run} was begun with {argument!r}, which is no setting of {module}: repeat it yourself")
        if (files("configs") / group).is_dir() and not re.fullmatch(r"\w+", value):
            raise ConfigError(f"{run} was begun with {argument!r}, which is no choice of ours: repeat it yourself")
        if group == "resume" and value == ANYWAY:
            resume = ANYWAY
        if group not in OWN:
            settings.append(argument)
    if any(setting.partition("=")[0] == "sb3" for setting in settings):
        settings.append("trusted=true")  # to be reached by those who said so alone
    return _Call(["-m", module, *options], settings, resume)


def _code(call: _Call, run: Path) -> list[str]:
    """Settings of a call that name code, as they are once everything in them is looked up."""
    _, module, *options = call.command
    name = options[-1] if options else COMMANDS[module]
    try:
        composed = hydra.compose(name, overrides=[*call.settings, "run=unused"])
        found = {key: OmegaConf.select(composed, key) for key in CODE}
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{run} was begun by settings that there are no longer ({error!s:.200})") from error
    return [f"{key}={value}" for key, value in found.items() if value and (key == "sb3" or ":" in str(value))]


if __name__ == "__main__":
    main()
