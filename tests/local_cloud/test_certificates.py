from pathlib import Path

from local_cloud.certificates import CertificateAuthority


def test_the_longest_cluster_name_gets_an_authority(tmp_path: Path) -> None:
    """EKS allows names of 100 characters, which is more than a certificate's common name holds."""
    authority = CertificateAuthority(tmp_path, f"local cloud cluster {'n' * 100}")
    assert authority.certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
