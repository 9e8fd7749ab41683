"""What every command does at its edges: errors people can read, and an end that loses nothing."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from worldmodel.errors import WorldModelError
from worldmodel.origin import check_origin
from worldmodel.settings import check_kinds


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; `signum` says which. Not an Exception, so nothing swallows it on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command's main function.

    A `WorldModelError`, a setting without a value, or one that cannot be looked up, is printed without a traceback
    (exit status 2), and so is one of another kind than `worldmodel.settings` says; SIGINT and
    SIGTERM unwind the command as `Interrupted`, so that its files close and what it saved stays whole (exit status
    128 + signal).
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _interrupt)
        try:
            check_origin()
            for config in args:
                if isinstance(config, DictConfig):
                    check_kinds(config)
            main(*args, **kwargs)
        except WorldModelError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except MissingMandatoryValue as error:
            print(f"error: {error.full_key} is missing: set {error.full_key}=", file=sys.stderr)
            sys.exit(2)
        except OmegaConfBaseException as error:
            print(f"error: {' '.join(str(error).split())}: see the settings in configs/", file=sys.stderr)
            sys.exit(2)
        except Interrupted as interruption:
            print(f"\nstopped by {interruption}", file=sys.stderr)
            sys.exit(128 + interruption.signum)

    return wrapped


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum)
