"""A security group for an application's pods that leaves them DNS."""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]  # it has none

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
