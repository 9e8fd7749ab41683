"""Models to and from checkpoint folders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from worldmodel.build import build
from worldmodel.checkpoint import Contexts, read_checkpoint, write_checkpoint
from worldmodel.config import ModelConfig
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.model import Model
from worldmodel.series import resolve
from worldmodel.spec import EnvSpec
from worldmodel.svg import channels_last


def save_pretrained(
    folder: Path | str, model: Model, contexts: Contexts, *, trainer: dict[str, Any] | None = None
) -> None:
    """Writes a new checkpoint folder, whole or not at all.

    Args:
        folder: must not exist.
        model: its weights, configuration and environment are written.
        contexts: a few true start windows, so that the model can dream without its data.
        trainer: what training needs to go on; left out of a model that is only to act.
    """
    write_checkpoint(
        Path(folder),
        model_config=asdict(model.config),
        spec=model.spec,
        weights=model.state_dict(),
        contexts=contexts,
        trainer=trainer,
    )


def from_pretrained(path: Path | str, *, feedback: str = "features", device: str | torch.device = "cpu") -> Model:
    """The model of a checkpoint folder (or of a run folder's newest checkpoint), ready to act.

    Args:
        path: the folder.
        feedback: ``features`` or ``pixels``: what an imagined step feeds to the next.
        device: where to put the weights.

    Raises CheckpointError when the folder is no whole checkpoint, or its weights do not fit its configuration.
    """
    checkpoint = read_checkpoint(resolve(Path(path)))
    try:
        config = ModelConfig.from_mapping(checkpoint.model_config)
    except ConfigError as error:
        raise CheckpointError(f"{path}: config.json: {error}; use the version that wrote it") from error
    try:
        with torch.device("meta"):  # which takes no memory, whatever sizes somebody wrote into config.json
            shapes = {name: weight.to("meta") for name, weight in checkpoint.weights.items()}
            build(config, checkpoint.spec, feedback=feedback).load_state_dict(shapes)
        model = build(config, checkpoint.spec, feedback=feedback)
        model.load_state_dict(checkpoint.weights)
    except (RuntimeError, ArithmeticError) as error:
        told = " ".join(str(error).split())[:600]  # it lists every name
        raise CheckpointError(
            f"{path}: the weights do not fit config.json ({told}); use the version that wrote it"
        ) from error
    model.to(device)
    return channels_last(model).eval()


def check_fits(
    trained: EnvSpec, actual: EnvSpec, path: str, what: Literal["environment", "episodes"] = "environment"
) -> None:
    """Raises CheckpointError naming what differs when a model of one environment is to act in, or see, another."""
    a, b = trained.to_json(), actual.to_json()
    differing = [f"{name} {a[name]} (model) against {b[name]} ({what})" for name in a if a[name] != b[name]]
    if differing:
        mend = f"{what} of the environment it was trained on"
        if what == "environment":
            name = trained.env if trained.env != trained.task else f"gymnasium env.id={trained.task}"
            settings = {"": name, ".action_repeat": trained.action_repeat, ".time_limit": trained.time_limit}
            mend = "the environment it was trained on, as in "
            mend += " ".join(f"env{key}={value}" for key, value in settings.items())
        raise CheckpointError(
            f"the model in {path} was trained on another environment: {'; '.join(differing)}; "
            f"give {mend}, or another checkpoint"
        )
