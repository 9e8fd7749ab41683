"""What several test files share."""

from __future__ import annotations

import pytest

from envs.rendering import choose_gl
from worldmodel.errors import EnvError
from worldmodel.hardware import prepare_threads


@pytest.fixture(scope="session")
def gl() -> None:
    """Skips where MuJoCo cannot draw, naming the packages."""
    try:
        choose_gl()
    except EnvError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True, scope="session")
def threads() -> None:
    """As commands compute: numbers below 1e-38 are zero."""
    prepare_threads()
