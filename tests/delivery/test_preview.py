import json
import re
from collections.abc import Mapping

import pytest

from delivery.preview import SECRET, UNKNOWN, Change, Preview, UnreadableError, Violation, differences, read
from delivery.summary import FOUND, headline, summary

GITHUBS_BOUND = 65_536
"""Characters of a comment at most; our mark in front of the summary is among them."""

PROJECT = "urn:pulumi:dev::eks-node-local-dns::eks-node-local-dns:index"
CLUSTER = f"{PROJECT}:EksCluster$aws:eks/cluster:Cluster::cluster"
GROUP = f"{PROJECT}:EksCluster$aws:eks/nodeGroup:NodeGroup::cluster-default"
CNI = f"{PROJECT}:EksCluster$aws:eks/addon:Addon::cluster-vpc-cni"
CACHE = f"{PROJECT}:NodeLocalDns$kubernetes:apps/v1:DaemonSet::node-local-dns"
CONFIG = f"{PROJECT}:NodeLocalDns$kubernetes:core/v1:ConfigMap::node-local-dns-corefile"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a[1]", 2, 3)]),
        ({"a": [1]}, {"a": [1, 3]}, [("a", [1], [1, 3])]),
        ({"a": '{"b":"1"}'}, {"a": '{"b":"2"}'}, [("a.b", "1", "2")]),
        ({}, {"a": '{"b":"2"}'}, [("a.b", None, "2")]),
        ({"a": '{"b":"1"}'}, {"a": ""}, [("a.b", "1", None)]),
        ({"a": '{"b":"1"}'}, {"a": UNKNOWN}, [("a", {"b": "1"}, UNKNOWN)]),
        ({"a": '{"b":"1"}'}, {"a": 3}, [("a", '{"b":"1"}', 3)]),
        ({"a": "{not json"}, {"a": "{nor this"}, [("a", "{not json", "{nor this")]),
        ({"__defaults": ["x"]}, {"__defaults": []}, []),
    ],
)
def test_differences_are_leaves(old: object, new: object, expected: list[object]) -> None:
    """What differs is named by its path, also inside JSON that is a string."""
    assert list(differences(old, new)) == expected


def test_a_secret_is_one_difference_and_never_shown() -> None:
    """A secret's inside is not looked into, and the summary says only that it is one."""
    hidden = [{SECRET: "1b47", "ciphertext": text} for text in ("first", "second")]
    change = Change(operation="update", urn=CONFIG, old={"data": hidden[0]}, new={"data": hidden[1]})
    text = summary({"dev": Preview(changes=(change,))})
    assert "data: (secret) -> (secret)" in text
    assert "first" not in text
    assert "second" not in text


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}", '{"other": 1}\n{"other": 2}'])
def test_anything_else_is_refused(text: str) -> None:
    """What is not a preview is an error, not an empty preview."""
    with pytest.raises(UnreadableError, match=r"^this is not the output of `pulumi preview --json`"):
        read(text)


def test_both_forms_say_the_same() -> None:
    """The one document and the stream of events give the same changes; a replacement counts once."""
    states = {"old": {"inputs": {"a": 1}}, "new": {"inputs": {"a": 2}}}
    operations = ["create-replacement", "replace", "delete-replaced"]
    document = {
        "steps": [
            {"op": each, "urn": GROUP, "oldState": states["old"], "newState": states["new"], "replaceReasons": ["a"]}
            for each in operations
        ],
        "changeSummary": {"same": 3},
    }
    events = [
        {"sequence": position, "resourcePreEvent": {"metadata": {"op": each, "urn": GROUP, **states, "keys": ["a"]}}}
        for position, each in enumerate(operations)
    ]
    events.append({"sequence": 9, "summaryEvent": {"resourceChanges": {"same": 3}}})
    one, two = read(json.dumps(document)), read("\n".join(map(json.dumps, events)))
    assert one == two
    assert headline(one) == "1 to replace"
    assert "is replaced because of `a`" in summary({"dev": one})


