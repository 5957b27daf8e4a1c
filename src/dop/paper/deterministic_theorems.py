"""The paper's theorems on deterministic DOP as programs: Theorem 4, Lemma 3, Theorem 5, App. D.2 and Theorem 6, on random problems.

As in `dop.paper.theorems`, which runs these too, every claim is measured, and measured again where what its proof assumes fails. Theorem 4
is about actors and small networks that are differentiated automatically. The other claims are about Q near one joint action; there Q is a
sum of sines, whose gradients, and whose means and variances under normal noise, are formulas (`Waves`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes

from dop.paper.claims import DIFFERENCE, DISCOUNT, EXACT, NUMERIC, TEAMS, Claim, relative
from dop.report.curves import COLOURS

SPREADS = (0.1, 0.3)
"""Standard deviations of the exploration noise to whose data critics are fitted."""
NEAR = 0.1
"""The weight of an unrelated policy in a replay's policy that is near the current one."""
DELTA = 0.1
"""Of the claims on Eq. 14."""
DELTAS = tuple(float(f"{delta:.3g}") for delta in np.logspace(-3, 0, 13))
FIGURE_TEAM = 5
"""n of the figure on Theorem 5."""
KINK = 1.5
"""|a|^KINK has a first derivative at 0 and no second."""
LEFT_OVER = 0.01
"""App. D.2's epsilon."""
TEMPERATURES = (1.0, 0.1, 1e-6)
NOISE = 0.3
"""Standard deviation of Theorem 6's exploration noise."""

Numbers = Array | np.ndarray
"""NumPy's as drawn, JAX's once differentiated."""
Gradient = Float[Numbers, "case agent feature action"]
Actions = Float[Array, "state agent action"]
Theta = Float[Numbers, "agent feature action"]


# ----------------------------------------------------------------------------------------------------------------- Theorem 4


class Team(NamedTuple):
    """A cooperative MDP of few states and continuous actions, deterministic actors, and a linear critic that is exact if `joint` is 0."""

    seen: Float[Numbers, "agent state feature"]
    """What agent i sees of s: fewer features than states, so states are not told apart freely."""
    theta: Theta
    """pi_i(s) = tanh(seen_i(s) theta_i)."""
    behaviour: Theta
    """The actors whose data the replay has."""
    k: Float[Numbers, "state agent"]
    head: Float[Numbers, "agent hidden"]
    layer: Float[Numbers, "agent action hidden"]
    shift: Float[Numbers, "agent state hidden"]
    """Q_i(s, a_i) = head_i tanh(a_i layer_i + shift_i(s))."""
    b: Float[Numbers, " state"]
    joint: Float[Numbers, ""]
    """How much Q^pi has of what no linear critic can represent."""
    frequency: Float[Numbers, "state agent action"]
    angle: Float[Numbers, " state"]
    """That is joint sin(angle(s) + sum_i frequency_i(s) a_i)."""
    lean: Float[Numbers, "state next"]
    steer: Float[Numbers, "state next agent action"]
    """P(s' | s, a) = softmax(lean + sum_i steer_i a_i)."""
    start: Float[Numbers, " state"]
    discount: Float[Numbers, ""]


def random_team(
    rng: np.random.Generator, *, agents: int = 3, states: int = 3, features: int = 2, actions: int = 2, hidden: int = 4
) -> Team:
    """k_i is 0 now and then, which Eq. 4 allows."""
    normal = rng.normal
    return Team(
        seen=normal(size=(agents, states, features)),
        theta=normal(size=(agents, features, actions)),
        behaviour=normal(size=(agents, features, actions)),
        k=np.maximum(rng.uniform(-0.5, 2, size=(states, agents)), 0),
        head=normal(size=(agents, hidden)),
        layer=normal(size=(agents, actions, hidden)),
        shift=normal(size=(agents, states, hidden)),
        b=normal(size=states),
        joint=np.ones(()),
        frequency=normal(size=(states, agents, actions)),
        angle=rng.uniform(0, 2 * np.pi, size=states),
        lean=normal(size=(states, states)),
        steer=normal(size=(states, states, agents, actions)),
        start=rng.dirichlet(np.ones(states)),
        discount=np.array(DISCOUNT),
    )


def draw_teams(seed: int, count: int) -> Team:
    """Random teams, stacked; team i does not depend on how many are drawn."""
    return Team(*(np.stack(each) for each in zip(*(random_team(np.random.default_rng((seed, i))) for i in range(count)), strict=True)))


def act(theta: Float[Numbers, "feature action"], seen: Float[Numbers, " feature"]) -> Float[Array, " action"]:
    """pi_i of one agent in one state."""
    return jnp.tanh(seen @ theta)


def joint_action(team: Team, theta: Theta) -> Actions:
    """pi(s) of every state."""
    return jax.vmap(jax.vmap(act), in_axes=(None, 1))(theta, team.seen)


def local_value(
    head: Float[Array, " hidden"], layer: Float[Array, "action hidden"], shift: Float[Array, " hidden"], action: Float[Array, " action"]
) -> Float[Array, ""]:
    """Q_i of one agent in one state."""
    return head @ jnp.tanh(action @ layer + shift)


def each_agent(function: Callable[..., Array], team: Team, actions: Actions) -> Float[Array, "state agent ..."]:
    """A function of `local_value`'s arguments, for every state and agent."""
    return jax.vmap(jax.vmap(function), in_axes=(None, None, 1, 0))(team.head, team.layer, team.shift, actions)


def total(team: Team, actions: Actions) -> Float[Array, " state"]:
    """Q_tot^phi (Eq. 4)."""
    return (team.k * each_agent(local_value, team, actions)).sum(axis=1) + team.b


