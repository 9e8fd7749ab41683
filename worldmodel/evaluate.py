"""Measures a model's video, on episodes that it was not fitted to: ``python -m worldmodel.evaluate checkpoint=RUN``.

Frame by frame (PSNR, SSIM; LPIPS and VGG's cosine similarity where their weights are given), as sets of clips (Fréchet
distances), and in rewards, of the mean of z and of samples, beside copying the last frame and the mean frame.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf

from worldmodel.checkpoint import read_checkpoint
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, check_whole
from worldmodel.files import write_atomic
from worldmodel.hardware import prepare_threads
from worldmodel.hashes import check_sha256
from worldmodel.held_out import held_out_episodes
from worldmodel.metrics.clips import I3D, RandomFeatures, Stream
from worldmodel.metrics.evaluation import Evaluation, FrameMetric, evaluate_video, halves
from worldmodel.metrics.frames import psnr, ssim
from worldmodel.metrics.networks import CosineSimilarity, load_backbone, load_lpips
from worldmodel.pictures.evaluation import evaluation_figure
from worldmodel.pictures.png import write_png
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.provenance import provenance
from worldmodel.replay import Replay
from worldmodel.run_folder import check_new, new_run
from worldmodel.series import resolve
from worldmodel.settings import check_text
from worldmodel.trainer import make_fabric

WEIGHTS = ("vgg16", "alexnet", "lpips_vgg16", "lpips_alexnet", "i3d")  # files that people give


@configured("evaluate")
def main(config: DictConfig) -> None:
    prepare_threads()
    check_new(config)
    for name, least in (("samples", 0), ("seed", 0)):
        check_whole(name, config[name], least)
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    frame_metrics, streams, hashes = measures(settings["weights"])
    if isinstance(fvd := streams.get("fvd"), I3D):
        fvd.check_length(config.horizon)
    check_text("checkpoint", config.checkpoint)
    folder = resolve(Path(config.checkpoint))
    files = held_out_episodes(folder, Path(config.data) if config.data else None)
    check_fits(read_checkpoint(folder).spec, Replay(files).spec, config.checkpoint, "episodes")
    windows, reference = halves(files, config.windows, context=config.context, horizon=config.horizon)
    fabric = make_fabric(config.accelerator, 1, config.precision)
    model = from_pretrained(folder, feedback=config.feedback, device=fabric.device)
    with fabric.autocast():
        found = evaluate_video(
            model,
            windows,
            reference,
            context=config.context,
            samples=config.samples,
            frame_metrics=frame_metrics,
            streams=streams,
            seed=config.seed,
        )
    run = new_run(config)
    told = {
        "header": provenance(settings),
        "resize": {name: "by I3D's file" if name == "fvd" else "none" for name in (*frame_metrics, *streams)},
        "extractors": hashes,
        **asdict(found),
    }
    write_atomic(run / "evaluation.json", json.dumps(told, indent=1, allow_nan=False).encode())
    write_png(run / "evaluation.png", evaluation_figure(found))
    print(frames_table(found), clips_table(found), sep="\n\n")
    for name, digest in hashes.items():
        print(f"{name}: SHA-256 {digest}")
    for name in ("evaluation.json", "evaluation.png"):
        print(run / name)


def measures(
    weights: Mapping[str, str | None],
) -> tuple[dict[str, FrameMetric], dict[str, Stream], dict[str, str]]:
    """What can be measured with the files that are given, and the SHA-256 of what extracts features, by name.

    Raises ConfigError for a file without its hash, or of another one: its numbers would be called by a wrong name.
    """
    if unknown := sorted(set(weights) - {name for file in WEIGHTS for name in (file, f"{file}_sha256")}):
        raise ConfigError(f"weights has {', '.join(unknown)}, which nothing measures with: set {', '.join(WEIGHTS)}")
    given = [name for name in WEIGHTS if weights.get(name)]
    for name in given:
        check_text(f"weights.{name}", weights[name])
    paths = {name: Path(str(weights[name])) for name in given}
    for name in ("vgg16", "alexnet"):
        if (linear := f"lpips_{name}") in paths and name not in paths:
            raise ConfigError(f"weights.{linear} is given without weights.{name}, whose features it weighs: give both")
    hashes = {}
    for name, path in paths.items():
        hashes[name] = check_sha256(path, weights.get(f"{name}_sha256"), f"weights.{name}_sha256")
    frame_metrics: dict[str, FrameMetric] = {"psnr": psnr, "ssim": ssim}
    for name in ("vgg16", "alexnet"):
        if name not in paths:
            continue
        backbone = load_backbone(name, paths[name])
        if name == "vgg16":
            frame_metrics["vgg16_cosine"] = CosineSimilarity(backbone)
        if (linear := f"lpips_{name}") in paths:
            frame_metrics[linear] = load_lpips(backbone, paths[linear])
    streams: dict[str, Stream] = {}
    for name, motion in (("appearance", False), ("motion", True)):
        random = RandomFeatures(motion=motion)
        streams[name], hashes[f"random {name}"] = random, random.hash
    if "i3d" in paths:
        streams["fvd"] = I3D(paths["i3d"], weights["i3d_sha256"] or "")
    return frame_metrics, streams, hashes


def frames_table(found: Evaluation) -> str:
    """Means over the horizon, with their standard errors over windows."""
    metrics = list(found.frames)
    lines = [
        f"{found.windows} windows, {found.horizon} frames each after {found.context} given; mean and standard error",
        f"{'':<18}" + "".join(f"{name:>18}" for name in metrics),
    ]
    for row in dict.fromkeys(row for rows in found.frames.values() for row in rows):
        cells = ""
        for metric in metrics:
            values = np.array(found.by_window[metric].get(row, ()))
            mean = f"{values.mean():.3f} ± {values.std(ddof=1) / len(values) ** 0.5:.3f}" if len(values) else ""
            cells += f"{mean:>18}"
        lines.append(f"{row:<18}{cells}")
    return "\n".join(lines)


def clips_table(found: Evaluation) -> str:
    """Distances of clips to real ones of other episodes; Fréchet distances on random features are not FVD."""
    lines = [
        f"{found.windows} clips of {found.horizon} frames each, against as many real ones of other episodes",
        f"{'':<18}" + "".join(f"{f'{name} {kind}':>20}" for name in found.clips for kind in ("Fréchet", "MMD")),
    ]
    for row in next(iter(found.clips.values())):
        numbers = [found.clips[name][row][kind] for name in found.clips for kind in ("frechet", "mmd")]
        lines.append(f"{row:<18}" + "".join(f"{number:>20.3f}" for number in numbers))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
