import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.facts import Facts, FactsError, addresses, listeners, policy_rules, routes
from verify.findings import Verdict
from verify.installation import Installation
from verify.node_checks import judge
from verify.node_view import NodeView
from verify.questions import Addresses, answer, questions

LOCAL, CLUSTER = "169.254.20.10", "172.20.0.10"
NODE = "ip-10-0-1-10.ec2.internal"
ASKED = Addresses(CLUSTER, LOCAL, "172.20.30.30")
INSTALLATION = Installation(LOCAL, CLUSTER, "upstream", "nodelocaldns", "5ns", "image", None)

# As a person sees them on a node (`ip rule`), in the two modes of the VPC CNI.
STRICT = """\
10: from all iif vlan.eth.2 lookup 102
10: from all iif vlanc6461fc2633 lookup 102
20: from all lookup local
32766: from all lookup main
32767: from all lookup default
"""
STANDARD = """\
0:    from all lookup local
512:  from all to 10.0.2.20 lookup main
1536: from 10.0.2.20 lookup 102
32766: from all lookup main
"""
ADDRESSES = f"""\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.1.10/24 brd 10.0.1.255 scope global eth0\\       valid_lft forever preferred_lft forever
9: nodelocaldns    inet {LOCAL}/32 scope global nodelocaldns\\       valid_lft forever preferred_lft forever
9: nodelocaldns    inet {CLUSTER}/32 scope global nodelocaldns\\       valid_lft forever preferred_lft forever
"""
ROUTES = f"""\
default via 10.0.1.1 dev eth0
local {LOCAL} dev nodelocaldns table local proto kernel scope host src {LOCAL}
local {CLUSTER} dev nodelocaldns table local proto kernel scope host src {CLUSTER}
blackhole 10.9.0.0/16
default via 10.0.2.1 dev vlan.eth.2 table 102
"""
SOCKETS = f"""\
UNCONN 0      0      {LOCAL}%nodelocaldns:53        0.0.0.0:*
UNCONN 0      0      {CLUSTER}:53        0.0.0.0:*
LISTEN 0      4096               *:9253             *:*
"""


def packets() -> str:
    """Return the rules a person finds on a healthy node, as iptables-save prints them."""
    raw, filtered = [], []
    skip, allow = (
        f'-m comment --comment "NodeLocal DNS Cache: {text}"' for text in ("skip conntrack", "allow DNS traffic")
    )
    for each in (LOCAL, CLUSTER):
        for protocol in ("udp", "tcp"):
            to, back = (
                f"{end} {each}/32 -p {protocol} -m {protocol} --{port} 53"
                for end, port in (("-d", "dport"), ("-s", "sport"))
            )
            raw += [f"-A PREROUTING {to} {skip} -j NOTRACK", f"-A OUTPUT {back} {skip} -j CT --notrack",
                    f"-A OUTPUT {to} {skip} -j NOTRACK"]  # fmt: skip
            filtered += [f"-A INPUT {to} {allow} -j ACCEPT", f"-A OUTPUT {back} {allow} -j ACCEPT"]
        raw += [f"-A OUTPUT {end} {each}/32 -p tcp -m tcp --{port} 8080 {skip} -j NOTRACK"
                for end, port in (("-d", "dport"), ("-s", "sport"))]  # fmt: skip
    return "\n".join(["*raw", *raw, "*filter", *filtered, "*mangle", ":KUBE-IPTABLES-HINT - [0:0]"])


def dig(status: str, record: str = "") -> str:
    """Return what dig prints of a reply."""
    return f";; ->>HEADER<<- opcode: QUERY, status: {status}, id: 1\n{record}\n;; Query time: 0 msec\n"


def replies() -> dict[str, object]:
    """Return what a healthy node is answered."""
    texts = {
        "internal": dig("NOERROR", "x. 0 IN A 172.20.0.1"),
        "external": dig("NOERROR", "x. 0 IN A 192.0.2.7"),
        "negative": dig("NXDOMAIN"),
        "marker": dig("NOERROR", f'x. 0 IN TXT "{NODE}"'),
    }
    return {each.id: {"exit": 0, "text": texts[each.purpose]} for each in questions("node", ASKED)}


def document(rules: str = STANDARD, **changed: object) -> str:
    """Return what the collector prints on a node with these rules."""
    texts = {"resolver": "nameserver 10.0.0.2", "addresses": ADDRESSES, "rules": rules, "routes": ROUTES,
             "udp": SOCKETS, "tcp": SOCKETS, "nft": packets(), "legacy": "",
             "cni": '{"podSGEnforcingMode": "standard"}', "metrics": "coredns_build_info 1"}  # fmt: skip
    facts = {key: {"exit": 0, "text": value, "error": ""} for key, value in texts.items()}
    return json.dumps(
        {"format": 1, "run": "r", "node": NODE, "role": "node", "facts": facts, "questions": replies(), **changed}
    )


