"""Plays inside a model's dream, in a web page: ``python -m agents.play checkpoint=RUN env=cartpole``.

A person acts with the keyboard, or watches the planner or a policy of Stable-Baselines3. The real environment stands
beside the dream, under the same actions, where it can be made. The page is for this machine alone, unless `host` says
otherwise: then its address holds a token.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from omegaconf import DictConfig, OmegaConf

from agents.dream_actors import DreamActor, DreamPlanner
from agents.game import Game
from agents.planners import make_planner
from agents.planning import usual_horizon
from agents.play_door import is_loopback
from agents.play_server import SPEEDS, PlayServer
from agents.sb3_policy import SB3Actor, frames_seen, kind_seen, load_sb3
from agents.trust import Policy
from envs import make_env
from envs.filtered import Filter
from envs.starts import ContextStarts
from worldmodel.checkpoint import read_checkpoint
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, EnvError, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.model import Model
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.run_folder import new_run
from worldmodel.series import resolve
from worldmodel.settings import check_text
from worldmodel.trainer import make_fabric


@configured("play")
def main(config: DictConfig) -> None:
    prepare_threads()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    for name in ("port", "samples", "seed"):
        check_whole(name, settings[name], 0)
    if config.port > 65535:
        raise ConfigError(f"port is {config.port}: set one of 0..65535")
    low, high = SPEEDS
    if not (type(config.speed) is int and low <= config.speed <= high):
        raise ConfigError(f"speed is {config.speed}: set a whole number in {low}..{high}, decisions a second")
    token = None if is_loopback(config.host) else secrets.token_urlsafe(16)
    with listen(config.host, config.port) as door, ThreadPoolExecutor(1, initializer=prepare_threads) as thread:
        game = thread.submit(make_game, settings).result()
        try:
            server = PlayServer(game, thread, new_run(config), token=token, speed=config.speed)
            asyncio.run(serve(server, door, token))
        finally:
            thread.submit(game.close).result()


def make_game(settings: dict[str, Any]) -> Game:
    """The dream, reality beside it if it can be made, and who may act."""
    device = make_fabric(settings["accelerator"], 1, "32-true").device
    check_text("checkpoint", settings["checkpoint"])
    folder = resolve(Path(settings["checkpoint"]))
    model = from_pretrained(folder, feedback=settings["feedback"], device=device)
    policies = drivers(settings, model)
    starts = ContextStarts(read_checkpoint(folder).contexts)
    env = reality(settings, model)
    return Game(model, env, starts, drivers=policies, samples=settings["samples"], seed=settings["seed"])


def reality(settings: dict[str, Any], model: Model) -> Any:
    """The environment that the model was trained on, or None, and a line that says why, where it cannot be made."""
    try:
        env = make_env(settings["env"], rendering=settings["rendering"])
    except EnvError as error:
        print(f"the dream has no reality beside it: {error}")
        return None
    try:
        check_fits(model.spec, env.env_spec, settings["checkpoint"])
    except BaseException:
        env.close()
        raise
    return env


def drivers(settings: dict[str, Any], model: Model) -> dict[str, Policy]:
    """Who may act in place of a person: the planner, and a saved policy where `sb3` gives one."""
    planner = make_planner(settings["planner"], model.spec, horizon=usual_horizon(model))
    found: dict[str, Policy] = {"planner": DreamPlanner(model, planner, seed=settings["seed"])}
    if settings["sb3"]:
        if settings["algorithm"] == "RecurrentPPO":
            raise ConfigError(
                "RecurrentPPO remembers what it saw, and cannot be watched in a dream: give another policy"
            )
        policy = load_sb3(Path(settings["sb3"]), settings["algorithm"], trusted=settings["trusted"])
        kind = kind_seen(policy)
        if kind == "both":
            raise ConfigError(f"the policy in {settings['sb3']} sees frames and features: give one of either")
        SB3Actor(policy, model.spec, Filter(model, num_envs=1) if kind == "features" else None)  # or it does not fit
        seen = frames_seen(policy.observation_space, model.spec) if kind == "frames" else 0
        found["policy"] = DreamActor(policy, model, frame_stack=seen)
    return found


def listen(host: str, port: int) -> socket.socket:
    """Takes the address, before anything is made that would be in vain; ConfigError where it cannot be taken."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"{host} port {port} cannot be used ({error.strerror}): set another port=") from error


async def serve(server: PlayServer, door: socket.socket, token: str | None) -> None:
    """Until SIGINT or SIGTERM."""
    runner = web.AppRunner(server.app(), shutdown_timeout=2)
    await runner.setup()
    try:
        await web.SockSite(runner, door).start()
        host, number, *_ = door.getsockname()
        named = f"[{host}]" if ":" in host else host
        print(f"http://{named}:{number}/{f'?token={token}' if token else ''}  (Ctrl+C ends it)", flush=True)
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
