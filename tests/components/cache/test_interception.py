"""The shell programs that put the rules in place and ask for the cache, with stand-ins for the iptables programs."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.cache.interception import CLEANED_UP, OWN_SOCKET, RULES_IN_PLACE, STATE, listening_script, rules_script

ADDRESSES = ("169.254.20.10", "172.20.0.10")
LOCKED = "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?"
BUSY = "iptables: Resource temporarily unavailable."
UNKNOWN = "Warning: Extension socket revision 0 not supported, missing kernel module?"

# Each line of the file `refusals` is what the rule with the match is refused with, once; the last one, if it is
# marked, for ever. `failures` are transactions that fail, one a line. `meanwhile` is what happens during one.
IPTABLES = """\
#!/bin/sh
case "$*" in
  *'-m socket'*)
    if read -r line <refusals; then
      [ "${line#always }" != "$line" ] || { grep -v -m1 -xF "$line" refusals >rest; mv rest refusals; }
      echo "${line#always }" >&2
      exit 4
    fi ;;
esac
"""
RESTORE = """\
#!/bin/sh
cat >transaction
if read -r _ <failures; then
  : >failures
  exit 4
fi
cat transaction >>written
[ ! -e meanwhile ] || . ./meanwhile
"""


@contextlib.contextmanager
def running(directory: Path, refusals: str = "", sockets: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run the program that keeps the rules, with an iptables that refuses as told."""
    programs = directory / "bin"
    programs.mkdir()
    for name, text in (("iptables-nft", IPTABLES), ("iptables-nft-restore", RESTORE)):
        (programs / name).write_text(text)
    (programs / "iptables-nft-save").write_text("#!/bin/sh\ncat saved\n")
    for name in ("iptables-legacy-save", "iptables-legacy-restore"):
        (programs / name).write_text("#!/bin/sh\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    files = {"refusals": refusals, "sockets": sockets, "failures": "", "written": "", "saved": "", "log": ""}
    for name, text in files.items():
        (directory / name).write_text(text)
    script = rules_script(*ADDRESSES).replace(STATE, str(directory)).replace("/proc/net/udp", "sockets")
    with (directory / "log").open("w") as log, subprocess.Popen(
        ["sh", "-c", script],
        cwd=directory, stderr=log, text=True, env={"PATH": f"{programs}:{os.environ['PATH']}"},
    ) as process:  # fmt: skip
        try:
            there(directory / Path(RULES_IN_PLACE).name)
            yield process
        finally:
            process.kill()


def there(path: Path, text: str = "") -> None:
    """Wait until a file is there and has a text."""
    for _ in range(600):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} does not say {text!r}")


@pytest.mark.parametrize("refusals", [f"{LOCKED}\n" * 3, f"{LOCKED}\n{BUSY}\n{LOCKED}\n{BUSY}\n", f"{BUSY}\n"])
def test_lock_or_busy_kernel_is_no_missing_match(tmp_path: Path, refusals: str) -> None:
    """A rule that is refused because of somebody else is tried again; the pod gets its conditional rules."""
    with running(tmp_path, refusals):
        there(tmp_path / "written", "-m socket")
        assert "no socket match" not in (tmp_path / "log").read_text()


def test_missing_match_is_found(tmp_path: Path) -> None:
    """A kernel that refuses the match for ever is one without, and it says so in the log and to the cache."""
    with running(tmp_path, f"always {UNKNOWN}\n"):
        there(tmp_path / "log", "this kernel has no socket match")
        assert "-m socket" not in (tmp_path / "written").read_text()
        assert "no-socket-match" in (tmp_path / "no-socket-match.corefile").read_text()


def test_draining_is_tried_again(tmp_path: Path) -> None:
    """A transaction that fails because of somebody else's does not leave the cache to close with questions in it."""
    with running(tmp_path) as process:
        there(tmp_path / "written", "-m socket")
        (tmp_path / "written").write_text("")
        (tmp_path / "failures").write_text("once\n")
        process.send_signal(signal.SIGUSR1)
        there(tmp_path / "log", "draining")
        drained = (tmp_path / "written").read_text()
        assert "-d 169.254.20.10 -p udp --dport 53 -m addrtype" in drained
        assert "-d 172.20.0.10 -p udp --dport 53 -m addrtype" not in drained


def test_rules_written_after_the_cleaning_are_taken_away(tmp_path: Path) -> None:
    """Who drains while another container cleans up leaves nothing behind, whoever of the two is later."""
    with running(tmp_path) as process:
        there(tmp_path / "written", "-m socket")
        (tmp_path / "saved").write_text("-A OUTPUT -m comment --comment node-local-dns -j NOTRACK\n")
        (tmp_path / Path(CLEANED_UP).name).touch()
        process.send_signal(signal.SIGUSR1)
        there(tmp_path / "log", "draining")
        assert (
            (tmp_path / "written")
            .read_text()
            .endswith("-D OUTPUT -m comment --comment node-local-dns -j NOTRACK\nCOMMIT\n")
        )


def test_rules_that_were_being_written_when_the_end_came_are_taken_away_too(tmp_path: Path) -> None:
    """Who is ended between writing and looking whether others have cleaned up still looks, though a cache hangs."""
    with running(tmp_path, sockets=SOCKETS) as process:
        there(tmp_path / "written", "-m socket")
        cleaned_up = Path(CLEANED_UP).name
        (tmp_path / "saved").write_text("-A OUTPUT -m comment --comment node-local-dns -j NOTRACK\n")
        (tmp_path / Path(OWN_SOCKET).name).write_text("4711\n")  # the one that hangs is this pod's
        (tmp_path / "meanwhile").write_text(f"rm meanwhile\ntouch {cleaned_up}\nkill -TERM $PPID\n")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == 0
        assert "a cache still serves this node" in (tmp_path / "log").read_text()
        last = "-D OUTPUT -m comment --comment node-local-dns -j NOTRACK\nCOMMIT\n"
        assert (tmp_path / "written").read_text().endswith(last)


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
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "udp").write_text(sockets)
    (tmp_path / "1" / "fdinfo").mkdir(parents=True)
    (tmp_path / "1" / "fdinfo" / "3").write_text(descriptor)
    own = tmp_path / Path(OWN_SOCKET).name
    script = listening_script(ADDRESSES[1], str(tmp_path)).replace(STATE, str(tmp_path))
    assert (subprocess.run(["sh", "-c", script], check=False).returncode == 0) is listens
    assert (own.read_text() if own.exists() else None) == noted
