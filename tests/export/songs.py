"""A song of songbloom on disk: sung by the synthesiser, with a bundle as `generate` writes it."""

import datetime
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from songbloom import audio
from songbloom.files import sha256
from songbloom.generation.bundle import write_bundle
from songbloom.synth.render import render
from songbloom.synth.score import compose
from songbloom.units import SAMPLE_RATE

LINES = ((0.5, "Light in the morning"), (2.25, "Où es-tu, 你好?"), (None, "Never sung"))


def sung(seconds: float) -> np.ndarray:
    """The first seconds of a song `[2, n]`, at 48 kHz."""
    return _whole()[:, : round(seconds * SAMPLE_RATE)].copy()


@functools.cache
def _whole() -> np.ndarray:
    return render(compose(5, 0)).mix


def timeline() -> dict[str, Any]:
    """LINES in two sections."""
    rows = [{"text": text, "start": start, "end": None} for start, text in LINES]
    sections = [("verse", rows[:2]), ("chorus", rows[2:])]
    return {
        "timing": "sketch",
        "duration_seconds": 4.0,
        "sections": [
            {"tag": tag, "start": None, "end": None, "lines": lines} for tag, lines in sections
        ],
    }


def described(path: Path) -> dict[str, Any]:
    """A song.toml for a sound file, with what `generate` writes there."""
    return {
        "fingerprint": "f" * 64,
        "seed": 7,
        "audio": {"file": path.name, "sha256": sha256(path)},
        "model": {"name": "seedling", "sha256": "a" * 64, "licence": "Apache-2.0"},
        "made_with": {"songbloom": "0.1.0"},
    }


def make_song(
    folder: Path, samples: np.ndarray, name: str = "song", rate: int = SAMPLE_RATE
) -> Path:
    """Write NAME.flac and NAME.song; returns the bundle."""
    path = folder / f"{name}.flac"
    folder.mkdir(parents=True, exist_ok=True)
    audio.save(path, samples, rate)
    write_bundle(
        folder / f"{name}.song",
        song=described(path),
        lyrics="[verse] Light in the morning\n",
        sketch=torch.zeros(2, dtype=torch.int64),
        latents=torch.zeros(2, 4),
        timeline=timeline(),
        speed={},
    )
    return folder / f"{name}.song"


def make_certificate(folder: Path, **changes: Any) -> tuple[Path, Path]:
    """A self-signed certificate that C2PA accepts, and its key: CERT and KEY."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "A test"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests of songbloom"),
        ]
    )
    now = datetime.datetime.now(datetime.timezone.utc)
    usage = x509.KeyUsage(**{**_SIGNS, **changes})
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(secret)
    return folder / "cert.pem", folder / "key.pem"


_SIGNS: Mapping[str, bool] = {
    "digital_signature": True,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}
