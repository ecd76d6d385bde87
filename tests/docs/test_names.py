"""Names in the documents are those that the commands take and print."""

import re
from pathlib import Path

from commands.__main__ import COMMANDS
from lab.scenarios import SCENARIOS
from verify.process_checks import cache_runs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]


def test_scenarios_in_documents_are_the_labs() -> None:
    """Whoever types one gets it, on its own page as in any command."""
    commands = [found for page in PAGES for found in re.findall(r'-dns lab ((?:"[^"\n]+" ?)+)', page.read_text())]
    typed = [name for each in commands for name in re.findall(r'"([^"]+)"', each)]
    listed = re.findall(r"\*([\w ,'-]+)\*", (ROOT / "docs" / "lab.md").read_text())
    assert len(typed) >= 4
    assert len(listed) >= 12
    assert [each for each in [*typed, *listed] if each not in SCENARIOS] == []


def test_the_sample_of_verifys_output_is_its_own() -> None:
    """What the page for the night shows is what the command prints."""
    page = (ROOT / "docs" / "runbooks" / "dns-is-broken.md").read_text()
    assert f"failed: {cache_runs.name} (failure mode {cache_runs.number})," in page
    assert f"  -> {cache_runs.remedy}\n" in page
    assert "the cache is installed and has no pod on this node" in (ROOT / "verify" / "process_checks.py").read_text()


def test_commands_are_started_in_one_way() -> None:
    """A reader in a fresh shell types what any page says, and it starts, or says in a sentence what to do first."""
    names = "|".join(COMMANDS)
    # The benchmark's page says how its figures were measured, which was then.
    pages = [each for each in [*PAGES, ROOT / "Pulumi.yaml"] if each.name != "benchmark.md"]
    texts = {page: page.read_text() for page in pages}
    others = re.compile(rf"python3? -m (?:{names})\b|(?<!\./)(?<!`)\beks-node-local-dns (?:{names})\b")
    assert [(page.name, found) for page, text in texts.items() for found in others.findall(text)] == []
    started = {name for text in texts.values() for name in re.findall(r"(?<!\.)\./eks-node-local-dns (\w+)", text)}
    assert started <= COMMANDS.keys()
    assert {"verify", "migrate", "lab", "delivery"} <= started


def test_links_between_documents_lead_somewhere() -> None:
    """A page or heading that was renamed takes its links along."""
    broken: list[str] = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            name, _, heading = target.partition("#")
            to = (page.parent / name).resolve() if name else page
            if not to.exists() or (heading and heading not in _headings(to)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def _headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}
