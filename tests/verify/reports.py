"""What probes print on a node that behaves in one way or another."""

import functools
import json
from pathlib import Path
from typing import Any

from components.cache.corefile import MARKER_ZONE

LOCAL, CLUSTER = "169.254.20.10", "172.20.0.10"
Behaviour = str
"""`healthy`, `dead` (cache), `silent` (never ends), `garbage`, `lying` (contradicts itself), `other` (node); after a
crash `healthy` is back soon, `lasting` stays away, `unhurt` does not crash, `lossy` loses DNS meanwhile; `bare` gives
branch pods an ordinary network, `late` the first of them; `imageless` gets no image, `going` is deleted when looked at,
`uncached` has nothing of a cache; `fickle` gives a network of their own to probes and not to watchers;
`cut` gets no connection to another node's metrics."""

CLOSED = "sg-closed"
"""A security group without port 53."""

DOWN_SECONDS = 1.5
"""How long a healthy node's cache is away after a crash."""

TICK_SECONDS = 0.2
"""Pause of the watchers, as in the collector."""


@functools.cache
def recorded(name: str) -> str:
    """Return what a command printed on the lab's node, where the cache ran and served (`python -m lab`).

    `nft-socket` and `nft-upstream` are of `iptables-nft-save` as the collector cuts it, with each kind of interception.
    """
    return Path(__file__).with_name("recorded").joinpath(f"{name}.txt").read_text()


REFUSED = ";; communications error: connection refused"
SILENCE = ";; communications error: timed out"


def dig(node: str, name: str, kind: str, *, by_core_dns: bool) -> str:
    """Return what dig prints of an answer of the node's cache, or of CoreDNS."""
    status, data = ("NXDOMAIN", "") if name.startswith("verify-") else ("NOERROR", "192.0.2.7")
    if name == MARKER_ZONE:
        status, data = ("NXDOMAIN", "") if by_core_dns else ("NOERROR", f'"{node}"')
    head = f";; ->>HEADER<<- opcode: QUERY, status: {status}, id: 1"
    return f"{head}\n{name}. 0 IN {kind} {data}\n;; Query time: 1 msec\n"


def watched(variables: dict[str, str], behaviour: Behaviour, seconds: float, crashed: float | None) -> str:
    """Return what a watcher has printed after some seconds, of which the cache crashed at one."""
    lines = [{"format": 1, "run": variables["RUN"], "node": variables["NODE"], "role": "watch"}]
    for tick in range(1, int(seconds / TICK_SECONDS)):
        since = None if crashed is None or behaviour == "unhurt" else tick * TICK_SECONDS - crashed
        down = since is not None and since > 0 and (behaviour == "lasting" or since < DOWN_SECONDS)
        for line in variables["QUESTIONS"].splitlines():
            key, _, _, kind, name = line.split()
            text = dig(variables["NODE"], name, kind, by_core_dns=down)
            if down and behaviour == "lossy":
                text = REFUSED
            lines.append({"tick": tick, "id": key, "exit": 0, "text": text})
    return "".join(f"{json.dumps(each)}\n" for each in lines)


def printed(variables: dict[str, str], behaviour: Behaviour, groups: tuple[str, ...] = ()) -> str:
    """Return what a probe with these variables prints on a node that behaves so."""
    node, dead = variables["NODE"], behaviour in {"dead", "uncached"}
    if behaviour == "garbage":
        return "\x00{]" * 1000
    questions = {}
    for line in variables["QUESTIONS"].splitlines():
        key, _, _, kind, name = line.split()
        by_core_dns = dead or (key.startswith("cluster") and variables["ROLE"] == "node")
        text = dig(node, name, kind, by_core_dns=by_core_dns)
        if key.startswith("neighbour") or (dead and key.startswith("local")):
            text = REFUSED
        if key.startswith("upstream") and CLOSED in groups:
            text = SILENCE
        questions[key] = {"exit": 0, "text": text}
    deaf = dead or behaviour == "lying"
    texts = {"resolver": f"nameserver {CLUSTER if variables['ROLE'] == 'pod' else '10.0.0.2'}"}
    if variables["ROLE"] == "node" and behaviour == "uncached":
        texts |= dict.fromkeys(("addresses", "routes", "udp", "tcp", "nft", "legacy"), "")
        texts |= {"rules": "0: from all lookup local", "cni": '{"podSGEnforcingMode": "standard"}'}
    elif variables["ROLE"] == "node":
        texts |= {each: recorded(each) for each in ("addresses", "routes", "rules")}
        texts |= {each: "" if deaf else recorded(each) for each in ("udp", "tcp")}
        texts |= {
            "nft": recorded("nft-socket"), "legacy": "", "cni": '{"podSGEnforcingMode": "standard"}',
            "metrics": "coredns_build_info 1\nprocess_resident_memory_bytes 1000000",
        }  # fmt: skip
    texts |= {key.lower(): "coredns_build_info 1" for key in ("NEAR_METRICS", "FAR_METRICS") if variables[key]}
    facts: dict[str, Any] = {key: {"text": value} for key, value in texts.items()}
    if behaviour == "cut" and "far_metrics" in facts:
        facts["far_metrics"] = {"exit": 28, "error": "curl: (28) Connection timed out after 3001 milliseconds"}
    return json.dumps({
        "format": 1, "run": variables["RUN"], "node": "another" if behaviour == "other" else node,
        "role": variables["ROLE"], "questions": questions,
        "facts": facts,
    })  # fmt: skip
