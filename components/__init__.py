"""The resources of a cluster with node-local DNS, and the pure functions they stand on.

Rooms, each on top of those after it: `attached` and `pod_security_groups`; `cache` and `cluster`; `running_cluster`.
What `__init__.pyi` names is the public surface, loaded when it is first used: who asks for one thing does not wait for
the AWS SDK of another.
"""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]  # it has none

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
