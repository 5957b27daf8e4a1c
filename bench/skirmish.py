"""The family `skirmish`: its speed compared with SMAX's, and what scripted and random play win on every map.

    PJRT_NPROC=1 taskset -c 1 python bench/skirmish.py speed
    PJRT_NPROC=1 taskset -c 1 python bench/skirmish.py scripted --episodes 128 --out docs/results/skirmish

`speed` plays random available actions in parallel environments; an episode that ends starts again from its own first state, in both
families, so that every step is one of a running episode and no reset is timed. The cases take turns, and times are processor seconds of
this process: other processes on the core matter little, but they do take caches and memory bandwidth.

`scripted` plays whole episodes at random and with `attack_closest`, SMAC's `heuristic_ai`. Results are kept in OUT/scripted.jsonl, a line
for each map, difficulty and policy; a second run plays what is missing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dop
from dop.analysis.statistics import seeds_interval
from dop.envs import skirmish, smax
from dop.envs.skirmish import scripted
from machine import describe

MAPS = ("2s3z", "3s5z", "MMM", "10m_vs_11m", "27m_vs_30m", "2c_vs_64zg", "corridor")
PUBLISHED = {"2s3z": 0.90, "3s5z": 0.42, "10m_vs_11m": 0.12}
"""Win rates of attacking the closest in StarCraft II (Yu et al. 2021, The Surprising Effectiveness of PPO in Cooperative Multi-Agent
Games); 0 on the other maps that they tried."""
POLICIES = ("random", "attack-closest")
_AT_ONCE = 32
"""Episodes that are played at the same time: more do not fit the processor's caches on large maps."""


def random_action(key: jax.Array, mask: jax.Array) -> jax.Array:
    """An available action for each agent."""
    return jnp.argmax(jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0), axis=-1)


# -------------------------------------------------------------------------------------------------------------------------- speed


@dataclass(frozen=True)
class Case:
    """A compiled program that plays `steps` steps in each of `count` environments."""

    name: str
    count: int
    steps: int
    run: Callable[..., Any]
    first: Any
    compile_seconds: float
    temporary: int
    """Bytes of the program's temporary arrays."""


def compiled(name: str, count: int, steps: int) -> Case:
    env = dop.make(name)
    first = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), count))

    def one(now: Any, begin: Any, key: jax.Array) -> Any:
        world, seen = now
        k_act, k_env = jax.random.split(key)
        after = env.step(k_env, world, random_action(k_act, seen.action_mask))
        ended = after[1].terminated | after[1].truncated
        return jax.tree.map(lambda new, old: jnp.where(ended, old, new), after, begin)

    def run(now: Any, begin: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, (steps, count))
        return jax.lax.scan(lambda now, keys: (jax.vmap(one)(now, begin, keys), None), now, keys)[0]

    start = time.process_time()
    program = jax.jit(run).lower(first, first, jax.random.key(0)).compile()
    taken = time.process_time() - start
    memory = program.memory_analysis()
    return Case(name, count, steps, program, first, taken, memory.temp_size_in_bytes if memory else 0)


def take_turns(cases: Sequence[Case], turns: int) -> np.ndarray:
    """Environment steps per processor second of each case (column) in each turn (row), after one turn of warm-up."""
    now, rates = [case.first for case in cases], []
    for turn in range(turns + 1):
        row = []
        for i, case in enumerate(cases):
            start = time.process_time()
            now[i] = jax.block_until_ready(case.run(now[i], case.first, jax.random.key(turn)))
            row.append(case.count * case.steps / (time.process_time() - start))
        rates.append(row)
    return np.array(rates[1:])


