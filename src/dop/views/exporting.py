"""`export`: the greedy policy as files."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from dop import api, plugins
from dop.errors import ConfigError
from dop.export import parity
from dop.export import policy_files as exporting
from dop.renamed import formerly
from dop.storage import files
from dop.training.trainer import At
from dop.types import Exportable
from dop.views.trained import episodes_key, load, output_folder


@formerly(trust="trust_env")
def export(
    run_dir: Path | str,
    *,
    out: Path | str | None = None,
    run_seed: int | None = None,
    at: At | str = "latest",
    environment: api.AnyEnvironment | str | None = None,
    algorithm: api.AnyAlgorithm | None = None,
    trust: bool = False,
) -> dict[str, Path]:
    """Export the greedy policies for use without this library, in the files of `dop.export.policy_files`.

    Args:
        run_dir: a run directory.
        out: a folder; default: `export/` in the run directory.
        run_seed: one of the run's seeds; default: the first.
        at: as in `dop.evaluate_episodes`.
        environment: as in `dop.resume`.
        algorithm: as in `dop.resume`.
        trust: as in `dop.resume`.

    Raises:
        MissingExtraError: onnx, onnxruntime or safetensors is not installed.
        ConfigError: the algorithm is not `Exportable`, or its networks are of an unknown kind.
        RunError: as `load`, or the exported policies differ from the library's (`dop.export.parity`); then nothing is written.
    """
    exporting.check_extra()
    folder = output_folder(run_dir, out, "export")
    trained = load(run_dir, run_seed=run_seed, at=at, environment=environment, algorithm=algorithm, trust=trust)
    learned_by, spec = trained.program.algorithm, trained.program.spec
    if not isinstance(learned_by, Exportable):
        raise ConfigError(f"{trained.config.algorithm} cannot be exported: it has no method `policy` (see dop.types.Exportable).")
    with plugins.named(f"{type(learned_by).__name__}.policy raised an exception"):
        policy = learned_by.policy(trained.learner)
    models = exporting.models(policy, spec)
    parity.check(models, policy, trained.program, trained.learner, episodes_key(0))
    written = exporting.write_models(models, folder)
    made_by = {
        "algorithm": trained.config.algorithm,
        "environment": spec.name,
        "environment_version": spec.version,
        "run_seed": trained.seed,
        "env_steps": trained.env_steps,
        "at": str(trained.moment),
        "library_version": metadata.version("dop-marl"),
    }
    text = json.dumps(exporting.describe(policy, spec, written) | {"made_by": made_by}, indent=2)
    files.write_text(folder / "policy.json", text + "\n")
    weights = exporting.write_weights(policy, folder / "policy.safetensors")
    return {**written, "description": folder / "policy.json", "weights": weights}
