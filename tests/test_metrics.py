"""Metrics against answers that are known: by hand, in closed form, or by what must catch what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError, DataError
from worldmodel.hashes import sha256
from worldmodel.metrics.clips import I3D, RandomFeatures
from worldmodel.metrics.distances import frechet_distance, polynomial_mmd
from worldmodel.metrics.frames import HIGHEST_PSNR, psnr, ssim
from worldmodel.metrics.networks import (
    CosineSimilarity,
    alexnet,
    load_backbone,
    load_lpips,
    read_weights,
    vgg16,
)


def test_psnr_is_what_the_squared_error_says() -> None:
    """Three predictions of the first frame, and as many of the second."""
    true = torch.stack([torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.5)])
    predicted = torch.zeros(2, 3, 3, 16, 16)
    predicted[0, 1] = 0.1  # squared error 0.01: 20 dB
    predicted[0, 2, :, :8] = 1.0  # of half of the pixels 1: 3.01 dB
    expected = [[HIGHEST_PSNR, 20, 10 * np.log10(2)], 3 * [20 * np.log10(2)]]
    np.testing.assert_allclose(psnr(predicted, true), expected, rtol=1e-6)


def test_ssim_of_constants_is_their_luminance_term() -> None:
    """Without any variance only (2 m1 m2 + c1) / (m1^2 + m2^2 + c1) is left."""
    a, b, c1 = 0.3, 0.6, 0.01**2
    frames = torch.full((2, 3, 24, 24), a)
    others = torch.stack([frames[0], torch.full((3, 24, 24), b)]).expand(2, -1, -1, -1, -1)
    np.testing.assert_allclose(ssim(others, frames), 2 * [[1, (2 * a * b + c1) / (a * a + b * b + c1)]], atol=3e-4)


def test_the_frechet_distance_is_that_of_gaussians_in_closed_form() -> None:
    """Diagonal: |m1 - m2|^2 + sum (s1 - s2)^2; and with a rotation, which changes nothing, of both."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((500, 3))
    white = (white - white.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T  # exactly
    s1, s2, m1, m2 = np.array([1.0, 2.0, 0.5]), np.array([1.5, 0.1, 0.5]), np.zeros(3), np.array([1.0, -2.0, 0.0])
    a, b = white * s1 + m1, white * s2 + m2
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(expected, rel=1e-9)


def test_distances_are_symmetric_and_none_for_the_same_set() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, 60)), rng.standard_normal((50, 60)) + 0.3  # of fewer rows than numbers
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert polynomial_mmd(a, b) == pytest.approx(polynomial_mmd(b, a), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a[:, :1], a[:, :1] + 2) == pytest.approx(4)


def test_the_mmd_has_no_bias_where_the_frechet_distance_has() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.standard_normal((30, 8)), rng.standard_normal((30, 8))) for _ in range(200)]
    found = np.array([polynomial_mmd(a, b) for a, b in pairs])
    assert abs(found.mean()) < 3 * found.std() / len(found) ** 0.5 and found.min() < 0
    assert min(frechet_distance(a, b) for a, b in pairs) > 0.1
    moved = [polynomial_mmd(a, b + 0.5) for a, b in pairs]
    assert np.mean(moved) > 10 * abs(found.mean())


def test_a_kernel_by_hand() -> None:
    """(x y + 1)^3 of {0, 1} and {1, 2}: within 1 and 27, between (1 + 1 + 8 + 27) / 4."""
    assert polynomial_mmd(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])) == pytest.approx(1 + 27 - 2 * 37 / 4)


