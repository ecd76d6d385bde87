import difflib

import pytest
from pulumi.runtime import rpc

from tests.program.record import FILES, RECORDS, SECRET, document, text
from tests.program.recorder import Recording, Registered

LINES = 200
"""Lines of a difference that a terminal shows; the rest is in `git diff` once the record was written anew."""


@pytest.mark.parametrize("file", FILES)
def test_all_that_is_asked_for_is_what_the_record_says(file: str) -> None:
    """A change of the program shows in review as the change of what AWS and Kubernetes get."""
    path = RECORDS / f"{file}.yaml"
    recorded = path.read_text().splitlines()
    asked = text(FILES[file]).splitlines()
    if asked != recorded:
        differing = list(difflib.unified_diff(recorded, asked, "the record", "the program", lineterm="", n=8))
        shown = "\n".join(differing[:LINES])
        more = f"\n... and {len(differing) - LINES} lines more" if len(differing) > LINES else ""
        pytest.fail(
            f"the program asks for something else than tests/program/records/{path.name} says:\n{shown}{more}\n"
            "If that is meant, run `make record`, and read and commit the difference.",
            pytrace=False,
        )


def test_every_record_is_compared() -> None:
    """A file that nobody writes any more says nothing."""
    assert {each.name for each in RECORDS.iterdir()} == {f"{file}.yaml" for file in FILES}


def test_no_secret_is_on_the_record() -> None:
    """Of a secret the record says that it is one, wherever it is."""
    secret = {rpc._special_sig_key: rpc._special_secret_sig, "value": "hunter2"}
    inputs = {"password": secret, "users": [{"password": secret}]}
    made = Registered("urn:pulumi:a::b::c:d:E::name", "c:d:E", "name", read=False, id="", inputs=inputs, options={})
    told = Recording([made], [{"c:d:ask": inputs}], {}, {made.urn: inputs}, inputs, [], "")
    shown = str(document(told))
    assert "hunter2" not in shown
    assert shown.count(SECRET) == 8  # two each among inputs, outputs, the stack's outputs and what is asked
