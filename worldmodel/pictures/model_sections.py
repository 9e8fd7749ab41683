"""What a report says of a run's model: what it imagines of held-out data, its errors, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from worldmodel.episode import load_episode
from worldmodel.errors import CheckpointError, DataError
from worldmodel.held_out import held_out_episodes
from worldmodel.model import Model
from worldmodel.pictures.errors import errors_figure
from worldmodel.pictures.open_loop import imagine_open_loop
from worldmodel.pictures.page import Section
from worldmodel.pictures.themed import themed_svg
from worldmodel.pictures.viewer import rewards_svg, viewer_data
from worldmodel.pretrained import from_pretrained
from worldmodel.run_folder import read_config
from worldmodel.series import resolve
from worldmodel.size import summarise
from worldmodel.trainer import batch_to
from worldmodel.validation import copy_last_errors, fixed_windows, open_loop_errors

FRAMES = 80  # of the rollout in the viewer, at most
SAMPLES = 4
CONTEXT = 5  # frames given, where the run's configuration does not say
WINDOWS, HORIZON = 64, 15  # that errors are measured on


def model_sections(run: Path) -> list[Section]:
    """Of the newest model, or of the one that a run acted in; none where it has no model."""
    config = read_config(run)
    given = config.get("checkpoint")  # of a run that acted in a model and learned nothing
    try:
        folder = resolve(Path(given) if given else run)
        feedback = config.get("feedback", "features")
        model = from_pretrained(folder, feedback=feedback, device="cuda" if torch.cuda.is_available() else "cpu")
    except CheckpointError as error:
        if not given and not (run / "checkpoints").is_dir():
            return []  # it has no model
        return [Section("open-loop", "What the model imagines", text=f"Not shown: {error}")]
    sections = []
    context = int(config.get("context", CONTEXT))
    try:
        files = held_out_episodes(folder, run / "evaluation" if given else None)
        episode = load_episode(files[0])
        known = min(context, len(episode))
        horizon = min(FRAMES - known, len(episode) - known + 1)
        rollout = imagine_open_loop(model, episode, context=known, horizon=horizon, samples=SAMPLES)
        text = (
            f"An episode that the model was not fitted to ({files[0].parent.name}/{files[0].name}, played by "
            f"{episode.actor}): {known} frames are given, the others imagined under the same actions."
        )
        seen = Section(
            "open-loop", "What the model imagines", text=text, viewer=viewer_data(rollout), rewards=rewards_svg(rollout)
        )
        sections.append(seen)
        sections += _errors(model, files, context)
    except DataError as error:  # it holds nothing out, or nothing long enough
        missing = ("errors", "Error against the horizon") if sections else ("open-loop", "What the model imagines")
        sections.append(Section(*missing, text=f"Not shown: {error}"))
    rows = summarise(model.config, model.spec.action_size, model.spec.frame_size)
    table = [("", "parameters", "multiply-adds a frame")]
    table += [(name, f"{row['parameters']:,}", f"{row['multiply_adds']:,}") for name, row in rows.items()]
    return [*sections, Section("size", "The model's size", table=table)]


def _errors(model: Model, files: Sequence[Path], context: int) -> list[Section]:
    batch = batch_to(fixed_windows(files, WINDOWS, context=context, horizon=HORIZON), model.device)
    errors = {
        "the model": open_loop_errors(model, batch, context),
        "the last given frame": copy_last_errors(model, batch, context),
    }
    svg = themed_svg(
        lambda: errors_figure(errors),
        "Squared errors of imagined rewards, frames and embeddings against the horizon, of the model and of "
        "copying the last given frame",
    )
    text = (
        f"On {WINDOWS} windows of {len(files)} held-out episodes, after {context} given frames; 1 is as good as "
        "the mean."
    )
    return [Section("errors", "Error against the horizon", text=text, figures=[svg])]
