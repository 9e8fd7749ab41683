"""The web page of `agents.play`: one game, and all who look at it."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from agents.game import Game, Keyboard, View
from agents.play_pictures import png, recording
from worldmodel.errors import EnvError, WorldModelError
from worldmodel.pictures.video import difference, write_video

SPEEDS = (1, 30)  # decisions a second
LONGEST = 600  # moments of a recording, which are in memory until it is saved: beyond, its oldest go
PATIENCE = 2.0  # seconds for a viewer to take a moment
POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


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
        self._recorded: deque[View] | None = None
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
        if self._recorded:
            await self._save()

    async def _page(self, request: web.Request) -> web.Response:
        self._check(request)
        text = (files("agents") / "play.html").read_text()
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        self._check(request)
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text=f"a page of {origin} may not play here: open the address that was printed")
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

    def _check(self, request: web.Request) -> None:
        """Raises 403 without the token; and without one to ask for, for a name that is not this machine's own.

        A page of another site, whose name was made to mean this machine, would else be let in.
        """
        if self._token is None and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
            raise web.HTTPForbidden(text=f"{request.host} is not this machine: open the address that was printed")
        given = request.query.get("token", "")
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise web.HTTPForbidden(text="the token is missing or wrong: open the address that was printed")

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
        except (ValueError, TypeError, KeyError, AttributeError) as error:
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
        if on and self._recorded is None:
            self._recorded = deque([self._game.view], LONGEST)
        elif not on and self._recorded:
            await self._save()

    async def _step(self, _: Any = None) -> None:
        await self._change(lambda: self._game.step(self._keyboard.action()))
        if self._game.view.over:
            self._paused = True

    async def _change(self, change: Callable[[], Any]) -> None:
        """Changes the game in another thread, so that sockets stay alive."""
        async with self._busy:
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, change)
            except WorldModelError:
                raise
            except Exception as error:  # of whatever an environment raises: the page goes on, and says it
                raise EnvError(f"the step failed ({error!r}): begin anew") from error
            if self._recorded is not None:
                self._recorded.append(self._game.view)

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
        pictures = {"dream": view.dream}
        if view.real is not None:
            pictures |= {"real": view.real, "difference": difference(view.real, view.dream)}
        return {
            "kind": "moment",
            "pictures": {name: png(frame) for name, frame in pictures.items()},
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
            "recording": self._recorded is not None,
            "viewers": len(self._viewers),
        }

    async def _save(self) -> None:
        """Writes what was recorded, and tells where; stops recording."""
        assert self._recorded is not None
        views, self._recorded = list(self._recorded), None
        self._recordings += 1
        path = self._folder / f"recording{self._recordings:03d}.mp4"
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, lambda: write_video(path, recording(views), fps=self._speed))
        except OSError as error:
            self._told = f"{path} cannot be written: {error.strerror}"
        else:
            self._told = f"recorded {path}"


def is_loopback(host: str) -> bool:
    """Whether a name or address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
