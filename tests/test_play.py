"""The page of `agents.play`, in a real browser: keys, pause, reset, broken lines, viewers, tokens, recordings."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import av
import numpy as np
import pytest
from conftest import Watched
from dreaming import CHOICE, PAIR, contexts, trained
from playwright.sync_api import Page
from stable_baselines3 import PPO

from agents.game import Game
from agents.play import drivers
from agents.play_door import is_loopback
from agents.sb3 import ImaginedVecEnv
from envs import make_env
from envs.dream import Dream
from envs.starts import ContextStarts
from worldmodel.errors import ConfigError
from worldmodel.pretrained import save_pretrained

ROOT = Path(__file__).resolve().parent.parent
ENV = {
    **{"backend": "gymnasium", "name": "cartpole_gym", "id": "CartPole-v1", "kwargs": {}, "frames": "render"},
    **{"action_repeat": 1, "time_limit": 500, "size": [64, 64]},
}
TINY = [
    *("env=cartpole_gym", "env.action_repeat=1", "env.time_limit=500", "accelerator=cpu", "samples=2", "speed=20"),
    *("planner.candidates=8", "planner.iterations=1", "planner.elites=2", "planner.horizon=3"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has learned nothing."""
    home = tmp_path_factory.mktemp("home")
    env = make_env(ENV)
    save_pretrained(home / "model", trained(PAIR, env.env_spec), contexts(env.env_spec))
    env.close()
    return home


@contextmanager
def playing(home: Path, *overrides: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command while it serves: the address that it printed, and its process."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-m", "agents.play", "checkpoint=model", *TINY, *overrides]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=home, env=variables, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()
            assert address, process.communicate(timeout=60)
            yield address[0], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with playing(home, "port=0", "run=played") as (address, process):
        yield address
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and errors == ""


def step(page: Page) -> int:
    return int(page.get_attribute("body", "data-step") or 0)


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come to be within half a minute")


@pytest.fixture
def seen(watched: Callable[..., Watched], address: str) -> Watched:
    """The page at a new start, paused, with a person acting."""
    seen = watched()
    seen.page.goto(address)
    seen.page.wait_for_selector("body[data-step]")
    if seen.page.inner_text("#pause") == "Pause":
        seen.page.click("#pause")
    seen.page.select_option("#driver", "person")
    seen.page.click("#reset")
    wait_until(seen.page, lambda: step(seen.page) == 0 and seen.page.inner_text("#pause") == "Play")
    return seen


