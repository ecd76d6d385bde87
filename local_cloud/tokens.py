"""Bearer tokens as `aws eks get-token` makes them: a presigned STS GetCallerIdentity, judged without leaving here."""

import base64
import datetime as dt
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TOKEN_PREFIX = "k8s-aws-v1."  # noqa: S105  not a secret: the scheme's name
_CLUSTER_HEADER = "x-k8s-aws-id"
_LIFETIME = dt.timedelta(minutes=15)  # aws-iam-authenticator accepts a presigned URL this long
_CLOCK_SKEW = dt.timedelta(minutes=5)


class RefusedTokenError(Exception):
    """The token proves nothing to this cluster; the message says why."""


@dataclass(frozen=True)
class PresignedIdentity:
    """What a token that passed every check says."""

    access_key: str
    """The access key that signed it."""
    signed_at: dt.datetime
    """When."""


def identify(
    token: str,
    *,
    cluster: str,
    endpoint: str,
    secret_of: Callable[[str], str | None],
    now: dt.datetime,
) -> PresignedIdentity:
    """Return whose token this is, or refuse it.

    `endpoint` is the only place a token may point at (anything else could be a server of the caller's own that
    says yes), and `secret_of` returns the secret of an access key, None if there is no such key.
    """
    url = _decode(token)
    parts = urlsplit(url)
    if f"{parts.scheme}://{parts.netloc}" != endpoint or parts.path not in {"", "/"}:
        raise RefusedTokenError(f"the token points at {parts.scheme}://{parts.netloc}{parts.path}, not at {endpoint}/")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = dict(pairs)
    if len(pairs) != len(query):
        raise RefusedTokenError("the token's URL repeats a parameter")
    if query.get("Action") != "GetCallerIdentity":
        raise RefusedTokenError("the token's URL is not a GetCallerIdentity request")
    signed_headers = query.get("X-Amz-SignedHeaders", "").split(";")
    if _CLUSTER_HEADER not in signed_headers:
        raise RefusedTokenError(f"the token's signature does not cover the header {_CLUSTER_HEADER}")
    signed_at = _timestamp(query.get("X-Amz-Date", ""))
    if not signed_at - _CLOCK_SKEW <= now <= signed_at + _LIFETIME:
        raise RefusedTokenError(f"the token was signed at {signed_at.isoformat()} and is not valid now")
    access_key, _, scope = query.get("X-Amz-Credential", "").partition("/")
    secret = secret_of(access_key)
    if secret is None:
        raise RefusedTokenError(f"there is no access key {access_key}")
    expected = _signature(url, query, signed_headers, cluster, Credentials(access_key, secret), scope)
    if not hmac.compare_digest(expected, query.get("X-Amz-Signature", "")):
        raise RefusedTokenError(
            f"the signature is not that of {access_key} for the cluster {cluster}: "
            "wrong secret key, or a token made for another cluster"
        )
    return PresignedIdentity(access_key, signed_at)


def _decode(token: str) -> str:
    if not token.startswith(TOKEN_PREFIX):
        raise RefusedTokenError(f"the token does not begin with {TOKEN_PREFIX}")
    encoded = token.removeprefix(TOKEN_PREFIX)
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError as error:
        raise RefusedTokenError("the token is not base64url text") from error


def _timestamp(text: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise RefusedTokenError("the token's URL has no valid X-Amz-Date") from error


def _signature(
    url: str,
    query: dict[str, str],
    signed_headers: list[str],
    cluster: str,
    credentials: Credentials,
    scope: str,
) -> str:
    """Sign the URL again as AWS Signature Version 4 says, with the header the cluster's authenticator would send."""
    region, service = [*scope.split("/"), "", ""][1:3]
    values = {"host": urlsplit(url).netloc, _CLUSTER_HEADER: cluster}
    unsigned = sorted((name, value) for name, value in query.items() if name != "X-Amz-Signature")
    canonical = "\n".join(
        [
            "GET",
            "/",
            "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in unsigned),
            *(f"{name}:{values.get(name, '')}" for name in signed_headers),
            "",
            ";".join(signed_headers),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # SHA-256 of no payload
        ]
    )
    signer = SigV4Auth(credentials, service, region)
    request = AWSRequest(method="GET", url=url)
    request.context["timestamp"] = query["X-Amz-Date"]
    return str(signer.signature(signer.string_to_sign(request, canonical), request))
