"""A cluster that this stack did not make: what is looked at before it gets the cache, and what is taken over."""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]  # it has none

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
