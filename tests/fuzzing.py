"""Files as accidents and malice leave them: bytes and JSON values changed at random, from seeds that repeat them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from worldmodel.errors import WorldModelError

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e30, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**40),
    *("", "a", "0", "../../etc/passwd", "/dev/zero", "a\0b", "é" * 300, "${oc.env:HOME}", "!!python/name:os.system"),
    *([], {}, [[]], [None], {"a": None}, [1, 2], [1, "2"], [[1, 2], [3]], {"_target_": "os.system"}),
)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to three accidents: cut off, flipped, lost, put in, repeated, or spliced with noise."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place, length = rng.randrange(len(data) + 1), min(rng.choice((1, 2, 4, 8, 64, 1024)), len(data))
        noise = rng.randbytes(length)
        match rng.randrange(8):
            case 0:
                data = data[:place]
            case 1 | 2 if data:
                place = min(place, len(data) - 1)
                data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
            case 3:
                data = data[:place] + data[place + length :]
            case 4:
                data = data[:place] + noise + data[place:]
            case 5:
                data = data[:place] + data[place : place + length] + data[place:]
            case 6:
                data = data[:place] + noise + data[place + length :]
            case _:  # numbers that are lengths, counts and offsets
                extreme = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * min(length, 8)
                data = data[:place] + extreme + data[place + len(extreme) :]
    return data


def changed_json(value: Any, rng: random.Random) -> Any:
    """One to three of its values, names or entries are others, or gone."""
    value = deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return deepcopy(rng.choice(ODD))
        inside, key = rng.choice(places)
        match rng.randrange(5):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[rng.choice(("", "a", "é", *inside))] = inside.pop(key)
            case 2 if isinstance(inside, list):
                inside.insert(key, deepcopy(rng.choice((inside[key], *ODD))))
            case 3:
                other, name = rng.choice(places)  # of two values that swap, each is where it does not belong
                if inside is not value and isinstance(other, dict) and name in other:
                    inside[key] = deepcopy(other[name])
            case _:
                inside[key] = deepcopy(rng.choice(ODD))
    return value


def _places(value: Any) -> Any:
    """Each entry, as what holds it and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def changed(data: bytes, rng: random.Random) -> bytes:
    """Bytes, or where they are JSON, lines of JSON, or have a safetensors header, its values half of the time."""
    if rng.random() < 0.5:
        return changed_bytes(data, rng)
    try:
        return json.dumps(changed_json(json.loads(data), rng)).encode()
    except ValueError:
        pass
    lines = data.splitlines()
    try:
        index = rng.randrange(len(lines))
        lines[index] = json.dumps(changed_json(json.loads(lines[index]), rng)).encode()
        return b"\n".join(lines)
    except ValueError:
        pass
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, OverflowError):
        return changed_bytes(data, rng)
    for name, text in header.get("__metadata__", {}).items():  # whose values are JSON themselves
        if rng.random() < 0.3:
            header["__metadata__"][name] = json.dumps(changed_json(json.loads(text), rng))
    text = json.dumps(changed_json(header, rng)).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def fuzz(
    name: str, data: bytes, write: Callable[[bytes], Any], load: Callable[[], Any], count: int, first: int = 0
) -> None:
    """Writes `count` changed files and loads each; prints how many were read and how many refused.

    Fails on whatever is not an error of ours, telling the seed that repeats it.
    """
    read, escaped = 0, {}
    for seed in range(first, first + count):
        write(changed(data, random.Random(f"{name} {seed}")))
        try:
            load()
            read += 1
        except WorldModelError as error:
            said = str(error)
            if "\n" in said or len(said) > 3000:
                escaped.setdefault("a message of many lines", f"seed {seed}: {said:.300}")
        except Exception as error:
            escaped.setdefault(type(error), f"seed {seed}: {error!r:.300}")
    print(f"{name}: {count} changed files, {read} read, {count - read} refused")
    assert not escaped, (name, escaped)
