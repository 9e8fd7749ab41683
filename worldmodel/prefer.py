"""Makes a page to compare two models' video by eye, blindly: ``python -m worldmodel.prefer a=RUN b=RUN``.

The subjective test of Villegas et al. 2019. Which side is whose stands in `key.json` alone; the page saves votes to a
file, which `worldmodel.count_votes` counts.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from worldmodel.configured import configured
from worldmodel.errors import ConfigError, check_number, check_whole
from worldmodel.files import write_atomic
from worldmodel.futures import imagine_futures
from worldmodel.hardware import prepare_threads
from worldmodel.held_out import check_held_out, held_out_episodes
from worldmodel.pictures.preference import Pair, preference_page
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.replay import Replay
from worldmodel.run_folder import check_new, new_run
from worldmodel.series import resolve
from worldmodel.trainer import make_fabric


@configured("prefer")
def main(config: DictConfig) -> None:
    prepare_threads()
    check_new(config)
    for name, least in (("pairs", 1), ("context", 1), ("horizon", 1), ("seed", 0)):
        check_whole(name, config[name], least)
    check_number("fps", config.fps)
    if not 0 < config.fps <= 50:
        raise ConfigError(f"fps is {config.fps}: set it above 0, to 50 at most")
    folders = [resolve(Path(config[name])) for name in ("a", "b")]
    if folders[0].samefile(folders[1]):
        raise ConfigError(f"a and b are one checkpoint, {folders[0]}: give two to compare")
    files = held_out_episodes(folders[0], Path(config.data) if config.data else None)
    check_held_out(folders[1], files)
    replay = Replay(files)
    length = config.context + config.horizon
    windows = replay.sample(config.pairs, length, np.random.default_rng(config.seed), minimum=length)
    fabric = make_fabric(config.accelerator, 1, config.precision)
    clips = []
    for name, folder in zip(("a", "b"), folders, strict=True):
        model = from_pretrained(folder, feedback=config.feedback, device=fabric.device)
        check_fits(model.spec, replay.spec, config[name], "episodes")
        generator = torch.Generator().manual_seed(config.seed)
        with fabric.autocast(), torch.inference_mode():
            drawn, _ = imagine_futures(model, windows.frames, windows.actions, config.context, 1, generator)
        given = windows.frames[:, : config.context]
        clips.append(torch.cat([given, drawn[:, 1]], 1).permute(0, 1, 3, 4, 2).numpy())
    swapped = np.array([secrets.randbits(1) for _ in range(config.pairs)], bool)  # by no seed that one could try
    pairs = [Pair(left=b, right=a) if swap else Pair(a, b) for a, b, swap in zip(*clips, swapped, strict=True)]
    page, study = preference_page(pairs, context=config.context, fps=config.fps)
    run = new_run(config)
    left = ["b" if swap else "a" for swap in swapped.tolist()]
    key = {"study": study, "a": str(folders[0]), "b": str(folders[1]), "left": left}
    write_atomic(run / "key.json", json.dumps(key, indent=1).encode())
    write_atomic(run / "page.html", page.encode())
    print(f"{run / 'page.html'}  (give this to people, and nothing else of the folder)")
    print(run / "key.json")


if __name__ == "__main__":
    main()
