#!/usr/bin/env bash
# JaxMARL: an episode of MPE has one step more than `max_steps`.
#
# Versions: jaxmarl 0.2.0, jax 0.10.2, jaxlib 0.10.2, flax 0.12.8, numpy 2.2.6; Python 3.11
# Expected by most: an environment made with max_steps=25 is done after 25 steps, as JaxMARL's own Overcooked is, and
#   PettingZoo's MPE with max_cycles=25.
# Seen: `SimpleMPE.step_env` compares the number of steps before it counts the present one. So `done` is true after 26 steps of 25, and after
#   2 of 1.
#     MPE_simple_spread_v3, max_steps=25:   26 steps
#     overcooked, max_steps=25:             25 steps
# Why it matters: on spread every step costs some reward, so that an episode's return has one more such cost (26 for 25), and
#   batches of 25 steps from reset to reset do not contain whole episodes: they drift against the episodes by one step each.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jaxmarl==0.2.0" "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8" "numpy==2.2.6"
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jaxmarl


def length(name, max_steps, still):
    game = jaxmarl.make(name, max_steps=max_steps)
    step = jax.jit(game.step)
    _, state = game.reset(jax.random.key(0))
    for t in range(1, 100):
        _, state, _, done, _ = step(jax.random.key(t), state, {agent: still for agent in game.agents})
        if done["__all__"]:
            return t


late = {(name, most): length(name, most, 0) for name in ("MPE_simple_spread_v3", "MPE_simple_reference_v3") for most in (1, 25)}
exact = length("overcooked", 25, 4)
for (name, most), steps in late.items():
    print(f"{name}, max_steps={most}: done after {steps} steps")
print(f"overcooked, max_steps=25: done after {exact} steps")
assert exact == 25
assert all(steps == most + 1 for (_, most), steps in late.items()), "MPE is now done after max_steps"
PY
