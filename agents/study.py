"""Puts the claims of Villegas et al. 2019 to the test on one's own episodes: ``python -m agents.study data=FOLDER``.

Fits members of the family, of several capacities and from several seeds, and measures each after as many updates, and
after as many minutes, as the others. `agents.study_results` makes tables and a figure of the log. A run that was
stopped is resumed: each fit that was measured stands in the log, a line each.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any, cast

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from agents.measuring import play
from agents.planners import Planner, make_planner
from agents.planning import PlanningAgent, imagined_return, usual_horizon
from agents.run import plain
from agents.seeds import seed_of
from agents.study_cells import Cell, Parts, fit_cell, measured
from envs import make_env
from worldmodel.config import ModelConfig
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, DivergedError, check_number, check_whole
from worldmodel.feedback import check_feedback
from worldmodel.folders import split_all
from worldmodel.hardware import prepare_threads
from worldmodel.metrics.evaluation import halves
from worldmodel.model import Model
from worldmodel.pretrained import check_fits
from worldmodel.provenance import provenance
from worldmodel.records import Records, read_records, whole_lines
from worldmodel.replay import Replay
from worldmodel.run_folder import make_run, run_config
from worldmodel.size import summarise
from worldmodel.trainer import TrainConfig, make_fabric

# A run that goes on may have more of these: all else must be as it was, or cells do not compare.
FREE = ("members", "capacities", "seeds")


@configured("study")
def main(config: DictConfig) -> None:
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, free=FREE)
    settings = plain(config)
    for key, least in (("updates", 1), ("samples", 1), ("planning", 0)):
        check_whole(key, settings[key], least)
    check_number("minutes", settings["minutes"], least=0)
    check_feedback(settings["feedback"])
    context, horizon = settings["context"], settings["horizon"]
    fitted, held_out = split_all(settings["data"], settings["held_out"])
    replay = Replay(fitted)
    windows, reference = halves(held_out, settings["windows"], context=context, horizon=horizon)
    try:
        cells = [
            Cell(member, float(k), float(m), int(seed))
            for seed, (k, m), member in product(settings["seeds"], settings["capacities"], settings["members"])
        ]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"seeds, capacities or members cannot be used ({error}): give lists, as study.yaml"
        ) from error
    parts = {cell: parts_of(cell, settings) for cell in cells}
    sizes = {
        cell: summarise(part.model, replay.spec.action_size, replay.spec.frame_size) for cell, part in parts.items()
    }
    fabric = make_fabric(settings["accelerator"], 1, settings["precision"])
    env = None
    if settings["planning"]:
        env = make_env(settings["env"], rendering=settings["rendering"])
        check_fits(replay.spec, env.env_spec, str(settings["data"]))
    metrics = Path(settings["run"]) / "metrics.jsonl"
    records = Records(make_run(config), keep=whole_lines(metrics))
    done = {Cell.of(record) for record in read_records(metrics, "cell")}
    records.begin(0, **provenance(settings))
    try:
        for cell in tqdm([cell for cell in cells if cell not in done], unit="fit", disable=None):
            total = sizes[cell]["total without heads"]
            found: dict[str, Any] = {"parameters": total["parameters"], "multiply_adds": total["multiply_adds"]}
            model = None
            try:
                for budget, model, spent in fit_cell(cell, parts[cell], replay, fabric, settings):
                    with fabric.autocast():
                        found[budget] = spent | measured(
                            model, windows, reference, context=context, samples=settings["samples"]
                        )
            except DivergedError as error:  # of one fit, which says nothing against the others
                records.write("diverged", 0, **vars(cell), why=str(error))
                tqdm.write(f"{cell} diverged: {error}", file=sys.stderr)
                continue
            if env is not None and model is not None:
                planner = make_planner(settings["planner"], model.spec, horizon=usual_horizon(model))
                start = time.perf_counter()
                found["returns"] = returns(model, env, planner, fabric, settings)
                found["planning_s"] = round(time.perf_counter() - start, 1)
            records.write("cell", 0, **vars(cell), **found)
            records.sync()
    finally:
        records.close()
        if env is not None:
            env.close()
    print(metrics)


def parts_of(cell: Cell, settings: Mapping[str, Any]) -> Parts:
    """What `worldmodel.train` would fit with these settings; ConfigError for a member that there is not."""
    try:
        composed = hydra.compose("train_model", overrides=[f"model={cell.member}", "data=none"])
    except HydraException as error:
        why = str(error).splitlines()[0]
        raise ConfigError(f"{cell.member} cannot be composed ({why}): see configs/model/") from error
    own = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    model = own["model"] | settings["model"] | {"K": cell.K, "M": cell.M}
    train = OmegaConf.to_container(OmegaConf.merge(own["train"], settings["train"]))
    made = ModelConfig.from_mapping(model)
    return Parts(
        model=made,
        train=TrainConfig.from_mapping(cast(dict[str, Any], train)),
        feedback="features" if made.recurrence == "rssm" else settings["feedback"],
    )


def returns(model: Model, env: Any, planner: Planner, fabric: Any, settings: dict[str, Any]) -> list[float]:
    """Of each episode that is planned in a model, from starts that are the same for all."""
    agent = PlanningAgent(model, planner, objective=imagined_return, proposals=0)
    seeds = [seed_of(0, "evaluate", index) for index in range(settings["planning"])]
    with torch.inference_mode():
        return [play(env, agent, "planner", seed, fabric).total for seed in seeds]


if __name__ == "__main__":
    main()
