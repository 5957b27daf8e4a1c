"""Checkpoints: the whole `RunState` by Orbax, atomic, the newest valid one wins. Arrays and JSON only: nothing in them can be run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from dop.errors import RunError

State = TypeVar("State")


class Checkpoints:
    """The `checkpoints/` folder of a run: numbered by iteration, the newest two kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        handlers = {"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)

    def save(self, iteration: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Write everything and only then make it visible; an interrupted save leaves the older checkpoints as they were."""
        if iteration in self._manager.all_steps():
            # A run that went on from an older checkpoint has come again to where a damaged one stands.
            self._manager.delete(iteration)
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(flatten(state)), meta=ocp.args.JsonSave(meta))
        self._manager.save(iteration, args=args, force=True)

    def restore(self, like: State) -> tuple[State, dict[str, Any]]:
        """The newest checkpoint that can be read, with the structure, shapes and types of `like`, and what `meta` said.

        Raises:
            RunError: there is none, or what there is belongs to another configuration.
        """
        broken: list[str] = []
        for iteration in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, meta = self._read(iteration)
            # Orbax raises many kinds of errors on damaged files, of its own and of tensorstore's.
            except Exception as error:
                broken.append(f"{iteration} ({type(error).__name__})")
                logging.getLogger("dop").warning("Checkpoint %s of %s cannot be read: %s", iteration, self.folder, error)
                continue
            return unflatten(arrays, like, str(self.folder)), meta
        what = f"only damaged checkpoints: {', '.join(broken)}" if broken else "no checkpoint"
        raise RunError(f"{self.folder} holds {what}. The run cannot be continued; start it again under another name.")

    def _read(self, iteration: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        saved = self._manager.item_metadata(iteration)["state"].tree
        as_numpy = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in saved}
        args = ocp.args.Composite(state=ocp.args.PyTreeRestore(restore_args=as_numpy), meta=ocp.args.JsonRestore())
        restored = self._manager.restore(iteration, args=args)
        meta = restored["meta"]
        return restored["state"], {"wall_seconds": float(meta["wall_seconds"]), "fingerprint": str(meta["fingerprint"])}

    @property
    def empty(self) -> bool:
        """Whether nothing was ever saved here."""
        return not self._manager.all_steps()

    def close(self) -> None:
        self._manager.close()


def flatten(state: PyTree) -> dict[str, np.ndarray]:
    """Every array by the name of its place; random keys as their raw data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(_raw(leaf)) for path, leaf in leaves}


def unflatten(arrays: dict[str, np.ndarray], like: State, where: str) -> State:
    """The inverse of `flatten`, with every array's place, shape and type checked against `like`."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    if set(names) != set(arrays):
        differ = sorted(set(names) ^ set(arrays))
        raise RunError(f"{where} is a checkpoint of another configuration: {len(differ)} arrays differ, the first is {differ[0]!r}.")
    restored = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        expected = jax.eval_shape(_raw, leaf)
        found = arrays[name]
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise RunError(
                f"{where} is a checkpoint of another configuration: {name} is {found.dtype}{list(found.shape)}, "
                f"this run needs {expected.dtype}{list(expected.shape)}."
            )
        restored.append(jax.random.wrap_key_data(jnp.asarray(found)) if _is_key(leaf) else found)
    return jax.tree_util.tree_unflatten(tree, restored)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
