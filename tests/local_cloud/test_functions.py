import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.plugins.aws.__main__ import TYPES, AwsProvider, UnknownTypeError, _as_inputs
from local_cloud.plugins.aws.functions import FUNCTIONS, AbsentError
from local_cloud.plugins.values import UNKNOWN, property_value, property_values


def _asked(token: str, **arguments: Any) -> Any:
    request = SimpleNamespace(tok=token, args=property_values(arguments))
    return asyncio.run(AwsProvider().invoke(request))  # type: ignore[arg-type]  # only these two are looked at


def test_a_function_that_nobody_serves_is_an_error() -> None:
    """A program that asks for more is told so, rather than given nothing."""
    with pytest.raises(UnknownTypeError, match="aws:ec2/getAmi:getAmi"):
        _asked("aws:ec2/getAmi:getAmi")


def test_an_argument_that_nobody_looks_at_is_an_error() -> None:
    """Ignoring a filter would answer another question."""
    with pytest.raises(NotImplementedError, match="does not know tags of aws:eks/getCluster:getCluster"):
        _asked("aws:eks/getCluster:getCluster", name="shop", tags={"a": "b"})


def test_what_is_not_there_is_said_in_the_real_providers_words() -> None:
    """The program tells a missing cluster from a failure by them."""

    def absent(**_names: str) -> None:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "No cluster"}}, "DescribeCluster")

    function, _arguments = FUNCTIONS["aws:eks/getCluster:getCluster"]
    with pytest.raises(AbsentError, match=r"reading EKS Cluster \(shop\): couldn't find resource"):
        function(lambda _service: SimpleNamespace(describe_cluster=absent), {"name": "shop"})


def test_an_import_has_the_inputs_that_would_have_made_it() -> None:
    """What AWS computes is no input, and what is empty was not asked for."""
    found = {
        "arn": "x",
        "addonName": "vpc-cni",
        "configurationValues": "",
        "tagsAll": {"a": "b"},
        "clusterName": "shop",
    }
    assert _as_inputs(TYPES["aws:eks/addon:Addon"], found) == {
        "addonName": "vpc-cni",
        "clusterName": "shop",
        "tags": {"a": "b"},
    }


def test_an_unknown_value_can_be_sent() -> None:
    """A preview answers with one where the API server will choose."""
    assert property_value({"clusterIP": UNKNOWN}).marshal().struct_value.fields["clusterIP"].string_value
