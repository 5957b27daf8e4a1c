#!/usr/bin/env bash
# marl-eval: which runs count is decided by the method that stands first in the file; others' surplus seeds vanish without a word.
#
# Versions: id-marl-eval 0.0.4, numpy 2.2.6; Python 3.11
# Expected by most: statistics over all seeds that a file holds, or a refusal where methods have different seeds.
# Seen: for every method the runs named as the first method's are looked up. A later method with more runs loses the rest silently; one with
#   fewer, or with other names (seed_5, seed_6), ends in a KeyError. Put the same methods in another order, and the same file fails or not.
#     b has a third seed:   a 2 runs, b 2 runs, mean of b 6.0 (of all three it is 36.0)
#     the same, b first:    KeyError 'seed_2'
#     b's seeds are 5, 6:   KeyError 'seed_0'
# Why it matters: a published comparison can leave out seeds, the best or the worst, and nothing says so; who gives seeds their own numbers
#   cannot compare at all. Name runs by their place, and cut all methods to the same number, before the file is written.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The package pins pandas 1.4.4 and needs neptune; what is run here needs neither.
"$folder/venv/bin/pip" install --quiet "numpy==2.2.6" "colorama==0.4.6" "setuptools==80.9.0"
"$folder/venv/bin/pip" install --quiet --no-deps "id-marl-eval==0.0.4"
"$folder/venv/bin/python" - <<'PY'
import contextlib
import io

from marl_eval.utils.data_processing_utils import create_matrices_for_rliable, data_process_pipeline


def method(**returns):
    """A run for each name, with one return at each of two evaluations and as its absolute metric."""
    steps = lambda x: {f"step_{i}": {"step_count": 1000 * i, "return": [x]} for i in range(2)}  # noqa: E731
    return {run: {**steps(x), "absolute_metrics": {"return": [x]}} for run, x in returns.items()}


def read(**methods):
    """Number of runs and mean return of each method; or what was raised."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            matrices, _ = create_matrices_for_rliable(data_process_pipeline({"env": {"task": methods}}, []), "env", [])
    except KeyError as error:
        return f"KeyError {error}"
    return {name: (len(of), float(of.mean())) for name, of in matrices["mean_return"].items()}


a, b = {"seed_0": 2.0, "seed_1": 2.0}, {"seed_0": 6.0, "seed_1": 6.0}
more = read(a=method(**a), b=method(**b, seed_2=96.0))
first = read(b=method(**b, seed_2=96.0), a=method(**a))
other = read(a=method(**a), b=method(seed_5=6.0, seed_6=6.0))
print("b has a third seed: ", more)
print("the same, b first:  ", first)
print("b's seeds are 5, 6: ", other)
assert more == {"a": (2, 2.0), "b": (2, 6.0)}, "the third seed of the later method counts now"
assert first == "KeyError 'seed_2'", "the order of methods no longer decides"
assert other == "KeyError 'seed_0'", "runs with other names are read now"
PY
