"""What a run left, on one page that needs no network: a section each, where there is something to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from worldmodel.pictures.viewer import data_url

LARGEST = 8_000_000  # bytes of a video or picture that still goes into the page


@dataclass(frozen=True)
class Media:
    """A video or picture that stands in the page itself."""

    url: str
    label: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; what is empty is left out.

    Attributes:
        id: to link to.
        text: a paragraph.
        table: rows of cells, the first of them headings.
        figures: ``<svg>`` elements.
        viewer: what `viewer_data` gives, and the figure of its `rewards`.
        code: as it is.
    """

    id: str
    title: str
    text: str = ""
    table: Sequence[Sequence[str]] = ()
    figures: Sequence[str] = ()
    viewer: Mapping[str, Any] | None = None
    rewards: str = ""
    videos: Sequence[Media] = ()
    pictures: Sequence[Media] = ()
    code: str = ""


@dataclass(frozen=True)
class Page:
    """All of it.

    Attributes:
        header: of the run's log, as `worldmodel.provenance.provenance` gives it; None where there is none.
        cards: what one wants to know first, by name.
    """

    title: str
    header: Mapping[str, Any] | None
    cards: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()


def render(page: Page) -> str:
    """The page as HTML."""
    return template("report.html").render(
        title=page.title, header=page.header, cards=page.cards, sections=page.sections
    )


def template(name: str) -> Template:
    """One of the pages that lie beside this file; what it is given is escaped."""
    environment = Environment(
        loader=PackageLoader("worldmodel.pictures", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(name)


def embedded(path: Path, kind: str, label: str) -> Media | None:
    """A file to stand in the page; None where it is missing or larger than LARGEST."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return Media(data_url(kind, path.read_bytes()), label)
