"""The shell programs that put the rules in place and ask for the cache, with stand-ins for the iptables programs."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cache import programs
from components.cache.interception import RULES_IN_PLACE, STATE
from tests.waiting import eventually

ADDRESSES = ("169.254.20.10", "172.20.0.10")
LOCKED = "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?"
BUSY = "iptables: Resource temporarily unavailable."
UNKNOWN = "Warning: Extension socket revision 0 not supported, missing kernel module?"
TABLES = ("filter", "nat", "raw")
IPTABLES = Path(__file__).with_name("iptables.sh")


def here(command: list[str], directory: Path) -> list[str]:
    """Return a command of the pod with the directory in the place of the pod's own and of /proc."""
    return [each.replace(STATE, str(directory)).replace("/proc/", f"{directory}/proc/") for each in command]


@contextlib.contextmanager
def running(directory: Path, pause: float = 4, **files: Any) -> Iterator[subprocess.Popen[str]]:
    """Run the program that keeps the rules, with an iptables that does as the files tell it; see iptables.sh.

    `pause` are the seconds between two looks at the rules.
    """
    stand_ins = directory / "bin"
    stand_ins.mkdir()
    for kind in ("nft", "legacy"):
        for what in ("", "-save", "-restore"):
            (stand_ins / f"iptables-{kind}{what}").symlink_to(IPTABLES)
    names = (
        "refusals",
        "failures",
        "written",
        "saved-nft",
        "saved-legacy",
        "log",
        *(f"rules-{each}" for each in TABLES),
    )
    told = dict.fromkeys(names, "") | files
    for name, text in told.items():
        (directory / name).write_text(text)
    (directory / "proc" / "net").mkdir(parents=True)
    for name in ("udp", "dev", "ip_tables_names"):
        (directory / "proc" / "net" / name).write_text(told.get(name, ""))
    run = programs.interception(*ADDRESSES)
    run["command"][2] = run["command"][2].replace("pause=4", f"pause={pause}")
    with (directory / "log").open("w") as log, subprocess.Popen(
        here([*run["command"], *run["args"]], directory),
        cwd=directory, stderr=log, text=True, env={"PATH": f"{stand_ins}:{os.environ['PATH']}"},
    ) as process:  # fmt: skip
        try:
            there(directory / Path(RULES_IN_PLACE).name)
            yield process
        finally:
            process.kill()


def there(path: Path, text: str = "") -> None:
    """Wait until a file is there and has a text."""
    eventually(lambda: path.exists() and text in path.read_text())


def rules(directory: Path) -> list[str]:
    """Return the rules that are there, each with its table."""
    return [f"{table} {line}" for table in TABLES for line in (directory / f"rules-{table}").read_text().splitlines()]


@pytest.mark.parametrize("refusals", [f"{LOCKED}\n" * 3, f"{LOCKED}\n{BUSY}\n{LOCKED}\n{BUSY}\n", f"{BUSY}\n"])
def test_lock_or_busy_kernel_is_no_missing_match(tmp_path: Path, refusals: str) -> None:
    """A rule that is refused because of somebody else is tried again; the pod gets its conditional rules."""
    with running(tmp_path, refusals=refusals):
        there(tmp_path / "written", "-m socket")
        assert "no socket match" not in (tmp_path / "log").read_text()


def test_missing_match_is_found(tmp_path: Path) -> None:
    """A kernel that refuses the match for ever is one without, and it says so in the log and to the cache."""
    with running(tmp_path, refusals=f"always {UNKNOWN}\n"):
        there(tmp_path / "log", "this kernel has no socket match")
        assert "-m socket" not in (tmp_path / "written").read_text()
        assert "no-socket-match" in (tmp_path / "no-socket-match.corefile").read_text()


HINT = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
CANARY = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n"
NOBODYS = "*mangle\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment :KUBE-IPTABLES-HINT\nCOMMIT\n"
MANGLE = "filter\nmangle\n"


