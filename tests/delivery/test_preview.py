import json
import re
from collections.abc import Mapping

import pytest

from delivery.effects import effects
from delivery.preview import SECRET, UNKNOWN, Change, Preview, UnreadableError, Violation, differences, read
from delivery.summary import LONGEST, headline, summary

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
    with pytest.raises(UnreadableError):
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
    assert preview.failed
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
    assert preview.failed
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


def test_mandatory_rules_come_first_and_stop() -> None:
    """A mandatory violation is in the headline and above advisory ones."""
    found = tuple(
        Violation(policy=level, level=level, message="why", urn=CNI) for level in ("advisory", "mandatory")
    )  # fmt: skip
    text = summary({"dev": Preview(violations=found)})
    assert "### dev: **stopped by policy**" in text
    assert text.index("`mandatory`") < text.index("`advisory`")


def test_a_summary_fits_in_a_comment() -> None:
    """However many resources change, the text is no longer than GitHub takes, and still has the top of each stack."""
    changes = tuple(
        Change(operation="update", urn=f"{CONFIG}-{number}", old={"data": "a" * 70}, new={"data": "b" * 70})
        for number in range(1000)
    )
    previews = {name: Preview(changes=changes) for name in ("dev", "stg", "prod")}
    text = summary(previews)
    assert len(text) <= LONGEST
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
    assert len(text) <= LONGEST
    assert "and 50 more" in text
    assert "`cluster` (Cluster) is deleted" in text
    assert "The whole cluster goes" in text
    many = {f"stack-{number}": Preview(violations=flood) for number in range(100)}
    assert len(summary(many)) <= LONGEST
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


def cni(**environment: str) -> dict[str, str]:
    """Return inputs of the vpc-cni add-on."""
    return {"addonName": "vpc-cni", "configurationValues": json.dumps({"env": environment})}


def spec(surge: int | None, image: str) -> dict[str, object]:
    """Return inputs of the cache's DaemonSet."""
    rolling = {"maxSurge": surge} if surge else {"maxUnavailable": 1}
    return {"spec": {"template": {"image": image}, "updateStrategy": {"rollingUpdate": rolling}}}


MODE = "POD_SECURITY_GROUP_ENFORCING_MODE"
CORE_DNS = CNI.replace("vpc-cni", "coredns")
KUBE_PROXY = CNI.replace("vpc-cni", "kube-proxy")
STANDARD = {MODE: "standard", "ENABLE_POD_ENI": "true"}


def add_on(name: str, **more: object) -> dict[str, object]:
    """Return inputs of an add-on."""
    return {"addonName": name, **more}


def cni_in_yaml(mode: str) -> dict[str, object]:
    """Return the add-on's inputs as EKS takes them too."""
    return add_on("vpc-cni", configurationValues=f"env:\n  ENABLE_POD_ENI: true\n  {MODE}: {mode}\n")