def test_a_preview_that_failed_says_why() -> None:
    """The program's error is shown, and never that nothing changes."""
    said = [{"severity": "error", "message": "error: stacks/Pulumi.dev.yaml has 1 mistake\n"}]
    preview = read(json.dumps({"steps": [], "diagnostics": said}))
    assert headline(preview) == "**failed**"
    assert "has 1 mistake" in summary({"dev": preview})
    bare = read(json.dumps({"steps": [], "diagnostics": [{"severity": "error", "message": "error: preview failed\n"}]}))
    assert headline(bare) == "**failed**"


def stream(*events: Mapping[str, object]) -> str:
    """Return events as the engine prints them."""
    return "\n".join(json.dumps({"sequence": number, **event}) for number, event in enumerate(events))


PRELUDE: dict[str, object] = {"preludeEvent": {"config": {}}}
INFO: dict[str, object] = {"diagnosticEvent": {"severity": "info", "message": "one moment"}}
ERROR: dict[str, object] = {"diagnosticEvent": {"severity": "error", "message": "error: no credentials"}}


def test_events_without_an_end_are_not_no_change() -> None:
    """A run that was stopped on the way has said nothing about what it did not come to; its error is told."""
    with pytest.raises(UnreadableError, match="before their summary"):
        read(stream(PRELUDE, INFO))
    assert headline(read(stream(PRELUDE, ERROR))) == "**failed**"


@pytest.mark.parametrize("result", ["failed", "canceled"])
def test_a_run_that_did_not_succeed_failed(result: str) -> None:
    """Also when the engine gives no reason."""
    preview = read(stream(PRELUDE, INFO, {"summaryEvent": {"resourceChanges": {"same": 3}, "result": result}}))
    assert headline(preview) == "**failed**"
    assert result in summary({"dev": preview})


def test_a_refresh_tells_what_it_found_and_not_what_it_read() -> None:
    """What was edited or deleted by hand is a change from what was written last to what is there now."""
    states: dict[str, object] = {"old": {"inputs": {"a": 1}, "retainOnDelete": True}, "new": {"inputs": {"a": 2}}}

    def step(urn: str, operation: str, **more: object) -> list[dict[str, object]]:
        metadata = {"urn": urn, **states, **more}
        return [
            {"resourcePreEvent": {"metadata": {**metadata, "op": "refresh"}}},
            {"resOutputsEvent": {"metadata": {**metadata, "op": operation}}},
        ]

    events = [*step(CNI, "update"), *step(CACHE, "delete", new=None), *step(GROUP, "same")]
    found = read(stream(*events, {"summaryEvent": {"resourceChanges": {"same": 1}, "result": "succeeded"}}))
    assert [(each.operation, each.urn) for each in found.changes] == [("update", CNI), ("delete", CACHE)]
    assert (found.changes[0].old, found.changes[0].new) == ({"a": 1}, {"a": 2})
    both = [*step(CNI, "refresh"), {"resourcePreEvent": {"metadata": {"urn": CNI, "op": "update", **states}}}]
    told = stream(
        *both, {"resOutputsEvent": {"metadata": {"urn": CNI, "op": "update", **states}}}, {"summaryEvent": {}}
    )
    assert headline(read(told)) == "1 to update"
    planned = {"resOutputsEvent": {"metadata": {"urn": CNI, "op": "update"}}}
    assert read(stream(planned, {"summaryEvent": {"resourceChanges": {}, "result": "succeeded"}})).changes == ()


def test_an_operation_that_has_no_words_is_counted_all_the_same() -> None:
    """What a newer engine calls by a name of its own is not no change."""
    assert headline(Preview(changes=(Change(operation="transmute", urn=CNI),))) == "1 to transmute"
    halves = [{"op": each, "urn": GROUP} for each in ("import-replacement", "replace", "delete-replaced")]
    assert headline(read(json.dumps({"steps": halves}))) == "1 to replace"


