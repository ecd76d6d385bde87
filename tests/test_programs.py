import pytest

from tests.programs import needed
from tools import locate


@pytest.mark.needs("promtool")
def test_what_is_needed_is_there_before_a_test_starts(request: pytest.FixtureRequest) -> None:
    """A test that names a program is answered at once."""
    assert needed(request.node) == {"promtool"}
    assert locate("promtool").is_file()


def test_a_program_that_a_test_has_not_named_is_refused(request: pytest.FixtureRequest) -> None:
    """Also where it is there, so that no test waits for a build on another machine."""
    assert needed(request.node) == set()
    with pytest.raises(AssertionError, match=r"@pytest\.mark\.needs\('promtool'\)"):
        locate("promtool")
