#!/usr/bin/env bash
# JaxMARL: the scripted prey of MPE_simple_facmac_3a_v1 flees as if it stood where a predator stands.
#
# Versions: jaxmarl 0.2.0, jax 0.10.2, jaxlib 0.10.2, flax 0.12.8, numpy 2.2.6; Python 3.11
# Expected by most: the prey looks around from its own position and runs away from the predators (Peng et al. 2021, FACMAC).
# Seen: `SimpleFacmacMPE.step_env` numbers the prey from the last predator, not from the first prey, and with several prey it counts twice.
#   The policy of each prey is computed for:
#     MPE_simple_facmac_3a_v1:   adversary_2 instead of agent_0
#     MPE_simple_facmac_6a_v1:   adversary_5, agent_1 instead of agent_0, agent_1
#     MPE_simple_facmac_9a_v1:   adversary_8, agent_1, landmark 0 instead of agent_0, agent_1, agent_2
#   With three predators, the prey moves in the same direction wherever it is.
# Why it matters: the task is another one than FACMAC's. Prey that does not react to where it is can be caught by chance, and results on it
#   cannot be compared with the published ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "jaxmarl==0.2.0" "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8" "numpy==2.2.6"
cd "$folder"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" -W ignore - <<'PY'
import jax
import jax.numpy as jnp
import jaxmarl


def flees_as(name):
    """For whom the policy of each prey is computed in one step."""
    game, asked = jaxmarl.make(name), []
    policy = game._prey_policy
    game._prey_policy = lambda key, state, index: asked.append(index) or policy(key, state, index)
    _, state = game.reset(jax.random.key(0))
    jax.eval_shape(game.step_env, jax.random.key(1), state, {agent: jnp.zeros(5) for agent in game.agents})
    return [[*game.agents, *game.landmarks][index] for index in asked]


found = {count: flees_as(f"MPE_simple_facmac_{count}a_v1") for count in (3, 6, 9)}
for count, names in found.items():
    print(f"MPE_simple_facmac_{count}a_v1: the policies of its {len(names)} prey are computed for {', '.join(names)}")

game = jaxmarl.make("MPE_simple_facmac_3a_v1")
_, state = game.reset(jax.random.key(0))
FAR = jnp.array([[0.0, 0.0], [0.5, 0.5], [-0.5, 0.5], [0.0, 0.0], [9.0, 9.0], [-9.0, -9.0]])  # three predators, the prey, two landmarks


def push(place):
    """The velocity of the resting prey at this place after one step."""
    placed = state.replace(p_pos=FAR.at[3].set(jnp.array(place)), p_vel=jnp.zeros_like(state.p_vel))
    _, after, *_ = game.step_env(jax.random.key(3), placed, {agent: jnp.zeros(5) for agent in game.agents})
    return after.p_vel[3].tolist()


lower_right, lower_left = push([2.0, -2.0]), push([-2.0, -2.0])
print("the prey starts to move from the lower right with", lower_right, "and from the lower left with", lower_left)
assert found[3] == ["adversary_2"], "the prey now looks from its own position"
assert found[6] == ["adversary_5", "agent_1"]
assert found[9] == ["adversary_8", "agent_1", "landmark 0"]
assert lower_right == lower_left != [0.0, 0.0], "the prey now reacts to where it is"
PY
