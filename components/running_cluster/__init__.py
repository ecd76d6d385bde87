"""What is asked of a running cluster, and the guards that refuse what would take DNS from its pods."""

import lazy_loader  # pyright: ignore[reportMissingTypeStubs]  # it has none

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # pyright: ignore[reportUnknownVariableType]
