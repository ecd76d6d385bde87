import botocore.session
import pytest

from components.cluster.partition import partition


@pytest.mark.parametrize("known", ["aws", "aws-cn", "aws-us-gov", "aws-eusc"])
def test_every_region_is_in_the_partition_that_botocore_knows(known: str) -> None:
    """The ARN of a policy begins with it."""
    regions = botocore.session.Session().get_available_regions("ec2", partition_name=known)
    assert regions
    assert {partition(each) for each in regions} == {known}
