"""Measures speed and memory against baselines: ``python -m benchmarks.run --only train,plan.default``.

Each row of `results.json` has a value, its baseline, which was measured in the same run, and their ratio: above 1 where
ours is better. Two kinds of rows differ: in ``memory.replay`` the ratio is value / baseline, which should stay near 1,
and a ``cost`` row's baseline is the cheapest point of its curve, so that its ratio says what a larger one costs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from agents.dream_ppo import PPOConfig
from benchmarks import imagining, learning, memory, peak, planning, training
from benchmarks.measured import Measured
from benchmarks.picture import draw_results
from benchmarks.workload import ROOT, settings
from worldmodel.command import command
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError
from worldmodel.files import write_atomic
from worldmodel.hardware import default_precision, prepare_threads
from worldmodel.provenance import provenance
from worldmodel.trainer import TrainConfig

RESULTS = ROOT / "benchmarks" / "results.json"
HORIZONS, CANDIDATES, CAPACITIES = (4, 8, 12, 16), (64, 128, 256, 512, 1024), (0.25, 0.5, 1.0)
# In the table.
FURTHER = {
    "gflops": "GFLOP/s",
    "training": "with gradients",
    "baseline_fast": "of fast rendering",
    "dream_share": "of it dreaming",
}

# One measurement of the machine serves all the shares of a run.
convolutions, products = cache(peak.conv), cache(peak.matmul)


@command
def main() -> None:
    """Measures, writes `results.json` and `results.png`, and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAMES", help="beginnings of rows' names, with commas between")
    names = chosen(parser.parse_args().only, list(ROWS))
    prepare_threads()
    measure(ROWS, names, RESULTS)
    rows = read(RESULTS)
    draw_results(RESULTS.with_suffix(".png"), rows)
    print(table(rows))


def chosen(only: str, names: Sequence[str]) -> list[str]:
    """The names that begin as one of `only`, which has commas between, says; all of them for nothing.

    Raises ConfigError for a beginning that no name has.
    """
    beginnings = [beginning.strip() for beginning in only.split(",") if beginning.strip()]
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in names):
            raise ConfigError(f"no row begins with {beginning!r}: set ONLY to beginnings of {', '.join(names)}")
    return [name for name in names if not beginnings or name.startswith(tuple(beginnings))]


def measure(rows: Mapping[str, Callable[[], Measured]], names: Sequence[str], path: Path) -> None:
    """Puts the named rows in the file, each as soon as it is measured, and keeps what else is in it.

    The file has `rows`' order; what `rows` no longer has is dropped.
    """
    found = {row["name"]: row for row in read(path)}
    origin = provenance({})
    origin = {
        **{key: origin[key] for key in ("commit", "dirty", "machine")},
        "torch": origin["versions"]["torch"],
        "threads": torch.get_num_threads(),
        "precision": default_precision("cpu"),
    }
    for name in names:
        print(f"{name} ...", flush=True)
        measured = rows[name]()
        found[name] = {
            "name": name,
            "value": measured.value,
            "unit": measured.unit,
            "baseline": measured.baseline,
            "ratio": measured.ratio,
            **measured.extra,
            **origin,
        }
        kept = [found[each] for each in rows if each in found]
        write_atomic(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a results file; none where there is no file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line a row, and at its end what else it has of `FURTHER`."""
    lines = [f"{'':<26}{'value':>12}{'baseline':>12}  {'unit':<12}{'ratio':>9}{'of peak':>9}"]
    for row in rows:
        share = f"{row['peak_share']:.0%}" if "peak_share" in row else ""
        value, baseline, ratio = (f"{row[key]:,.4g}" for key in ("value", "baseline", "ratio"))
        further = ", ".join(f"{row[key]:,.4g} {name}" for key, name in FURTHER.items() if key in row)
        line = f"{row['name']:<26}{value:>12}{baseline:>12}  {row['unit']:<12}{ratio:>9}{share:>9}  {further}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def train(name: str, *, batch: int | None = None, **changes: float) -> Measured:
    """A named model's training; `changes` are of the model, and the batch is its configuration's unless given."""
    return training.against_plain(model(name, **changes), fit(name, batch), peak=convolutions().value)


def plan(**changes: int) -> Measured:
    """The control model's planning, with another search than `agents.cem_plan`'s where `changes` say so."""
    return planning.against_float32(model("control"), search(**changes), peak=products().value)


def imagine(*, draw: bool) -> Measured:
    """The control model's imagination against its own task."""
    return imagining.against_environment(model("control"), settings("env", "cartpole"), draw=draw)


def learn(observation: str) -> Measured:
    """`agents.ppo_imagine`'s PPO in the control model's dream against its own task."""
    ppo = PPOConfig.from_mapping({**composed("ppo_imagine", "ppo"), "observation": observation})
    return learning.against_environment(model("control"), settings("env", "cartpole"), ppo)


def cost_of_search(key: str, value: int, least: int) -> Measured:
    """Of one setting of the search, all else as in ``plan.default``."""
    searches = [search(**{key: each}) for each in (value, least)]
    return planning.against_smaller(model("control"), *searches)


def cost_of_capacity(key: str, value: float) -> Measured:
    """Of a capacity factor of SVG′, with the other one small and few windows, so that the largest is soon done."""
    small = {"K": CAPACITIES[0], "M": CAPACITIES[0]}
    models = (model("svg_prime", **{**small, key: value}), model("svg_prime", **small))
    return training.against_smaller(*models, fit("svg_prime", 4))


def model(name: str, **changes: float) -> ModelConfig:
    """A named model, some of its numbers changed."""
    return ModelConfig.from_mapping(settings("model", name, **changes))


def search(**changes: int) -> dict[str, Any]:
    """The planner of `configs/cem_plan.yaml`, some of its numbers changed."""
    return {**composed("cem_plan", "planner"), **changes}


def composed(command: str, key: str) -> dict[str, Any]:
    """What a command has under a key by default."""
    with initialize_config_module("configs", version_base="1.3"):
        return cast(dict[str, Any], OmegaConf.to_container(compose(command)[key], resolve=True))


def fit(name: str, batch: int | None) -> TrainConfig:
    """How it is trained."""
    return TrainConfig.from_mapping(settings("train", name, **({} if batch is None else {"batch": batch})))


ROWS: dict[str, Callable[[], Measured]] = {
    "peak.conv": convolutions,
    "peak.matmul": products,
    "train.control": partial(train, "control"),
    "train.svg_prime.k1m1": partial(train, "svg_prime", batch=4, K=1.0, M=1.0),
    "train.svg_prime.k025m0125": partial(train, "svg_prime", batch=16, K=0.25, M=0.125),
    "plan.default": plan,
    "plan.1000x12x10": partial(plan, candidates=1000, horizon=12, iterations=10, elites=100),
    "imagine.features": partial(imagine, draw=False),
    "imagine.frames": partial(imagine, draw=True),
    "ppo.features": partial(learn, "features"),
    "ppo.frames": partial(learn, "frames"),
    "memory.replay": memory.replay,
    **{f"cost.horizon.{h}": partial(cost_of_search, "horizon", h, HORIZONS[0]) for h in HORIZONS},
    **{f"cost.candidates.{n}": partial(cost_of_search, "candidates", n, CANDIDATES[0]) for n in CANDIDATES},
    **{f"cost.{key}.{value:g}": partial(cost_of_capacity, key, value) for key in "KM" for value in CAPACITIES},
}


if __name__ == "__main__":
    main()
