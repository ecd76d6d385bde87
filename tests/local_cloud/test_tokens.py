"""A bearer token proves an identity to one cluster for a quarter of an hour, and nothing else."""

import base64
import datetime as dt
from typing import Any

import botocore.session
import pytest
from botocore.signers import RequestSigner

from local_cloud.tokens import TOKEN_PREFIX, PresignedIdentity, RefusedTokenError, identify

_SECRET = "0123456789"  # noqa: S105  of an access key that exists here only
_ENDPOINT = "http://127.0.0.1:4566"


def _token(*, cluster: str | None = "dev", endpoint: str = _ENDPOINT, secret: str = _SECRET, action: str = "") -> str:
    """Sign a token as the AWS CLI does."""
    session = botocore.session.Session()
    session.set_credentials("AKIA1", secret)
    signer = RequestSigner(
        service_id=session.get_service_model("sts").service_id,
        region_name="eu-central-1",
        signing_name="sts",
        signature_version="v4",
        credentials=session.get_credentials(),
        event_emitter=session.get_component("event_emitter"),
    )
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"{endpoint}/?Action={action or 'GetCallerIdentity'}&Version=2011-06-15",
            "body": {},
            "headers": {} if cluster is None else {"x-k8s-aws-id": cluster},
            "context": {},
        },
        region_name="eu-central-1",
        expires_in=60,
        operation_name="",
    )
    assert url is not None
    return TOKEN_PREFIX + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def _identify(token: str, *, later: dt.timedelta = dt.timedelta()) -> PresignedIdentity:
    return identify(
        token,
        cluster="dev",
        endpoint=_ENDPOINT,
        secret_of={"AKIA1": _SECRET}.get,
        now=dt.datetime.now(dt.UTC) + later,
    )


def test_a_token_names_its_access_key() -> None:
    """A token signed as the AWS CLI does identifies its access key."""
    assert _identify(_token()).access_key == "AKIA1"


@pytest.mark.parametrize(
    ("token", "reason"),
    [("eyJhbGciOi", "does not begin with"), (TOKEN_PREFIX + "\u00e9", "not base64url")],
)
def test_what_is_no_token(token: str, reason: str) -> None:
    """What does not hold a signed request is refused with the reason."""
    with pytest.raises(RefusedTokenError, match=reason):
        _identify(token)


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        ({"cluster": "prod"}, "another cluster"),
        ({"cluster": None}, "does not cover the header"),
        ({"secret": _SECRET[::-1]}, "wrong secret key"),
        ({"endpoint": "http://127.0.0.1:1"}, "points at http://127.0.0.1:1"),
        ({"endpoint": "https://sts.amazonaws.com"}, "points at"),
        ({"action": "AssumeRole"}, "not a GetCallerIdentity"),
    ],
)
def test_refusals(signed: dict[str, Any], reason: str) -> None:
    """A token is refused with the reason; it is signed here, since a token gets old while other tests run."""
    with pytest.raises(RefusedTokenError, match=reason):
        _identify(_token(**signed))


def test_old_token() -> None:
    """A token is refused a quarter of an hour after it was signed."""
    token = _token()
    assert _identify(token, later=dt.timedelta(minutes=14))
    with pytest.raises(RefusedTokenError, match="not valid now"):
        _identify(token, later=dt.timedelta(minutes=16))


def test_unknown_access_key() -> None:
    """A token of an access key that was never issued is refused."""
    with pytest.raises(RefusedTokenError, match="no access key"):
        identify(
            _token(),
            cluster="dev",
            endpoint=_ENDPOINT,
            secret_of=lambda _key: None,
            now=dt.datetime.now(dt.UTC),
        )
