import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.cluster.versions import DEFAULT_KUBERNETES_VERSION, ENFORCING_MODE_SINCE, PINNED, addon_version_number

part = st.integers(0, 999)


@given(part, part, part, part)
def test_a_version_is_read_back(major: int, minor: int, patch: int, build: int) -> None:
    """Numbers are compared as numbers: 1.9 is older than 1.12."""
    assert addon_version_number(f"v{major}.{minor}.{patch}-eksbuild.{build}") == (major, minor, patch)


@pytest.mark.parametrize("version", ["latest", "1.23.1", "v1.23.1", "v1.23-eksbuild.1", "v1.23.1-eksbuild.1 ", ""])
def test_what_pins_nothing_is_refused(version: str) -> None:
    """An add-on that is not pinned to a build changes between two previews."""
    with pytest.raises(ValueError, match="is not an EKS add-on version"):
        addon_version_number(version)


@pytest.mark.parametrize("kubernetes", PINNED)
def test_pinned_add_ons_fit_their_kubernetes(kubernetes: str) -> None:
    """kube-proxy has the cluster's minor version, and the CNI knows the enforcing mode."""
    pinned = PINNED[kubernetes]
    assert ".".join(str(each) for each in addon_version_number(pinned.kube_proxy)[:2]) == kubernetes
    assert addon_version_number(pinned.vpc_cni) >= ENFORCING_MODE_SINCE
    assert addon_version_number(pinned.core_dns) > (1, 0, 0)


def test_the_default_is_pinned() -> None:
    """Who writes nothing gets a version with pinned add-ons, the one before the newest: others have met its faults."""
    *_older, default, _newest = sorted(PINNED, key=lambda each: [int(part) for part in each.split(".")])
    assert default == DEFAULT_KUBERNETES_VERSION


def test_every_pinned_release_knows_the_mode_and_fits_its_kubernetes() -> None:
    """No row of the table can bring up a cluster that refuses the configuration."""
    for kubernetes, versions in PINNED.items():
        assert addon_version_number(versions.vpc_cni) >= ENFORCING_MODE_SINCE
        assert versions.kube_proxy.startswith(f"v{kubernetes}.")
        assert addon_version_number(versions.core_dns) > (1, 0, 0)
