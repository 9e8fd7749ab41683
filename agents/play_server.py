"""The web page of `agents.play`: one game, and all who look at it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import Executor
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from agents.game import Game
from agents.keyboard import Keyboard
from agents.play_door import HEADERS, check_origin, check_visitor
from agents.play_pictures import pictures, png, recorded
from worldmodel.errors import EnvError, WorldModelError
from worldmodel.pictures.video import VideoWriter

SPEEDS = (1, 30)  # decisions a second
PATIENCE = 2.0  # seconds for a viewer to take a moment


class PlayServer:
    """Steps a game at its own pace, shows every moment to all viewers, and takes what any of them presses.

    Args:
        game: to play.
        thread: of one worker, in which the game was made and everything in it happens: OpenGL belongs to a thread.
        folder: where recordings go; it must exist.
        token: that a page's address must hold; None lets anybody in who reaches the port.
        speed: decisions a second at first.
    """

    def __init__(self, game: Game, thread: Executor, folder: Path, *, token: str | None, speed: int) -> None:
        self._game = game
        self._thread = thread
        self._folder = folder
        self._token = token
        self._keyboard = Keyboard(game.spec)
        self._viewers: set[web.WebSocketResponse] = set()
        self._held: dict[web.WebSocketResponse, list[str]] = {}  # keys, in the order in which they were pressed
        self._paused = True
        self._speed = speed
        self._told = ""
        self._recording: VideoWriter | None = None
        self._recordings = 0
        self._rate = 0.0
        self._busy = asyncio.Lock()  # the game is changed by one at a time
        self._moving = asyncio.Event()

    def app(self) -> web.Application:
        """To be served, by aiohttp; the game goes on as long as it is."""
        app = web.Application()
        app.add_routes([web.get("/", self._page), web.get("/socket", self._socket)])
        app.on_startup.append(self._begin)
        app.on_shutdown.append(self._end)
        return app

    async def _begin(self, app: web.Application) -> None:
        self._pacing = asyncio.create_task(self._pace())

    async def _end(self, app: web.Application) -> None:
        self._pacing.cancel()
        await asyncio.gather(self._pacing, return_exceptions=True)
        closing = (viewer.close(code=WSCloseCode.GOING_AWAY, message=b"the game has ended") for viewer in self._viewers)
        await asyncio.gather(*(asyncio.wait_for(each, PATIENCE) for each in closing), return_exceptions=True)
        if self._recording:
            await self._save()

    async def _page(self, request: web.Request) -> web.Response:
        check_visitor(request, self._token)
        text = (files("agents") / "play.html").read_text()
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        check_visitor(request, self._token)
        check_origin(request)
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=4096, compress=False)
        await socket.prepare(request)
        self._viewers.add(socket)
        try:
            await socket.send_json(self._greeting())
            await self._show()
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    await self._take(socket, message.data)
        finally:
            self._viewers.discard(socket)
            self._held.pop(socket, None)
            self._press()
            await self._show()
        return socket

    async def _take(self, socket: web.WebSocketResponse, text: str) -> None:
        """What a viewer asks for; one that cannot be is answered with why."""
        try:
            asked = json.loads(text)
            kind = asked["kind"]
            actions = self._actions()
            if kind != "keys" and kind not in actions:
                raise ValueError(f"{kind!r} is none of keys, {', '.join(actions)}")
            self._told = ""
            if kind == "keys":
                self._hold(socket, asked.get("value"))
            else:
                await actions[kind](asked.get("value"))
        except WorldModelError as error:
            self._told, self._paused = str(error), True
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            await socket.send_json({"kind": "refused", "why": str(error)})
            return
        await self._show()

    def _actions(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "pause": self._pause,
            "step": self._step,
            "reset": lambda _: self._change(self._game.reset),
            "resync": lambda _: self._change(self._game.resync),
            "drive": lambda driver: self._change(lambda: self._game.drive(driver)),
            "speed": self._set_speed,
            "record": self._record,
        }

    def _hold(self, socket: web.WebSocketResponse, keys: Any) -> None:
        if not (isinstance(keys, list) and len(keys) <= 20 and all(isinstance(key, str) for key in keys)):
            raise ValueError(f"keys are {keys!r}: give a list of at most 20 names")
        self._held.pop(socket, None)  # so that the newest come last
        self._held[socket] = keys
        self._press()

    def _press(self) -> None:
        """What any viewer holds is held."""
        self._keyboard.hold([key for keys in self._held.values() for key in keys])

    async def _pause(self, on: Any) -> None:
        self._paused = bool(on)
        if self._paused:
            async with self._busy:  # the step that is being made is shown before
                pass
        else:
            self._moving.set()

    async def _set_speed(self, speed: Any) -> None:
        low, high = SPEEDS
        if not (type(speed) is int and low <= speed <= high):
            raise ValueError(f"speed is {speed!r}: give a whole number in {low}..{high}")
        self._speed = speed

    async def _record(self, on: Any) -> None:
        if on and self._recording is None:
            self._recordings += 1
            self._recording = VideoWriter(self._folder / f"recording{self._recordings:03d}.mp4", fps=self._speed)
            await self._change(lambda: None)
        elif not on and self._recording:
            await self._save()

    async def _step(self, _: Any = None) -> None:
        await self._change(lambda: self._game.step(self._keyboard.action()))
        if self._game.view.over:
            self._paused = True

    async def _change(self, change: Callable[[], Any]) -> None:
        """Changes the game in another thread, so that sockets stay alive, and records what it came to."""

        def changed() -> None:
            change()
            if self._recording is not None:
                self._recording.add(recorded(self._game.view))

        async with self._busy:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, changed)
            except WorldModelError:
                raise
            except Exception as error:  # of whatever an environment raises: the page goes on, and says it
                raise EnvError(f"the step failed ({error!r}): begin anew") from error

    async def _pace(self) -> None:
        """Steps the game until it is paused, and goes on when it no longer is."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            while self._paused or not self._viewers:
                self._moving.clear()
                self._rate = 0.0
                await self._moving.wait()
                due = loop.time()
            start = time.perf_counter()
            try:
                await self._step()
            except WorldModelError as error:
                self._told, self._paused = str(error), True
            await self._show()
            due = max(due + 1 / self._speed, loop.time())  # what was late is not caught up with
            await asyncio.sleep(due - loop.time())
            self._rate = 0.8 * self._rate + 0.2 / (time.perf_counter() - start)

    async def _show(self) -> None:
        """The moment, to all viewers; one that does not take it in time is let go."""
        moment = json.dumps(self._moment(), allow_nan=False)

        async def send(viewer: web.WebSocketResponse) -> None:
            try:
                await asyncio.wait_for(viewer.send_str(moment), PATIENCE)
            except (TimeoutError, ConnectionError, RuntimeError):
                self._viewers.discard(viewer)

        await asyncio.gather(*map(send, list(self._viewers)))
        if self._viewers and not self._paused:
            self._moving.set()

    def _greeting(self) -> dict[str, Any]:
        """What does not change."""
        spec = self._game.spec
        return {
            "kind": "hello",
            "task": f"{spec.env}, {spec.task}",
            "keys": self._keyboard.legend(),
            "drivers": self._game.drivers,
            "speeds": SPEEDS,
            "reality": self._game.view.real is not None,
        }

    def _moment(self) -> dict[str, Any]:
        view = self._game.view
        return {
            "kind": "moment",
            "pictures": {name: png(frame) for name, frame in pictures(view).items()},
            "step": view.step,
            "since": view.since,
            "action": None if view.action is None else [round(float(x), 3) for x in view.action],
            "reward": view.reward,
            "real_reward": view.real_reward,
            "imagined": view.imagined,
            "deviation": view.deviation,
            "spread": view.spread,
            "earned": view.earned,
            "told": "; ".join(filter(None, (view.over, self._told))),
            "paused": self._paused,
            "speed": self._speed,
            "rate": self._rate,
            "driver": self._game.driver,
            "recording": self._recording is not None,
            "viewers": len(self._viewers),
        }

    async def _save(self) -> None:
        """Ends the recording, and tells where it is."""
        async with self._busy:
            recording, self._recording = self._recording, None
            if recording is None:
                return
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, recording.save)
            except OSError as error:
                self._told = f"{recording.path} cannot be written: {error.strerror}"
            else:
                self._told = f"recorded {recording.path}"
