"""Play Mill with exported policies: onnxruntime and NumPy alone, no JAX. Usage: play_exported.py FOLDER, as `dop export RUN` wrote it."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
agents = json.loads((folder / "policy.json").read_text(encoding="utf-8"))["agents"]
team = {name: onnxruntime.InferenceSession(folder / agent["file"]) for name, agent in agents.items()}
carry = {}  # by agent: last action and hidden state, where the policy takes them
for name, policy in team.items():
    shapes = {node.name: node.shape[1:] for node in policy.get_inputs() if node.name not in ("obs", "action_mask")}
    carry[name] = {x: np.array([-1]) if x == "last_action" else np.zeros((1, *shape), np.float32) for x, shape in shapes.items()}
omega, total_reward, steps = 0.0, 0.0, 0
for t in range(10):
    force, steps = 0.0, t + 1
    for i, (name, policy) in enumerate(team.items()):
        obs = np.array([[omega / 100, t / 10, *np.eye(len(team))[i]]], np.float32)
        outputs = [node.name for node in policy.get_outputs()]
        given = {"obs": obs, "action_mask": np.ones((1, 2), bool), **carry[name]}
        out = {x: np.asarray(value) for x, value in zip(outputs, policy.run(None, given), strict=True)}
        action = out["action"]
        carry[name] = {x: action if x == "last_action" else out[f"next_{x}"] for x in carry[name]}
        force += action[0, 0] - action[0, 1] if action.ndim == 2 else 1 - 2 * action[0]  # a point of the simplex, or a number
    omega = 0.95 * omega + 2 * force
    total_reward += 10 if omega > 100 else -10 if t == 9 else 3 if omega > 30 else 0
    if omega > 100:
        break
print(f"{steps} steps, omega {omega:.2f}, return {total_reward:g}")
