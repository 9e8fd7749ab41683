"""Runs a run again, from its own record of how it was begun, and compares: ``python -m agents.repeat run=RUN``.

On the same processor, with as many threads and the same versions, a run on the CPU ends with the same weights, episodes
and records but for what clocks gave. What has changed since is said first; exit status 1 says that the two differ.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from omegaconf import DictConfig

from worldmodel.command import command
from worldmodel.comparison import differences, repeatable_records
from worldmodel.errors import ConfigError, DataError, WorldModelError
from worldmodel.provenance import last_origin, other_machine, other_versions
from worldmodel.records import read_all_records
from worldmodel.run_folder import CONFIG

COMMANDS = ("agents.cem_plan", "agents.ppo_imagine", "agents.model_free", "agents.collect", "worldmodel.train")
OWN = ("run", "resume", "trusted")  # settings that are given anew
CODE = ("env.id", "goal_cost", "sb3")  # settings that may name code: a module's, or a zip's


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="repeat")
@command
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    run, again = Path(config.run), Path(config.again)
    if (again / CONFIG).exists():
        raise ConfigError(f"{again} already holds a run: set again= to a new folder")
    count = len(repeatable_records(run))
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
    print(f"{again} differs from {run}" if found else f"{again} is {run} again: {count} records, episodes and weights")
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
    first, *others = (_call(record, run) for record in began)
    for setting in (setting for call in (first, *others) for setting in call.settings):
        key, _, value = setting.lstrip("+~").partition("=")
        if key in CODE and (":" in value or key == "sb3") and not trusted:
            raise ConfigError(f"{run} was begun with {setting}, which runs code: set trusted=true if you trust it")
    return [[*first.command, *first.settings]] + [
        [*other.command, *other.settings, "resume=true"] for other in others if other.settings
    ]


class _Call(NamedTuple):
    command: list[str]  # the module, and the choice of a configuration
    settings: list[str]


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
    for argument in [*options[1:], *arguments]:
        key = argument.lstrip("+~")
        if argument.startswith("-") or key.startswith("hydra"):
            raise ConfigError(f"{run} was begun with {argument!r}, which is no setting of {module}: repeat it yourself")
    settings = [given for given in arguments if given.lstrip("+~").partition("=")[0] not in OWN]
    if any(given.partition("=")[0] == "sb3" for given in settings):
        settings.append("trusted=true")  # to be reached by those who said so alone
    return _Call(["-m", module, *options], settings)


if __name__ == "__main__":
    main()