def test_keys_move_the_dream_and_pause_pauses(seen: Watched) -> None:
    page = seen.page
    before = page.get_attribute("#dream", "src")
    page.keyboard.down("ArrowRight")
    page.keyboard.press("n")
    wait_until(page, lambda: step(page) == 1)
    assert page.inner_text("#action") == "0, 1" and page.get_attribute("#dream", "src") != before
    page.keyboard.up("ArrowRight")
    page.keyboard.down("ArrowLeft")
    page.keyboard.press(" ")  # goes on by itself
    wait_until(page, lambda: step(page) >= 4)
    page.keyboard.up("ArrowLeft")
    assert page.inner_text("#action") == "1, 0"
    page.keyboard.press(" ")
    wait_until(page, lambda: page.inner_text("#pause") == "Play")
    there = step(page)
    page.wait_for_timeout(500)
    assert step(page) == there
    page.keyboard.press("y")
    wait_until(page, lambda: page.inner_text("#steps") == f"{there} (0)")
    assert page.get_attribute("#dream", "src") == page.get_attribute("#real", "src")
    page.keyboard.press("r")
    wait_until(page, lambda: step(page) == 0)
    assert page.inner_text("#task") == "cartpole_gym, CartPole-v1" and seen.complaints == []
    assert all(url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:")) for url in seen.requests)


def test_buttons_are_keys_too_and_the_planner_can_be_watched(seen: Watched) -> None:
    page = seen.page
    assert page.locator("#keys button").all_inner_texts() == ["0 choice 0", "1 choice 1", "← choice 0", "→ choice 1"]
    box = page.locator("#keys button").nth(1).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.keyboard.press("n")
    wait_until(page, lambda: step(page) == 1)
    page.mouse.up()
    assert page.inner_text("#action") == "0, 1"
    page.locator("#keys button").nth(0).focus()
    page.keyboard.down("Enter")
    page.keyboard.press("n")
    wait_until(page, lambda: step(page) == 2)
    page.keyboard.up("Enter")
    assert page.inner_text("#action") == "1, 0"
    page.select_option("#driver", "planner")
    page.click("#step")
    wait_until(page, lambda: step(page) == 3)
    assert page.input_value("#driver") == "planner"
    assert seen.complaints == []


def test_a_second_viewer_sees_the_same(seen: Watched, watched: Callable[..., Watched], address: str) -> None:
    other = watched(width=360, height=740, scheme="dark").page
    other.goto(address)
    other.wait_for_selector("body[data-step]")
    seen.page.click("#step")
    wait_until(other, lambda: step(other) == 1)
    assert other.get_attribute("#dream", "src") == seen.page.get_attribute("#dream", "src")
    assert other.inner_text("#viewers") == "2"
    assert other.evaluate("document.documentElement.scrollWidth") <= 360
    other.click("#step")  # either may act
    wait_until(seen.page, lambda: step(seen.page) == 2)
    other.close()
    wait_until(seen.page, lambda: seen.page.inner_text("#viewers") == "1")


def test_what_any_viewer_holds_is_held(seen: Watched, watched: Callable[..., Watched], address: str) -> None:
    other = watched().page
    other.goto(address)
    other.wait_for_selector("body[data-step]")
    seen.page.keyboard.down("ArrowLeft")
    other.keyboard.down("ArrowRight")  # the newer one
    other.keyboard.press("n")
    wait_until(seen.page, lambda: step(seen.page) == 1)
    assert seen.page.inner_text("#action") == "0, 1"
    other.close()  # and its key is let go
    wait_until(seen.page, lambda: seen.page.inner_text("#viewers") == "1")
    seen.page.keyboard.press("n")
    wait_until(seen.page, lambda: step(seen.page) == 2)
    assert seen.page.inner_text("#action") == "1, 0"
    seen.page.keyboard.up("ArrowLeft")


def test_a_broken_line_is_mended(seen: Watched) -> None:
    page = seen.page
    page.click("#step")
    wait_until(page, lambda: step(page) == 1)
    page.evaluate("socket.close()")
    page.wait_for_selector("body[data-line=broken]")
    page.wait_for_selector("body[data-line=connected]")
    page.click("#step")
    wait_until(page, lambda: step(page) == 2)


def test_what_is_recorded_can_be_seen_again(seen: Watched, home: Path) -> None:
    page = seen.page
    page.click("#record")
    wait_until(page, lambda: page.get_attribute("#record", "aria-pressed") == "true")
    for number in (1, 2, 3):
        page.click("#step")
        wait_until(page, lambda number=number: step(page) == number)  # type: ignore[misc]
    page.click("#record")
    wait_until(page, lambda: "recorded" in page.inner_text("#told"))
    path = home / page.inner_text("#told").split()[1]
    with av.open(path) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert frames == 4 and stream.width == 3 * 256 + 8 and stream.average_rate == 20


def talk(address: str, *messages: str, origin: str | None = None, host: str | None = None) -> list[dict]:
    """What a socket is told: the greeting and the first moment, and an answer to each message."""

    async def run() -> list[dict]:
        headers = {name: value for name, value in (("Origin", origin), ("Host", host)) if value is not None}
        url = address.replace("http", "ws").replace("/?", "/socket?") if "?" in address else f"{address}socket"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as line:
            found = [json.loads(await line.receive_str()) for _ in range(2)]
            with suppress(TimeoutError):  # viewers of other tests may still be leaving, and all are told
                while True:
                    await line.receive_str(timeout=1)
            for message in messages:
                await line.send_str(message)
                found.append(json.loads(await line.receive_str()))
            return found

    with ThreadPoolExecutor(1) as thread:  # Playwright's own loop runs in this one
        return thread.submit(lambda: asyncio.run(run())).result()


def test_nonsense_is_answered_and_pages_of_others_are_refused(address: str) -> None:
    hello, moment, *answers = talk(
        address,
        "{",
        '{"kind": "fly"}',
        '{"kind": "speed", "value": 1000}',
        '{"kind": "keys", "value": "abc"}',
        '{"kind": "drive", "value": "ghost"}',
        '{"kind": "speed", "value": 20}',
        origin=address.rstrip("/"),
    )
    assert hello["kind"] == "hello" and moment["kind"] == "moment"
    assert [answer["kind"] for answer in answers] == [*["refused"] * 4, "moment", "moment"]
    assert "'fly' is none of keys, pause" in answers[1]["why"] and "in 1..30" in answers[2]["why"]
    assert answers[4]["told"] == "the driver is 'ghost': choose one of person, planner"
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
        talk(address, origin="http://example.org")
    with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):  # a name that was made to mean this machine
        talk(address, origin="http://example.org", host="example.org")