def violation(level: str, policy: str = "", urn: str = CNI) -> Violation:
    """Return an objection."""
    return Violation(policy=policy or level, level=level, message="why", urn=urn)


def test_mandatory_rules_come_first() -> None:
    """Above advisory ones, whatever they are called; each names its resource, if it has one."""
    found = (violation("advisory", "a"), violation("mandatory", "c"), violation("mandatory", "b", urn=""))
    assert summary({"dev": Preview(violations=found)}).splitlines()[-4:] == [
        "", "- **mandatory** `b`: why", "- **mandatory** `c` at `cluster-vpc-cni`: why",
        "- advisory `a` at `cluster-vpc-cni`: why",
    ]  # fmt: skip


DELETED = (Change(operation="delete", urn=CACHE),)


@pytest.mark.parametrize(
    ("preview", "expected"),
    [
        (Preview(), "no changes"),
        (Preview(unchanged=4), "no changes"),
        (Preview(changes=DELETED), "1 to delete"),
        (Preview(violations=(violation("advisory"),)), "no changes"),
        (Preview(violations=(violation("mandatory"),)), "**stopped by policy** (no changes)"),
        (
            Preview(changes=DELETED, violations=(violation("advisory"), violation("mandatory"))),
            "**stopped by policy** (1 to delete)",
        ),
        (Preview(changes=DELETED, errors=("why",)), "**failed**"),
        (Preview(violations=(violation("mandatory"),), errors=("why",)), "**failed**"),
        (UnreadableError("why"), "**could not be previewed**"),
    ],
)
def test_the_headline_says_the_worst(preview: Preview | UnreadableError, expected: str) -> None:
    """What could not be read or failed is never a count, and what a mandatory policy stops is never only one."""
    assert headline(preview) == expected


def test_the_headline_of_drift_is_in_its_own_words() -> None:
    """What was found was changed already."""
    changes = (Change(operation="update", urn=CNI), *DELETED)
    assert headline(Preview(changes=changes), FOUND) == "1 changed, 1 deleted"
    assert headline(UnreadableError("why"), FOUND) == "**could not be looked at**"
    assert "**Deleted by hand**" in summary({"dev": Preview(changes=changes)}, "Drift", FOUND)


@pytest.mark.parametrize(
    ("level", "result", "failed"),
    [("mandatory", "failed", False), ("advisory", "failed", True), ("mandatory", "succeeded", False)],
)
def test_a_stop_by_policy_is_no_error_of_the_engine(level: str, result: str, failed: bool) -> None:
    """What the engine calls a failure is one, unless a mandatory policy says why."""
    event = {"policyName": "p", "enforcementLevel": level, "message": "rule\nwhy", "resourceUrn": CNI}
    end: dict[str, object] = {"summaryEvent": {"resourceChanges": {"same": 3}, "result": result}}
    stopped: dict[str, object] = {"diagnosticEvent": {"severity": "error", "message": "error: preview failed\n"}}
    found = read(
        stream({"policyEvent": event}, stopped, end) if result == "failed" else stream({"policyEvent": event}, end)
    )
    assert found.violations == (Violation(policy="p", level=level, message="why", urn=CNI),)
    assert bool(found.errors) is failed
    assert ("**stopped by policy**" in headline(found)) is (level == "mandatory")


def lines_of(text: str, first: str) -> list[str]:
    """Return the lines of a section."""
    lines = text.splitlines()
    begin = lines.index(first) + 2
    return lines[begin : lines.index("", begin)]


