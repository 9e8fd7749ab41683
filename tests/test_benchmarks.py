"""The benchmarks: a plain path that is the same computation, results that keep what is not measured, and every measure.

No time is asserted: what is tested is that the measures run, and what they compare.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from agents.dream_ppo import PPOConfig
from benchmarks import accelerator, imagining, large, learning, measured, memory, peak, planning, run, training
from benchmarks.measured import Measured, duration, fastest, rate
from benchmarks.picture import draw_results, figure
from benchmarks.plain import plain_loss, plain_updates
from benchmarks.workload import CARTPOLE, new_model, settings, write_episodes
from worldmodel import late_gradients
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.late_gradients import WIDE
from worldmodel.replay import Batch, Replay
from worldmodel.trainer import Objective, TrainConfig, make_fabric

ROOT = Path(__file__).resolve().parent.parent
SPEC = replace(CARTPOLE, frame_size=(16, 16))
SMALL = {"stages": [[8, 1], [8, 1]], "feature": 8, "hidden": 8, "latent": 2, "head": 8, "patch": 2}
SEARCH = settings("planner", "cem", horizon=2, candidates=6, iterations=2, elites=2)
ROWS = {
    *("peak.conv", "peak.matmul", "train.control", "train.svg_prime.k1m1", "train.svg_prime.k025m0125"),
    *("plan.default", "plan.1000x12x10", "imagine.features", "imagine.frames", "memory.replay"),
    *("ppo.features", "ppo.frames"),
    *("cost.horizon.4", "cost.horizon.8", "cost.horizon.12", "cost.horizon.16"),
    *(f"cost.candidates.{n}" for n in (64, 128, 256, 512, 1024)),
    *(f"cost.{key}.{value}" for key in "KM" for value in ("0.25", "0.5", "1")),
}


def model_config(name: str, **changes: Any) -> ModelConfig:
    return ModelConfig.from_mapping(settings("model", name, **{**SMALL, **changes}))


def train_config(name: str) -> TrainConfig:
    return TrainConfig.from_mapping(settings("train", name, batch=3))


def sample(folder: Path, config: TrainConfig) -> Batch:
    """Windows of episodes that are no longer than a window, so most of them end in padding."""
    write_episodes(folder, 3, length=config.window - 1, spec=SPEC)
    return Replay(folder).sample(config.batch, config.window, np.random.default_rng(0), minimum=3)


@pytest.mark.parametrize(
    ("name", "changes", "wide"),
    [
        ("control", {}, WIDE),
        ("svg", {}, WIDE),
        ("svg_prime", {}, WIDE),
        ("svg_prime", {}, 1),  # kernels' gradients are late
        ("svg_prime", {"features": "pair", "advance": "residual"}, WIDE),
    ],
)
def test_the_plain_path_is_the_same_loss_and_gradient(
    name: str, changes: dict[str, Any], wide: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_gradients, "WIDE", wide)
    config, model = train_config(name), new_model(model_config(name, **changes), SPEC)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # outputs that begin at zero would hide what goes into them
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    batch = sample(tmp_path, config)
    assert 0 < batch.mask.sum() < batch.mask.numel()
    ours, _ = Objective(model, config)(vars(batch), torch.Generator().manual_seed(1))
    plain = plain_loss(model, batch, config, torch.Generator().manual_seed(1))
    torch.testing.assert_close(plain, ours, rtol=1e-5, atol=1e-6)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    found, expected = (torch.autograd.grad(loss, weights, allow_unused=True) for loss in (plain, ours))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_plain_path_goes_frame_by_frame_as_torch_lays_them_out(tmp_path: Path) -> None:
    config, model = train_config("svg_prime"), new_model(model_config("svg_prime"), SPEC)
    seen: dict[str, list[Tensor]] = {"encoder": [], "decoder": [], "embed": []}
    for name, module in (
        ("encoder", model.encoder),
        ("decoder", model.decoder),
        ("embed", model.frame_predictor.memory.embed),
    ):
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0]))
    plain_loss(model, sample(tmp_path, config), config, torch.Generator())
    assert {name: {len(x) for x in inputs} for name, inputs in seen.items()} == {name: {3} for name in seen}
    assert len(seen["encoder"]) == config.window == 12
    assert len(seen["decoder"]) == 5 + 5 + 5  # half of 10 later frames, twice, and of 2 x 5 open-loop ones
    assert len(seen["embed"]) == 11 + 2 * 5
    assert all(x.is_contiguous() and x.dtype == torch.float32 for inputs in seen.values() for x in inputs)


def test_the_plain_path_asks_the_critics_a_frame_at_a_time(tmp_path: Path) -> None:
    config, model = train_config("control"), new_model(model_config("control"), SPEC)
    critics = model.actor_critic
    assert critics is not None
    seen: dict[str, list[int]] = {"fast": [], "slow": []}
    for name, module in (("fast", critics.critics[0]), ("slow", critics.targets[0])):
        module.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(len(inputs[0])))
    plain_loss(model, sample(tmp_path, config), config, torch.Generator())
    # Windows of 7 frames with 2 of context: 5 open-loop steps, and 6 frames to say the policy's values at, twice.
    assert seen == {"fast": [3] * 5, "slow": [3] * 12}


def test_a_plain_update_learns(tmp_path: Path) -> None:
    config, model = train_config("control"), new_model(model_config("control"), SPEC)
    write_episodes(tmp_path, 2, length=12, spec=SPEC)
    before = [weight.clone() for weight in model.parameters()]
    updates = plain_updates(model, config, Replay(tmp_path), seed=0)
    for _ in range(5):  # what lies before a layer of zeros moves later
        next(updates)
    assert not any(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_the_least_of_rounds_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    times = {"a": iter([9.0, 3.0, 2.0, 4.0]), "b": iter([9.0, 5.0, 6.0, 1.0])}  # the first warms up
    now = [0.0]

    def work(name: str) -> Callable[[], None]:
        def go() -> None:
            order.append(name)
            now[0] += next(times[name])

        return go

    monkeypatch.setattr(measured, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert fastest(work("a"), work("b"), budget=10.0) == [2.0, 5.0]  # 16 seconds of rounds: no third
    assert order == ["a", "b"] * 3


def test_at_least_two_rounds_and_no_more_than_the_most() -> None:
    for budget, rounds in ((0.0, 2), (60.0, measured.MOST)):
        calls: list[None] = []
        fastest(lambda calls=calls: calls.append(None), budget=budget)
        assert len(calls) == 1 + rounds


def test_ratios_are_above_one_where_ours_is_better() -> None:
    assert rate(6.0, 3.0, "frames/s").ratio == 2.0
    assert duration(3.0, 6.0).ratio == 2.0
    assert duration(3.0, 6.0).unit == "s"


def test_the_rows() -> None:
    assert set(run.ROWS) == ROWS


def test_rows_are_chosen_by_their_beginnings() -> None:
    names = list(run.ROWS)
    assert run.chosen("", names) == names
    assert run.chosen("plan, train.svg", names) == [
        "train.svg_prime.k1m1",
        "train.svg_prime.k025m0125",
        "plan.default",
        "plan.1000x12x10",
    ]
    with pytest.raises(ConfigError, match=r"no row begins with 'trian': set ONLY to beginnings of peak\.conv, peak\."):
        run.chosen("plan,trian", names)


def test_plans_are_those_of_the_main_command(monkeypatch: pytest.MonkeyPatch) -> None:
    planners: list[dict[str, Any]] = []

    def measured(_: ModelConfig, *searches: dict[str, Any], **__: float) -> Measured:
        planners.extend(searches)
        return duration(1.0, 1.0)

    monkeypatch.setattr(planning, "against_float32", measured)
    monkeypatch.setattr(planning, "against_smaller", measured)
    monkeypatch.setattr(run, "products", lambda: rate(1.0, 1.0, "GFLOP/s"))
    for name in ("plan.default", "plan.1000x12x10", "cost.horizon.8", "cost.candidates.1024"):
        run.ROWS[name]()
    default = {"kind": "cem", "horizon": None, "candidates": 128, "iterations": 4, "elites": 13}
    assert planners == [
        default,
        {"kind": "cem", "horizon": 12, "candidates": 1000, "iterations": 10, "elites": 100},
        *({**default, "horizon": horizon} for horizon in (8, 4)),
        *({**default, "candidates": candidates} for candidates in (1024, 64)),
    ]


def test_an_unknown_name_ends_the_command_with_one_error() -> None:
    command = [sys.executable, "-W", "error", "-m", "benchmarks.run", "--only", "trian"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("error: no row begins with 'trian'") and outcome.stderr.count("\n") == 1


def test_rows_that_are_not_measured_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    rows = {name: (lambda name=name: rate(len(name), 1.0, "letters", peak_share=0.5)) for name in ("a", "bb", "ccc")}
    run.measure(rows, ["a", "ccc"], path)
    first = json.loads(path.read_text())
    assert [row["name"] for row in first] == ["a", "ccc"]
    run.measure({**rows, "ccc": lambda: rate(7.0, 2.0, "letters"), "a": forbidden}, ["bb", "ccc"], path)
    second = json.loads(path.read_text())
    assert [(row["name"], row["value"], row["ratio"]) for row in second] == [("a", 1, 1), ("bb", 2, 2), ("ccc", 7, 3.5)]
    assert second[0] == first[0]
    run.measure({"bb": rows["bb"]}, ["bb"], path)
    assert [row["name"] for row in json.loads(path.read_text())] == ["bb"]  # there are no other rows any more


def forbidden() -> Measured:
    raise AssertionError("this row was not asked for")


def test_what_a_row_says(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    run.measure({"a": lambda: duration(0.5, 2.0, gflops=3.0)}, ["a"], path)
    (row,) = json.loads(path.read_text())
    assert {key: row[key] for key in ("name", "value", "unit", "baseline", "ratio", "gflops")} == {
        "name": "a",
        "value": 0.5,
        "unit": "s",
        "baseline": 2.0,
        "ratio": 4.0,
        "gflops": 3.0,
    }
    assert set(row) - {"name", "value", "unit", "baseline", "ratio", "gflops"} == {
        *("commit", "dirty", "machine", "torch", "threads", "precision")
    }
    assert row["threads"] == torch.get_num_threads() and row["torch"] == torch.__version__
    further = {"peak_share": 0.61, "baseline_fast": 7.0}
    first, second = run.table([{key: row[key] for key in row if key != "gflops"}, {**row, **further}]).splitlines()[1:]
    assert first.split() == ["a", "0.5", "2", "s", "4"]
    assert second.split()[:6] == ["a", "0.5", "2", "s", "4", "61%"]
    assert second.endswith("61%  3 GFLOP/s, 7 of fast rendering")


def test_the_picture_shows_what_there_is(tmp_path: Path) -> None:
    def row(name: str, ratio: float, unit: str = "s") -> dict[str, Any]:
        return {"name": name, "value": 2 * ratio, "unit": unit, "ratio": ratio}

    rows = [row("plan.default", 2.0), row("memory.replay", 1.02), row("cost.K.0.25", 1.0, "frames/s")]
    bars, *panels = figure([*rows, row("cost.K.1", 0.5, "frames/s")]).axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["plan.default", "memory.replay (1 is best)"]
    assert bars.get_xscale() == "log"
    assert [panel.get_title() for panel in panels] == ["horizon", "candidates", "K", "M"]
    assert panels[2].lines[0].get_xydata().tolist() == [[0.25, 2.0], [1.0, 1.0]]
    assert panels[2].get_ylabel() == "training frames/s"
    draw_results(tmp_path / "results.png", rows)
    with Image.open(tmp_path / "results.png") as picture:
        assert picture.format == "PNG" and picture.width > 600


def test_the_peak_is_measured() -> None:
    found = peak.conv((peak.Conv(2, 8, 8, 4), peak.Conv(2, 8, 16, 4)), budget=0.0)
    assert found.unit == "GFLOP/s" and min(found.value, found.baseline, found.extra["training"]) > 0
    assert peak.matmul((16, 8), budget=0.0).value > 0


def test_the_counted_work_is_torchs_own_count() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    shape = peak.Conv(2, 8, 16, 4)
    passes = peak.convolution(shape, torch.float32)
    for go, times in ((passes.forward, 1), (passes.forward_and_backward, 3)):
        with FlopCounterMode(display=False) as counter:
            go()
        assert counter.get_total_flops() == pytest.approx(times * shape.gigaflop * 1e9)


def test_training_is_measured() -> None:
    config = train_config("svg_prime")
    found = training.against_plain(model_config("svg_prime"), config, peak=50.0, spec=SPEC, budget=0.0)
    assert found.unit == "frames/s" and found.ratio == found.value / found.baseline
    assert found.extra["peak_share"] == found.extra["gflops"] / 50.0 > 0
    smaller = training.against_smaller(
        model_config("svg_prime"), model_config("svg_prime", K=0.5), config, spec=SPEC, budget=0.0
    )
    assert min(smaller.value, smaller.baseline) > 0


def test_planning_is_measured() -> None:
    found = planning.against_float32(model_config("control"), SEARCH, peak=50.0, spec=SPEC, budget=0.0)
    assert found.unit == "s" and found.ratio == found.baseline / found.value
    assert found.extra["peak_share"] == found.extra["gflops"] / 50.0 > 0
    smaller = planning.against_smaller(model_config("control"), SEARCH, {**SEARCH, "horizon": 1}, spec=SPEC, budget=0.0)
    assert min(smaller.value, smaller.baseline) > 0


def test_a_timed_decision_asks_the_policy_and_the_critics(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(model_config("control"), SPEC)
    critics = model.actor_critic
    assert critics is not None
    imagined: list[int] = []
    valued: list[int] = []
    model.prior.register_forward_pre_hook(lambda _, inputs: imagined.append(len(inputs[0])))
    critics.targets[0].register_forward_pre_hook(lambda _, inputs: valued.append(len(inputs[0])))
    monkeypatch.setattr(planning, "new_model", lambda *_: model)
    planning.decision(model.config, SEARCH, SPEC, make_fabric("cpu", 1, "32-true"))()
    # Two steps of 32 proposals; with 6 candidates, two iterations of two steps; and the frame that comes.
    assert imagined == [32] * 2 + [38] * 4 + [1]
    assert valued == [38] * 2


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize("draw", [False, True])
def test_imagining_is_measured(draw: bool) -> None:
    env = settings("env", "cartpole", size=[16, 16])
    found = imagining.against_environment(
        model_config("control"), env, draw=draw, rows=2, steps=2, decisions=2, budget=0.0
    )
    assert found.unit == "decisions/s" and min(found.value, found.baseline, found.extra["baseline_fast"]) > 0


@pytest.mark.parametrize("draw", [False, True])
def test_frames_are_drawn_only_when_they_are_to_be(draw: bool) -> None:
    model = new_model(model_config("control"), SPEC)
    calls: list[int] = []
    model.decoder.register_forward_hook(lambda _, inputs, output: calls.append(len(output)))
    imagining.dream(model, 5, 3, make_fabric("cpu", 1, "32-true"), draw=draw)()
    assert calls == ([5] * 3 if draw else [])


def test_an_accelerator_is_measured_against_the_processor() -> None:
    """The processor stands for an accelerator here, in the same computation."""
    control, here = model_config("control"), {"accelerator": "cpu", "spec": SPEC, "budget": 0.0}
    config = train_config("control")
    for found in (
        training.against_cpu(control, config, **here),
        planning.against_cpu(control, SEARCH, **here),
        *(imagining.against_cpu(control, **here, draw=draw, rows=2, steps=2) for draw in (False, True)),
    ):
        assert min(found.value, found.baseline) > 0


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_no_accelerator_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.accelerator", str(tmp_path / "rows.json")])
    with pytest.raises(SystemExit) as stopped:
        accelerator.main()
    assert stopped.value.code == 2 and not list(tmp_path.iterdir())


@pytest.mark.usefixtures("gl")
@pytest.mark.parametrize("observation", ["features", "frames"])
def test_learning_in_the_dream_is_measured(observation: str) -> None:
    config = run.composed("ppo_imagine", "ppo")
    small = {"observation": observation, "num_envs": 4, "n_steps": 4, "batch_size": 8, "n_epochs": 1}
    ppo = PPOConfig.from_mapping({**config, **small})
    env = settings("env", "cartpole", size=[48, 48])  # the least that SB3's network for frames takes
    found = learning.against_environment(model_config("control"), env, ppo, real_envs=2, budget=0.0)
    assert found.unit == "decisions/s" and min(found.value, found.baseline) > 0
    assert found.extra["dream_share"] > 0


@pytest.mark.slow
def test_memory_is_measured() -> None:
    found = memory.replay(40, 2, length=14)
    assert found.unit == "MiB" and found.baseline > 10
    assert found.ratio == found.value / found.baseline < 1.1


def test_all_episodes_are_read_before_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_episodes(tmp_path, 30, length=12, spec=SPEC)
    drawn: set[float] = set()
    sample_once = Replay.sample

    def sample_and_tell(self: Replay, *args: Any, **kwargs: Any) -> Batch:
        batch = sample_once(self, *args, **kwargs)
        drawn.update(batch.rewards[:, 0].tolist())
        return batch

    monkeypatch.setattr(Replay, "sample", sample_and_tell)
    monkeypatch.setattr(memory, "LEAST", 1)
    monkeypatch.setattr(memory, "anonymous", lambda: len(drawn))
    assert memory.after_reading(tmp_path) == 30


def test_a_system_that_does_not_tell_its_memory(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name: python\nRssAnon:\t    2048 kB\n")
    assert memory.anonymous(tmp_path / "status") == 2.0
    with pytest.raises(WorldModelError, match="measure the other rows with ONLY="):
        memory.anonymous(tmp_path / "missing")


def test_a_large_model_s_step_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["benchmarks.large", "0.0625", "0.015625", "--size", "16", "--steps", "2", "--accelerator", "cpu"]
    monkeypatch.setattr(sys, "argv", argv)
    large.main()
    said, *losses, took = capsys.readouterr().out.splitlines()
    assert "M parameters; a training step takes about" in said and len(losses) == 2
    assert took.startswith("peak ") and took.endswith(" s")
