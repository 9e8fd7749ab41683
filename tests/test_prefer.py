"""Comparing two models by eye: the page is blind, votes reach the file, and the count is theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Command, running
from conftest import Watched
from dreaming import DENSE, PAIR, contexts, trained
from test_open_loop import episode

from worldmodel.count_votes import count, read, table
from worldmodel.episode import save_episode
from worldmodel.errors import DataError
from worldmodel.held_out import DataSplit
from worldmodel.pictures.preference import Pair, preference_page
from worldmodel.pretrained import save_pretrained

KEY = {"study": "s", "a": "one", "b": "other", "left": ["a", "b", "b"]}


def votes(path: Path, study: str = "s", **given: str) -> Path:
    chosen = {name.lstrip("_"): side for name, side in given.items()}
    path.write_text(json.dumps({"study": study, "session": path.name, "votes": chosen}))
    return path


def test_votes_are_those_of_whoever_was_on_that_side(tmp_path: Path) -> None:
    first = votes(tmp_path / "1.json", _0="left", _1="left", _2="same")
    second = votes(tmp_path / "2.json", _1="right", _2="right")
    assert count(KEY, [first]) == {"a": 1, "b": 1, "same": 1}
    assert count(KEY, [first, second]) == {"a": 3, "b": 1, "same": 1}


def test_shares_have_intervals() -> None:
    """Wilson's for 8 of 10: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)."""
    lines = table({"a": 8, "b": 2}, KEY).splitlines()
    z, n, p = 1.959964, 10, 0.8
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    assert lines[1].split() == ["a", "one", "8", "80.0%", f"{low:.1%}", "to", f"{high:.1%}"]
    assert lines[3].split()[-5:] == ["0", "0.0%", "0.0%", "to", "27.8%"]
    assert lines[4].endswith("p = 0.109 (binomial, two-sided)")  # 2 (1 + 10 + 45) / 1024
    assert len(table({"same": 3}, KEY).splitlines()) == 4


def test_wrong_files_of_votes_are_named(tmp_path: Path) -> None:
    for file, says in (
        (votes(tmp_path / "a.json", study="t", _0="left"), "is of the study t, the run of s"),
        (votes(tmp_path / "b.json", _0="up"), "has the vote 'up' for pair '0'"),
        (votes(tmp_path / "c.json", _3="left"), "for pair '3'"),
        (votes(tmp_path / "d.json"), "there are no votes"),
    ):
        with pytest.raises(DataError, match=says):
            count(KEY, [file])
    again = votes(tmp_path / "a2.json", _0="left")
    twice = [again, tmp_path / "copy.json"]
    twice[1].write_bytes(again.read_bytes())
    with pytest.raises(DataError, match=r"copy\.json and .*a2\.json are of one sitting"):
        count(KEY, twice)
    (tmp_path / "list.json").write_text(json.dumps({"study": "s", "session": "x", "votes": []}))
    with pytest.raises(DataError, match="has no votes by pair"):
        count(KEY, [tmp_path / "list.json"])
    (tmp_path / "e.json").write_text("{")
    (tmp_path / "f.json").write_text("[]")
    for name, says in (("e", "is no JSON"), ("f", "lacks study, votes"), ("g", "cannot be read .*: give the file")):
        with pytest.raises(DataError, match=says):
            read(tmp_path / f"{name}.json", ("study", "votes"))


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((16, 16, 3), level, np.uint8) for level in levels])


