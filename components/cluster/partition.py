"""The partition of AWS a region is in, with which every ARN there begins."""

_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
"""By how the names of regions begin, in botocore's partitions.json."""


def partition(region: str) -> str:
    """Return the partition of a region: `aws`, or that of China, GovCloud or the European Sovereign Cloud."""
    return next((found for prefix, found in _PARTITIONS.items() if region.startswith(prefix)), "aws")