def true_value(team: Team, actions: Actions) -> Float[Array, " state"]:
    """Q^pi: the linear critic, and the part that it cannot represent."""
    return total(team, actions) + team.joint * jnp.sin(team.angle + (team.frequency * actions).sum(axis=(1, 2)))


def transition(team: Team, theta: Theta) -> Float[Array, "state next"]:
    """P_pi(s' | s)."""
    return jax.nn.softmax(team.lean + jnp.einsum("sia,snia->sn", joint_action(team, theta), team.steer))


def values(team: Team, theta: Theta) -> Float[Array, " state"]:
    """V of the policy theta, rewards being r = Q - gamma P Q(s', pi(s')) with pi that of `team.theta`: there Q^pi is `true_value`."""
    step = transition(team, theta)
    reward = true_value(team, joint_action(team, theta)) - team.discount * step @ true_value(team, joint_action(team, team.theta))
    return jnp.linalg.solve(jnp.eye(len(step)) - team.discount * step, reward)


def occupancy(team: Team, theta: Theta) -> Float[Array, " state"]:
    """d(s) = sum_t gamma^t P(s_t = s)."""
    step = transition(team, theta)
    return jnp.linalg.solve(jnp.eye(len(step)) - team.discount * step.T, team.start)


def differences(function: Callable[[Theta], Numbers], theta: Theta) -> Theta:
    """Central differences."""
    shifts = DIFFERENCE * jnp.eye(theta.size).reshape(-1, *theta.shape)
    each = jax.vmap(lambda shift: function(theta + shift) - function(theta - shift))(shifts)
    return each.reshape(theta.shape) / (2 * DIFFERENCE)


def equation_13(team: Team, states: Float[Array, " state"], k: Float[Numbers, "state agent"], slopes: Actions) -> Theta:
    """sum_s w(s) sum_i k_i(s) grad_theta_i pi_i(s) grad_a_i Q_i(s, a_i), the slopes being those of Q_i at pi_i(s)."""
    actors = jax.vmap(jax.vmap(jax.jacobian(act)), in_axes=(None, 1))(team.theta, team.seen)
    return jnp.einsum("s,si,siafb,sia->ifb", states, k, actors, slopes)


def fitted_slopes(team: Team, around: Actions, spread: float) -> Actions:
    """k_i grad_a_i Q_i of the linear Q_i that fit Q^pi best, in least squares, on the actions `around` with noise +spread or -spread."""
    noise = spread * np.array(list(itertools.product((-1.0, 1.0), repeat=around[0].size))).reshape(-1, *around[0].shape)
    found = jax.vmap(lambda each: true_value(team, around + each))(jnp.asarray(noise))
    return jnp.einsum("ps,pia->sia", found, noise) / (len(noise) * spread**2)


class Gradients(NamedTuple):
    """What Theorem 4's claims compare. Where nothing else is said, states count as in the discounted occupancy of pi."""

    formula: Gradient
    """Eq. 13 with the linear critic."""
    automatic: Gradient
    """Of the expected Q_tot^phi(s, pi(s)), by automatic differentiation."""
    linear_j: Gradient
    """Of J by differences, where Q^pi is linear; all that follows is where it is not."""
    j: Gradient
    tangent: Gradient
    """Eq. 13 with the Q_i that have Q^pi's slopes at pi(s)."""
    fits: Float[Numbers, "case spread agent feature action"]
    """Eq. 13 with Q_i fitted under exploration noise."""
    old_fit: Gradient
    """Eq. 13 with Q_i fitted under the replay's actors and exploration noise."""
    replay: Gradient
    """Eq. 13 as `tangent`, over the replay's states."""
    near_replay: Gradient
    """The same, the replay's actors being near pi."""
    replay_j: Gradient
    """Of E_D[V^pi] by differences."""


def gradients(team: Team) -> Gradients:
    """All of them, for one team."""
    at, d_pi, alike = joint_action(team, team.theta), occupancy(team, team.theta), jnp.ones_like(team.k)
    tangent = jax.vmap(jax.grad(lambda each, s: true_value(team, at.at[s].set(each))[s]))(at, jnp.arange(len(at)))
    d_replay = occupancy(team, team.behaviour)
    d_near = occupancy(team, (1 - NEAR) * team.theta + NEAR * team.behaviour)
    linear = team._replace(joint=0 * team.joint)
    fits = jnp.stack([equation_13(team, d_pi, alike, fitted_slopes(team, at, spread)) for spread in SPREADS])
    old = fitted_slopes(team, joint_action(team, team.behaviour), SPREADS[0])
    return Gradients(
        formula=equation_13(team, d_pi, team.k, each_agent(jax.grad(local_value, argnums=3), team, at)),
        automatic=jax.grad(lambda theta: d_pi @ total(team, joint_action(team, theta)))(team.theta),
        linear_j=differences(lambda theta: team.start @ values(linear, theta), team.theta),
        j=differences(lambda theta: team.start @ values(team, theta), team.theta),
        tangent=equation_13(team, d_pi, alike, tangent),
        fits=fits,
        old_fit=equation_13(team, d_pi, alike, old),
        replay=equation_13(team, d_replay, alike, tangent),
        near_replay=equation_13(team, d_near, alike, tangent),
        replay_j=differences(lambda theta: d_replay @ values(team, theta), team.theta),
    )


gradients_of_all = jax.jit(jax.vmap(gradients))


def all_gradients(teams: Team) -> Gradients:
    """`gradients` of every team, in float64."""
    with jax.enable_x64(True):
        return Gradients(*(np.asarray(each) for each in gradients_of_all(teams)))


