"""What a run is asked to do."""

from dataclasses import dataclass

from verify import probe
from verify.cluster import SYSTEM


@dataclass(kw_only=True)
class Options:
    """What a run is asked to do."""

    nodes: tuple[str, ...] = ()
    """Only these nodes; empty: all."""

    namespace: str = SYSTEM
    """Where the probes are made; it has to admit pods on the node's network."""

    timeout: int = 60
    """Seconds a probe may take, from its creation to its report."""

    parallel: int = 20
    """Nodes probed at once: the bound of the memory, and of the load on the API."""

    external: str = "example.com"
    """The external name that is asked for."""

    groups: tuple[str, ...] = ()
    """Security groups of the branch probes; empty: those of every SecurityGroupPolicy."""

    image: str = probe.IMAGE
    """Image of the probes; it needs sh, ip, ss, dig and curl."""
