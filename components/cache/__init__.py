"""NodeLocal DNSCache: what answers on the node, how questions get to it, and how one sees that it does."""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]  # it has none

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
