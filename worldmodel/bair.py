"""The records of BAIR's robot pushing data set (Ebert et al. 2017) as episodes, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import count as count_from
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from worldmodel.episode import UNKNOWN_SEED, Episode
from worldmodel.errors import DataError
from worldmodel.spec import EnvSpec

SIZE = (64, 64)
FRAME, ACTION = "{}/image_aux1/encoded", "{}/action"  # of each moment; this camera is the one that papers predict


def find_records(folder: Path) -> list[Path]:
    """``*.tfrecords`` of a folder, in order; DataError where there are none."""
    found = sorted(folder.glob("*.tfrecords"))
    if not found:
        raise DataError(f"{folder} holds no *.tfrecords: give the folder that has train/ and test/ of them")
    return found


def action_bounds(paths: list[Path]) -> np.ndarray:
    """The greatest magnitude (a,) of each of the actions' numbers."""
    greatest = np.zeros(0)
    for path in paths:
        for record in _records(path):
            found = np.abs(_sequence(record, path)[1]).max(0)
            if len(greatest) not in (0, len(found)):
                raise DataError(f"{path} has actions of {len(found)} numbers, others have {len(greatest)}")
            greatest = np.maximum(greatest, found) if len(greatest) else found
    return np.where(greatest > 0, greatest, 1.0)


def bair_spec(bounds: np.ndarray) -> EnvSpec:
    """Actions are scaled so that these bounds are 1."""
    high = tuple(float(value) for value in bounds)
    return EnvSpec("video", "bair", "box", len(high), tuple(-value for value in high), high, 1, 0, SIZE)


def bair_episodes(path: Path, spec: EnvSpec) -> Iterator[Episode]:
    """An episode a record; the last action, which leads to no frame, is dropped, and what is beyond bounds clipped."""
    for record in _records(path):
        frames, actions = _sequence(record, path)
        if actions.shape[1] != spec.action_size:
            raise DataError(f"{path} has actions of {actions.shape[1]} numbers, others have {spec.action_size}")
        yield Episode(
            frames=frames,
            actions=(actions[:-1] / np.array(spec.action_high)).clip(-1, 1).astype(np.float32),
            rewards=np.zeros(len(frames) - 1, np.float32),
            terminated=False,
            truncated=True,
            spec=spec,
            seed=UNKNOWN_SEED,
            actor=path.name,
        )


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Features by name; DataError for a file that is cut off or holds something else.

    A TFRecord is its length in 8 bytes, 4 of a checksum, the record, and 4 of a checksum. They are not compared: in
    Python that takes a second a record.
    """
    with path.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(header[:8], "little")
            left = path.stat().st_size - file.tell()
            if len(header) < 12 or left < length + 4:
                raise DataError(f"{path} is cut off, or holds no records: copy it again")
            try:
                example = _example().FromString(file.read(length))
            except DecodeError as error:
                raise DataError(f"{path} holds records that are no examples ({error}): give BAIR's own") from error
            file.seek(4, os.SEEK_CUR)
            yield {entry.key: entry.value for entry in example.features.feature}


def _sequence(record: dict[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames (t, 64, 64, 3) uint8 and as many actions (t, a)."""
    count = next(i for i in count_from(0) if FRAME.format(i) not in record)
    size = 3 * SIZE[0] * SIZE[1]
    try:
        pictures = [record[FRAME.format(i)].bytes_list.value[0] for i in range(count)]
        actions = np.array([record[ACTION.format(i)].float_list.value for i in range(count)])
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{path} lacks a frame or an action ({error!r}): give BAIR's records") from error
    if not np.isfinite(actions).all():
        raise DataError(f"{path} has actions that are not finite: leave it out")
    if count < 2 or actions.ndim != 2 or 0 in actions.shape or any(len(picture) != size for picture in pictures):
        raise DataError(
            f"{path} has a record of {count} frames named {FRAME.format(0)}, ...: it must have two or more, of {size} "
            f"bytes, with an action each"
        )
    return np.stack([np.frombuffer(picture, np.uint8).reshape(*SIZE, 3) for picture in pictures]), actions


@cache
def _example() -> Any:
    """TensorFlow's message ``Example``: a feature of bytes, floats or integers by name. A map is a list of pairs."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="worldmodel/example.proto", package="worldmodel", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, bool, str | None]) -> None:
        added = file.message_type.add(name=name)
        for field, number, kind, repeated, of in fields:
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added.field.add(name=field, number=number, type=kind, label=label, type_name=of)

    message("BytesList", ("value", 1, kinds.TYPE_BYTES, True, None))
    message("FloatList", ("value", 1, kinds.TYPE_FLOAT, True, None))
    lists = (("bytes_list", 1, "BytesList"), ("float_list", 2, "FloatList"))
    message("Feature", *((name, number, kinds.TYPE_MESSAGE, False, f".worldmodel.{of}") for name, number, of in lists))
    message(
        "Entry",
        ("key", 1, kinds.TYPE_STRING, False, None),
        ("value", 2, kinds.TYPE_MESSAGE, False, ".worldmodel.Feature"),
    )
    message("Features", ("feature", 1, kinds.TYPE_MESSAGE, True, ".worldmodel.Entry"))
    message("Example", ("features", 1, kinds.TYPE_MESSAGE, False, ".worldmodel.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("worldmodel.Example"))
