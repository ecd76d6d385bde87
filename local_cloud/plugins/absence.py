"""What a stand-in answers when it is asked to read an object that is not there."""

from pulumi.provider.experimental import provider as api


def absent(request: api.ReadRequest) -> api.ReadResponse:
    """Return the reply to a refresh: the object is gone. Raises `LookupError` for one that nobody has made.

    A real plugin's reply has no properties then, and the engine ends the run at a get or an import with these words.
    The SDK's reply always has some, which the engine takes for an object that is empty.
    """
    if not request.properties and not request.inputs:
        raise LookupError(f"resource '{request.resource_id}' does not exist")
    return api.ReadResponse("", {}, {})
