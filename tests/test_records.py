"""What a run writes can be read back, as lines and in TensorBoard."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from worldmodel.records import Records, read_all_records, read_records, whole_lines


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by name, as TensorBoard shows them."""
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    names = board.Tags()["scalars"]
    return {name: [(event.step, event.value) for event in board.Scalars(name)] for name in names}


def test_a_record_is_a_line_and_its_plain_numbers_are_drawn(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write("fit", 24, updates=2, loss=0.5, name="dense", skipped=True, returns=[1.0, 2.5])
    records.write("fit", 48, loss=0.25)
    written = (tmp_path / "metrics.jsonl").read_text()  # before close: a killed run has written it too
    drawn = scalars(tmp_path)
    records.close()
    assert written == (
        '{"kind": "fit", "updates": 2, "loss": 0.5, "name": "dense", "skipped": true, "returns": [1.0, 2.5]}\n'
        '{"kind": "fit", "loss": 0.25}\n'
    )
    assert drawn == {"fit/updates": [(24, 2.0)], "fit/loss": [(24, 0.5), (48, 0.25)]}


def test_a_film_is_a_moving_picture_in_tensorboard(tmp_path: Path) -> None:
    frames = np.zeros((5, 6, 8, 3), np.uint8)
    frames[:] = (50 * np.arange(5))[:, None, None, None]
    records = Records(tmp_path)
    records.film("dream", 24, frames, fps=10)
    board = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    board.Reload()
    records.close()
    (event,) = board.Images("dream")
    assert (event.step, event.width, event.height) == (24, 8, 6)
    with Image.open(BytesIO(event.encoded_image_string)) as image:
        assert image.format == "GIF" and image.n_frames == 5
        image.seek(3)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 150).max() <= 2


def test_records_of_a_kind_come_in_the_order_written(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for kind, number in [("b", 3), ("a", 1), ("b", 2), ("b", 5)]:
        records.write(kind, 0, number=number)
    records.close()
    path = tmp_path / "metrics.jsonl"
    assert read_records(path, "b") == [{"kind": "b", "number": number} for number in (3, 2, 5)]
    assert read_records(path, "c") == []


def test_what_came_after_the_checkpoint_is_cut_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    killed = Records(tmp_path)
    killed.write("episode", 1, length=4)
    size = killed.sync()
    assert size == len(path.read_bytes()) == len('{"kind": "episode", "length": 4}\n')
    killed.write("episode", 2, length="a line that a kill left behind, longer than what follows it")
    killed.close()

    resumed = Records(tmp_path, keep=size)
    assert resumed.sync() == size
    resumed.write("resume", 1)
    assert resumed.sync() == len(path.read_bytes())
    resumed.close()
    assert path.read_text() == '{"kind": "episode", "length": 4}\n{"kind": "resume"}\n'


@pytest.mark.parametrize(
    ("written", "whole"), [("", ""), ('{"kind"', ""), ("{}\n", "{}\n"), ("{}\n{}\n{", "{}\n{}\n"), ("\0" * 9, "")]
)
def test_whole_lines_end_before_a_line_that_was_cut(written: str, whole: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert whole_lines(path) == 0
    path.write_text(written)
    assert path.read_bytes()[: whole_lines(path)] == whole.encode()


@pytest.mark.parametrize(
    ("log", "kinds"),
    [
        (None, ["header"]),  # killed before it wrote anything
        ('{"kind": "head', ["header"]),
        ('{"kind": "header"}\n', ["header", "resume"]),
        ('{"kind": "header"}\n{"kind": "resume", "of": "{\\"kind\\": \\"header', ["header", "resume"]),
        ('{"kind": "resume"}\n', ["resume", "header"]),  # as older versions went on with a run that had none
    ],
)
def test_a_log_has_one_header_whenever_its_run_was_killed(log: str | None, kinds: list[str], tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    if log is not None:
        path.write_text(log)
    records = Records(tmp_path, keep=whole_lines(path))
    records.begin(0, commit="1234567")
    records.close()
    written = read_all_records(path)
    assert [record["kind"] for record in written] == kinds and written[-1]["commit"] == "1234567"


def test_what_is_cut_off_leaves_what_happened(tmp_path: Path) -> None:
    """That a run was begun and resumed is told again by nobody; what it did is."""
    lines = [
        '{"kind": "header"}',
        '{"kind": "fit"}',
        '{"kind": "resume"}',
        '{"kind": "env_failure"}',
        '{"kind": "fit"}',
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(lines) + '\n{"kind": "resume", "unfin')
    records = Records(tmp_path, keep=len(lines[0]) + len(lines[1]) + 2)
    records.write("fit", 0)
    records.close()
    assert path.read_text().splitlines() == [*lines[:4], '{"kind": "fit"}']
    Records(tmp_path).close()
    assert path.read_text().splitlines() == [lines[0], *lines[2:4]]
