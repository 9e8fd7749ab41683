"""Fits a world model to a folder of episodes, or to several: ``python -m worldmodel.train data=FOLDER``."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from worldmodel.build import build
from worldmodel.checkpoint import as_saved, read_checkpoint
from worldmodel.command import Interrupted, uninterrupted
from worldmodel.config import ModelConfig
from worldmodel.configured import configured
from worldmodel.errors import check_whole
from worldmodel.files import make_folder
from worldmodel.folders import split_all
from worldmodel.hardware import chosen_precision, prepare_threads
from worldmodel.held_out import DataSplit
from worldmodel.memory import memory_of
from worldmodel.pretrained import check_fits, from_pretrained, save_pretrained
from worldmodel.provenance import provenance
from worldmodel.records import Records
from worldmodel.replay import Replay
from worldmodel.run_folder import make_run, run_config
from worldmodel.series import latest, mark_best, numbered, prune, recover
from worldmodel.trainer import TrainConfig, Trainer, batch_to, make_fabric, mean_terms
from worldmodel.validation import fixed_windows, frame_error, open_loop_errors, recorded, shortfall, told

CONTEXTS = 16  # start contexts a checkpoint carries
VALIDATION_WINDOWS = 64


@dataclass(frozen=True)
class Progress:
    """How far a fit is.

    Attributes:
        metrics_bytes: length of `metrics.jsonl` at the newest checkpoint at an end of `save_every` updates.
        best, best_error: at how many updates the frames of held-out episodes were predicted best, and their error;
            None where nothing is held out, or all errors were infinite.
        terms: of each update since, in a fit that was stopped.
        seconds: that these took.
    """

    metrics_bytes: int = 0
    best: int | None = None
    best_error: float | None = None
    terms: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0


@configured("train_model")
def main(config: DictConfig) -> None:
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, free=("updates",))
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

    saved = recover(checkpoints) if config.resume else None
    torch.manual_seed(config.seed)
    model = from_pretrained(saved) if saved else build(ModelConfig.from_mapping(settings["model"]), replay.spec)
    check_fits(model.spec, replay.spec, str(saved), "episodes")
    bfloat16 = chosen_precision(config.precision, config.accelerator).startswith("bf16")
    fit = TrainConfig.from_mapping(settings["train"])
    print(memory_of(model.config, fit, model.spec, bfloat16=bfloat16, device=fabric.device), flush=True)
    if windows and (short := shortfall(windows, config.context)):
        print(short, flush=True)
    trainer = Trainer(model, fit, fabric)
    given, progress = DataSplit.of(fitted, held_out), Progress()
    if saved:
        state = read_checkpoint(saved).trainer()
        with as_saved(saved):
            trainer.load_state_dict(state["trainer"])
            progress = Progress(**state["progress"])
            check_whole("metrics_bytes", progress.metrics_bytes, 0)
        given.check_same(Path(config.run))
    run = make_run(config)
    given.save(run)
    records = Records(run, keep=progress.metrics_bytes)
    make_folder(checkpoints)
    records.begin(trainer.updates, **provenance(settings))

    def save(path: Path, progress: Progress) -> None:
        state = {"trainer": trainer.state_dict(), "progress": asdict(progress)}
        save_pretrained(path, model, contexts, trainer=state)

    def mark(progress: Progress) -> None:
        if progress.best is not None and progress.best_error is not None:
            mark_best(checkpoints, progress.best, frame_error=progress.best_error)

    mark(progress)  # again, should a kill have come between a checkpoint and its mark
    with tqdm(total=config.updates, initial=trainer.updates, unit="update", disable=None) as bar:
        while progress.terms or trainer.updates < config.updates:
            start, terms = time.perf_counter(), [*progress.terms]
            end = min(trainer.updates - len(terms) + config.save_every, config.updates)
            try:
                fitting = trainer.fit(replay, end - trainer.updates, seed=config.seed)
                while True:
                    with uninterrupted():
                        if (values := next(fitting, None)) is None:
                            break
                        terms.append(values)
                    bar.update()
                seconds = progress.seconds + time.perf_counter() - start
                means = mean_terms(terms)
                records.write("fit", end, updates=end, seconds=round(seconds, 1), **means)
                line = f"update {end}: "
                line += "no update had a finite loss" if means["loss"] is None else f"loss {means['loss']:.3f}"
                best, best_error = progress.best, progress.best_error
                if windows:
                    batch = batch_to(windows, model.device)
                    with fabric.autocast():  # no more windows at a time than a step takes, which is known to fit
                        errors = open_loop_errors(model, batch, config.context, rows=fit.batch)
                    records.write("validation", end, updates=end, **recorded(errors))
                    line += f"; {told(errors)}"
                    error = frame_error(errors)
                    if error is not None and (best_error is None or error < best_error):
                        best, best_error = end, error
                bar.write(line)
                after = Progress(records.sync(), best, best_error)
                save(numbered(checkpoints, end), after)
                progress = after  # only now: an interruption in between saves what there was before
                mark(progress)
                prune(checkpoints)
            except Interrupted as end_by_signal:
                if end_by_signal.torn:
                    raise
                within = numbered(checkpoints, end, within=len(terms))
                if terms and not (numbered(checkpoints, end).exists() or within.exists()):
                    spent = progress.seconds + time.perf_counter() - start
                    save(within, replace(progress, terms=terms, seconds=spent))
                raise
    records.close()
    print(latest(checkpoints))


if __name__ == "__main__":
    main()
