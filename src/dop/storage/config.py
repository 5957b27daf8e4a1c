"""What `config.json` contains: `TrainConfig`, how a run is trained, evaluated and saved, and `RunConfig`, the whole."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from dop.devices import cpu_threads
from dop.errors import ConfigError, check_positive, check_types, shown
from dop.storage.surroundings import flat
from dop.types import LABELS

WorkerKind: TypeAlias = Literal["local", "processes", "ray"]
_FREE = (
    *("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "snapshots"),
    *("env_workers", "env_timeout", "on_non_finite", "threads", "devices"),
)
"""Fields of `TrainConfig` that may change when a run resumes."""
_USUAL_CHUNK, _FEWEST_CHUNKS = 10, 8
"""Default iterations per chunk; minimum chunks per run."""
MOST_SEEDS = 256
"""Maximum number of seeds in one process."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of a run that do not depend on the algorithm: length, evaluation, records, environment, machine."""

    # Run
    env_steps: int = 500_000
    """Environment steps to train for, per seed (one step of one environment, whatever the number of agents)."""
    seeds: tuple[int, ...] = (0,)
    """One independent run per seed."""

    # Evaluation
    eval_interval: int = 10_000
    """Environment steps between greedy evaluations, which take place at the end of a chunk. Evaluation steps are not counted."""
    eval_episodes: int = 32
    """Episodes per evaluation."""

    # Records
    checkpoint_interval: int = 50_000
    """Environment steps between checkpoints; the end of the run has one, too."""
    snapshots: int = 12
    """Number of snapshots of the learner, taken at evaluations, besides the best; at least 2, the first and the last."""

    # Rewards
    reward_scale: float = 1.0
    """Factor of the rewards that the learner sees. Records and evaluations have the environment's rewards; values, losses and credit have
    scaled rewards."""
    normalise_rewards: bool = False
    """Before `reward_scale`, divide rewards by the standard deviation of all rewards so far. The mean is not subtracted (EPyMARL does), as
    that would change the relative value of episodes of different lengths."""

    # Environment
    env_workers: int | str = 0
    """Workers that step a Python environment. 0: this process; N: N worker processes; ray:N: N Ray actors, on the cluster at RAY_ADDRESS or
    a local one."""
    env_timeout: float = 120.0
    """Seconds that a worker may take for a step or reset of its environments. After that it is replaced, and its episodes are dropped."""

    # Machine
    precision: Literal["auto", "full", "half"] = "auto"
    """Precision of observations in the replay. auto: half if that resolves them (`obs_bound` of at most 2), else full."""
    threads: int | None = None
    """JAX's CPU threads; the last bits of large sums depend on it. None: one per core that the process may use. A run keeps its number of
    threads when it resumes, on any machine."""
    devices: int | Literal["all"] | None = None
    """Devices of the run: GPUs, or on a CPU host devices, which run on its cores in parallel. Seeds are split over them first; what is left
    splits the episodes and minibatches of each seed. all: every GPU, or a host device for each core that the process may use. None: every
    GPU, or a host device for each seed. A run keeps its number of devices when it resumes; the last bits depend on it."""
    chunk_iterations: int | None = None
    """Iterations per chunk, a compiled call; evaluations, checkpoints and Ctrl-C wait for its end. None: 10, or fewer, so that `env_steps`
    has at least 8 chunks, however long episodes are. A run keeps its chunk size when it resumes."""
    on_non_finite: Literal["stop", "skip"] = "stop"
    """Reaction to a reward, observation, loss or gradient that is not finite. stop: end the run, whose earlier checkpoints are kept; skip:
    skip and count such episodes and updates (`emptied_episodes`, `skipped_updates`)."""

    @property
    def workers(self) -> tuple[WorkerKind, int]:
        """Kind and number of the workers in `env_workers`.

        Raises:
            ConfigError: it is none of the three forms.
        """
        kind, _, count = str(self.env_workers).rpartition(":")
        if kind not in ("", "ray") or not re.fullmatch("[0-9]{1,6}", count) or (kind and int(count) == 0):
            raise ConfigError(f"env_workers must be 0, a number of processes, or ray:N; got {shown(self.env_workers)}.")
        if kind:
            return "ray", int(count)
        return ("processes", int(count)) if int(count) else ("local", 1)

    @property
    def iterations_per_chunk(self) -> int:
        """`chunk_iterations`, or its default."""
        return _USUAL_CHUNK if self.chunk_iterations is None else self.chunk_iterations

    def settled(self, *, steps: int, warm_up: int) -> TrainConfig:
        """The configuration with `chunk_iterations` chosen, if it is None.

        Args:
            steps: maximum environment steps of an iteration.
            warm_up: maximum environment steps of the warm-up.
        """
        if self.chunk_iterations is not None:
            return self
        fit = max(self.env_steps - warm_up, 0) // (_FEWEST_CHUNKS * steps)
        return dataclasses.replace(self, chunk_iterations=min(max(fit, 1), _USUAL_CHUNK))

    def remark(self, *, steps: int) -> str | None:
        """A warning if a chunk, of iterations of at most `steps` steps, is longer than the run or than the interval of evaluations."""
        longest = self.iterations_per_chunk * steps
        if longest <= min(self.env_steps, self.eval_interval):
            return None
        whole = f"the whole run ({self.env_steps:,})"
        what = whole if longest > self.env_steps else f"the interval of evaluations ({self.eval_interval:,})"
        fit = min(self.env_steps, self.eval_interval) // steps
        alone = f"one iteration alone can take {steps:,}: lower episodes_per_iteration"
        advice = f"--chunk-iterations {fit} would fit" if fit else alone
        return (
            f"A chunk of {self.iterations_per_chunk} iterations can take {longest:,} environment steps, more than {what}. Evaluations, "
            f"checkpoints and Ctrl-C wait for its end; {advice}."
        )

    def check(self) -> None:
        """Raise ConfigError or UnknownNameError for invalid values. NumPy numbers become Python numbers."""
        if isinstance(self.devices, str) and self.devices != "all":
            raise ConfigError(f"devices must be a number, or 'all'; got {shown(self.devices)}.")
        check_types(self)
        check_positive(self, "env_timeout", "reward_scale")
        if not float(np.finfo(np.float32).tiny) <= self.reward_scale <= float(np.finfo(np.float32).max):
            raise ConfigError(f"reward_scale must be a number that float32 holds, got {self.reward_scale}.")
        if self.threads is not None and not 0 < self.threads <= cpu_threads.MOST:
            raise ConfigError(f"threads must be between 1 and {cpu_threads.MOST}, got {self.threads}.")
        if isinstance(self.devices, int) and not 0 < self.devices <= MOST_SEEDS:
            raise ConfigError(f"devices must be between 1 and {MOST_SEEDS}, or all; got {self.devices}.")
        _ = self.workers
        for name in ("env_steps", "eval_interval", "eval_episodes", "checkpoint_interval", "chunk_iterations"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {shown(getattr(self, name))}.")
        if self.snapshots < 2:
            raise ConfigError(f"snapshots must be at least 2, the first moment and the last, got {shown(self.snapshots)}.")
        if self.env_steps > 2_000_000_000:
            raise ConfigError(f"env_steps must be at most 2,000,000,000 (counters have 32 bits), got {self.env_steps}.")
        if len(self.seeds) > MOST_SEEDS:
            raise ConfigError(f"At most {MOST_SEEDS} seeds fit one process: start several.")
        if any(seed >= 2**32 for seed in self.seeds):
            raise ConfigError(f"seeds must be below 2**32, since keys are made from 32 bits; got {shown(max(self.seeds))}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds must be different non-negative numbers, at least one; got {shown(list(self.seeds))}.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The part of `config.json` from which a run is rebuilt."""

    algorithm: str
    hyper_parameters: dict[str, Any]
    environment: str
    environment_options: dict[str, Any]
    environment_spec: dict[str, Any]
    """The `EnvSpec`; a resumed run must have the same."""
    train_config: TrainConfig
    init_from: dict[str, Any] | None = None
    """Origin of the initial networks, if from another run: `run`, `iteration`, and, per seed, its `seeds` and their `env_steps`."""

    @property
    def made_by(self) -> dict[str, Any]:
        """The configuration that determines a run's numbers, flat and JSON-compatible: without its length, intervals of evaluations and
        checkpoints, workers and names of actions."""
        made = json.loads(json.dumps(dataclasses.asdict(self)))
        made["environment_spec"] = {name: value for name, value in made["environment_spec"].items() if name not in LABELS}
        made["train_config"] = {name: value for name, value in made["train_config"].items() if name not in _FREE}
        return dict(flat(made, ""))
