"""Minari data sets in and out: public ones train a model, and ours can be shared.

Ours come back exactly as they left: frames are stored as they are, not as Minari's usual JPEGs, and what Minari has no
place for lies in the data set's metadata (the `EnvSpec`) and in each episode's (its actor).
Minari keeps data sets under ``MINARI_DATASETS_PATH``, by default in ``~/.minari/datasets``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.gym import resize
from envs.spec import action_vector, describe, env_action
from worldmodel.episode import UNKNOWN_SEED, Episode, episode_path, load_episode, save_episode
from worldmodel.errors import ConfigError, DataError, EnvError, WorldModelError
from worldmodel.files import whole_folder
from worldmodel.folders import split
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec

OURS = "svg_worldmodel"  # key of the metadata that makes a data set one of ours
SCHEMA_VERSION = 1
SMALLEST_PICTURE = (
    32  # pixels a side: Minari's own rule, for smaller arrays are maps of codes (MiniGrid's), not colours
)


def export_folder(folder: Path, dataset: str) -> Path:
    """Makes a Minari data set of a folder of episodes, whole or not at all; memory holds one episode at a time.

    Observations are frames (H, W, 3) uint8, actions (a,) float32 in [-1, 1] or integers from 0, rewards float32.

    Args:
        folder: of episodes, all of one environment.
        dataset: its id, ``namespace/name-v0``; the namespace is made when it is missing.

    Returns the data set's folder.

    Raises:
        ConfigError: Minari is not installed, or the id is malformed.
        DataError: no episodes, episodes that differ or are damaged, or an id that is taken.
    """
    minari = _minari()
    try:
        namespace, _, _ = minari.dataset.minari_dataset.parse_dataset_id(dataset)
    except (ValueError, TypeError) as error:  # TypeError where the version is missing
        raise ConfigError(f"dataset is {dataset!r}: set namespace/name-v0, of letters, digits, - and _") from error
    paths, _ = split(folder, 0.0)
    spec = Replay(paths).spec  # which finds out whether the others are of the same environment
    target = Path(minari.storage.get_dataset_path(dataset))
    if target.exists():
        raise DataError(f"{target} already exists: choose another name or version, or `minari delete {dataset}`")
    if namespace is not None and namespace not in minari.namespace.list_local_namespaces():
        minari.namespace.create_namespace(namespace)
    with whole_folder(target) as temporary:
        _write(minari, temporary / "data", dataset, spec, paths)
    return target


def import_dataset(dataset: str, folder: Path, *, name: str, size: Sequence[int]) -> int:
    """Makes a folder of episodes of a local Minari data set, whole or not at all; memory holds one episode at a time.

    A data set that `export_folder` made gives the same episodes again. Any other must have pictures (h, w, 3) uint8 for
    observations, or in exactly one entry of them, and actions in a bounded vector or Discrete. They are described as
    the task of the data set's Gymnasium id (its own id where it has none), with an action repeat of 1 and the time
    limit registered there. An episode ends as its last step says; the actor is the data set's algorithm; the seed is
    `UNKNOWN_SEED` where none is given.

    Args:
        dataset: its id.
        folder: to write; must be empty or missing.
        name: of the environment, as in `EnvSpec.env`; for data sets that are not ours.
        size: [height, width] that their pictures are resized to, multiples of 16.

    Returns how many episodes there are.

    Raises:
        ConfigError: Minari is not installed, or the size cannot be meant.
        DataError: the folder is not empty, there is no such data set on this machine, or it has no pictures, other
            actions or episodes that cannot be ours.
    """
    if not (isinstance(size, Sequence) and len(size) == 2 and all(map(_is_side, size))):
        raise ConfigError(f"size is {size}: set [height, width], positive multiples of 16")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} already holds something: give an empty or a new folder")
    source = _load(dataset)
    with _reading(dataset):
        metadata = source.storage.metadata
        ours = OURS in metadata
        spec = _our_spec(dataset, metadata[OURS]) if ours else _describe(source, name, (size[0], size[1]))
        key = None if ours else _picture_key(source.observation_space, dataset)
    count = 0
    with whole_folder(folder) as temporary:
        for count, episode in enumerate(_episodes(source, dataset, spec, key), 1):
            save_episode(episode, episode_path(temporary, count - 1))
    return count


def _episodes(source: Any, dataset: str, spec: EnvSpec, key: str | None) -> Iterator[Episode]:
    """Those of a MinariDataset; `key` is the entry of its observations that is a picture, None where they are it."""
    with _reading(dataset):
        played_by = source.storage.metadata.get("algorithm_name", "unknown")
        notes = source.storage.get_episode_metadata(source.episode_indices)
        for data, note in zip(source.iterate_episodes(), notes, strict=True):
            pictures = data.observations if key is None else data.observations[key]
            try:
                yield Episode(
                    frames=np.stack([resize(picture, spec.frame_size) for picture in pictures]),
                    actions=_vectors(spec, source.action_space, data.actions),
                    rewards=np.asarray(data.rewards, np.float32),
                    terminated=bool(data.terminations[-1]),
                    truncated=bool(data.truncations[-1]),
                    spec=spec,
                    seed=int(note.get("seed", UNKNOWN_SEED)),
                    actor=str(note.get("actor", played_by)),
                )
            except (DataError, EnvError) as error:
                raise DataError(f"episode {data.id} of {dataset} cannot be imported: {error}") from error


@contextmanager
def _reading(dataset: str) -> Iterator[None]:
    """DataError for whatever files that are damaged, or not as Minari writes them, make h5py and NumPy raise."""
    try:
        yield
    except WorldModelError:
        raise
    except Exception as error:
        raise DataError(f"{dataset} is damaged ({error!r:.300}): download it again") from error


def _write(minari: Any, data: Path, dataset: str, spec: EnvSpec, paths: Sequence[Path]) -> None:
    """Through Minari's storage: `create_dataset_from_buffers` would warn of an environment that it cannot remake."""
    storage = minari.dataset.minari_storage.MinariStorage.new(
        data,
        observation_space=spaces.Box(0, 255, (*spec.frame_size, 3), np.uint8),
        action_space=spaces.Box(-1, 1, (spec.action_size,), np.float32)
        if spec.action_kind == "box"
        else spaces.Discrete(spec.action_size),
        jpeg_encoding=False,
    )
    actors = set()
    for index, episode in enumerate(map(load_episode, paths)):
        length = len(episode)
        ends = np.arange(length) == length - 1
        buffer = minari.data_collector.EpisodeBuffer(
            seed=episode.seed if episode.seed != UNKNOWN_SEED else None,
            observations=episode.frames,
            actions=np.array([env_action(spec, vector) for vector in episode.actions]),
            rewards=episode.rewards,
            terminations=ends & episode.terminated,
            truncations=ends & episode.truncated,
            infos={},  # not None, on which Minari's EpisodeData cannot be printed
        )
        storage.update_episodes([buffer])
        storage.update_episode_metadata([{"actor": episode.actor}], [index])
        actors.add(episode.actor)
    storage.update_metadata(
        {
            "dataset_id": dataset,
            "minari_version": minari.__version__,
            "algorithm_name": ", ".join(sorted(actors)),
            "description": f"Frames of {spec.env}/{spec.task}, recorded by svg-worldmodel",
            OURS: {"schema_version": SCHEMA_VERSION, "spec": spec.to_json()},
        }
    )