def speed(options: argparse.Namespace) -> None:
    print(f"random available actions; medians of {options.turns} turns; {describe()}")
    print(f"{'environment':22}{'parallel':>9}{'steps/s':>10}{'to smax':>9}{'compile s':>11}{'temporary kB each':>19}")
    for count in options.environments:
        for map_name in options.maps:
            families = ["smax", "skirmish"] if map_name in smax.variants() else ["skirmish"]
            cases = [compiled(f"{family}:{map_name}", count, max(options.steps // count, 1)) for family in families]
            rates = take_turns(cases, options.turns)
            ratios = np.median(rates / rates[:, :1], axis=0)
            for case, rate, ratio in zip(cases, np.median(rates, axis=0), ratios, strict=True):
                compared = f"{ratio:.2f}" if len(cases) == 2 and case is cases[1] else ""
                size = case.temporary / 1e3 / count
                print(f"{case.name:22}{count:9}{rate:10,.0f}{compared:>9}{case.compile_seconds:11.1f}{size:19,.0f}", flush=True)


# ----------------------------------------------------------------------------------------------------------------------- scripted


@dataclass(frozen=True)
class Result:
    """What one policy reached on one map."""

    map: str
    difficulty: str
    policy: str
    episodes: int
    wins: int
    return_mean: float
    length_mean: float
    version: str
    """Of the environment, as in `EnvSpec.version`."""
    jax: str
    date: str


def player(env: Any) -> Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]:
    """A program: (keys, whether to attack the closest) to who won, the returns and the lengths of one episode per key."""

    def decide(world: Any, seen: Any, target: jax.Array, attack: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        closest, target = scripted.attack_closest(env, world, target)
        return jnp.where(attack, closest, random_action(key, seen.action_mask)), target

    def one(state: Any, attack: jax.Array, key: jax.Array) -> Any:
        now, target, (won, total, length), running = state
        k_act, k_env = jax.random.split(key)
        action, target = decide(now[0], now[1], target, attack, k_act)
        world, seen = env.step(k_env, now[0], action)
        sums = (won | (running & (seen.metrics[0] > 0.0)), total + running * seen.reward, length + running)
        return (world, seen), target, sums, running & ~(seen.terminated | seen.truncated)

    def play(keys: jax.Array, attack: jax.Array) -> Any:
        count = len(keys)
        now = jax.vmap(env.reset)(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys))
        target = jnp.full((count, env.rules.n_allies), -1, jnp.int32)
        sums = (jnp.zeros(count, bool), jnp.zeros(count), jnp.zeros(count, jnp.int32))

        def step(carry: Any) -> Any:
            number, state = carry
            step_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
            return number + 1, jax.vmap(one, (0, None, 0))(state, attack, step_keys)

        start = (jnp.ones((), jnp.int32), (now, target, sums, jnp.ones(count, bool)))
        return jax.lax.while_loop(lambda carry: jnp.any(carry[1][3]), step, start)[1][2]

    return jax.jit(play)


def played(map_name: str, difficulty: str, policies: Sequence[str], episodes: int) -> list[Result]:
    """The results of these policies on one map."""
    env = skirmish.make(map_name, difficulty=difficulty)
    play, found = player(env), []
    batches = np.array_split(np.arange(episodes), -(-episodes // _AT_ONCE))
    for policy in policies:
        parts = [play(jax.vmap(jax.random.key)(batch), jnp.asarray(policy == POLICIES[1])) for batch in batches]
        won, total, length = (np.concatenate(part) for part in zip(*parts, strict=True))
        result = Result(
            map=map_name,
            difficulty=difficulty,
            policy=policy,
            episodes=episodes,
            wins=int(won.sum()),
            return_mean=round(float(total.mean()), 3),
            length_mean=round(float(length.mean()), 2),
            version=env.version,
            jax=jax.__version__,
            date=datetime.date.today().isoformat(),
        )
        found.append(result)
    return found


def play_all(options: argparse.Namespace) -> None:
    path = options.out / "scripted.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [Result(**json.loads(text)) for text in path.read_text().splitlines()] if path.exists() else []
    print(f"{options.episodes} episodes; {describe()}")
    print(f"{'map':18}{'difficulty':12}{'policy':16}{'won':>6} {'95%':14}{'return':>7}{'steps':>7}{'published':>11}")
    for difficulty in options.difficulties:
        for map_name in options.maps or skirmish.variants():
            version = skirmish.make(map_name).version
            wanted = (map_name, difficulty, options.episodes, version)
            known = [r for r in kept if (r.map, r.difficulty, r.episodes, r.version) == wanted]
            missing = [policy for policy in POLICIES if policy not in {r.policy for r in known}]
            new = played(map_name, difficulty, missing, options.episodes) if missing else []
            with path.open("a") as file:
                file.writelines(json.dumps(asdict(result)) + "\n" for result in new)
            for result in sorted([*known, *new], key=lambda r: POLICIES.index(r.policy)):
                print(row(result), flush=True)


def row(result: Result) -> str:
    """One line of the table; the interval is Student's t over episodes."""
    rate, low, high = seeds_interval(np.arange(result.episodes) < result.wins, limits=(0.0, 1.0))
    bounds = "-" if np.isnan(low) else f"[{low:.0%}, {high:.0%}]"
    published = PUBLISHED.get(result.map) if result.policy == POLICIES[1] else None
    return (
        f"{result.map:18}{result.difficulty:12}{result.policy:16}{rate:6.0%} {bounds:14}{result.return_mean:7.2f}"
        f"{result.length_mean:7.1f}{'' if published is None else format(published, '.0%'):>11}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    fast = parts.add_parser("speed", help="environment steps per processor second")
    fast.add_argument("--maps", nargs="+", default=MAPS)
    fast.add_argument("--environments", type=int, nargs="+", default=[4, 32, 256])
    fast.add_argument("--turns", type=int, default=5)
    fast.add_argument("--steps", type=int, default=2048, help="steps of one turn, over all environments")
    fast.set_defaults(run=speed)
    play = parts.add_parser("scripted", help="win rates of random and scripted play")
    play.add_argument("--maps", nargs="+", help="by default every map")
    play.add_argument("--difficulties", nargs="+", choices=tuple(skirmish.DIFFICULTIES), default=["hard"])
    play.add_argument("--episodes", type=int, default=128)
    play.add_argument("--out", type=Path, default=Path("results/skirmish"))
    play.set_defaults(run=play_all)
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