def test_the_page_shows_the_pairs_and_saves_the_votes(watched: Callable[..., Watched], tmp_path: Path) -> None:
    pairs = [Pair(grey(0, 80, 160), grey(0, 200, 240)), Pair(grey(20, 40, 60), grey(20, 10, 0))]
    page, study = preference_page(pairs, context=1, fps=20)
    assert preference_page(pairs[:1], context=1, fps=20)[1] != study
    (tmp_path / "page.html").write_text(page)
    seen = watched(width=360, height=700, scheme="dark")
    seen.page.goto((tmp_path / "page.html").as_uri())
    seen.page.wait_for_selector("body[data-frame='2']")
    shown = {}
    for _ in range(400):
        frame, left, right = seen.page.evaluate(
            """() => [Number(document.body.dataset.frame), ...["left", "right"].map((id) =>
                document.getElementById(id).getContext("2d").getImageData(8, 8, 1, 1).data[0])]"""
        )
        shown[frame] = (left, right)
        if len(shown) == 3:
            break
        seen.page.wait_for_timeout(20)
    assert shown == {0: (0, 0), 1: (80, 200), 2: (160, 240)}  # to the bit
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert seen.page.inner_text("#progress") == "1 of 2" and not seen.page.is_visible("#save")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.inner_text("#progress") == "2 of 2"
    seen.page.keyboard.press("Backspace")
    seen.page.keyboard.press("ArrowDown")
    seen.page.click("#vote-right")
    assert "All 2 are done" in seen.page.inner_text("#progress") and not seen.page.is_visible("#task")
    with seen.page.expect_download() as download:
        seen.page.click("#save")
    download.value.save_as(tmp_path / "votes.json")
    saved = json.loads((tmp_path / "votes.json").read_text())
    assert re.fullmatch("[0-9a-f]{16}", saved.pop("session"))
    assert saved == {"study": study, "votes": {"0": "same", "1": "right"}}
    assert seen.complaints == [] and all(url.startswith(("file:", "data:")) for url in seen.requests)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of models of one environment, and one of another's."""
    home = tmp_path_factory.mktemp("home")
    for name, model in (("one", trained(PAIR)), ("other", trained(DENSE))):
        save_pretrained(home / name / "checkpoints" / "000003", model, contexts())
        for index in range(2):
            save_episode(episode(12 + index), home / name / "evaluation" / f"{index:06d}.safetensors")
    save_episode(replace(episode(12), seed=9), home / "other" / "episodes" / "000000.safetensors")
    spec = replace(trained(PAIR).spec, task="other")
    save_pretrained(home / "third" / "checkpoints" / "000003", trained(PAIR, spec), contexts(spec))
    return home


@pytest.fixture(scope="module")
def prefer(runs: Path) -> Iterator[Command]:
    with running("worldmodel.prefer", runs, "pairs=6", "context=2", "horizon=4", "accelerator=cpu") as command:
        yield command


def test_the_command_hides_which_is_whose(prefer: Command, runs: Path) -> None:
    outcome = prefer("a=one", "b=other", "run=study")
    assert outcome.status == 0, outcome.stderr
    key = json.loads((runs / "study" / "key.json").read_text())
    page = (runs / "study" / "page.html").read_text()
    assert key["a"].startswith("one/") and key["b"].startswith("other/") and set(key["left"]) <= {"a", "b"}
    data = json.loads(re.search(r"const data = (.*);\n", page)[1])  # type: ignore[index]
    assert data["study"] == key["study"] and len(data["pairs"]) == 6 and data["count"] == 6
    assert "one/" not in page and "checkpoints" not in page
    again = prefer("a=one", "b=other", "run=again")
    assert again.status == 0
    key_again = json.loads((runs / "again" / "key.json").read_text())
    page_again = (runs / "again" / "page.html").read_text()
    data_again = json.loads(re.search(r"const data = (.*);\n", page_again)[1])  # type: ignore[index]
    # The same films, and sides drawn anew.
    for pair, other, left, left_again in zip(
        data["pairs"], data_again["pairs"], key["left"], key_again["left"], strict=True
    ):
        assert other == (pair if left == left_again else pair[::-1])


def test_models_that_left_out_the_same_episodes_are_compared_on_them(prefer: Command, runs: Path) -> None:
    """Both were fitted to the others of that folder."""
    paths = [runs / "shared" / f"{index:06d}.safetensors" for index in range(10)]
    for index, path in enumerate(paths):
        save_episode(replace(episode(12), seed=index), path)
    for name in ("left", "right"):
        save_pretrained(runs / name / "checkpoints" / "000003", trained(PAIR), contexts())
        DataSplit.of(paths[:8], paths[8:]).save(runs / name)
    outcome = prefer("a=left", "b=right", "run=compared")
    assert outcome.status == 0, outcome.stderr
    DataSplit.of(paths[:9], paths[9:]).save(runs / "right")
    refused = prefer("a=left", "b=right", "run=refused")
    assert refused.status == 2 and "was fitted to 1 of 2 episodes of" in refused.stderr


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["a=one", "b=one"], "error: a and b are one checkpoint, one"),
        (["a=one", "b=third"], "error: the model in third was trained on another environment: task"),
        (
            ["a=one", "b=other", "data=other/episodes"],
            "error: the model of other/checkpoints/000003 was fitted to 1",
        ),
        (["a=one", "b=other", "horizon=20"], "error: no episode has 22 frames"),
        (["a=one", "b=other", "fps=60"], "error: fps is 60"),
        (["a=one", "b=nowhere"], "error: nowhere is not a checkpoint folder"),
    ],
)
def test_mistakes_are_a_line(prefer: Command, overrides: list[str], says: str) -> None:
    outcome = prefer(*overrides, "run=mistaken")
    assert outcome.status == 2 and outcome.stderr.startswith(says), outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
