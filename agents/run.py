"""How a run that learns begins: everything it consists of, anew or from its newest checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from agents.schedule import Progress, Schedule
from agents.seeds import seed_of
from envs import env_spec, make_env
from worldmodel.build import build
from worldmodel.checkpoint import as_saved, read_checkpoint
from worldmodel.config import ModelConfig
from worldmodel.episode import episode_path, load_episode
from worldmodel.errors import CheckpointError, check_whole
from worldmodel.model import Model
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.provenance import provenance
from worldmodel.records import Records
from worldmodel.run_folder import make_run
from worldmodel.series import KEEP, recover
from worldmodel.trainer import TrainConfig, Trainer, make_fabric


@dataclass(frozen=True)
class Run:
    """What a run consists of, but for who acts.

    Attributes:
        folder: the run folder.
        settings: the configuration, as plain values.
        saved: what the checkpoint holds that the run goes on from, beside the model: `Learner.save`'s parts; empty in
            a new run.
        schedule: what it will do.
        env, model, trainer: what is played, is learned, and learns it.
        progress: where to go on from.
    """

    folder: Path
    settings: dict[str, Any]
    saved: dict[str, Any]
    schedule: Schedule
    env: gymnasium.Env[np.ndarray, Any]
    model: Model
    trainer: Trainer
    progress: Progress


def begin(config: DictConfig, *, feedback: str, checkpoint: str | None = None, **schedule: Any) -> Run:
    """Makes all of it; nothing is written yet, so a mistake leaves nothing behind.

    Args:
        config: of an entry point; of a resumed run, with the settings that it was begun with.
        feedback: what an imagined step feeds to the next.
        checkpoint: whose model is taken as it is; None builds one, or goes on with the run's own.
        schedule: fields of `Schedule` that the configuration has no keys for.
    """
    settings = plain(config)
    folder = Path(config.run)
    fabric = make_fabric(config.accelerator, config.devices, config.precision)
    env = make_env(settings["env"], rendering=config.rendering, timeout=config.env_timeout)
    spec = env_spec(env)
    torch.manual_seed(seed_of(config.seed, "model"))
    newest = recover(folder / "checkpoints") if config.resume else None
    source = checkpoint or newest
    if source:
        model = from_pretrained(source, feedback=feedback)
        check_fits(model.spec, spec, str(source))
        settings["model"] = asdict(model.config)
    else:
        model = build(ModelConfig.from_mapping(settings["model"]), spec, feedback=feedback)
    trainer = Trainer(model, TrainConfig.from_mapping(settings["train"]), fabric)
    saved: dict[str, Any] = {}
    progress = Progress()
    if newest:
        saved = read_checkpoint(newest).trainer()
        with as_saved(newest):
            trainer.load_state_dict(saved["trainer"])
            progress = Progress(**saved["progress"])
            check_whole("metrics_bytes", progress.metrics_bytes, 0)
            check_whole("episodes", progress.episodes, 1)
    counts = {field.name: settings[field.name] for field in fields(Schedule) if field.name not in schedule}
    plan = Schedule(**counts, **schedule)
    return Run(folder, settings, saved, plan, env, model, trainer, progress)


def open_records(config: DictConfig, run: Run) -> Records:
    """Makes the run folder, drops what a killed run left in it, and writes how it was begun or resumed.

    Raises CheckpointError as `drop_unsaved` does.
    """
    if config.resume and not config.get("checkpoint"):  # where a checkpoint is given, nothing is learned
        drop_unsaved(run.folder, run.progress.episodes)
    records = Records(make_run(config), keep=run.progress.metrics_bytes)
    records.begin(run.progress.env_frames, **provenance(run.settings))
    return records


def drop_unsaved(folder: Path, episodes: int) -> None:
    """Deletes what a killed run collected after its newest whole checkpoint, of so many episodes; it is played again.

    Raises CheckpointError when that would be more than the one episode after each of the checkpoints that are kept, or
    some are missing, DataError when one that stays is damaged.
    """
    present = {path.name for path in (folder / "episodes").glob("*.safetensors")}
    known = [episode_path(folder / "episodes", index) for index in range(episodes)]
    if missing := [path.name for path in known if path.name not in present]:
        raise CheckpointError(
            f"{folder} lacks {', '.join(missing[:8])} of the {episodes} episodes that its newest checkpoint knows: "
            "restore the episodes that are missing, or start a new run"
        )
    if len(present) > episodes + KEEP:
        raise CheckpointError(
            f"{folder} holds {len(present)} episodes, its newest checkpoint knows {episodes}: "
            "restore the checkpoints that are missing, or start a new run"
        )
    for path in known:
        load_episode(path)  # a damaged one is an error now, not in the middle of a fit
    for name in present - {path.name for path in known}:
        (folder / "episodes" / name).unlink()


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain dictionaries, lists and values."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