def errors(found: Gradient, expected: Gradient) -> list[float]:
    """The relative error of every case."""
    return [relative(one, other) for one, other in zip(found, expected, strict=True)]


def gradient_claim(name: str, claim: str, found: Sequence[float], note: str, *, assumptions: bool, also: str = "") -> Claim:
    """Whether a gradient is the other, up to the precision of differences."""
    return Claim(
        name=f"Thm. 4, {name}",
        claim=claim,
        measured=f"relative error: median {np.median(found):.0e}, largest {max(found):.0e}{also}",
        holds=max(found) < NUMERIC,
        note=note,
        assumptions=assumptions,
    )


AS_J = "Eq. 13 = grad J, by differences"


def theorem_4(teams: Team) -> list[Claim]:
    """Eq. 13 as the gradient of Q_tot^phi through the actors; then as that of J, with critics and states that are and are not pi's."""
    g = all_gradients(teams)
    identity = errors(g.formula, g.automatic)
    return [
        Claim(
            name="Thm. 4, grad of Q_tot",
            claim="Eq. 13 = grad E[Q_tot^phi(s, pi(s))], any linear critic, automatically",
            measured=f"largest relative difference {max(identity):.0e}",
            holds=max(identity) < EXACT,
            note="two-layer Q_i, k_i >= 0, three agents with two-dimensional actions; what the proof shows",
        ),
        gradient_claim(
            "Q^pi linear",
            AS_J,
            errors(g.formula, g.linear_j),
            "rewards chosen so that the critic is Q^pi; states as d_pi",
            assumptions=True,
        ),
        *replay_claims(g),
        *critic_claims(g),
    ]


def replay_claims(g: Gradients) -> list[Claim]:
    """The states are D's, as the theorem says; the critic has Q^pi's slopes."""
    return [
        gradient_claim(
            "replay's states",
            AS_J,
            errors(g.replay, g.j),
            f"critic with Q^pi's slopes; the statement's D, of unrelated actors and then of {1 - NEAR:g} pi's parameters + {NEAR:g} theirs",
            assumptions=True,
            also=f"; D near pi: {np.median(errors(g.near_replay, g.j)):.0e}",
        ),
        gradient_claim(
            "replay's objective",
            "Eq. 13 = grad E_D[V^pi], by differences",
            errors(g.replay, g.replay_j),
            "the same critic and D: the gradient of Q^pi itself is left out, as in Theorem 7",
            assumptions=False,
        ),
    ]


def critic_claims(g: Gradients) -> list[Claim]:
    """The states are pi's, and the critic is not Q^pi."""
    small, large = (errors(g.fits[:, i], g.j) for i in range(len(SPREADS)))
    return [
        gradient_claim(
            "Q^pi not linear, its slopes",
            AS_J,
            errors(g.tangent, g.j),
            "the linear critic is wrong about Q^pi, but not about its gradient at pi(s), which is all that Eq. 13 takes; states as d_pi",
            assumptions=False,
        ),
        gradient_claim(
            f"fit, noise {SPREADS[1]}",
            AS_J,
            large,
            "linear Q_i fitted to Q^pi under exploration noise; the second order does not average out; states as d_pi",
            assumptions=False,
            also=f"; noise {SPREADS[0]}: {np.median(small):.0e}",
        ),
        gradient_claim(
            "fit to old actors' data",
            AS_J,
            errors(g.old_fit, g.j),
            f"the same with noise {SPREADS[0]} around unrelated actors; states as d_pi",
            assumptions=False,
        ),
    ]


# --------------------------------------------------------------------------------------------------------- functions of actions


@dataclass(frozen=True, kw_only=True)
class Waves:
    """f(x) = sum_m amplitude_m sin(angle_m + frequency_m . x), one input an agent."""

    amplitude: Float[np.ndarray, " wave"]
    angle: Float[np.ndarray, " wave"]
    frequency: Float[np.ndarray, "wave input"]

    def __call__(self, x: Float[np.ndarray, "point input"]) -> Float[np.ndarray, " point"]:
        return np.sin(self.angle + x @ self.frequency.T) @ self.amplitude

    def gradient(self, x: Float[np.ndarray, "point input"]) -> Float[np.ndarray, "point input"]:
        return (np.cos(self.angle + x @ self.frequency.T) * self.amplitude) @ self.frequency

    def slope(self, i: int) -> Waves:
        """df / dx_i; waves that do not know x_i are dropped."""
        knows = self.frequency[:, i] != 0
        frequency = self.frequency[knows]
        return Waves(amplitude=self.amplitude[knows] * frequency[:, i], angle=self.angle[knows] + np.pi / 2, frequency=frequency)

    def scaled(self, factor: float) -> Waves:
        return Waves(amplitude=factor * self.amplitude, angle=self.angle, frequency=self.frequency)

    def without(self, i: int) -> Waves:
        """With x_i = 0."""
        return Waves(amplitude=self.amplitude, angle=self.angle, frequency=self.frequency * (np.arange(self.frequency.shape[1]) != i))

    def given(self, i: int, noise: float) -> Waves:
        """E[f(x) | x_i] where the other inputs are N(0, noise^2): of the best sum of f_i(x_i), the f_i, up to a constant."""
        own = self.frequency * (np.arange(self.frequency.shape[1]) == i)
        fade = np.exp(-(noise**2) * ((self.frequency - own) ** 2).sum(axis=1) / 2)
        return Waves(amplitude=fade * self.amplitude, angle=self.angle, frequency=own)

    def mean(self, noise: float) -> float:
        """E[f(x)], all inputs being N(0, noise^2)."""
        return float(self.amplitude @ (np.sin(self.angle) * np.exp(-(noise**2) * (self.frequency**2).sum(axis=1) / 2)))

    def variance(self, noise: float) -> float:
        """Var f(x), by 2 sin u sin v = cos(u - v) - cos(u + v)."""
        half = noise**2 / 2
        square, inner = (self.frequency**2).sum(axis=1), self.frequency @ self.frequency.T
        squares = square[:, None] + square
        minus = np.cos(self.angle[:, None] - self.angle) * np.exp(-half * (squares - 2 * inner))
        plus = np.cos(self.angle[:, None] + self.angle) * np.exp(-half * (squares + 2 * inner))
        return max(float(self.amplitude @ (minus - plus) @ self.amplitude / 2) - self.mean(noise) ** 2, 0.0)


