#!/usr/bin/env bash
# JaxMARL: `import jaxmarl` starts JAX's backend, after which the number of host devices and the platform are fixed.
#
# Versions: jaxmarl 0.2.0, jax 0.10.2, jaxlib 0.10.2, flax 0.12.8, numpy 2.2.6; Python 3.11
# Expected by most: an import computes nothing; JAX is configured after the imports, as a script usually does.
# Seen: `import jaxmarl` imports all of its environments, and some of them create arrays at module level. So JAX has chosen its platform and
#   created its devices before the script's first line after the imports.
#     before the import:  jax_num_cpu_devices = 2 is accepted, and there are two devices
#     after the import:   it is refused with a RuntimeError; a new value of jax_platforms is accepted and changes nothing
#   Importing one environment's module alone runs the package's import of all of them.
# Why it matters: who trains several seeds on several cores asks for host devices; who has several kinds of devices chooses one in the
#   script. With the usual order of imports the first fails, and the second has no effect. Configure JAX above `import jaxmarl`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jaxmarl==0.2.0" "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8" "numpy==2.2.6"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import subprocess
import sys

CONFIGURE = """
import jax
try:
    jax.config.update("jax_num_cpu_devices", 2)
    accepted = True
except RuntimeError:
    accepted = False
"""
SHOW = "print(accepted, jax.device_count())"


def said(*lines):
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"JAX_PLATFORMS": "cpu", "PATH": ""})
    return done.stdout.splitlines()[-1]


first = said(CONFIGURE, "import jaxmarl", SHOW)
after = said("import jaxmarl", CONFIGURE, SHOW)
one = said("from jaxmarl.environments.smax import map_name_to_scenario", CONFIGURE, SHOW)
OTHER = "import jax; jax.config.update('jax_platforms', 'no_such_platform'); print(jax.devices()[0].platform)"
other = said("import jaxmarl", OTHER)
print("configured before the import: accepted, devices =", first)
print("configured after it: accepted, devices =", after)
print("after the import of one environment's module: accepted, devices =", one)
print("after it, with another platform: ", other)
assert other == "cpu", "another platform after the import now has an effect"
assert subprocess.run([sys.executable, "-c", OTHER], capture_output=True, check=False).returncode != 0  # without jaxmarl it has
assert first == "True 2"
assert after == "False 1", "importing jaxmarl no longer starts JAX"
assert one == "False 1", "importing one environment no longer starts JAX"
PY
