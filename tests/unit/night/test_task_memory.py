"""The limit of a task's memory: set, felt as MemoryError, taken back, and never set beside a GPU."""

import multiprocessing
import resource

import numpy as np
import pytest

from gtr_batch.config import Config, NightConfig, StageConfig
from gtr_batch.errors import ConfigError
from gtr_batch.night.task_memory import limited_memory


def _config(gigabytes: float, device: str = "cpu") -> Config:
    return Config(night=NightConfig(task_memory_gb=gigabytes), stage=StageConfig(device=device))


def _ask_for_more(answers) -> None:  # type: ignore[no-untyped-def]
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        with limited_memory(_config(2.0)):
            np.ones(3 * 1024**3, np.uint8)
        answers.put("no limit was felt")
    except MemoryError:
        after = resource.getrlimit(resource.RLIMIT_DATA)
        answers.put("refused" if after == before else "the limit stayed")


def test_a_task_that_asks_for_more_gets_a_memory_error_and_the_limit_ends_with_the_block() -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_ask_for_more, args=(answers,))

    process.start()

    assert answers.get() == "refused"
    process.join()


@pytest.mark.parametrize(("gigabytes", "device"), [(0.0, "cpu"), (2.0, "cuda")])
def test_no_limit_is_set_where_none_is_wanted_or_beside_a_gpu(gigabytes: float, device: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)

    with limited_memory(_config(gigabytes, device)):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_a_limit_below_what_a_step_needs_is_refused() -> None:
    with pytest.raises(ConfigError, match="task_memory_gb"):
        NightConfig(task_memory_gb=0.5)
