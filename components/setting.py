"""What every typed setting has in common: closed, frozen, camelCase in the stack file, described."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Setting(BaseModel):
    """A group of settings as a stack file spells it.

    Unknown keys are refused (a misspelt key must never be ignored), values do not change after they were
    checked, and the docstring under each field is its description in the generated reference.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )


CLOSED = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""Of the arguments of a component that is also a package: no unknown key, and outputs beside plain values."""