@pytest.mark.parametrize(
    ("nft", "legacy", "tables", "kind"),
    [
        ("", "", "", "nft"),
        (HINT, "", "", "nft"),
        ("", HINT, MANGLE, "legacy"),
        ("", CANARY, MANGLE, "legacy"),
        (NOBODYS, HINT, MANGLE, "legacy"),
        ("", NOBODYS, MANGLE, "nft"),
        # Each of two nodes' pasts: kube-proxy's own is in nft, where both are.
        (HINT, HINT, MANGLE, "nft"),
        (CANARY, HINT, MANGLE, "nft"),
        # To ask the legacy backend for a table makes it.
        ("", HINT, "filter\n", "nft"),
    ],
)
def test_rules_are_written_where_kubernetes_has_its_own(
    tmp_path: Path, nft: str, legacy: str, tables: str, kind: str
) -> None:
    """The backend is the one with Kubernetes' chains in its mangle table, and nft where both have them or none."""
    files: dict[str, Any] = {"saved-nft": nft, "saved-legacy": legacy, "ip_tables_names": tables}
    with running(tmp_path, **files):
        assert f"kube-proxy's rules are in iptables-{kind}\n" in (tmp_path / "log").read_text()
        there(tmp_path / "wrote", f"iptables-{kind}-restore")
        assert set((tmp_path / "wrote").read_text().split()) == {f"iptables-{kind}-restore"}


def test_draining_is_tried_again(tmp_path: Path) -> None:
    """A transaction that fails because of somebody else's does not leave the cache to close with questions in it."""
    with running(tmp_path) as process:
        before = rules(tmp_path)
        (tmp_path / "failures").write_text("once\n")
        process.send_signal(signal.SIGUSR1)
        there(tmp_path / "log", "draining")
        questions = [each for each in before if each.startswith("raw -A PREROUTING -d 172.20.0.10 ")]
        assert len(questions) == 2
        assert sorted(rules(tmp_path)) == sorted(set(before) - set(questions))


@pytest.mark.parametrize(("failures", "drained"), [(1, True), (9, True), (10, False)])
def test_draining_ends_while_the_cache_still_serves(tmp_path: Path, failures: int, drained: bool) -> None:
    """It is tried so often and no more, and says so when none of them succeeded."""
    with running(tmp_path) as process:
        there(tmp_path / "written", "-m socket")
        (tmp_path / "failures").write_text("once\n" * failures)
        process.send_signal(signal.SIGUSR1)
        there(tmp_path / "log", "drain")
        assert ("draining: new questions" in (tmp_path / "log").read_text()) is drained
        assert ("cannot drain" in (tmp_path / "log").read_text()) is not drained


def test_rules_written_after_the_cleaning_are_taken_away(tmp_path: Path) -> None:
    """Who drains while another container cleans up leaves nothing behind, whoever of the two is later."""
    with running(tmp_path) as process:
        (tmp_path / "cleaned-up").touch()
        process.send_signal(signal.SIGUSR1)
        there(tmp_path / "log", "draining")
        assert rules(tmp_path) == []


def test_rules_that_were_being_written_when_the_end_came_are_taken_away_too(tmp_path: Path) -> None:
    """Who is ended between writing and looking whether others have cleaned up still looks, though a cache hangs."""
    with running(tmp_path, udp=SOCKETS) as process:
        (tmp_path / "socket").write_text("4711\n")  # the one that hangs is this pod's
        (tmp_path / "meanwhile").write_text("rm meanwhile\ntouch cleaned-up\nkill -TERM $PPID\n")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 0
        assert "a cache still serves this node" in (tmp_path / "log").read_text()
        assert rules(tmp_path) == []


OTHERS = "-A OUTPUT -m comment --comment node-local-dnsx -j ACCEPT"
UPSTREAMS = '-A OUTPUT -m comment --comment "NodeLocal DNS Cache: skip conntrack" -j NOTRACK'


def test_rules_are_those_of_the_set_and_nobody_elses_are_touched(tmp_path: Path) -> None:
    """What this product or node-cache wrote before is replaced; what only looks like it stays."""
    files: dict[str, Any] = {"rules-raw": f"{OTHERS}\n{UPSTREAMS}\n", "rules-nat": f"{UPSTREAMS}\n"}
    with running(tmp_path, **files):
        found = rules(tmp_path)
        assert [each for each in found if "node-local-dns -j" not in each] == [f"raw {OTHERS}"]
        assert len(found) == 1 + 17
        question = (
            "-p tcp --dport 53 -m addrtype --dst-type LOCAL -m socket -m comment --comment node-local-dns -j NOTRACK"
        )
        assert f"raw -A PREROUTING -d 172.20.0.10 {question}" in found
        assert "nat -A POSTROUTING -s 172.20.0.10 ! -o lo -m comment --comment node-local-dns -j MASQUERADE" in found