def waves(rng: np.random.Generator, knows: Float[np.ndarray, "wave input"]) -> Waves:
    """Random waves of the inputs that `knows` says, weighted by it."""
    count = len(knows)
    return Waves(
        amplitude=rng.normal(size=count), angle=rng.uniform(0, 2 * np.pi, size=count), frequency=knows * rng.normal(size=knows.shape)
    )


def dense(rng: np.random.Generator, n: int) -> Waves:
    """Every wave has every agent's action, at frequencies of order 1 / sqrt(n), as a layer of a network at its start."""
    return waves(rng, np.ones((16, n)) / np.sqrt(n))


def decomposed(rng: np.random.Generator, n: int) -> Waves:
    """sum_i f_i(a_i): two waves for each agent, of its action alone."""
    return waves(rng, np.repeat(np.eye(n), 2, axis=0))


# ------------------------------------------------------------------------------------------------------- Lemma 3 and Theorem 5


@dataclass(frozen=True, kw_only=True)
class Place:
    """A team of n at one tau, actions being counted from pi(tau), which is 0."""

    q: Waves
    """Q^pi."""
    f: tuple[Waves, ...]
    """Several sums of f_i(a_i), which know nothing of Q^pi."""
    box: Float[np.ndarray, "point agent"]
    """Joint actions with |a|_inf <= 1: inside, corners, and the corners that Q^pi's gradient points to and from."""

    @property
    def n(self) -> int:
        return self.box.shape[1]

    @property
    def here(self) -> Float[np.ndarray, "1 agent"]:
        return np.zeros((1, self.n))

    @property
    def value(self) -> float:
        """Q^pi at pi(tau)."""
        return float(self.q(self.here)[0])

    def slopes(self, delta: float) -> Float[np.ndarray, "point agent"]:
        """|dQ^pi / da_i| within delta."""
        return np.abs(self.q.gradient(np.vstack([self.here, delta * self.box])))

    def lipschitz(self, delta: float) -> float:
        """L of SMOOTH, |Q(a') - Q(a)| <= L |a' - a|_inf: the largest 1-norm of the gradient, sampled: too small if anything."""
        return float(self.slopes(delta).sum(axis=1).max())


def place(rng: np.random.Generator, n: int) -> Place:
    q = dense(rng, n)
    inside, corners = rng.uniform(-1, 1, size=(64, n)), rng.choice((-1.0, 1.0), size=(64, n))
    uphill = np.sign(q.gradient(np.zeros((1, n))))
    return Place(q=q, f=tuple(decomposed(rng, n) for _ in range(4)), box=np.vstack([inside, corners, uphill, -uphill]))


def draw_places(seed: int, count: int, teams: Sequence[int] = TEAMS) -> list[Place]:
    """`count` places for each size of team."""
    return [place(np.random.default_rng((seed, n, index)), n) for n in teams for index in range(count)]


def scale(p: Place, f: Waves) -> float:
    """K = Q^pi / sum_i f_i at pi(tau) (Eq. 27)."""
    return p.value / float(f(p.here)[0])


def lemma_3(places: Sequence[Place]) -> list[Claim]:
    """At one joint action; with the proof's K; and for all joint actions at once, which Eq. 28 may seem to say."""
    misses, apart, scales = [], [], []
    for p in places:
        fits = [f.scaled(scale(p, f)) for f in p.f]
        misses += [abs(float(fit(p.here)[0]) - p.value) for fit in fits]
        apart += [np.abs(one(p.box) - other(p.box)).max() for one, other in itertools.combinations(fits, 2)]
        scales += [scale(p, f) for f in p.f]
    unexplained = {
        n: float(np.median([1 - sum(p.q.given(i, 1).variance(1) for i in range(n)) / p.q.variance(1) for p in places if p.n == n]))
        for n in (min(p.n for p in places), max(p.n for p in places))
    }
    negative = float(np.mean(np.array(scales) < 0))
    return [
        Claim(
            name="Lemma 3",
            claim="many tuples of Q_i give Q_tot^phi = Q^pi at one (tau, a)",
            measured=f"largest difference {max(misses):.0e} over {len(misses)} random tuples; no two alike",
            holds=bool(max(misses) < EXACT and min(apart) > EXACT),
            note="one number is matched by one factor; where K < 0 the sign is moved into f_i",
        ),
        Claim(
            name="Lemma 3, proof's K",
            claim="for arbitrary f_i, K = Q^pi / sum_i f_i is a k_i of Eq. 4, so >= 0",
            measured=f"K < 0 for {negative:.0%} of random f_i",
            holds=negative == 0,
            note="Eq. 4 needs k_i >= 0, and Eq. 27 sum_i f_i != 0; turning f_i round, or b(tau), repairs it",
        ),
        Claim(
            name="Lemma 3, all a at once",
            claim="the tuple serves every a of one tau (Eq. 28 with a free)",
            measured="best tuple misses " + ", ".join(f"{share:.0%} (n = {n})" for n, share in unexplained.items()) + " of Q^pi's variance",
            holds=max(unexplained.values()) < EXACT,
            note="a ~ N(0, 1), random smooth Q^pi; K(tau, a) of Eq. 27 becomes K(tau) at a = pi(tau) only",
            assumptions=False,
        ),
    ]


