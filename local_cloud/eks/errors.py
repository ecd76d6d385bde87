"""The errors of the EKS API, with the members each one has."""

from typing import Any


class EksError(Exception):
    """An error of the service: `code` is its name in the API, `members` are its further fields."""

    code = "ServerException"
    status = 500

    def __init__(self, message: str, **members: object) -> None:
        super().__init__(message)
        self.message = message
        self.members: dict[str, Any] = dict(members)


class InvalidParameterError(EksError):
    """A parameter's value is refused."""

    code = "InvalidParameterException"
    status = 400


class InvalidRequestError(EksError):
    """The request does not fit the state of what it is about."""

    code = "InvalidRequestException"
    status = 400


class NotFoundError(EksError):
    """What the request names does not exist."""

    code = "ResourceNotFoundException"
    status = 404


class InUseError(EksError):
    """What the request makes exists already, or what it deletes is still needed."""

    code = "ResourceInUseException"
    status = 409


class UnknownOperationError(EksError):
    """The service has this operation, the local cloud does not."""

    code = "NotImplementedException"
    status = 501
