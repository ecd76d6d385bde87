"""How mistakes are told: how many, where, each on its line, and what has become of the resources."""

from collections.abc import Collection


def refused(subject: str, mistakes: Collection[str], nothing: str = "nothing") -> str:
    """Return the message that tells every mistake of `subject`, of which `nothing` was created or changed."""
    noun = "mistake" if len(mistakes) == 1 else "mistakes"
    first = f"{subject} has {len(mistakes)} {noun}; {nothing} was created or changed."
    return "\n".join([first, *(f"  {each}" for each in mistakes)])


def refused_component(kind: str, name: str, mistakes: Collection[str]) -> str:
    """Return the message that tells every mistake in a component's arguments."""
    return refused(f"{kind} {name!r}", mistakes, "nothing of it")
