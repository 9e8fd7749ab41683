"""Frames a second of whole training updates: a batch read from disk, loss, gradient, Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measured import Measured, fastest, rate
from benchmarks.peak import GIGA
from benchmarks.plain import plain_updates
from benchmarks.workload import CARTPOLE, new_model, write_episodes
from worldmodel.config import ModelConfig
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG
from worldmodel.trainer import TrainConfig, Trainer, make_fabric

ENDLESS = 10**9


def against_plain(
    model_config: ModelConfig, config: TrainConfig, *, peak: float, spec: EnvSpec = CARTPOLE, budget: float = 15.0
) -> Measured:
    """`Trainer.fit` against `plain_updates`, the same model in float32 without batches over time; neither averages.

    Extra: ``gflops``, what the update's products and convolutions come to in a second, and ``peak_share``, that as a
    share of `peak` (GFLOP/s).
    """
    model, config = new_model(model_config, spec), replace(config, ema_decay=0.0)
    with episodes(config, spec) as replay:
        plain = plain_updates(deepcopy(model), config, replay, seed=0)
        ours = updates(model, config, replay)
        with FlopCounterMode(display=False) as counter:
            next(ours)
        times = fastest(partial(next, ours), partial(next, plain), budget=budget)
    gflops = counter.get_total_flops() / GIGA / times[0]
    value, baseline = (config.batch * config.window / time for time in times)
    return rate(value, baseline, "frames/s", gflops=gflops, peak_share=gflops / peak)


def against_smaller(
    model_config: ModelConfig,
    smaller: ModelConfig,
    config: TrainConfig,
    *,
    spec: EnvSpec = CARTPOLE,
    budget: float = 5.0,
) -> Measured:
    """`Trainer.fit` of a model against that of a smaller one."""
    with episodes(config, spec) as replay:
        runs = [updates(new_model(each, spec), config, replay) for each in (model_config, smaller)]
        return in_turns(config, runs, budget)


def against_cpu(
    model_config: ModelConfig,
    config: TrainConfig,
    *,
    accelerator: str,
    spec: EnvSpec = CARTPOLE,
    budget: float = 10.0,
) -> Measured:
    """`Trainer.fit` on an accelerator against the same on this machine's processor."""
    with episodes(config, spec) as replay:
        runs = [updates(new_model(model_config, spec), config, replay, where) for where in (accelerator, "cpu")]
        return in_turns(config, runs, budget)


def in_turns(config: TrainConfig, runs: Sequence[Iterator[dict[str, float]]], budget: float) -> Measured:
    """Frames a second of the first run's updates against the second's."""
    value, baseline = (
        config.batch * config.window / time for time in fastest(*(partial(next, run) for run in runs), budget=budget)
    )
    return rate(value, baseline, "frames/s")


def updates(model: SVG, config: TrainConfig, replay: Replay, accelerator: str = "cpu") -> Iterator[dict[str, float]]:
    """Updates without end, in the precision that commands take there."""
    return Trainer(model, config, make_fabric(accelerator, 1, "auto")).fit(replay, ENDLESS, seed=0)


@contextmanager
def episodes(config: TrainConfig, spec: EnvSpec) -> Iterator[Replay]:
    """A few of them, on disk while they are needed."""
    with TemporaryDirectory() as folder:
        write_episodes(Path(folder), 4, length=4 * config.window, spec=spec)
        yield Replay(Path(folder))