def verdicts(text: str) -> dict[str, Verdict]:
    """Return the verdict of every check on a document."""
    view = NodeView(name=NODE, installation=INSTALLATION, probes={"node": Facts.read(text)}, addresses=ASKED)
    return {each.check: each.verdict for each in judge(view, "r")}


def test_healthy_node_has_nothing_wrong() -> None:
    """What a person finds on a healthy node, by hand, fails no check."""
    found = verdicts(document())
    assert Verdict.FAILED not in found.values()
    assert found["cache's addresses"] == found["packet rules are there"] == found["no strict rules"] == Verdict.OK


def test_strict_rules_are_found() -> None:
    """The rules of strict mode are named, and nothing else is."""
    found = verdicts(document(STRICT))
    assert [name for name, verdict in found.items() if verdict is Verdict.FAILED] == ["no strict rules"]


def test_texts_are_read() -> None:
    """Each command's text gives what it says."""
    assert [(each.priority, each.selector, each.table) for each in policy_rules(STRICT)][:2] == [
        (10, "from all iif vlan.eth.2", "102"), (10, "from all iif vlanc6461fc2633", "102"),
    ]  # fmt: skip
    assert [(each.link, each.address, each.prefix) for each in addresses(ADDRESSES)][2] == ("nodelocaldns", LOCAL, 32)
    assert [(each.kind, each.destination, each.table) for each in routes(ROUTES)][1::2] == [
        ("local", LOCAL, "local"), ("blackhole", "10.9.0.0/16", "main"),
    ]  # fmt: skip
    assert [(each.address, each.port) for each in listeners(SOCKETS)] == [(LOCAL, 53), (CLUSTER, 53), ("*", 9253)]


def test_answers_are_read() -> None:
    """Dig's text gives code, data and time; silence and refusal are told apart."""
    reply = answer(
        ";; Got answer:\n;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1\n"
        f'node-local-dns.invalid. 0 IN TXT "{NODE}"\n\n;; Query time: 3 msec\n'
    )
    assert reply == ("NOERROR", (NODE,), 3)
    assert answer(";; communications error to 10.0.0.1#53: timed out").status == "timed out"
    assert answer(";; communications error to 10.0.0.1#53: connection refused").status == "refused"


def test_another_runs_facts_are_no_verdict() -> None:
    """Facts of another run or another node are told as that, and judge nothing."""
    for changed in ({"run": "old"}, {"node": "other"}):
        assert verdicts(document(**changed)) == {"facts": Verdict.UNKNOWN}


def test_contradiction_is_no_verdict() -> None:
    """An answer of the cache at an address where, by the same facts, nobody listens, is no verdict."""
    lie = json.loads(document())
    lie["facts"]["udp"]["text"] = ""
    assert verdicts(json.dumps(lie)) == {"facts": Verdict.UNKNOWN}


@settings(deadline=None)  # the machine may be busy
@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["format", "run", "node", "role", "facts", "questions", "x"]), inner)).map(json.dumps))  # fmt: skip
def test_garbage_is_refused(text: str) -> None:
    """Whatever is no document of facts is refused in one way."""
    with pytest.raises(FactsError, match=r"^what the probe printed is not (JSON|a document of facts): "):
        Facts.read(text)


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.sampled_from(["addresses", "rules", "routes", "udp", "tcp", "nft", "legacy"]), st.text()))
def test_odd_texts_never_crash(texts: dict[str, str]) -> None:
    """A text that is not what its command prints is refused or judged, and never a crash."""
    odd = json.loads(document())
    odd["facts"] |= {key: {"exit": 0, "text": value, "error": ""} for key, value in texts.items()}
    try:
        verdicts(json.dumps(odd))
    except FactsError:
        return


HINT, CANARY = (f"*mangle\n:{chain} - [0:0]\nCOMMIT\n" for chain in ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"))


@pytest.mark.parametrize(
    ("nft", "legacy", "backend"),
    [
        ("", "", "nft"),
        (HINT, "", "nft"),
        ("", HINT, "legacy"),
        ("", CANARY, "legacy"),
        (HINT, HINT, "nft"),
        (CANARY, HINT, "nft"),
        # A chain of that name in another table is somebody else's.
        ("", HINT.replace("mangle", "filter"), "nft"),
    ],
)
def test_rules_are_judged_in_the_backend_in_which_the_cache_writes_them(nft: str, legacy: str, backend: str) -> None:
    """That is the one with Kubernetes' chains in its mangle table, and nft where both have them or none."""
    seen = json.loads(document())
    seen["facts"] |= {name: {"exit": 0, "text": text} for name, text in (("nft", nft), ("legacy", legacy))}
    assert Facts.read(json.dumps(seen)).backend == backend
