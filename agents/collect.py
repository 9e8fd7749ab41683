"""Fills a folder with episodes of a policy: ``python -m agents.collect policy=random env=cartpole``.

They lie in the run's `episodes` folder, one file each; `python -m worldmodel.train data=…` fits a model to them.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from agents.closing import returns_table
from agents.collecting import Failure
from agents.workers import Collector, Played, collect
from worldmodel.configured import configured
from worldmodel.episode import episode_path
from worldmodel.errors import check_number, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.provenance import provenance
from worldmodel.records import Records, read_records, whole_lines
from worldmodel.run_folder import make_run, run_config
from worldmodel.series import resolve

FREE = ("episodes", "workers", "env_timeout")  # to change in a resumed collection


@configured("collect")
def main(config: DictConfig) -> None:
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, free=FREE)
    if config.checkpoint:
        config.checkpoint = str(resolve(Path(config.checkpoint)))  # one for all workers, should its run go on
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    for key, least in (("seed", 0), ("episodes", 1), ("workers", 1)):
        check_whole(key, config[key], least)
    check_number("exploration", config.exploration, least=0)
    folder = Path(config.run) / "episodes"
    collector = Collector(settings, folder)
    missing = [index for index in range(config.episodes) if not episode_path(folder, index).exists()]
    run = make_run(config)
    metrics = run / "metrics.jsonl"
    records = Records(run, keep=whole_lines(metrics))
    told = [record.get("episodes") for record in read_records(metrics, "collection")]
    records.begin(config.episodes - len(missing), **provenance(settings))
    print(f"run folder: {run}")

    def failed(failure: Failure) -> None:
        records.write("env_failure", failure.episode, **asdict(failure))

    start = time.perf_counter()
    try:
        with tqdm(total=config.episodes, initial=config.episodes - len(missing), unit="episode", disable=None) as bar:
            for played in collect(collector, missing, workers=config.workers, failed=failed):
                bar.write(f"episode {played.index:>4}: return {played.total:.1f} in {played.length} decisions")
                bar.update()
        episodes = [Played.read(index, episode_path(folder, index)) for index in range(config.episodes)]
        returns = [played.total for played in episodes]
        if missing or told[-1:] != [config.episodes]:  # else a run that had ended was stopped as it drew its report
            records.write(
                "collection",
                config.episodes,
                env=collector.spec.env,
                task=collector.spec.task,
                seed=config.seed,
                policy=config.policy,
                episodes=config.episodes,
                env_frames=sum(played.env_frames for played in episodes),
                returns=returns,
                return_mean=sum(returns) / len(returns),
                wall_clock_s=round(time.perf_counter() - start, 1),
            )
    finally:
        records.close()
        collector.close()
    print(returns_table({config.policy: returns}))
    print(folder)
    print(metrics)
    print(write_report(run))


if __name__ == "__main__":
    main()
