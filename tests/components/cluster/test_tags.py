"""Which tags every service takes that is used here."""

import pytest

from components.cluster.tags import check_tags


@pytest.mark.parametrize(
    ("key", "value"),
    [("k", ""), ("k" * 128, "v" * 256), ("cost center", "a.b:c/d=e+f-g@h_i"), ("Größe", "9"), ("xaws:", "x")],
)
def test_a_tag_is_taken(key: str, value: str) -> None:
    """At its longest, and with every character that all services take."""
    assert check_tags({"first": "1", key: value}) == {"first": "1", key: value}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("aws:x", "v", "aws:x begins with aws:, which AWS keeps for itself"),
        ("AWS:x", "v", "AWS:x begins with aws:"),
        ("", "v", "'' has a key of 0 characters and a value of 1; AWS takes 1 to 128 and at most 256"),
        ("k" * 129, "v", f"'{'k' * 128}' has a key of 129 characters"),
        ("k", "v" * 257, "'k' has a key of 1 characters and a value of 257"),
        ("k,", "v", "k,: v has a character that IAM and EKS refuse"),
        ("k", "v!", "k: v! has a character that IAM and EKS refuse"),
    ],
)
def test_a_tag_that_some_service_refuses_is_refused(key: str, value: str, message: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(ValueError, match=f"^{message}"):
        check_tags({"first": "1", key: value})


def test_there_is_room_for_the_tags_that_others_add() -> None:
    """AWS takes fifty; five are kept free."""
    assert len(check_tags({str(number): "" for number in range(45)})) == 45
    with pytest.raises(ValueError, match=r"there are 46, and with those that the program and EKS add.* at most 45"):
        check_tags({str(number): "" for number in range(46)})