def test_twelve_resources_are_told_on_top() -> None:
    """The gravest first: what is replaced before what is deleted, and the others counted."""
    kinds = ["kubernetes:core/v1:Service"] * 12 + ["aws:eks/addon:Addon", "aws:eks/nodeGroup:NodeGroup"]
    changes = tuple(
        Change(operation="delete", urn=f"{PROJECT}:EksCluster${kind}::it-{number}") for number, kind in enumerate(kinds)
    )
    told = lines_of(summary({"dev": Preview(changes=changes)}), "**Replaced or deleted**")
    assert told[:3] == [
        "- `it-13` (NodeGroup) is deleted", "- `it-12` (Addon) is deleted", "- `it-0` (Service) is deleted",
    ]  # fmt: skip
    assert told[11:] == ["- `it-9` (Service) is deleted", "- and 2 more, in the list of all changes"]
    replaced = Change(operation="replace", urn=CONFIG, because=("data", "name"))
    components = Change(operation="delete", urn="urn:pulumi:dev::p::eks-node-local-dns:index:EksCluster::cluster")
    told = lines_of(summary({"dev": Preview(changes=(*changes[:11], components, replaced))}), "**Replaced or deleted**")
    assert len(told) == 12
    assert told[0] == "- `node-local-dns-corefile` (ConfigMap) is replaced because of `data`, `name`"
    assert "more" not in told[-1]


@pytest.mark.parametrize(("length", "shown"), [(78, "a" * 78 + '"'), (79, "a" * 79 + "...")])
def test_a_value_is_shown_up_to_eighty_characters(length: int, shown: str) -> None:
    """With its quotes; of a longer one its beginning."""
    change = Change(operation="update", urn=CONFIG, old={"data": None}, new={"data": "a" * length})
    assert f'\n  data: (none) -> "{shown}\n' in summary({"dev": Preview(changes=(change,))})


@pytest.mark.parametrize(("count", "left_out"), [(25, ""), (26, "... and 1 more lines"), (30, "... and 5 more lines")])
def test_twenty_five_lines_of_a_resource_are_shown(count: int, left_out: str) -> None:
    """The others are counted."""
    old, new = ({f"key-{number:02}": value for number in range(count)} for value in (1, 2))
    text = summary({"dev": Preview(changes=(Change(operation="update", urn=CONFIG, old=old, new=new),))})
    assert text.count(": 1 -> 2") == 25
    assert ("more lines" in text) is bool(left_out)
    assert left_out in text


@pytest.mark.parametrize(("length", "cut"), [(3000, False), (3001, True)])
def test_a_message_is_shown_up_to_a_length(length: int, cut: bool) -> None:
    """The job's log has the rest."""
    text = summary({"dev": Preview(warnings=("a" * length,))})
    assert text.count("a" * 3000) == 1
    assert ("a ... (the job's log has the rest)" in text) is cut


def test_a_summary_is_whole_as_long_as_it_fits() -> None:
    """Not a character earlier is anything left out."""
    change = Change(operation="update", urn=CONFIG, old={"data": "a\nb"}, new={"data": "a\nc"})
    whole = summary({"dev": Preview(changes=(change,))}, longest=None)
    assert "  data:\n    a\n    -b\n    +c" in whole.replace("     a", "    a")
    assert summary({"dev": Preview(changes=(change,))}, longest=len(whole)) == whole
    assert "too long for a comment" in summary({"dev": Preview(changes=(change,))}, longest=len(whole) - 1)


def test_a_summary_fits_in_a_comment() -> None:
    """However many resources change, the text is no longer than GitHub takes, and still has the top of each stack."""
    changes = tuple(
        Change(operation="update", urn=f"{CONFIG}-{number}", old={"data": "a" * 70}, new={"data": "b" * 70})
        for number in range(1000)
    )
    previews = {name: Preview(changes=changes) for name in ("dev", "stg", "prod")}
    text = summary(previews)
    assert len(text) <= GITHUBS_BOUND
    assert all(f"### {name}: 1000 to update" in text for name in ("dev", "stg", "prod"))
    assert "too long for a comment" in text
    assert summary(previews, longest=None).count("- to update") == 3000


