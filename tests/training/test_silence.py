"""XLA's own logs stay off a quiet terminal, and come back afterwards."""

from __future__ import annotations

import logging

import jax
import jaxlib.utils
import pytest

from dop.training.silence import without_compiler_logs


def level() -> str:
    """Of JAX's own setting."""
    return jax.config.values["jax_logging_level"]


@pytest.fixture
def cpp_levels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What JAX sets the log level of C++ to: 0 from information on, 3 only the end of the process."""
    levels: list[int] = []
    monkeypatch.setattr(jaxlib.utils, "absl_set_min_log_level", levels.append)
    return levels


@pytest.mark.parametrize(("set_before", "after"), [(None, 1), ("0", 0), ("1", 1), ("2", 2), ("3", 3), ("x", 1)])
def test_logs_are_off_and_as_they_were(monkeypatch: pytest.MonkeyPatch, cpp_levels: list[int], set_before: str | None, after: int):
    if set_before is None:
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    else:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", set_before)
    before, python_level = level(), logging.getLogger("jax").level
    with pytest.raises(ValueError, match="as ever"), without_compiler_logs():
        assert cpp_levels == [3]
        raise ValueError("as ever")
    assert cpp_levels == [3, after]
    assert level() == before
    assert logging.getLogger("jax").level == python_level