def tangent_errors(p: Place, delta: float) -> Float[np.ndarray, " point"]:
    """|Q^phi - Q^pi| of the first-order fit: k_i Q_i = a_i dQ^pi / da_i, b = Q^pi at pi(tau)."""
    x = delta * p.box
    return np.abs(p.value + x @ p.q.gradient(p.here)[0] - p.q(x))


def bounded_errors(p: Place, delta: float, limit: float = 1) -> Float[np.ndarray, " point"]:
    """The same of the proof's construction with K so small, and constants in the f_i, that no k_i Q_i is steeper than limit x L."""
    f, x = p.f[0], delta * p.box
    steepest = (np.abs(f.amplitude) @ np.abs(f.frequency)).max()
    return np.abs(p.value + limit * p.lipschitz(delta) / steepest * (f(x) - f(p.here)) - p.q(x))


def arbitrary_errors(p: Place, delta: float) -> Float[np.ndarray, " point"]:
    """The same of the proof's construction as it stands: arbitrary f_i, K by Eq. 27."""
    f, x = p.f[0], delta * p.box
    return np.abs(scale(p, f) * f(x) - p.q(x))


def kinked_errors(p: Place, delta: float) -> Float[np.ndarray, " point"]:
    """The first-order fit where Q^pi has sum_i |a_i|^KINK besides, which has slope 0 at pi(tau)."""
    x = delta * p.box
    return np.abs(p.value + x @ p.q.gradient(p.here)[0] - p.q(x) - (np.abs(x) ** KINK).sum(axis=1))


CURVES: dict[str, Callable[[Place, float], float]] = {
    "bound 2 L n delta": lambda p, delta: 2 * p.lipschitz(delta) * p.n * delta,
    "proof's fit, slopes <= L": lambda p, delta: float(bounded_errors(p, delta).max()),
    "first-order fit, Q differentiable once": lambda p, delta: float(kinked_errors(p, delta).max()),
    "first-order fit, smooth Q": lambda p, delta: float(tangent_errors(p, delta).max()),
}
"""Of the figure on Theorem 5."""


Fit = Callable[[Place, float], Float[np.ndarray, " point"]]


FITS: dict[str, Fit] = {
    "first-order fit": tangent_errors,
    "proof's fit, slopes <= L": bounded_errors,
    "proof's fit, any f_i": arbitrary_errors,
}
"""Those that Eq. 14 is measured for."""


def share_of_bound(p: Place, fit: Fit, factor: float) -> float:
    """The largest error over 2 L factor delta; factor is n in Eq. 14."""
    return float(fit(p, DELTA).max()) / (2 * p.lipschitz(DELTA) * factor * DELTA)


def bound_claim(places: Sequence[Place], fit: Fit, name: str, note: str, *, assumptions: bool = True, with_n: bool = True) -> Claim:
    """Whether Eq. 14 bounds the error of a fit at all joint actions with |a - pi(tau)|_inf <= delta."""
    shares = np.array([share_of_bound(p, fit, p.n if with_n else 1) for p in places])
    ends = [f"{shares[[p.n == n for p in places]].max():.2g} (n = {n})" for n in (places[0].n, places[-1].n)]
    return Claim(
        name=f"Thm. 5, {name}",
        claim=f"|Q_tot^phi - Q^pi| <= 2 L {'n ' if with_n else ''}delta",
        measured=f"broken in {np.mean(shares > 1):.1%}; error / bound at most {shares.max():.2g}; {', '.join(ends)}",
        holds=bool(shares.max() <= 1),
        note=note,
        assumptions=assumptions,
    )


def one_agents_lipschitz(places: Sequence[Place]) -> Claim:
    """Whether SMOOTH's inequality can be had with the L of changing one agent's action: the reading in which Eq. 30 needs its n."""
    ratios, n = [], np.array([p.n for p in places])
    for p in places:
        ratios.append(np.abs(p.q(DELTA * p.box) - p.value).max() / (p.slopes(DELTA).max() * DELTA))
    found = np.array(ratios)
    ends = [f"{found[n == size].max():.1f} (n = {size})" for size in (min(n), max(n))]
    return Claim(
        name="Thm. 5, L of one agent's action",
        claim="|Q^pi(a) - Q^pi(pi(tau))| <= L |a - pi(tau)|_inf",
        measured=f"broken in {np.mean(found > 1 + EXACT):.0%}; up to {', '.join(ends)} times L delta; n times: in {np.mean(found > n):.0%}",
        holds=bool((found <= 1 + EXACT).all()),
        note="L = max |dQ^pi / da_i|. With SMOOTH's L, which is of all agents at once and grows with n, Eq. 30 needs no n",
        assumptions=False,
    )


def order(p: Place, fit: Fit) -> float:
    """e of error ~ delta^e, between the smallest delta and ten times that."""
    small, large = DELTAS[0], 10 * DELTAS[0]
    return float(np.log10(fit(p, large).max() / fit(p, small).max()))


def order_claim(places: Sequence[Place], fit: Fit, name: str, note: str) -> Claim:
    """Whether the first-order fit is of second order."""
    found = [order(p, fit) for p in places]
    return Claim(
        name=f"Thm. 5, order, {name}",
        claim="the first-order fit's error falls as delta^2 (Eq. 14: delta)",
        measured=f"as delta^{min(found):.2f} to delta^{max(found):.2f}",
        holds=min(found) > 1.9,
        note=note,
        assumptions=False,
    )