def _load(dataset: str) -> Any:
    """The MinariDataset of this id."""
    minari = _minari()
    try:
        return minari.load_dataset(dataset)
    except FileNotFoundError as error:
        raise DataError(f"Minari has no data set {dataset!r} on this machine: `minari download {dataset}`") from error
    except Exception as error:  # of whatever kind: files of other versions, spaces and formats that it lacks parts for
        mend = "download it again, or install the Minari that wrote it"
        raise DataError(f"Minari {minari.__version__} cannot open {dataset} ({error!r:.300}): {mend}") from error


def _our_spec(dataset: str, ours: dict[str, Any]) -> EnvSpec:
    version = ours["schema_version"]
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{dataset} has schema version {version!s:.40}, this code reads {SCHEMA_VERSION}: use a newer version"
        )
    return EnvSpec.from_json(ours["spec"])


def _describe(source: Any, name: str, size: tuple[int, int]) -> EnvSpec:
    registered = source.env_spec
    try:
        return describe(
            source.action_space,
            env=name,
            task=registered.id if registered else source.id,
            action_repeat=1,
            time_limit=(registered and registered.max_episode_steps) or 0,
            size=size,
        )
    except EnvError as error:
        raise DataError(f"{source.id} cannot be imported: {error}") from error


def _picture_key(space: spaces.Space[Any], dataset: str) -> str | None:
    """Which entry of the observations is the picture; None when they are pictures themselves."""
    if _is_picture(space):
        return None
    parts = space.spaces if isinstance(space, spaces.Dict) else {}
    pictures = [key for key, part in parts.items() if _is_picture(part)]
    if len(pictures) == 1:
        return pictures[0]
    side = SMALLEST_PICTURE
    raise DataError(
        f"{dataset} has {len(pictures)} pictures in an observation, {space}: exactly one (h, w, 3) uint8 of {side} "
        f"pixels a side or more can be learnt from; choose a data set that has one, as atari/breakout/expert-v0"
    )


def _is_side(value: Any) -> bool:
    return type(value) is int and value > 0 and value % 16 == 0


def _is_picture(space: spaces.Space[Any]) -> bool:
    if not (isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3):
        return False
    return space.shape[2] == 3 and min(space.shape[:2]) >= SMALLEST_PICTURE


def _vectors(spec: EnvSpec, space: spaces.Space[Any], actions: np.ndarray) -> np.ndarray:
    """Actions of a data set as (T, a) float32 in [-1, 1] or one-hot; bounds of -1 and 1 change none of them."""
    if isinstance(space, spaces.Discrete):
        return np.stack([action_vector(spec, int(action) - int(space.start)) for action in actions])
    assert isinstance(space, spaces.Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    return ((np.asarray(actions, np.float64) - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)


def _minari() -> Any:
    """The package, and the one that its files need; it has no type hints."""
    try:
        import_module("h5py")
        return import_module("minari")
    except ImportError as error:
        raise ConfigError(f"Minari is not installed ({error}): pip install 'svg-worldmodel[minari]'") from error
