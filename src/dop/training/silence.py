"""Quiet runs: suppressing what XLA itself logs.

If a compilation takes more than two minutes, XLA logs "Very slow compile?" as an error from C++, bypassing Python's `logging` and
`sys.stderr`. JAX's setting `jax_logging_level` covers logs from C++, also after JAX has started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import jax

_SETTING = "jax_logging_level"
_LEVELS = {"0": "INFO", "1": "WARNING", "2": "ERROR", "3": "CRITICAL"}
"""Values of the environment variable TF_CPP_MIN_LOG_LEVEL as those of `jax_logging_level`. JAX sets it to 1 if it is unset."""


@contextlib.contextmanager
def without_compiler_logs() -> Iterator[None]:
    """Within this context JAX and XLA log only fatal errors; exceptions are raised as usual."""
    before = getattr(jax.config, _SETTING)
    jax.config.update(_SETTING, "CRITICAL")
    try:
        yield
    finally:
        # NOTSET, the default, would not change the level of C++.
        jax.config.update(_SETTING, _LEVELS.get(os.environ.get("TF_CPP_MIN_LOG_LEVEL", ""), "WARNING"))
        jax.config.update(_SETTING, before)