def test_beyond_this_machine_a_token_is_asked_for(home: Path, watched: Callable[..., Watched]) -> None:
    with playing(home, "host=0.0.0.0", "port=0", "run=opened") as (address, process):
        address = address.replace("0.0.0.0", "127.0.0.1")
        bare = address.partition("?")[0]
        page = watched().page
        for url in (bare, f"{bare}?token=wrong"):
            response = page.goto(url)
            assert response is not None and response.status == 403 and "token is missing or wrong" in page.content()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            talk(bare)
        page.goto(address)
        page.wait_for_selector("body[data-line=connected]")
        process.send_signal(signal.SIGTERM)  # with a viewer there
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0 and errors == ""
        page.wait_for_selector("body[data-line=broken]")


def test_a_dream_alone_says_why_and_shows_no_reality(home: Path, watched: Callable[..., Watched]) -> None:
    seen = watched()
    with playing(home, "port=0", "run=alone", "env=gymnasium", "env.id=nowhere/Nothing-v0") as (why, process):
        assert process.stdout is not None and why == "the"
        seen.page.goto(process.stdout.readline().split()[0])
        seen.page.wait_for_selector("body[data-step]")
        assert not seen.page.is_visible("#real") and not seen.page.is_visible("#resync")
        seen.page.click("#step")
        wait_until(seen.page, lambda: step(seen.page) == 1)
        assert seen.page.is_visible("#dream") and seen.complaints == []


def test_a_port_in_use_is_an_error_of_one_line(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "agents.play", "checkpoint=model", *TINY, f"port={taken.getsockname()[1]}"]
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*command, "run=mistaken"], cwd=home, env=variables, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot be used" in done.stderr and "set another port=" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_this_machine_alone_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org")))


def settings(**changes: object) -> dict:
    planner = {"kind": "cem", "horizon": 2, "candidates": 4, "iterations": 1, "elites": 2}
    return {"planner": planner, "seed": 0, "sb3": None, "trusted": True, "algorithm": "PPO", **changes}


@pytest.mark.parametrize("observation", ["features", "frames"])
def test_a_saved_policy_acts_in_the_dream(observation: str, tmp_path: Path) -> None:
    model = trained(PAIR)
    dream = Dream(model, ContextStarts(contexts()), num_envs=2, observation=observation)
    kind = "MlpPolicy" if observation == "features" else "CnnPolicy"
    PPO(kind, ImaginedVecEnv(dream), n_steps=2, batch_size=4, device="cpu").save(tmp_path / "ppo.zip")
    found = drivers(settings(sb3=str(tmp_path / "ppo.zip")), model)
    assert list(found) == ["planner", "policy"]
    game = Game(model, None, ContextStarts(contexts()), drivers=found, samples=0, seed=0)
    game.drive("policy")
    view = game.step(np.full(2, 7, np.float32))
    assert view.action is not None and np.abs(view.action).max() <= 1 and view.step == 1


def test_a_policy_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    dream = Dream(trained(PAIR), ContextStarts(contexts()), num_envs=2, observation="features")
    PPO("MlpPolicy", ImaginedVecEnv(dream), n_steps=2, batch_size=4, device="cpu").save(tmp_path / "ppo.zip")
    with pytest.raises(ConfigError, match="acts in"):
        drivers(settings(sb3=str(tmp_path / "ppo.zip")), trained(PAIR, CHOICE))
    with pytest.raises(ConfigError, match="cannot be watched in a dream"):
        drivers(settings(sb3="a.zip", algorithm="RecurrentPPO"), trained(PAIR))
