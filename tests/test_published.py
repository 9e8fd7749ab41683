"""The list of published returns is well-formed, and its tasks are ours."""

from __future__ import annotations

import re

from hydra import compose, initialize_config_module

from worldmodel.published import METHODS, published_returns


def test_every_method_names_its_paper_once() -> None:
    assert len({method.name for method in METHODS}) == len({method.paper for method in METHODS}) == len(METHODS)
    for method in METHODS:
        assert re.fullmatch(r"\w+ et al\. 20\d\d, .+, (arXiv:\d{4}\.\d{5}|ICCV)", method.paper), method.paper
        assert re.search(r"20\d\d|the paper", method.reported), method.name


def test_returns_are_out_of_a_thousand() -> None:
    for method in METHODS:
        assert method.returns and all(0 <= value <= 1000 for value in method.returns.values()), method.name


def test_each_task_is_one_that_runs_are_recorded_under() -> None:
    for env, task in {task for method in METHODS for task in method.returns}:
        with initialize_config_module("configs", version_base="1.3"):
            composed = compose(overrides=[f"+env={env}"]).env
        assert (composed.name, composed.task) == (env, task)


def test_a_task_has_the_methods_that_report_it() -> None:
    assert published_returns("cup", "catch") == {"PlaNet": 0, "CURL": 769, "DrQ": 913, "TD-MPC": 933, "Simoun": 971}
    assert len(published_returns("cartpole", "swingup")) == len(METHODS)
    assert published_returns("pendulum", "Pendulum-v1") == {}
