"""Models that are learned: what training, files and measurements share."""

from worldmodel.rssm import RSSM
from worldmodel.svg import SVG

Model = SVG | RSSM
