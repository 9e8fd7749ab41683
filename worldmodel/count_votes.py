"""Counts votes on a page of `worldmodel.prefer`: ``python -m worldmodel.count_votes run=RUN votes=FILE``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from scipy.stats import binomtest

from worldmodel.configured import configured
from worldmodel.errors import DataError


@configured("count_votes")
def main(config: DictConfig) -> None:
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    files = [settings["votes"]] if isinstance(settings["votes"], str) else settings["votes"]
    key = read(Path(settings["run"]) / "key.json", ("study", "a", "b", "left"))
    print(table(count(key, [Path(file) for file in files]), key))


def count(key: Mapping[str, Any], files: Sequence[Path]) -> Counter[str]:
    """How often ``a``, ``b`` or ``same`` was chosen; DataError for a file of another study, or of no votes."""
    if not isinstance(key["left"], list) or any(side not in ("a", "b") for side in key["left"]):
        raise DataError(f"the key's `left` is {key['left']!r:.80}: give the key.json that was written")
    found: Counter[str] = Counter()
    sessions: dict[str, Path] = {}
    for file in files:
        given = read(file, ("study", "session", "votes"))
        if given["study"] != key["study"]:
            raise DataError(f"{file} is of the study {given['study']}, the run of {key['study']}: give its own votes")
        if (before := sessions.setdefault(str(given["session"]), file)) is not file:
            raise DataError(f"{file} and {before} are of one sitting: give the later alone, which has all its votes")
        if not isinstance(given["votes"], dict):
            raise DataError(f"{file} has no votes by pair: save it anew from the page")
        for index, side in given["votes"].items():
            known = index.isdecimal() and len(index) < 10 and int(index) < len(key["left"])
            if side not in ("left", "right", "same") or not known:
                raise DataError(f"{file} has the vote {side!r:.40} for pair {index!r:.40}: save it anew from the page")
            left = key["left"][int(index)]
            found[{"left": left, "right": "b" if left == "a" else "a", "same": "same"}[side]] += 1
    if not found.total():
        raise DataError("there are no votes: give a file that the page saved")
    return found


def table(votes: Mapping[str, int], key: Mapping[str, Any]) -> str:
    """Shares of all votes with 95 % intervals (Wilson 1927), and how likely so uneven a choice is by chance.

    Both take votes for independent; of several people on the same pairs they are not quite.
    """
    total = sum(votes.values())
    names = {"a": f"a  {key['a']}", "b": f"b  {key['b']}", "same": "about the same"}
    width = max(map(len, names.values())) + 2
    lines = [f"{'preferred':<{width}}{'votes':>6}{'share':>8}  95 % interval"]
    for choice, name in names.items():
        k = votes.get(choice, 0)
        interval = binomtest(k, total).proportion_ci(0.95, method="wilson")
        lines.append(f"{name:<{width}}{k:>6}{k / total:>8.1%}  {interval.low:.1%} to {interval.high:.1%}")
    a, b = votes.get("a", 0), votes.get("b", 0)
    if a + b:
        lines.append(f"as uneven between a and b by chance: p = {binomtest(a, a + b).pvalue:.3g} (binomial, two-sided)")
    return "\n".join(lines)


def read(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """A JSON object with these keys; DataError where it is none."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): give the file that was written") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error}): give the file that was written") from error
    if not isinstance(found, dict) or any(key not in found for key in keys):
        raise DataError(f"{path} lacks {', '.join(keys)}: give the file that was written")
    return found


if __name__ == "__main__":
    main()
