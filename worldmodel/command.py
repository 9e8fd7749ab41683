"""What every command does at its edges: errors people can read, and an end that loses nothing."""

from __future__ import annotations

import errno
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

from worldmodel.errors import EnvError, WorldModelError, foreign_trace
from worldmodel.origin import check_origin

# What a disk refuses, and the mend; other OSErrors keep their traceback.
REFUSALS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "give a file system that holds larger files",
    errno.EEXIST: "give another folder",
    errno.ENOTDIR: "give another folder",
    errno.EROFS: "give a folder that can be written",
    errno.EACCES: "give a folder that you may read and write",
    errno.EPERM: "give a folder that you may read and write",
    errno.EIO: "look after the disk",
}


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so nothing swallows it on the way out.

    Attributes:
        signum: which.
        torn: whether it cut in two what was to be done whole, see `uninterrupted`: nothing of it may be saved.
    """

    def __init__(self, signum: int, *, torn: bool = False) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.torn = torn


class _Held:
    """Signals that wait for the end of what must not be cut in two."""

    depth = 0
    signum: int | None = None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is done within is done whole: a first SIGINT or SIGTERM takes effect at its end, a second at once.

    Raises Interrupted there, unless another exception is on its way; one that is `torn` where a second came.
    """
    _Held.depth += 1
    try:
        yield
    finally:
        _Held.depth -= 1
    if _Held.depth == 0 and _Held.signum is not None:
        signum, _Held.signum = _Held.signum, None
        raise Interrupted(signum)


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command's main function.

    A `WorldModelError`, a setting without a value or one that cannot be looked up, or a disk that refuses is printed in
    one line (exit status 2); after the traceback of what an environment itself raised, if that is why. SIGINT and
    SIGTERM unwind the command as `Interrupted`, so that it saves what it has, its files close and what it saved before
    stays whole (exit status 128 + signal).
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _interrupt)
        try:
            check_origin()
            main(*args, **kwargs)
        except EnvError as error:
            print(foreign_trace(error), end="", file=sys.stderr)
            end(str(error))
        except WorldModelError as error:
            end(str(error))
        except MissingMandatoryValue as error:
            end(f"{error.full_key} is missing: set {error.full_key}=")
        except InterpolationToMissingValueError as error:
            key = str(error).splitlines()[0].rpartition(" ")[2]
            end(f"{key} is missing: set {key}=")
        except OmegaConfBaseException as error:
            end(f"{' '.join(str(error).split())}: see the settings in configs/")
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            where = f"{error.filename}: " if error.filename else ""
            end(f"{where}{error.strerror}: {REFUSALS[error.errno]}; what was saved before is whole")
        except Interrupted as interruption:
            print(f"\nstopped by {interruption}", file=sys.stderr)
            sys.exit(128 + interruption.signum)

    return wrapped


def end(why: str) -> NoReturn:
    """Ends the process with a line on standard error, and exit status 2."""
    print(f"error: {why}", file=sys.stderr)
    sys.exit(2)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    if _Held.depth and _Held.signum is None:
        _Held.signum = signum
    else:
        _Held.signum = None
        raise Interrupted(signum, torn=_Held.depth > 0)
