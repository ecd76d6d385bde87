"""The table of settings, and the command that writes it."""

import sys
from pathlib import Path

import pytest

from stacks.reference import main, reference, with_reference


def row(key: str) -> str:
    """Return the line of a setting, without what it means."""
    [found] = [line for line in reference().splitlines() if line.startswith(f"| `{key}` |")]
    return " | ".join(found.split(" | ")[:3])


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("kubernetesVersion", '| `kubernetesVersion` | string | `"1.35"`'),
        ("serviceCidr", '| `serviceCidr` | CIDR | `"172.20.0.0/16"`'),
        ("network", "| `network` |  | "),
        ("network.zones", '| `network.zones` | list of string | `["a", "b"]`'),
        ("network.nat", '| `network.nat` | `single`, `perZone` | `"single"`'),
        ("network.existing.vpcId", "| `network.existing.vpcId` | string | required"),
        ("network.existing.publicSubnetIds", "| `network.existing.publicSubnetIds` | list of string | "),
        ("cluster.publicAccessCidrs", "| `cluster.publicAccessCidrs` | list of CIDR | "),
        ("cluster.name", "| `cluster.name` | string | "),
        ("cluster.deletionProtection", "| `cluster.deletionProtection` | boolean | `false`"),
        ("nodeGroups", "| `nodeGroups` | map | "),
        ("nodeGroups.<name>.instanceTypes", "| `nodeGroups.<name>.instanceTypes` | list of string | required"),
        ("nodeGroups.<name>.minSize", "| `nodeGroups.<name>.minSize` | integer | `1`"),
        ("nodeGroups.<name>.labels", "| `nodeGroups.<name>.labels` | map of string | "),
        ("tags", "| `tags` | map of string | "),
    ],
)
def test_a_setting_is_told_with_its_type_and_default(key: str, expected: str) -> None:
    """In a reader's words, and by the key that a stack file has."""
    assert row(key) == expected


def test_what_it_means_is_one_line() -> None:
    """A table has no line breaks."""
    assert reference().startswith("| key | type | default | meaning |\n|---|---|---|---|\n| `")
    assert all(line.startswith(("| ", "|--")) for line in reference().splitlines())
    assert "| `nodeGroups.<name>.minSize` | integer | `1` | Nodes at least. |\n" in reference()


def test_only_what_is_between_the_markers_is_renewed() -> None:
    """Whatever was there."""
    begin, end = "<!-- settings:begin -->\n", "<!-- settings:end -->"
    assert with_reference(f"a\n{begin}old{end}\nb") == f"a\n{begin}{reference()}{end}\nb"


def test_the_command_prints_the_table_or_writes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Into a file with the markers."""
    monkeypatch.setattr(sys, "argv", ["reference"])
    main()
    assert capsys.readouterr().out == reference()
    file = tmp_path / "README.md"
    file.write_text("a\n<!-- settings:begin -->\n<!-- settings:end -->\n")
    monkeypatch.setattr(sys, "argv", ["reference", "--write", str(file)])
    main()
    assert file.read_text() == f"a\n<!-- settings:begin -->\n{reference()}<!-- settings:end -->\n"
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "argv", ["reference", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "--write FILE  renew the table between the markers in FILE" in capsys.readouterr().out
