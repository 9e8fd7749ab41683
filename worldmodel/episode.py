"""An episode, and its file: one safetensors file each, so that a killed process can at most lose the one in hand.

The file holds the tensors `frames`, `actions`, `rewards`, `terminated`, `truncated`, and as text metadata
`schema_version` and the JSON of `spec`, `seed`, `actor`, and a `sha256` of all this, which reading it whole checks. Any
safetensors reader opens it. Reading goes through the file's own header here, so that `worldmodel.replay` can read any
window of it with plain positioned reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors.numpy import save

from worldmodel.errors import DataError
from worldmodel.files import make_folder, write_atomic
from worldmodel.spec import EnvSpec

SCHEMA_VERSION = 2
UNKNOWN_SEED = -1  # of episodes that were not played here
_DTYPES = {"frames": "uint8", "actions": "float32", "rewards": "float32", "terminated": "bool", "truncated": "bool"}
_CODES = {"uint8": "U8", "float32": "F32", "bool": "BOOL"}  # as safetensors names them


@dataclass(frozen=True, eq=False)
class Episode:
    """T transitions and T+1 frames; `actions[i]` takes `frames[i]` to `frames[i+1]` and earns `rewards[i]`.

    Attributes:
        frames: (T+1, H, W, 3) uint8.
        actions: (T, a) float32 in [-1, 1]; one-hot when discrete.
        rewards: (T,) float32, summed over the action repeat.
        terminated: ended by the task.
        truncated: ended by the time limit.
        spec: the environment it was played in.
        seed: given to `env.reset`.
        actor: who chose the actions (``random``, ``planner``).

    Raises DataError when a part has another shape, type or range.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    spec: EnvSpec
    seed: int
    actor: str

    def __post_init__(self) -> None:
        for name in ("frames", "actions", "rewards"):
            dtype = getattr(self, name).dtype
            if dtype != _DTYPES[name]:
                mend = "keep them as the environment drew them, 0..255" if name == "frames" else "convert them"
                raise DataError(f"{name} are {dtype}: they must be {_DTYPES[name]}; {mend}")
        length = self.actions.shape[0] if self.actions.ndim else 0
        if length == 0:
            raise DataError("the episode has no transitions: it needs one action or more, and a frame more than that")
        for name, shape in _shapes(length, self.spec).items():
            found = getattr(self, name).shape
            if found != shape:
                raise DataError(
                    f"{name} have shape {found} where {length} actions in {self.spec.env}/{self.spec.task} need {shape}"
                )
        if not np.isfinite(self.rewards).all():
            first = int(np.flatnonzero(~np.isfinite(self.rewards))[0])
            raise DataError(f"rewards[{first}] is {self.rewards[first]}: rewards must be finite; mend the environment")
        _check_actions(self.actions, self.spec)

    def __len__(self) -> int:
        """Transitions."""
        return len(self.actions)

    @property
    def total(self) -> float:
        """The return: all rewards, undiscounted."""
        return float(self.rewards.sum(dtype=np.float64))

    @property
    def env_frames(self) -> int:
        """Simulator steps, action repeat included; a last decision that the episode's end cut short counts in full."""
        return len(self) * self.spec.action_repeat


@dataclass(frozen=True)
class EpisodeHeader:
    """What an episode's file says without its frames.

    Attributes:
        length: transitions, T.
        spec, seed, actor, terminated, truncated: as in `Episode`.
        digest: SHA-256 of the whole episode, in hexadecimal.
        offsets: for each tensor, where its first byte lies in the file.
    """

    length: int
    spec: EnvSpec
    seed: int
    actor: str
    terminated: bool
    truncated: bool
    digest: str
    offsets: Mapping[str, int]


def episode_path(folder: Path, index: int) -> Path:
    """Where the index-th episode of a folder lies: ``000012.safetensors``."""
    return folder / f"{index:06d}.safetensors"


def save_episode(episode: Episode, path: Path) -> None:
    """Writes an episode, whole or not at all, replacing any before it; makes the folder when it is missing."""
    tensors = {name: np.ascontiguousarray(getattr(episode, name)) for name in ("frames", "actions", "rewards")}
    tensors |= {name: np.array(getattr(episode, name), np.bool_) for name in ("terminated", "truncated")}
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "spec": json.dumps(episode.spec.to_json()),
        "seed": json.dumps(int(episode.seed)),
        "actor": json.dumps(episode.actor),
        "sha256": json.dumps(_digest(episode)),
    }
    make_folder(path.parent)
    write_atomic(path, save(tensors, metadata))


