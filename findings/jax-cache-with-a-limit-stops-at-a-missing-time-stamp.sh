#!/usr/bin/env bash
# JAX's compilation cache with a size limit: where the time stamp of one entry is missing, no process can add an entry again.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, filelock 3.20.0, numpy 2.2.6; Python 3.11
# Expected by most: an entry that is incomplete is dropped or ignored, and the cache goes on taking new programs, far below its limit.
# Seen: with jax_compilation_cache_max_size each entry is two files, the program and its time of use, written one after the other. Before
#   every write the cache reads all time stamps. If one is missing, the write fails with a warning, whatever the entry is and however empty
#   the cache; the process goes on, and the next one compiles the same programs again. Nothing repairs the folder.
#     both files of each entry:       3 programs of the second process kept
#     one time stamp missing:         0 kept, now and in later processes; entries from before are still used
#   Without a limit there are no time stamps, and all programs are kept.
# Why it matters: trainings are killed (by schedulers, for memory), some between the two files, and folders are cleaned by age. From then
#   on every training that shares the folder compiles anew, for minutes, with a warning that names a file of an unrelated program.
#   Leave the limit off and delete old entries oneself, or delete programs that have no time stamp before a start.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jax==0.10.2" "jaxlib==0.10.2" "filelock==3.20.0" "numpy==2.2.6"
cd "$folder"
cat > compile.py <<'PY'
import sys
import warnings

import jax
import jax.numpy as jnp

folder, first, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
jax.config.update("jax_compilation_cache_dir", folder)
jax.config.update("jax_compilation_cache_max_size", limit)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for number in range(first, first + 3):
        jax.jit(lambda x, number=number: jnp.sin(x) * number).lower(jnp.float32(1.0)).compile()
print(sum("Error writing persistent compilation cache entry" in str(w.message) for w in caught))
PY
"$folder/venv/bin/python" - <<'PY'
import pathlib
import shutil
import subprocess
import sys

LIMIT = 100_000_000


def compiled(folder, first, limit=LIMIT):
    """Programs that a new process, which compiles three, has added; and its warnings about failed writes."""
    before = set(pathlib.Path(folder).glob("*-cache"))
    command = [sys.executable, "compile.py", folder, str(first), str(limit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={"JAX_PLATFORMS": "cpu", "PATH": ""}).stdout
    return len(set(pathlib.Path(folder).glob("*-cache")) - before), int(said)


first, failed = compiled("whole", 1)
assert first >= 3 and failed == 0
stamps = sorted(pathlib.Path("whole").glob("*-atime"))
assert len(stamps) == first, "entries are no longer two files each"
shutil.copytree("whole", "broken")
kept, failed = compiled("whole", 4)
print("all time stamps there:   ", kept, "programs kept,", failed, "writes failed")
assert (kept, failed) == (3, 0)

own = next(stamp for stamp in stamps if "lambda" in stamp.name)  # of a program that later processes do not use
(pathlib.Path("broken") / own.name).unlink()
for attempt in range(2):
    kept, failed = compiled("broken", 4)
    print("one time stamp missing:  ", kept, "programs kept,", failed, "writes failed")
    assert kept == 0 and failed >= 3, "a missing time stamp no longer stops the cache"

for name in ("a", "b"):
    kept, failed = compiled("without", 1 if name == "a" else 4, limit=-1)
    assert kept >= 3 and failed == 0
assert not list(pathlib.Path("without").glob("*-atime"))
print("without a limit:         ", kept, "programs kept,", failed, "writes failed")
PY