@pytest.mark.parametrize(
    ("a", "b"), [((3, 2), (3, 4)), ((1, 2), (3, 2)), ((3,), (3,))], ids=["widths", "too few", "no rows"]
)
def test_what_are_no_features_is_an_error(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    for distance in (frechet_distance, polynomial_mmd):
        with pytest.raises(DataError, match="give \\(n, d\\) each"):
            distance(np.zeros(a), np.zeros(b))
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(np.full((3, 2), np.nan), np.zeros((3, 2)))


def bouncing(count: int, length: int, seed: int) -> Tensor:
    """Clips (count, length, 3, 32, 32) of a square of its own colour that flies, and bounces off the borders."""
    rng = np.random.default_rng(seed)
    clips = torch.zeros(count, length, 3, 32, 32)
    for clip in clips:
        place, speed, colour = rng.uniform(0, 26, 2), rng.uniform(-3, 3, 2), torch.from_numpy(rng.uniform(0.3, 1, 3))
        for frame in clip:
            x, y = place.astype(int)
            frame[:, y : y + 6, x : x + 6] = colour[:, None, None]
            place = place + speed
            speed = np.where((place < 0) | (place > 26), -speed, speed)
            place = place.clip(0, 26)
    return clips


def test_the_stream_of_motion_catches_what_stands_still_and_what_is_shuffled() -> None:
    """Each at least five times as far as another set of real clips is."""
    known, real = bouncing(48, 10, seed=1), bouncing(48, 10, seed=2)
    frozen = real[:, :1].expand_as(real)
    order = torch.Generator().manual_seed(0)
    shuffled = torch.stack([clip[torch.randperm(10, generator=order)] for clip in real])
    stream = RandomFeatures(motion=True)
    reference = stream(known).numpy()

    def far(clips: Tensor) -> float:
        return frechet_distance(reference, stream(clips).numpy())

    floor = far(real)
    assert far(frozen) > 5 * floor and far(shuffled) > 5 * floor and 0 < floor < far(known.roll(1, 0) * 0.8)


def test_random_features_are_the_same_everywhere_and_of_one_clip_each() -> None:
    clips = bouncing(3, 5, seed=0)
    for motion in (False, True):
        stream = RandomFeatures(motion=motion)
        assert stream.hash == RandomFeatures(motion=motion).hash != RandomFeatures(motion=motion, seed=1).hash
        found = stream(clips)
        assert found.shape == (3, 128)
        torch.testing.assert_close(found[1:2], stream(clips[1:2]))
    with pytest.raises(DataError, match="clips have 1 frames"):
        stream(clips[:, :1])


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_weights_of_a_file_are_those_that_see(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = {"vgg16": vgg16, "alexnet": alexnet}[name]()
    weights = made.state_dict() | {"classifier.6.bias": torch.zeros(1000)}  # torchvision's files hold more
    torch.save(weights, tmp_path / "weights.pth")
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    frames = torch.rand(2, 3, 64, 64)
    for kind in ("pth", "safetensors"):
        loaded = load_backbone(name, tmp_path / f"weights.{kind}")
        for seen, expected in zip(loaded(frames), made(frames), strict=True):
            torch.testing.assert_close(seen, expected)
            assert seen.norm(dim=1).max() < 1.001
    assert len(loaded(frames)) == 5


def test_lpips_weighs_differences_of_directions(tmp_path: Path) -> None:
    """With weights of 1, and of 1 to one channel alone, against the formula written out."""
    torch.manual_seed(0)
    backbone = alexnet().requires_grad_(False)
    a, b = torch.rand(2, 2, 3, 64, 64)
    seen = list(zip(backbone(a), backbone(b), strict=True))
    weights = {f"lin{i}.model.1.weight": torch.ones(1, x.shape[1], 1, 1) for i, (x, _) in enumerate(seen)}
    weights["lin2.model.1.weight"][0, 1:] = 0
    torch.save(weights, tmp_path / "lpips.pth")
    expected = sum(
        ((x - y) ** 2)[:, :1].sum(1).mean((1, 2)) if i == 2 else ((x - y) ** 2).sum(1).mean((1, 2))
        for i, (x, y) in enumerate(seen)
    )
    lpips = load_lpips(backbone, tmp_path / "lpips.pth")
    both = torch.stack([b, a], 1)  # of each frame of `a`, another and itself
    found = lpips(both, a)
    torch.testing.assert_close(found[:, 0], expected)
    assert found[:, 1].tolist() == [0, 0]
    seen_frames = []
    with backbone.register_forward_pre_hook(lambda _, given: seen_frames.append(len(given[0]))):
        lpips(both, a)
    assert seen_frames == [4, 2]  # a true frame once, however many are held against it
    alike = CosineSimilarity(backbone)(both, a)
    torch.testing.assert_close(alike[:, 1], torch.ones(2), atol=1e-5, rtol=0)
    assert (alike[:, 0] < 0.999).all()


class Fake(nn.Module):
    """Called as StyleGAN-V's I3D is: 400 numbers of a clip's mean."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        assert not rescale and resize and return_features
        return x.mean((1, 2, 3, 4))[:, None].expand(-1, 400)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_fvd_takes_only_the_file_that_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "i3d.pt"
    torch.jit.script(Fake()).save(str(path))
    network = I3D(path, sha256(path).upper())
    found = network(torch.full((2, 9, 3, 32, 32), 0.75))
    assert found.shape == (2, 400) and (found == 0.5).all()  # of [0, 1] as [-1, 1]
    for wrong in ("", "0" * 64):
        with pytest.raises(ConfigError, match="it is not loaded"):
            I3D(path, wrong)
    with pytest.raises(DataError, match="clips have 8 frames: FVD needs 9"):
        network(torch.zeros(2, 8, 3, 32, 32))
    path.write_bytes(b"not a network")
    with pytest.raises(ConfigError, match="is no TorchScript of I3D"):
        I3D(path, sha256(path))


class Runs:
    """Pickled, it would run code where it is read."""

    def __reduce__(self) -> tuple:
        return print, ("it ran",)


def test_wrong_weights_are_named_and_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"none\.pth does not exist: give the file of weights"):
        load_backbone("vgg16", tmp_path / "none.pth")
    with pytest.raises(ConfigError, match=r"none\.pth cannot be read"):
        sha256(tmp_path / "none.pth")
    torch.save(alexnet().state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(ConfigError, match="does not hold torchvision's weights of vgg16"):
        load_backbone("vgg16", tmp_path / "alexnet.pth")
    with pytest.raises(ConfigError, match=r"it lacks lin0\.model\.1\.weight"):
        load_lpips(alexnet(), tmp_path / "alexnet.pth")
    torch.save({f"lin{i}.model.1.weight": torch.ones(1, 7, 1, 1) for i in range(5)}, tmp_path / "lpips.pth")
    with pytest.raises(ConfigError, match="weights of \\[7, 7, 7, 7, 7\\] channels"):
        load_lpips(alexnet(), tmp_path / "lpips.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="holds no weights by name"):
        read_weights(tmp_path / "list.pth")
    torch.save({"features.0.weight": Runs()}, tmp_path / "hostile.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    for name in ("hostile.pth", "cut.safetensors"):
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            read_weights(tmp_path / name)
    assert capsys.readouterr().out == ""
