"""What an imagined step makes of the frame predictor's output, and hands to the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from worldmodel.errors import ConfigError
from worldmodel.state import State

if TYPE_CHECKING:
    from worldmodel.svg import SVG

Feedback = Callable[["SVG", State, Tensor, Tensor], tuple[Tensor, Tensor | None, Tensor | None]]
"""The state before, the action and the predicted feature to the feature that the next step sees, and the embedding and
the frame it comes from, if any."""


def feed_features(
    model: SVG, state: State, action: Tensor, predicted: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The predicted feature itself: nothing is drawn while planning."""
    return predicted, None, None


def feed_pixels(
    model: SVG, state: State, action: Tensor, predicted: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Decode and encode again, as the papers do."""
    drawn = model.decoder(model.features.embedding(predicted), state.skips.maps, state.skips.rows)
    frame = model.statistics.clip(drawn)
    embedding, _ = model.encoder(frame)
    return model.features(model.embedding(state), action, embedding), embedding, frame


FEEDBACKS: dict[str, Feedback] = {"features": feed_features, "pixels": feed_pixels}


def check_feedback(name: str) -> None:
    """ConfigError for a name that `FEEDBACKS` lacks."""
    if name not in FEEDBACKS:
        raise ConfigError(f"feedback is {name!r}: set one of {', '.join(FEEDBACKS)}")


Advance = Callable[[Tensor, Tensor], Tensor]
"""The present feature and the frame predictor's output to the predicted feature."""


def residual(feature: Tensor, output: Tensor) -> Tensor:
    """The output is a change: a model that has learned nothing predicts that nothing moves."""
    return feature + output


def bounded(feature: Tensor, output: Tensor) -> Tensor:
    """The output is the feature itself, in [-1, 1] as the encoder's (the papers' tanh)."""
    return output.tanh()