def load_episode(path: Path) -> Episode:
    """Reads a whole episode; raises DataError naming the file when it is missing, cut off, damaged, or no episode."""
    header = read_header(path)
    with path.open("rb", buffering=0) as file:

        def read(name: str) -> np.ndarray:
            array = np.empty(_shapes(header.length, header.spec)[name], _DTYPES[name])
            read_rows(array, file.fileno(), path, header.offsets[name])
            return array

        frames, actions, rewards = read("frames"), read("actions"), read("rewards")
    try:
        episode = Episode(
            frames,
            actions,
            rewards,
            terminated=header.terminated,
            truncated=header.truncated,
            spec=header.spec,
            seed=header.seed,
            actor=header.actor,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if _digest(episode) != header.digest:
        raise DataError(f"{path} is damaged: its SHA-256 is not what it was written with; delete it or copy it again")
    return episode


def load_rewards(path: Path) -> np.ndarray:
    """Reads the rewards (T,) alone; raises DataError as `load_episode` does."""
    header = read_header(path)
    rewards = np.empty(header.length, np.float32)
    with path.open("rb", buffering=0) as file:
        read_rows(rewards, file.fileno(), path, header.offsets["rewards"])
    return rewards


def read_header(path: Path) -> EpisodeHeader:
    """Reads all but frames, actions and rewards; raises DataError as `load_episode` does."""
    try:
        with path.open("rb") as file:
            return _parse(file)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as an episode ({error!r:.300}): delete it or copy it again") from error
    except DataError as error:
        raise DataError(f"{path} {error}") from error


def read_rows(out: np.ndarray, descriptor: int, path: Path, offset: int, start: int = 0) -> None:
    """Fills a contiguous array with the rows from `start` of a tensor that begins at byte `offset` of an open file.

    Raises DataError naming `path` when the file ends before.
    """
    if out.size == 0:
        return
    offset += start * out[0].nbytes
    view = out.data.cast("B")
    while view:  # one read returns at most 2 GiB
        count = os.preadv(descriptor, [view], offset)
        if count == 0:
            raise DataError(f"{path} ends {len(view)} bytes early: delete it or copy it again")
        view, offset = view[count:], offset + count


def _shapes(length: int, spec: EnvSpec) -> dict[str, tuple[int, ...]]:
    return {
        "frames": (length + 1, *spec.frame_size, 3),
        "actions": (length, spec.action_size),
        "rewards": (length,),
    }


def _check_actions(actions: np.ndarray, spec: EnvSpec) -> None:
    """actions (T, a); NaN fails the range check too."""
    outside = ~(np.abs(actions) <= 1).all(1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise DataError(f"actions[{first}] is {actions[first].tolist()}: they must be in [-1, 1]; scale or clip them")
    if spec.action_kind == "discrete":
        one_hot = ((actions == 0) | (actions == 1)).all(1) & (actions.sum(1) == 1)
        if not one_hot.all():
            first = int(np.flatnonzero(~one_hot)[0])
            raise DataError(f"actions[{first}] is {actions[first].tolist()}: discrete actions must be one-hot")


def _parse(file: BinaryIO) -> EpisodeHeader:
    """A safetensors header is its own length in 8 bytes, then JSON; the tensors' bytes follow."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length
    if size < 8 or size < start:
        raise DataError(f"is cut off or no episode: {size} bytes; delete it or copy it again")
    entries = json.loads(file.read(length))
    metadata = entries.pop("__metadata__", {})
    version = metadata.get("schema_version")
    if version is None:
        raise DataError("is a safetensors file but no episode: it has no schema_version; give an episode's file")
    if version != str(SCHEMA_VERSION):
        raise DataError(
            f"has schema version {version!s:.30}, this code reads {SCHEMA_VERSION}: use the code that wrote it"
        )
    expected = start + max(entry["data_offsets"][1] for entry in entries.values())
    if size != expected:
        raise DataError(f"is cut off or padded: {size} bytes of {expected}; delete it or copy it again")
    spec = _spec(metadata["spec"])
    steps = entries["rewards"]["shape"][0]
    if type(steps) is not int or steps < 1:
        raise DataError(f"has {steps!r:.80} rewards: delete it or write it again")
    for name, shape in {**_shapes(steps, spec), "terminated": (), "truncated": ()}.items():
        entry, dtype = entries[name], _DTYPES[name]
        begin, end = entry["data_offsets"]
        count = math.prod(shape) * np.dtype(dtype).itemsize
        if entry["dtype"] != _CODES[dtype] or tuple(entry["shape"]) != shape or begin < 0 or end - begin != count:
            found, wanted = f"{entry['dtype']} {entry['shape']}", f"{_CODES[dtype]} {list(shape)}"
            raise DataError(f"holds {name} as {found} where {wanted} is needed: delete it or write it again")
    offsets = {name: start + entry["data_offsets"][0] for name, entry in entries.items()}
    flags = {}
    for name in ("terminated", "truncated"):
        file.seek(offsets[name])
        flags[name] = file.read(1) != b"\0"
    seed, actor, digest = (json.loads(metadata[name]) for name in ("seed", "actor", "sha256"))
    if type(seed) is not int or not isinstance(actor, str) or not isinstance(digest, str):
        found = f"the seed {seed!r:.80}, the actor {actor!r:.80} and the SHA-256 {digest!r:.80}"
        raise DataError(f"has {found}: delete it or write it again")
    return EpisodeHeader(length=steps, spec=spec, seed=seed, actor=actor, digest=digest, offsets=offsets, **flags)


def _digest(episode: Episode) -> str:
    """SHA-256 over what is told of an episode, then its frames, actions and rewards."""
    told = [episode.spec.to_json(), int(episode.seed), episode.actor, bool(episode.terminated), bool(episode.truncated)]
    digest = hashlib.sha256(json.dumps(told).encode())
    for array in (episode.frames, episode.actions, episode.rewards):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@lru_cache(maxsize=64)  # thousands of episodes share one environment: one object, not one each
def _spec(text: str) -> EnvSpec:
    return EnvSpec.from_json(json.loads(text))
