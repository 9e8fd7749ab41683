"""Fits a world model to a folder of episodes, or to several: ``python -m worldmodel.train data=FOLDER``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from worldmodel.build import build
from worldmodel.checkpoint import latest, numbered, prune, read_checkpoint
from worldmodel.command import command
from worldmodel.config import ModelConfig
from worldmodel.errors import check_whole
from worldmodel.folders import split_all
from worldmodel.hardware import chosen_precision, prepare_threads
from worldmodel.memory import memory_of
from worldmodel.pretrained import check_fits, from_pretrained, save_pretrained
from worldmodel.records import Records, provenance
from worldmodel.replay import Replay
from worldmodel.run_folder import make_run, run_config
from worldmodel.trainer import TrainConfig, Trainer, batch_to, make_fabric, mean_terms
from worldmodel.validation import fixed_windows, open_loop_errors

CONTEXTS = 16  # start contexts a checkpoint carries
VALIDATION_WINDOWS = 64


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="train_model")
@command
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, fixed=("seed",))
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    checkpoints = Path(config.run) / "checkpoints"
    for key, least in (("updates", 1), ("save_every", 1), ("context", 1), ("horizon", 1), ("seed", 0)):
        check_whole(key, config[key], least)
    fabric = make_fabric(config.accelerator, config.devices, config.precision)
    fitted, held_out = split_all(settings["data"], config.held_out)
    replay = Replay(fitted)
    contexts = replay.contexts(CONTEXTS, config.context, np.random.default_rng(config.seed))
    windows = None
    if held_out:
        windows = fixed_windows(held_out, VALIDATION_WINDOWS, context=config.context, horizon=config.horizon)

    saved = latest(checkpoints) if config.resume else None
    torch.manual_seed(config.seed)
    model = from_pretrained(saved) if saved else build(ModelConfig.from_mapping(settings["model"]), replay.spec)
    check_fits(model.spec, replay.spec, str(saved))
    bfloat16 = chosen_precision(config.precision, config.accelerator).startswith("bf16")
    fit = TrainConfig.from_mapping(settings["train"])
    print(memory_of(model.config, fit, model.spec, bfloat16=bfloat16, device=fabric.device), flush=True)
    trainer = Trainer(model, fit, fabric)
    keep, seconds = 0, 0.0
    if saved:
        state = read_checkpoint(saved).trainer()
        trainer.load_state_dict(state["trainer"])
        keep, seconds = state["metrics_bytes"], state["seconds"]
    records = Records(make_run(config), keep=keep)
    checkpoints.mkdir(exist_ok=True)
    records.write("resume" if saved else "header", trainer.updates, **provenance(settings))

    with tqdm(total=config.updates, initial=trainer.updates, unit="update", disable=None) as bar:
        while trainer.updates < config.updates:
            start = time.perf_counter()
            terms = []
            updates = min(config.save_every, config.updates - trainer.updates)
            for values in trainer.fit(replay, updates, seed=config.seed + trainer.updates):
                terms.append(values)
                bar.update()
            spent = time.perf_counter() - start
            seconds += spent
            means = mean_terms(terms)
            records.write("fit", trainer.updates, updates=trainer.updates, seconds=round(spent, 1), **means)
            line = f"update {trainer.updates}: "
            line += "no update had a finite loss" if means["loss"] is None else f"loss {means['loss']:.3f}"
            if windows:
                errors = open_loop_errors(model, batch_to(windows, model.device), config.context)
                records.write("validation", trainer.updates, updates=trainer.updates, **errors)
                known = [error for error in errors["reward"] if error is not None]
                line += f"; held-out reward error {known[0]:.3f} after 1 step"
                line += f", {known[-1]:.3f} after {len(known)} (1 = no better than the mean)"
            bar.write(line)
            state = {"trainer": trainer.state_dict(), "metrics_bytes": records.sync(), "seconds": seconds}
            save_pretrained(numbered(checkpoints, trainer.updates), model, contexts, trainer=state)
            prune(checkpoints)
    records.close()
    print(latest(checkpoints))


if __name__ == "__main__":
    main()
