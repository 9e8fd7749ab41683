"""Looking at a model as people do: what is written, which episodes it never saw, and mistakes that are a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
from commands import Command, running
from dreaming import BOX, PAIR, contexts, trained
from PIL import Image
from test_open_loop import episode

from worldmodel.episode import save_episode
from worldmodel.errors import DataError
from worldmodel.held_out import DATA, DataSplit, held_out_episodes
from worldmodel.pretrained import save_pretrained
from worldmodel.visualize import chosen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the main job: a checkpoint, episodes that it was fitted to, and an evaluation."""
    run = tmp_path_factory.mktemp("run")
    save_pretrained(run / "checkpoints" / "000003", trained(PAIR), contexts())
    for part, count, first in (("episodes", 3, 0), ("evaluation", 2, 3)):
        for index in range(count):
            save_episode(replace(episode(8 + index), seed=first + index), run / part / f"{index:06d}.safetensors")
    return run


@pytest.fixture(scope="module")
def visualize(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command, with a path to a folder in each call, since all calls share one."""
    with running("worldmodel.visualize", tmp_path_factory.mktemp("home")) as command:
        yield command


def test_it_writes_a_sheet_a_film_and_a_gif_of_what_was_held_out(visualize: Command, run: Path, tmp_path: Path) -> None:
    status, output, errors = visualize(
        f"checkpoint={run}", "context=2", "horizon=4", "samples=2", f"run={tmp_path / 'seen'}"
    )
    assert status == 0, errors
    played, *written = output.splitlines()
    assert played == f"{run / 'evaluation' / '000000.safetensors'}, played by random"
    assert written == [f"{tmp_path / 'seen'}/open_loop.{kind}" for kind in ("png", "mp4", "gif")]
    with av.open(tmp_path / "seen" / "open_loop.mp4") as container:
        stream = container.streams.video[0]
        size = stream.width, stream.height
        assert sum(1 for _ in container.decode(stream)) == 6
    with Image.open(tmp_path / "seen" / "open_loop.gif") as image:
        assert image.n_frames == 6 and image.size == size
    with Image.open(tmp_path / "seen" / "open_loop.png") as image:
        assert image.size[0] > 6 * 128


def test_a_run_and_what_it_fitted_are_told_apart(run: Path, tmp_path: Path) -> None:
    checkpoint = run / "checkpoints" / "000003"
    evaluation = [run / "evaluation" / f"{i:06d}.safetensors" for i in range(2)]
    assert held_out_episodes(checkpoint) == held_out_episodes(checkpoint, run / "evaluation") == evaluation
    assert held_out_episodes(checkpoint, evaluation[1]) == evaluation[1:]
    copied = tmp_path / "another_name.safetensors"
    copied.write_bytes((run / "episodes" / "000001.safetensors").read_bytes())
    for data in (run / "episodes", run / "episodes" / "000001.safetensors", copied):
        with pytest.raises(DataError, match=r"was fitted to \d of \d episodes of .*: give data= it never saw"):
            held_out_episodes(checkpoint, data)
    with pytest.raises(DataError, match=r"no held-out data is known for .*: set data= to a folder of episodes"):
        held_out_episodes(tmp_path / "alone")


def test_what_fitting_left_out_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is asked from, and whatever has become of the folder since."""
    paths = [Path(f"data/{index:06d}.safetensors") for index in range(5)]
    monkeypatch.chdir(tmp_path)
    for index, path in enumerate(paths):
        save_episode(replace(episode(), seed=index), path)
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "000001"
    run.mkdir()
    DataSplit.of(paths[:3], paths[3:]).save(run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    paths = [tmp_path / path for path in paths]
    assert held_out_episodes(checkpoint) == paths[3:]
    assert held_out_episodes(checkpoint, paths[3]) == paths[3:4]
    with pytest.raises(DataError, match="was fitted to"):
        held_out_episodes(checkpoint, paths[0])
    with pytest.raises(
        DataError, match=r"was fitted to 3 of 5 episodes of .*, or leave data= out for what its run held"
    ):
        held_out_episodes(checkpoint, tmp_path / "data")
    kept = paths[3].read_bytes()
    paths[3].write_bytes(paths[0].read_bytes())
    with pytest.raises(DataError, match=r"1 of 2 episodes that .*run held out are no longer what and where they were"):
        held_out_episodes(checkpoint)
    paths[3].write_bytes(kept)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"2 of 2 episodes that .*run held out are no longer what .*: set data= to"):
        held_out_episodes(checkpoint)
    moved = tmp_path / "moved"
    assert held_out_episodes(checkpoint, moved / "000004.safetensors") == [moved / "000004.safetensors"]
    (moved / "000001.safetensors").unlink()
    with pytest.raises(DataError, match="was fitted to 2 of 4 episodes"):
        held_out_episodes(checkpoint, moved)
    DataSplit.of([moved / "000000.safetensors"], []).save(run)
    with pytest.raises(DataError, match="no held-out data"):
        held_out_episodes(checkpoint)
    (run / DATA).unlink()
    (run / "config.yaml").write_text("held_out: 0.4\n")
    with pytest.raises(DataError, match=r"data\.json is missing, which says what .*run was fitted to: restore it"):
        held_out_episodes(checkpoint, moved)


def test_an_episode_that_is_long_enough_is_shown_or_the_longest(tmp_path: Path) -> None:
    files = [tmp_path / f"{index:06d}.safetensors" for index in range(3)]
    for file, length in zip(files, (4, 9, 8), strict=True):
        save_episode(episode(length), file)
    assert [chosen(files, None, least) for least in (4, 5, 9, 10)] == [files[0], files[1], files[1], files[1]]
    assert chosen(files, 2, 99) == files[2]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["horizon=99"],
            "error: 5 frames from frame 0 on leave 5 of 9 decisions to imagine, 99 are wanted: set horizon",
        ),
        (["episode=2"], "error: episode is 2, there are 2: set one of 0..1"),
        (["columns=1"], "error: columns is 1: set a whole number >= 2"),
        (["data=OTHER"], "error: the model in .* was trained on another environment: env line .model. against circle"),
    ],
)
def test_mistakes_are_a_line_and_leave_nothing(
    visualize: Command, run: Path, tmp_path: Path, overrides: list[str], says: str
) -> None:
    save_episode(replace(episode(), spec=replace(BOX, env="circle")), tmp_path / "other" / "000000.safetensors")
    given = [override.replace("OTHER", str(tmp_path / "other")) for override in overrides]
    status, _, errors = visualize(f"checkpoint={run}", f"run={tmp_path / 'seen'}", *given)
    assert status == 2 and len(errors.splitlines()) == 1
    assert re.match(says, errors), errors
    assert not (tmp_path / "seen").exists()
