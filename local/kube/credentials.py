"""Who may use the API: a token and a certificate of this machine only, and the kubeconfig that holds both."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.tokens import read_or_create_token, write_private_file

CONTEXT = "coding-mcqa"
_YEARS = 10


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files of one platform. All but `certificate` are for their owner's eyes only (mode 600)."""

    token: str
    certificate: Path
    key: Path


def load_or_create(folder: Path) -> Credentials:
    """The token and certificate in `folder`, made on the first call; TokenError.

    TLS although nothing leaves the machine: kubectl sends a token only over https.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    token = read_or_create_token(folder / "token")
    if not (certificate.exists() and key.exists()):
        _make_certificate(certificate, key)
    return Credentials(token, certificate, key)


def write_kubeconfig(path: Path, access: Credentials, url: str, namespace: str = "default") -> None:
    """The kubeconfig for kubectl, KServeClient and the kubernetes client."""
    authority = base64.b64encode(access.certificate.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": CONTEXT, "user": {"token": access.token}}],
        "contexts": [
            {"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}},
        ],
        "current-context": CONTEXT,
    }
    write_private_file(path, yaml.safe_dump(config, sort_keys=False).encode())


def _make_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coding-mcqa embedded platform")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1"))]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    write_private_file(key, private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    write_private_file(certificate, built.public_bytes(serialization.Encoding.PEM))
