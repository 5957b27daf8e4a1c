"""Every test runs on the CPU, and checks the shapes and types in the signatures of the maths."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Tests compile much and compute little.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_llvm_disable_expensive_passes=true"
)

from jaxtyping import install_import_hook

CHECKED = ("returns", "losses", "policies", "mixers", "nets", "loops", "optim", "normalise", "replay")
install_import_hook([f"dop.{module}" for module in CHECKED], "beartype.beartype")
