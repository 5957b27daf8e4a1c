"""A quiet run: what XLA writes to the terminal by itself.

Where a compilation takes more than two minutes, XLA logs "Very slow compile?" as an error, straight from C++ to the standard error, past
Python's `logging` and `sys.stderr`. JAX's own setting for its logs, `jax_logging_level`, covers those of C++, also after JAX has started.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import jax

_SETTING = "jax_logging_level"
_LEVELS = {"0": "INFO", "1": "WARNING", "2": "ERROR", "3": "CRITICAL"}
"""What the environment variable TF_CPP_MIN_LOG_LEVEL means, in the words of `jax_logging_level`. JAX sets it to 1 where nobody has."""


@contextlib.contextmanager
def without_compiler_logs() -> Iterator[None]:
    """Inside of this JAX and XLA log nothing but the end of the process; what goes wrong is raised as ever."""
    before = getattr(jax.config, _SETTING)
    jax.config.update(_SETTING, "CRITICAL")
    try:
        yield
    finally:
        # NOTSET, the default, would leave C++ as it is.
        jax.config.update(_SETTING, _LEVELS.get(os.environ.get("TF_CPP_MIN_LOG_LEVEL", ""), "WARNING"))
        jax.config.update(_SETTING, before)
