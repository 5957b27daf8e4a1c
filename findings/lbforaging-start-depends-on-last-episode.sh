#!/usr/bin/env bash
# Level-Based Foraging: reset(seed=...) does not decide the start of an episode; where the players stood at the end of the last one does, too.
#
# Versions: lbforaging 2.0.0, gymnasium 1.2.2, numpy 2.2.6; Python 3.11
# Expected by most: Gymnasium's contract, that reset(seed=s) starts the same episode again, in an environment that has played before as well.
# Seen: a player is placed only where no player, itself included, stood when the last episode ended. With the same seed, after a different
#   episode, players and foods start elsewhere. In a new environment the same seed always gives the same start.
#     new environment, seed 0:                   13 of 13 starts the same
#     used environment, seed 0 after episodes:   3 different starts of 13
# Why it matters: evaluations "on the same seeds" of two policies are not on the same starts, since the policies end their episodes in
#   different places; and a run that is resumed with new environments does not play the episodes that it would have played.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lbforaging==2.0.0" "gymnasium==1.2.2" "numpy==2.2.6"
"$folder/venv/bin/python" - <<'PY'
import gymnasium
import lbforaging  # registers the environments
import numpy as np


def new():
    return gymnasium.make("Foraging-8x8-2p-3f-v3", disable_env_checker=True)


def start(env):
    observations, _ = env.reset(seed=0)
    return tuple(np.concatenate(observations).tolist())


fresh = [start(new()) for _ in range(13)]
print("new environment, seed 0:                  ", fresh.count(fresh[0]), "of", len(fresh), "starts the same")
assert len(set(fresh)) == 1, "new environments start differently with the same seed"

env, rng, used = new(), np.random.default_rng(0), []
for _ in range(13):
    used.append(start(env))
    for _ in range(30):
        env.step(tuple(rng.integers(0, 6, 2)))
print("used environment, seed 0 after episodes:  ", len(set(used)), "different starts of", len(used))
assert used[0] == fresh[0]
assert len(set(used)) > 1, "the same seed now gives the same start in a used environment"
PY
