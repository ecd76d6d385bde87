"""Which labels EKS gives nodes."""

import pytest

from components.cluster.node_labels import check_node_labels

LONG = "x" * 63


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("team", "platform"),
        ("team", ""),
        ("example.com/team", "a-b_c.D9"),
        ("a", "a"),
        (LONG, LONG),
        (f"{'a.' * 126}b/team", "x"),
        ("x-y.z9/A", "1"),
        ("node.kubernetes.io/x", "x"),
        ("kubernetes.io.example/x", "x"),
    ],
)
def test_a_label_of_kubernetes_is_taken(key: str, value: str) -> None:
    """At both of its ends, and with a prefix of up to 253 characters."""
    assert check_node_labels({"first": "1", key: value}) == {"first": "1", key: value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "x"),
        ("/team", "x"),
        ("-team", "x"),
        ("team-", "x"),
        ("te am", "x"),
        (f"{LONG}x", "x"),
        ("team", f"{LONG}x"),
        ("team", "-x"),
        ("team", "x."),
        ("team", "x y"),
        ("Example.com/team", "x"),
        ("-a/team", "x"),
        ("a..b/team", "x"),
        ("a/b/team", "x"),
        ("example.com/", "x"),
        (f"{'a.' * 126}bc/team", "x"),
    ],
)
def test_what_is_no_label_is_refused(key: str, value: str) -> None:
    """With the label, and what one is."""
    with pytest.raises(ValueError, match="is no Kubernetes label, and EKS would refuse it after") as refused:
        check_node_labels({"first": "1", key: value})
    assert str(refused.value).startswith(f"{key}: {value} is no")


@pytest.mark.parametrize("prefix", ["kubernetes.io", "k8s.io", "eks.amazonaws.com"])
def test_prefixes_that_eks_keeps_are_refused(prefix: str) -> None:
    """And told as what they are."""
    with pytest.raises(ValueError, match=rf"^{prefix}/x has a prefix that EKS keeps for itself"):
        check_node_labels({f"{prefix}/x": "x"})