def theorem_5(places: Sequence[Place]) -> list[Claim]:
    """Eq. 14 for the first-order fit and the proof's construction; what L is; and the order of the error."""
    return [
        bound_claim(
            places,
            tangent_errors,
            "first-order fit",
            "random smooth Q^pi, n = 2..20, delta 0.1 in the largest norm; any k_i > 0 with Q_i = a_i dQ^pi / da_i / k_i",
        ),
        bound_claim(places, bounded_errors, "proof's fit, slopes <= L", "Lemma 3's K f_i with each slope at most L, which Eq. 31 assumes"),
        bound_claim(
            places,
            arbitrary_errors,
            "proof's fit, any f_i",
            "Eq. 31 needs L for Q_tot^phi too; Lemma 3's f_i are arbitrary, and K is large where they nearly cancel",
        ),
        bound_claim(
            places,
            tangent_errors,
            "first-order fit, no n",
            "L of SMOOTH is already of all agents' actions together, so this fit meets the bound without the n",
            assumptions=False,
            with_n=False,
        ),
        one_agents_lipschitz(places),
        order_claim(places, tangent_errors, "smooth", "the error is of second order where Q^pi has second derivatives"),
        order_claim(places, kinked_errors, "Q^pi differentiable once", f"Q^pi with sum_i |a_i|^{KINK} besides: SMOOTH asks for no more"),
    ]


# ------------------------------------------------------------------------------------------------------------------- App. D.2


def relaxed_actions(
    logits: Float[np.ndarray, "policy action"], temperature: float, noise: Float[np.ndarray, "sample policy action"]
) -> Float[np.ndarray, "sample policy action"]:
    """Gumbel-Softmax: softmax((logits + noise) / temperature)."""
    scaled = (logits + noise) / temperature
    weight = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return weight / weight.sum(axis=-1, keepdims=True)


def appendix_d2(seed: int, count: int, samples: int = 2000) -> list[Claim]:
    """Whether a low temperature makes one action almost sure, in each sample and from sample to sample. Gumbel noise is sampled."""
    rng = np.random.default_rng(seed)
    logits, noise = rng.normal(size=(count, 5)), rng.gumbel(size=(samples, count, 5))
    decided, same = [], []
    for temperature in TEMPERATURES:
        found = relaxed_actions(logits, temperature, noise)
        sure = found > 1 - LEFT_OVER
        decided.append(float(sure.any(axis=-1).mean()))
        same.append(float(np.median(sure.mean(axis=0).max(axis=-1))))
    at = ", ".join(f"{t:g}" for t in TEMPERATURES)
    return [
        Claim(
            name="App. D.2, one sample",
            claim=f"at a low temperature some a has pi(a | tau) > 1 - {LEFT_OVER}",
            measured=f"in {', '.join(f'{share:.1%}' for share in decided)} of samples (temperature {at})",
            holds=decided[-1] > 1 - LEFT_OVER,
            note="random logits of 5 actions",
        ),
        Claim(
            name="App. D.2, the action is almost fixed",
            claim=f"it is the same a in more than 1 - {LEFT_OVER} of samples",
            measured=f"median over policies {', '.join(f'{share:.1%}' for share in same)} (temperature {at})",
            holds=same[-1] > 1 - LEFT_OVER,
            note="a sample's largest entry is drawn from softmax(logits) at every temperature: actions stay as random as the policy",
        ),
    ]


# ----------------------------------------------------------------------------------------------------------------- Theorem 6


class Pair(NamedTuple):
    """g_1 and g_2 as functions of the noise. grad_theta_i pi_i(tau_i) does not depend on it, and cancels."""

    g1: Waves
    g2: Waves


def side_by_side(parts: Sequence[Waves], sources: Sequence[int]) -> Waves:
    """sum_j parts_j of noise sources_j, each part having one input."""
    columns = np.eye(max(sources) + 1)
    return Waves(
        amplitude=np.concatenate([part.amplitude for part in parts]),
        angle=np.concatenate([part.angle for part in parts]),
        frequency=np.concatenate([part.frequency * columns[source] for part, source in zip(parts, sources, strict=True)]),
    )


def sums_of_copies(rng: np.random.Generator, n: int) -> Pair:
    """The proof's terms: X_j = k_j Q_j, not its gradient; i.i.d."""
    x = decomposed(rng, 1)
    return Pair(side_by_side([x] * n, range(n)), x)


