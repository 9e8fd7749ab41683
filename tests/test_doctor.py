"""The report on this machine, as people run it, and the decisions behind its lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from agents import doctor

ROOT = Path(__file__).resolve().parent.parent


def run(cwd: Path, **variables: str) -> tuple[int, dict[str, str], str]:
    """Exit status, the report's rows by name, and all of the output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-W", "error", "-m", "agents.doctor"]
    outcome = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    rows = {line[:16].strip(): line[16:] for line in outcome.stdout.splitlines()}
    return outcome.returncode, rows, outcome.stdout + outcome.stderr


def test_the_report_names_what_the_machine_gives(tmp_path: Path) -> None:
    status, rows, output = run(tmp_path)
    assert status == 0, output
    assert rows["torch"] == torch.__version__
    assert sys.executable in rows["Python"]
    assert str(tmp_path) in rows["disk"]
    assert rows["OpenGL"].split()[0] in ("egl", "osmesa", "glfw")
    assert float(rows["convolution"].split()[0].replace(",", "")) > 0
    assert float(rows["matrix product"].split()[0].replace(",", "")) > 0
    assert rows["main job"].startswith("100 episodes, 20000 updates; about ")
    assert output.endswith("The main job can run here: python -m agents.cem_plan\n")


def test_without_opengl_the_main_job_cannot_run(tmp_path: Path) -> None:
    status, rows, output = run(tmp_path, MUJOCO_GL="disabled")
    assert status == 1
    assert "MUJOCO_GL is disabled, which does not draw here" in rows["OpenGL"]
    assert "apt-get install libegl1 libgl1" in rows["OpenGL"]
    assert "The main job cannot run here: see OpenGL above." in output


def test_a_full_disk_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4e8))
    row = doctor.disk(tmp_path)
    assert row.fatal
    assert row.value == f"0.4 GB free in {tmp_path}: the main job wants 1 GB"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2.5e10))
    assert doctor.disk(tmp_path) == doctor.Row("disk", f"25.0 GB free in {tmp_path}")


def test_a_missing_compiler_is_said_and_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cpp_compiler", lambda: None)
    assert not doctor.compilation().fatal
    assert "apt-get install g++" in doctor.compilation().value
    monkeypatch.setattr(doctor, "cpp_compiler", lambda: "/usr/bin/g++")
    monkeypatch.setattr(doctor, "python_headers", lambda: None)
    assert "apt-get install python3-dev" in doctor.compilation().value


def test_an_emulated_bfloat16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gigaflops", lambda device, workload: 1234.4)
    cpu = torch.device("cpu")
    monkeypatch.setattr(doctor, "default_precision", lambda _: "32-true")
    assert doctor.speeds(cpu, doctor.matrix_product) == "1,234 GFLOP/s float32"
    monkeypatch.setattr(doctor, "default_precision", lambda _: "bf16-mixed")
    assert doctor.speeds(cpu, doctor.matrix_product) == "1,234 GFLOP/s float32, 1,234 bfloat16"


def test_speed_is_work_over_the_best_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([9.0, 0.5, 0.25, 0.5])  # the first is the warm-up
    clock = iter([0.0, 0.1, 0.2, 1.0])
    monkeypatch.setattr(doctor, "_timed", lambda device, run: next(times))
    monkeypatch.setattr(doctor, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    workload = doctor.Workload(lambda: None, flop=5 * 10**9)
    assert doctor.gigaflops(torch.device("cpu"), workload) == pytest.approx(20.0)


def test_the_counted_work_is_torchs_own_count() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for make in (doctor.convolution, doctor.matrix_product):
        workload = make(torch.device("meta"), torch.float32)
        with FlopCounterMode(display=False) as counter:
            workload.run()
        assert counter.get_total_flops() == workload.flop
