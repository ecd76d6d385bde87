from pathlib import Path

from components.cluster.eks_cluster import NodeGroupSettings
from stacks.reading import load_stack_file
from stacks.settings import Settings

ROOT = Path(__file__).parents[2]
HOURS = 730
CONTROL_PLANE, NAT_GATEWAY, PUBLIC_ADDRESS = 0.10, 0.045, 0.005
"""Dollars an hour: the README names them and where they are to be checked."""
INSTANCE = {"m6i.large": 0.096, "m6i.xlarge": 0.192}
KEY, GIBIBYTE = 1.0, 0.08
"""Dollars a month."""


def _gateways(settings: Settings) -> int:
    return len(settings.network.zones) if settings.network.nat == "perZone" else 1


def _groups(settings: Settings) -> list[NodeGroupSettings]:
    return list(settings.node_groups.values())


def _rows(settings: Settings) -> list[tuple[int | None, float]]:
    """Return how many, and the price of them all, for each line of the README's table."""
    gateways, nodes = _gateways(settings), sum(each.desired_size for each in _groups(settings))
    return [
        (None, CONTROL_PLANE * HOURS),
        (gateways, gateways * NAT_GATEWAY * HOURS),
        (gateways, gateways * PUBLIC_ADDRESS * HOURS),
        (nodes, sum(each.desired_size * INSTANCE[each.instance_types[0]] * HOURS for each in _groups(settings))),
        (None, sum(each.desired_size * each.disk_size_gib * GIBIBYTE for each in _groups(settings))),
        (None, KEY),
    ]


def test_the_readme_says_what_the_stack_files_cost() -> None:
    """Whoever changes the nodes or gateways of a stack file changes its price in the README with them."""
    lines = (ROOT / "README.md").read_text().splitlines()
    begin = lines.index("| | dev | stg | prod |") + 2
    table = [[cell.strip().removesuffix(" (spot: less)") for cell in line.split("|")[2:5]] for line in lines[begin:]]
    for column, stack in enumerate(("dev", "stg", "prod")):
        rows = _rows(load_stack_file(ROOT / "stacks" / f"Pulumi.{stack}.yaml"))
        expected = [f"${price:.0f}" if many is None else f"{many}: ${price:.0f}" for many, price in rows]
        expected.append(f"${sum(price for _many, price in rows):.0f}")
        assert [row[column] for row in table[: len(expected)]] == expected
