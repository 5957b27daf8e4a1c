"""The registry of networks: every module of this package that defines `NETWORK` (a class) is registered.

The class is a configuration that builds the network (`dop.networks.protocols`). The module's name, with dashes, is its name on the command
line and in `config.json`: `layer_norm_gru` is `layer-norm-gru`. Other classes are named `package.module:Class`, or by an entry point of
their package in the group `dop.networks`; see docs/own-network.md.
"""

from __future__ import annotations

from dop.families import Family

FAMILY = Family(
    kind="network",
    package=__name__,
    attribute="NETWORK",
    group="dop.networks",
    members=("build",),
    about="dop.Network, and docs/own-network.md",
)
