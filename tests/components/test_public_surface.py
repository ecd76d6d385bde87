import components
from components.instance_types import can_trunk
from components.versions import ENFORCING_MODE_SINCE, PINNED, addon_version_number


def test_the_public_surface_is_what_all_says() -> None:
    """`__all__` is sorted and every name in it exists."""
    assert components.__all__ == sorted(components.__all__)
    assert all(hasattr(components, name) for name in components.__all__)


def test_every_pinned_release_knows_the_mode_and_fits_its_kubernetes() -> None:
    """No row of the table can bring up a cluster that refuses the configuration."""
    for kubernetes, versions in PINNED.items():
        assert addon_version_number(versions.vpc_cni) >= ENFORCING_MODE_SINCE
        assert versions.kube_proxy.startswith(f"v{kubernetes}.")
        assert addon_version_number(versions.core_dns) > (1, 0, 0)


def test_trunk_capability_follows_the_published_limits() -> None:
    """Burstable and old families cannot trunk, Nitro ones can, and the odd sizes are known."""
    able = ("m5.large", "m6i.large", "m7g.medium", "c7i-flex.large", "i4i.xlarge", "i3.metal")
    unable = ("t3.large", "t4g.medium", "m4.large", "i4i.large", "i3.large", "x1e.xlarge")
    assert [can_trunk(each) for each in able] == [True] * len(able)
    assert [can_trunk(each) for each in unable] == [False] * len(unable)