@pytest.mark.parametrize(
    ("change", "said", "not_said"),
    [
        (Change(operation="create", urn=CACHE), "cache is installed", "removed"),
        (Change(operation="delete", urn=CACHE), "cache is removed", "installed"),
        (Change(operation="update", urn=CACHE, old=spec(1, "a"), new=spec(1, "b")), "no query is lost", "without DNS"),
        (Change(operation="update", urn=CACHE, old=spec(None, "a"), new=spec(None, "b")), "without DNS", "no query"),
        (
            Change(operation="update", urn=CNI, old=cni(**{MODE: "strict"}), new=cni(**{MODE: "standard"})),
            "until they are recreated**: run `./eks-node-local-dns migrate --apply`",
            "loses DNS",
        ),
        (
            Change(operation="update", urn=CNI, old=cni(**{MODE: "standard"}), new=cni(**{MODE: "strict"})),
            "loses DNS",
            "./eks-node-local-dns migrate",
        ),
        (Change(operation="update", urn=CNI, old=cni(A="1"), new=cni(A="2")), "aws-node restarts", "changes to"),
        (
            Change(operation="update", urn=CNI, old=cni(), new=cni(ENABLE_POD_ENI="true")),
            "no trunk interface",
            "changes to",
        ),
        (
            Change(operation="update", urn=CNI, old=cni(ENABLE_POD_ENI="true"), new=cni(ENABLE_POD_ENI="false")),
            "stay Pending there",
            "need new nodes",
        ),
        # The mode where one side says nothing of it, or says it in YAML.
        (Change(operation="update", urn=CNI, old=add_on("vpc-cni"), new=cni(**STANDARD)), "to standard", "to strict"),
        (
            Change(operation="update", urn=CNI, old=cni(**STANDARD), new=add_on("vpc-cni")),
            "changes to strict, its default",
            "to standard",
        ),
        (
            Change(operation="update", urn=CNI, old=cni_in_yaml("strict"), new=cni_in_yaml("standard")),
            "changes to standard",
            "trunk",
        ),
        (
            Change(
                operation="update", urn=CNI, old=cni(**STANDARD), new=add_on("vpc-cni", configurationValues=UNKNOWN)
            ),
            "not known before the update",
            "changes to",
        ),
        # A CNI that was no add-on: what it was set to is in no state.
        (Change(operation="create", urn=CNI, new=cni(**STANDARD)), "until they are recreated", "to strict"),
        (
            Change(operation="create", urn=CNI, new=cni(**{**STANDARD, MODE: "strict"})),
            "changes to strict. Every",
            "to standard",
        ),
        (Change(operation="create", urn=CNI, new=cni()), "aws-node restarts", "changes to"),
        (Change(operation="create", urn=CNI, new=cni(**STANDARD)), "unless it was on before", "Pending"),
        (Change(operation="delete", urn=CNI, old=cni(**STANDARD)), "no new pod gets an address", "aws-node"),
        (Change(operation="delete", urn=CNI, old={**cni(), "preserve": True}), "goes on running", "deleted"),
        (
            Change(operation="replace", urn=CNI, old=cni(**STANDARD), new=cni(**STANDARD)),
            "deleted and made anew",
            "changes to",
        ),
        (Change(operation="create", urn=CORE_DNS, new=add_on("coredns")), "one after the other", "deleted"),
        (
            Change(operation="update", urn=CORE_DNS, old=add_on("coredns"), new=add_on("coredns", addonVersion="v2")),
            "one after the other",
            "deleted",
        ),
        (
            Change(operation="replace", urn=CORE_DNS, old=add_on("coredns"), new=add_on("coredns")),
            "CoreDNS is deleted and made anew",
            "one after the other",
        ),
        (Change(operation="delete", urn=CORE_DNS, old=add_on("coredns")), "CoreDNS is deleted:", "replaced"),
        (
            Change(operation="delete", urn=CORE_DNS, old=add_on("coredns", preserve=True)),
            "its pods go on running",
            "deleted",
        ),
        (Change(operation="delete", urn=KUBE_PROXY, old=add_on("kube-proxy")), "kube-proxy is deleted", "restarts"),
        (Change(operation="replace", urn=GROUP), "every pod on them moves", "one after the other"),
        (
            Change(operation="update", urn=GROUP, old={"version": "1.34"}, new={"version": "1.35"}),
            "one after the other",
            " go and",
        ),
        (Change(operation="replace", urn=CLUSTER), "whole cluster goes", "Kubernetes"),
        (
            Change(operation="update", urn=CLUSTER, old={"version": "1.34"}, new={"version": "1.35"}),
            "Kubernetes 1.34 to 1.35",
            "whole cluster",
        ),
    ],
)
def test_effects_say_what_is_felt(change: Change, said: str, not_said: str) -> None:
    """Each kind of change is told as what pods and DNS feel of it."""
    text = "\n".join(effects((change,)))
    assert said in text
    assert not_said not in text


@pytest.mark.parametrize(
    "change",
    [
        Change(operation="update", urn=GROUP, old={"tags": {}}, new={"tags": {"a": "b"}}),
        Change(operation="import", urn=CNI, new=cni(**{MODE: "standard"})),
        Change(operation="update", urn=CNI, old=cni(), new={**cni(), "resolveConflictsOnUpdate": "OVERWRITE"}),
        Change(operation="forget", urn=CNI, old=cni(**{MODE: "standard"})),
        Change(operation="update", urn=CORE_DNS, old=add_on("coredns"), new=add_on("coredns", tags={"a": "b"})),
        Change(operation="update", urn=KUBE_PROXY, old=add_on("kube-proxy"), new=add_on("kube-proxy", tags={})),
        Change(operation="update", urn=CORE_DNS, old=add_on("other"), new=add_on("other", addonVersion="v2")),
    ],
)
def test_what_nobody_feels_is_not_told_as_an_effect(change: Change) -> None:
    """Tags, an add-on that is adopted or given back as it is, and how updates are made."""
    assert effects((change,)) == []


def test_what_is_given_back_is_not_told_as_deleted() -> None:
    """A resource that stays when its stack goes is left as it is, and the summary says so."""
    old = {"inputs": cni(), "retainOnDelete": True}
    document = {"steps": [{"op": "delete", "urn": CNI, "oldState": old}], "changeSummary": {"delete": 1}}
    [change] = read(json.dumps(document)).changes
    assert change.operation == "forget"
    text = summary({"dev": Preview(changes=(change,))})
    assert "1 to leave as it is, unmanaged" in text
    assert "deleted" not in text


def test_a_new_cluster_and_one_that_goes_are_told_without_what_follows() -> None:
    """Nobody feels the creation of what is not there; of a cluster that goes, nothing else matters."""
    cache = {each: Change(operation=each, urn=CACHE) for each in ("create", "delete")}
    assert effects((Change(operation="create", urn=CLUSTER), cache["create"])) == []
    gone = Change(operation="delete", urn=CLUSTER)
    [told] = effects((gone, cache["delete"]))
    assert "whole cluster goes" in told
    # A new name in the program: one is created, and the other, with everything in it, deleted.
    assert effects((Change(operation="create", urn=f"{CLUSTER}-two"), cache["create"], gone)) == [told]


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