def test_rules_that_are_there_are_left_alone(tmp_path: Path) -> None:
    """A look at complete rules writes nothing."""
    with running(tmp_path, pause=0.05):
        for _ in range(5):
            (tmp_path / "heartbeat").unlink()
            there(tmp_path / "heartbeat")
        assert (tmp_path / "wrote").read_text().split() == ["iptables-nft-restore"]


CHAINS = (
    "filter -A INPUT", "filter -A OUTPUT", "nat -A POSTROUTING", "raw -A PREROUTING", "raw -A OUTPUT",
)  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("twice", [False, True], ids=["lost", "twice"])
def test_a_rule_that_is_lost_or_there_twice_is_put_right(tmp_path: Path, chain: str, twice: bool) -> None:
    """Whatever chain it is in."""
    with running(tmp_path, pause=0.05):
        right = sorted(rules(tmp_path))
        table, _, rule = next(each for each in right if each.startswith(chain)).partition(" ")
        file = tmp_path / f"rules-{table}"
        lines = file.read_text().splitlines()
        (tmp_path / "changed").write_text(
            "".join(f"{each}\n" * (1 if each != rule else 2 if twice else 0) for each in lines)
        )
        (tmp_path / "changed").rename(file)
        eventually(lambda: sorted(rules(tmp_path)) == right and len((tmp_path / "wrote").read_text().split()) == 2)


def test_drained_rules_of_another_pod_have_one_look_to_be_put_back(tmp_path: Path) -> None:
    """Who finds them so at one look leaves them, and puts them right at the next: the other pod may have died."""
    with running(tmp_path, pause=0.05):
        right = sorted(rules(tmp_path))
        drained = [each.partition(" ")[2] for each in right
                   if each.startswith("raw ") and "PREROUTING -d 172.20.0.10" not in each]  # fmt: skip
        assert len(drained) == 6
        (tmp_path / "changed").write_text("".join(f"{each}\n" for each in drained))
        (tmp_path / "heartbeat").unlink()
        (tmp_path / "changed").rename(tmp_path / "rules-raw")
        eventually(lambda: sorted(rules(tmp_path)) == right)
        assert (tmp_path / "wrote").read_text().split() == ["iptables-nft-restore"] * 2


@pytest.mark.parametrize("upstream", [False, True])
def test_without_the_match_rules_follow_the_cache(tmp_path: Path, upstream: bool) -> None:
    """They take questions to it while it listens, and let CoreDNS answer the node itself when it does not."""
    with running(tmp_path, refusals=f"always {UNKNOWN}\n", udp=SOCKETS if upstream else ""):
        few, many = (lambda: len(rules(tmp_path)) == 1), (lambda: len(rules(tmp_path)) == 24 + 1)
        eventually(many if upstream else few)
        (tmp_path / "proc" / "net" / "udp").write_text("" if upstream else SOCKETS)
        eventually(few if upstream else many)


SOCKETS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  11: 0A0014AC:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
"""


@pytest.mark.parametrize(
    ("sockets", "descriptor", "listens", "noted"),
    [
        (SOCKETS, "pos:\t0\nino:\t4711\n", True, "4711\n"),
        (SOCKETS, "pos:\t0\nino:\t47110\n", False, None),
        (SOCKETS, "pos:\t0\n", True, None),
        (SOCKETS.splitlines()[0] + "\n", "pos:\t0\n", False, None),
    ],
    ids=["its own", "somebody else's", "a kernel that does not say whose", "nobody's"],
)
def test_cache_is_asked_for_its_own_socket(
    tmp_path: Path, sockets: str, descriptor: str, listens: bool, noted: str | None
) -> None:
    """A socket of another cache does not count, unless the kernel tells no inodes; the own one is noted."""
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "udp").write_text(sockets)
    (tmp_path / "proc" / "1" / "fdinfo").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "fdinfo" / "3").write_text(descriptor)
    own = tmp_path / "socket"
    asked = subprocess.run(here(programs.listening(ADDRESSES[1]), tmp_path), check=False)
    assert (asked.returncode == 0) is listens
    assert (own.read_text() if own.exists() else None) == noted
