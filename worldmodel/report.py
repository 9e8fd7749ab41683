"""Writes a run's report, one page that opens without a network: ``python -m worldmodel.report run=RUN``.

Learning curve beside published returns, losses, evaluations, the model's dreams to step through, its errors against the
horizon, size, time, videos and configuration: whatever the folder has. Commands write it at their end; this one writes
it anew, also while a run goes on.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from worldmodel.configured import configured
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report


@configured("report")
def main(config: DictConfig) -> None:
    prepare_threads()
    print(write_report(Path(config.run)))


if __name__ == "__main__":
    main()