def sums_of_cancelling_pairs(rng: np.random.Generator, n: int) -> Pair:
    """The same; the others are pairs of the same noise and opposite Q_j, and one left over if their number is odd."""
    x = decomposed(rng, 1)
    return Pair(side_by_side([x] + [x.scaled((-1) ** j) for j in range(n - 1)], [0, *(1 + j // 2 for j in range(n - 1))]), x)


def sums_that_fade(rng: np.random.Generator, n: int) -> Pair:
    """The same; independent, agent j's X_j being 2^-j of the first's."""
    x = decomposed(rng, 1)
    return Pair(side_by_side([x.scaled(0.5**j) for j in range(n)], range(n)), x)


def neighbours(rng: np.random.Generator, n: int) -> Waves:
    """A joint critic of agents on a ring, as far as agent 0 knows of it: four waves for it with each of its neighbours."""
    knows = np.zeros((8, n))
    knows[:, 0] = knows[:4, 1] = knows[4:, -1] = 1
    return waves(rng, knows)


def all_pairs(rng: np.random.Generator, n: int) -> Waves:
    """A joint critic that is a sum over pairs of agents, as far as agent 0 knows of it: a wave for it with each other agent."""
    knows = np.eye(n)[1:]
    knows[:, 0] = 1
    return waves(rng, knows)


def with_fit(critic: Callable[[np.random.Generator, int], Waves]) -> Callable[[np.random.Generator, int], Pair]:
    """g_1 of a joint critic, and g_2 of the linear critic that fits it best under mu: agent 0's."""

    def pair(rng: np.random.Generator, n: int) -> Pair:
        q = critic(rng, n)
        return Pair(q.slope(0), q.given(0, NOISE).slope(0))

    return pair


def of_one_critic(rng: np.random.Generator, n: int) -> Pair:
    """The theorem's own: grad_a_0 of Q_tot^phi = sum_i k_i Q_i, and of its term k_0 Q_0."""
    q = decomposed(rng, n)
    own = q.frequency[:, 0] != 0
    return Pair(q.slope(0), Waves(amplitude=q.amplitude[own], angle=q.angle[own], frequency=q.frequency[own]).slope(0))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A reading of Theorem 6."""

    pair: Callable[[np.random.Generator, int], Pair]
    note: str = ""
    assumptions: bool = False
    large: tuple[int, int] = (16, 256)
    """The teams between which growth is measured."""
    draws: int = 1
    """Cases for each one asked for: ratios differ more from case to case in some settings."""


SETTINGS: dict[str, Setting] = {
    "as stated": Setting(
        pair=of_one_critic,
        note="Q_tot^phi is linear, so grad_a_i Q_tot = k_i grad_a_i Q_i: g_1 and g_2 are the same",
        assumptions=True,
    ),
    "proof's X_j, i.i.d.": Setting(
        pair=sums_of_copies, note="the proof drops grad_a_i and compares k_i Q_i with sum_j k_j Q_j, which Eq. 13 has not", assumptions=True
    ),
    "proof's X_j, in cancelling pairs": Setting(pair=sums_of_cancelling_pairs),
    "proof's X_j, X_j = X / 2^j": Setting(pair=sums_that_fade),
    "joint critic, all agents alike": Setting(
        pair=with_fit(dense),
        note="g_1 of a joint critic (MADDPG), g_2 of its best linear fit under mu; random smooth Q of all actions",
        large=(64, 1024),
        draws=40,
    ),
    "joint critic, ring": Setting(
        pair=with_fit(neighbours), note="the same; each agent interacts with two others, however many there are", draws=10
    ),
    "joint critic, pairs": Setting(pair=with_fit(all_pairs), note="the same; each agent interacts with every other, pair by pair", draws=3),
}
"""Readings and cases, by name; the last three are what the theorem says in words: a joint critic against a linear one."""


def variances(seed: int, setting: str, n: int, count: int) -> Float[np.ndarray, "case 2"]:
    """Var(g_1) and Var(g_2) in random cases."""
    pairs = (SETTINGS[setting].pair(np.random.default_rng((seed, n, index)), n) for index in range(count * SETTINGS[setting].draws))
    return np.array([[g.variance(NOISE) for g in pair] for pair in pairs])


def variance_ratio(seed: int, setting: str, n: int, count: int) -> float:
    """Var(g_1) / Var(g_2), each averaged over the cases."""
    first, second = variances(seed, setting, n, count).mean(axis=0)
    return float(first / second)


def ratio_claim(seed: int, setting: str, count: int) -> Claim:
    """Whether Var(g_2) / Var(g_1) is O(1 / n)."""
    teams = SETTINGS[setting].large
    small, large = (variance_ratio(seed, setting, n, count) for n in teams)
    exponent = float(np.log(large / small) / np.log(teams[1] / teams[0]))
    ends = [variance_ratio(seed, setting, n, count) for n in (TEAMS[0], TEAMS[-1])]
    return Claim(
        name=f"Thm. 6, {setting}",
        claim="Var(g1) / Var(g2) grows at least as fast as n",
        measured=f"as n^{round(exponent, 2) + 0:.2f}; {ends[0]:.1f} at n = {TEAMS[0]}, {ends[1]:.1f} at {TEAMS[-1]}",
        holds=exponent > 0.9,
        note=SETTINGS[setting].note,
        assumptions=SETTINGS[setting].assumptions,
    )


def fit_claim(seed: int, count: int) -> Claim:
    """The linear critic that fits a joint one best, whatever that is: the law of total variance."""
    joint = [SETTINGS[name].pair for name in SETTINGS if name.startswith("joint critic")]
    pairs = [pair(np.random.default_rng((seed, n, i)), n) for pair in joint for n in (2, 5, 20) for i in range(count)]
    ratios = [g2.variance(NOISE) / g1.variance(NOISE) for g1, g2 in pairs]
    moved = max(abs(g1.mean(NOISE) - g2.mean(NOISE)) for g1, g2 in pairs)
    return Claim(
        name="Thm. 6, fit of any joint critic",
        claim="Var(g2) <= Var(g1), and E g2 = E g1",
        measured=f"Var(g2) / Var(g1) from {min(ratios):.1g} to {max(ratios):.4f}; means differ by {moved:.0e} at most",
        holds=max(ratios) <= 1 + EXACT and moved < EXACT,
        note="the best linear fit under mu has E[g_1 | a_i] for g_2; how much less its variance is depends on the critic",
        assumptions=False,
    )


def noiseless(pair: Pair) -> Pair:
    """With agent 0's own action as its actor gives it, and noise on the others' only."""
    return Pair(pair.g1.without(0), pair.g2.without(0))


def noiseless_claim(seed: int, count: int) -> Claim:
    """Eqs. 1 and 13 as they stand: a_i = pi_i(tau_i), without the noise of the theorem's mu_i."""
    pairs = [noiseless(with_fit(dense)(np.random.default_rng((seed, n, i)), n)) for n in (2, 5, 20) for i in range(count)]
    first, second = ([g.variance(NOISE) for g in each] for each in zip(*pairs, strict=True))
    return Claim(
        name="Thm. 6, a_i without noise",
        claim="Var(g2) = 0 < Var(g1) where a_i = pi_i(tau_i), as in Eqs. 1 and 13",
        measured=f"Var(g2) <= {max(second):.0e}; Var(g1) from {min(first):.0e} to {max(first):.0e}",
        holds=max(second) < EXACT and min(first) > 0,
        note="joint critic as above, the others' actions with noise, as from a replay; Eq. 13's terms do not see them",
        assumptions=False,
    )


def actor_slopes(rng: np.random.Generator) -> Float[np.ndarray, " feature"]:
    """grad_theta_i pi_i(tau_i) of pi_i = tanh(theta_i . features)."""
    features, theta = rng.normal(size=(2, 5))
    return (1 - np.tanh(theta @ features) ** 2) * features


def proof_bound(slopes: Float[np.ndarray, " feature"], n: int, mean: float, variance: float) -> float:
    """The last line of the proof, R and L being the largest and smallest entry of grad_theta_i pi_i."""
    high, low = slopes.max(), slopes.min()
    return float((high**2 * variance + (high - low) * mean**2) / (n * low**2 * variance - n**2 * (high - low) * mean**2))


def proof_bound_claim(seed: int, count: int) -> Claim:
    """Whether the proof's bound is one, for its own terms with mean 0 and as they come."""
    rows = []
    for n, index in itertools.product(TEAMS, range(count)):
        rng = np.random.default_rng((seed, n, index))
        slopes, (g1, g2) = actor_slopes(rng), sums_of_copies(rng, n)
        variance = g2.variance(NOISE)
        bounds = np.array([proof_bound(slopes, n, mean, variance) for mean in (0, g2.mean(NOISE))])
        rows.append([*(variance / g1.variance(NOISE) > bounds * (1 + EXACT)), bounds[1] < 0])
    centred, any_mean, negative = np.mean(rows, axis=0)
    return Claim(
        name="Thm. 6, proof's bound",
        claim="Var(g2) / Var(g1) <= (R^2 v + (R - L) m^2) / (n L^2 v - n^2 (R - L) m^2)",
        measured=f"broken in {centred:.0%} if m = 0, in {any_mean:.0%} if not (bound negative in {negative:.0%})",
        holds=bool(centred == any_mean == 0),
        note="L <= grad_theta_i pi_i <= R over its entries, n = 2..20; entry by entry L = R, and the ratio is 1 / n exactly",
    )


# -------------------------------------------------------------------------------------------------------------------- output


@dataclass(frozen=True, kw_only=True)
class Found:
    """The claims, and what the figure is drawn from."""

    claims: list[Claim]
    errors: dict[str, list[float]]
    """Theorem 5: the median largest error for each of DELTAS, by fit."""
    shares: dict[str, list[float]]
    """Theorem 5: the largest error over the bound for each of TEAMS, by fit."""
    ratios: dict[str, list[float]]
    """Theorem 6: Var(g_1) / Var(g_2) for each of TEAMS, by setting."""

    @property
    def data(self) -> dict[str, object]:
        """For the data file."""
        return {
            "theorem_5": {"n": FIGURE_TEAM, "delta": DELTAS, "median_largest_error": self.errors},
            "theorem_5_bound": {"n": TEAMS, "delta": DELTA, "largest_error_over_bound": self.shares},
            "theorem_6": {"n": TEAMS, "mean_var_g1_over_mean_var_g2": self.ratios},
        }


def measure(seed: int, count: int) -> Found:
    """Every claim, of `count` random cases each."""
    places = draw_places(seed, count)
    some = [p for p in places if p.n == FIGURE_TEAM]
    return Found(
        claims=[
            *theorem_4(draw_teams(seed, count)),
            *lemma_3(places),
            *theorem_5(places),
            *appendix_d2(seed, count),
            *(ratio_claim(seed, setting, count) for setting in SETTINGS),
            fit_claim(seed, count),
            noiseless_claim(seed, count),
            proof_bound_claim(seed, count),
        ],
        shares={name: [max(share_of_bound(p, fit, p.n) for p in places if p.n == n) for n in TEAMS] for name, fit in FITS.items()},
        errors={name: [float(np.median([error(p, delta) for p in some])) for delta in DELTAS] for name, error in CURVES.items()},
        ratios={setting: [variance_ratio(seed, setting, n, max(1, count // 4)) for n in TEAMS] for setting in SETTINGS},
    )


def draw_errors(axes: Axes, found: Found) -> None:
    for (name, curve), colour in zip(found.errors.items(), COLOURS, strict=False):
        axes.plot(DELTAS, curve, label=name, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="delta", ylabel="largest |Q_tot - Q|, median")
    axes.set_title(f"Theorem 5: error around pi, n = {FIGURE_TEAM}")
    axes.legend(frameon=False, fontsize=8)


def draw_ratios(axes: Axes, found: Found) -> None:
    for (setting, ratio), colour in zip(found.ratios.items(), COLOURS, strict=False):
        axes.plot(TEAMS, ratio, label=setting, color=colour, marker="o", markersize=3)
    axes.plot(TEAMS, TEAMS, label="n", color="black", linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="agents n", ylabel="Var(g1) / Var(g2)", title="Theorem 6: variance ratio")
    axes.set_xticks((2, 5, 10, 20), labels=("2", "5", "10", "20"))
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