def test_what_one_stack_has_to_say_never_hides_what_another_loses() -> None:
    """Each stack has its share: a flood of violations in dev and stg leaves room for what prod deletes."""
    flood = tuple(Violation(policy=f"rule-{n}", level="mandatory", message="why " * 90, urn=CNI) for n in range(90))
    previews = {
        "dev": Preview(violations=flood),
        "stg": Preview(violations=flood),
        "prod": Preview(changes=(Change(operation="delete", urn=CLUSTER),)),
    }
    text = summary(previews)
    assert len(text) <= GITHUBS_BOUND
    assert "and 50 more" in text
    assert "`cluster` (Cluster) is deleted" in text
    assert "The whole cluster goes" in text
    many = {f"stack-{number}": Preview(violations=flood[:9]) for number in range(100)}
    assert len(summary(many)) <= GITHUBS_BOUND
    assert "### stack-99: **stopped by policy**" in summary(many)


HOSTILE = "</details> <img src=x> ![i](https://x.example/i) [l](https://x.example) @team one` two"


def test_nothing_in_a_preview_is_more_than_text() -> None:
    """Names, messages and values are shown, whatever they hold: no image, no link, no HTML, and nobody is called."""
    violation = Violation(policy="r`x", level="advisory", message=f"{HOSTILE}\n# big", urn=f"{CNI}`x")
    preview = Preview(
        changes=(
            Change(operation="update", urn=CONFIG, old={"data": "a\n```\n</details>\n@team"}, new={"data": "b\n````"}),
            Change(operation="delete", urn=f"{CACHE}`x"),
        ),
        violations=(violation,),
        warnings=(HOSTILE, "use `-m @socket`"),
        errors=(f"first\n```\n{HOSTILE}",),
    )
    text = summary({"dev": preview})
    outside = re.sub(r"(?ms)^\s*(`{3,})\w*$.*?^\s*\1$", "", text)
    assert "@team" in text
    outside = re.sub(r"`[^`]+`", "", outside)
    assert outside.count("</details>") == 1
    for each in ("<img", "![i]", "[l]", "@team", "\n# big"):
        assert each not in outside
    assert "`` node-local-dns`x `` (DaemonSet) is deleted" in text
    assert "`-m @socket`" in text
    assert "\n  `````diff\n" in text


def test_what_is_given_back_is_not_told_as_deleted() -> None:
    """A resource that stays when its stack goes is left as it is, and the summary says so."""
    old = {"inputs": {"addonName": "vpc-cni"}, "retainOnDelete": True}
    document = {"steps": [{"op": "delete", "urn": CNI, "oldState": old}], "changeSummary": {"delete": 1}}
    [change] = read(json.dumps(document)).changes
    assert change.operation == "forget"
    text = summary({"dev": Preview(changes=(change,))})
    assert "1 to leave as it is, unmanaged" in text
    assert "deleted" not in text


def test_a_provider_is_no_change() -> None:
    """Providers are how resources are made, also those that a component makes."""
    provider = f"{PROJECT}:EksCluster$pulumi:providers:kubernetes::cluster"
    steps = [{"op": "create", "urn": urn} for urn in (provider, "urn:pulumi:dev::p::pulumi:providers:aws::default")]
    assert read(json.dumps({"steps": steps})).changes == ()


def test_values_known_later_are_said_to_be() -> None:
    """The engine's mark for an unknown value is not printed."""
    change = Change(operation="update", urn=CONFIG, old={"data": "x"}, new={"data": UNKNOWN})
    text = summary({"dev": Preview(changes=(change,))})
    assert "(known after the update)" in text
    assert UNKNOWN not in text


@pytest.mark.parametrize(("result", "expected"), [("succeeded", ()), ("failed", ("a plugin exited prematurely",))])
def test_what_plugins_say_after_a_plan_that_succeeded_is_no_failure(result: str, expected: tuple[str, ...]) -> None:
    """The engine calls a plugin that it ends itself, after the summary, an error; only a failed run is a failure."""
    events = [
        {"sequence": 1, "summaryEvent": {"resourceChanges": {"same": 48}, "result": result}},
        {"sequence": 2, "diagnosticEvent": {"severity": "error", "message": "error: a plugin exited prematurely"}},
    ]
    found = read("\n".join(json.dumps(each) for each in events))
    assert (found.errors, found.unchanged) == (expected, 48)
