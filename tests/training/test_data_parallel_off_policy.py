"""Deterministic DOP, MADDPG and MAAC on several devices: each computes its part of a minibatch, and all learn what one device learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_data_parallel import child

UPDATE = """
    import json, sys
    from pathlib import Path
    import equinox as eqx
    import jax, numpy as np
    import dop
    from dop.algorithms import get
    from dop.devices import parallel
    from dop.learning.replay import allocate
    from dop.storage.checkpoints import flatten
    from helpers import assert_resumes, make_episodes, make_spec

    name, fields, counts = sys.argv[2], *map(json.loads, sys.argv[3:])
    parallel.use_host_devices(max(counts))
    sizes = dict(critic=dop.MLP(hidden_size=64, layers=1), actor=dop.MLP(hidden_size=32), max_grad_norm=0.01)
    algorithm = get(name)(**sizes, **fields)
    spec = make_spec()
    episodes = make_episodes(jax.random.key(0), spec, (6, 2, 5, 3))
    is_active = jax.random.bernoulli(jax.random.key(1), 0.6, (4, 7, 3, 1))  # as many agents as it comes, for each device another number
    episodes = eqx.tree_at(lambda e: e.action_mask, episodes, episodes.action_mask & is_active)
    replay = allocate(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), episodes), 4).add(episodes)

    start = jax.tree.map(lambda x: x[None], jax.jit(lambda key: algorithm.init(key, spec))(jax.random.key(0)))

    def iteration(state):
        learner, key = state
        key, key_sample, key_update = jax.random.split(key, 3)
        learner, metrics = algorithm.update(learner, algorithm.sample(replay, key_sample), key_update)
        return (learner, key), metrics

    found, operations = {}, {}
    for count in counts:
        devices = parallel.mesh(1, count)
        state = parallel.place((start, parallel.keys((7,))), devices)
        run = parallel.over_seeds(iteration, devices).lower(state).compile()
        (learner, _), metrics = run(state)
        for array in jax.tree.leaves((learner, metrics)):
            copies = [np.asarray(shard.data) for shard in array.addressable_shards]
            assert len(copies) == count
            assert all((copy == copies[0]).all() for copy in copies)
        found[count], operations[count] = flatten((learner, metrics)), run.cost_analysis()["flops"]
        for leaf, values in found[count].items():
            np.testing.assert_allclose(values, found[1][leaf], rtol=2e-4, atol=2e-6, err_msg=f"{count} devices, {leaf}")
    assert_resumes(state, lambda state: run(parallel.place(state, devices)), Path(sys.argv[1]))
    print(json.dumps([operations[count] / operations[1] for count in counts]))
"""


@pytest.mark.parametrize(
    ("algorithm", "fields", "counts", "most"),
    [
        ("deterministic-dop", {"replay_batch": 64}, (1, 2), (1, 0.55)),
        pytest.param("maac", {"replay_batch": 64, "attention_penalty": 0.5}, (1, 2, 4, 8), (1, 0.55, 0.32, 0.2), marks=pytest.mark.slow),
        ("maddpg", {"replay_batch": 63}, (1, 2), (1, 1.01)),
    ],
)
def test_devices_share_minibatches(
    tmp_path: Path, algorithm: str, fields: dict[str, Any], counts: tuple[int, ...], most: tuple[float, ...]
):
    """The same update to rounding with clipped gradients and inactive agents, the same bits on all devices, each with its part of the
    operations (the whole where the minibatch is no multiple), and exact resume."""
    done = child(UPDATE, tmp_path, algorithm, json.dumps(fields), json.dumps(counts), PJRT_NPROC="1")
    assert done.returncode == 0, done.stderr[-3000:]
    fractions = json.loads(done.stdout)
    assert all(1 / count <= fraction <= limit for count, fraction, limit in zip(counts, fractions, most, strict=True)), fractions
