"""C2PA manifests: where a song comes from, signed, inside the file itself.

The C2PA project's own library writes and verifies them, in FLAC, WAV and MP3. Whoever exports
brings the certificate; a self-signed one gives a manifest that is valid and names nobody who is
trusted. Nothing is fetched: no time stamp is asked for, and a manifest that lies elsewhere is not
read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from songbloom.errors import MissingAssetError, SongBloomError, UsageError

TYPES = {"flac": "audio/flac", "wav": "audio/wav", "mp3": "audio/mpeg"}
LABEL = "org.songbloom.song"
_MADE_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Credentials:
    """A certificate chain and its key, both PEM, and the algorithm that the key is for."""

    certificate: bytes
    key: bytes
    algorithm: str


@dataclass(frozen=True)
class Manifest:
    """What the library says of a file's manifest: "Valid", "Trusted" or "Invalid", and why not."""

    state: str
    problems: tuple[str, ...]
    signer: str
    generator: str
    song: Mapping[str, Any]  # what songbloom wrote into it; empty for a manifest of others


def credentials(certificate: Path, key: Path) -> Credentials:
    """Read a certificate and its key. `SongBloomError` where they do not fit, or are no PEM."""
    _library()
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain, secret = _bytes(certificate), _bytes(key)
    try:
        public = x509.load_pem_x509_certificates(chain)[0].public_key()
    except (ValueError, IndexError) as error:
        raise _no_pem(certificate, "certificate") from error
    try:
        private = load_pem_private_key(secret, password=None)
    except (ValueError, TypeError) as error:
        raise _no_pem(key, "private key without a password") from error
    if private.public_key() != public:
        raise SongBloomError(
            f"{key}: is not the key of {certificate}", "Give --c2pa the certificate's own key."
        )
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return Credentials(chain, secret, _CURVES[private.curve.name])
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return Credentials(chain, secret, "ed25519")
    if isinstance(private, rsa.RSAPrivateKey):
        return Credentials(chain, secret, "ps256")
    raise SongBloomError(
        f"{key}: C2PA has no signatures with such a key",
        "Give an RSA, Ed25519 or P-256, P-384, P-521 key.",
    )


def check_format(kind: str) -> None:
    """`UsageError` for a format that cannot hold a manifest."""
    if kind not in TYPES:
        raise UsageError(
            f"--c2pa: the library cannot put a manifest into .{kind} files",
            f"Choose --format {', '.join(TYPES)}.",
        )


def sign(source: Path, target: Path, title: str, song: Mapping[str, Any], by: Credentials) -> None:
    """Write `source` as `target` with a signed manifest; `song` (JSON) is what made it."""
    c2pa = _library()
    kind = source.suffix.lstrip(".").lower()
    info = c2pa.C2paSignerInfo(by.algorithm, by.certificate, by.key, None)
    try:
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(_manifest(title, song)) as builder,
            open(source, "rb") as plain,
            open(target, "w+b") as signed,
        ):
            builder.sign(signer, TYPES[kind], plain, signed)
    except c2pa.C2paError as error:
        raise SongBloomError(
            f"The C2PA manifest could not be signed ({error})",
            "The certificate needs digitalSignature as key usage and emailProtection or "
            "documentSigning as extended key usage.",
        ) from error


def read(path: Path) -> Manifest | None:
    """A file's manifest as the library verifies it; None where there is none.

    `MissingAssetError` without the library.
    """
    c2pa = _library()
    kind = path.suffix.lstrip(".").lower()
    if kind not in TYPES:
        return None
    context = c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))
    try:
        with open(path, "rb") as stream:
            reader = c2pa.Reader.try_create(TYPES[kind], stream, None, context=context)
            if reader is None:
                return None
            with reader:
                return _read(json.loads(reader.json()))
    except c2pa.C2paError as error:
        return Manifest("Invalid", (str(error),), "", "", {})


def _read(store: Mapping[str, Any]) -> Manifest:
    active = store["manifests"][store["active_manifest"]]
    codes = [problem["code"] for problem in store.get("validation_status") or ()]
    made = [a["data"] for a in active.get("assertions", ()) if a["label"] == LABEL]
    signer, tools = active.get("signature_info") or {}, active.get("claim_generator_info") or [{}]
    return Manifest(
        state=str(store.get("validation_state", "Invalid")),
        problems=tuple(code for code in codes if code != _UNTRUSTED),
        signer=str(signer.get("common_name") or signer.get("issuer") or ""),
        generator=" ".join(str(tools[0].get(key, "")) for key in ("name", "version")).strip(),
        song=made[0] if made else {},
    )


def _manifest(title: str, song: Mapping[str, Any]) -> dict[str, Any]:
    agent = {"name": "songbloom", "version": str(song["songbloom"])}
    actions = [
        {
            "action": "c2pa.created",
            "digitalSourceType": _MADE_BY_A_MODEL,
            "softwareAgent": agent,
        }
    ]
    if "watermark" in song:
        actions.append({"action": "c2pa.watermarked.unbound", "softwareAgent": agent})
    return {
        "claim_generator_info": [agent],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": LABEL, "data": dict(song)},
        ],
    }


def _library() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise MissingAssetError(
            "c2pa-python, which signs and verifies manifests, is not installed",
            "Type: pip install 'songbloom[export]'",
        ) from error
    return c2pa


def _bytes(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SongBloomError(
            f"{path}: cannot be read ({error.strerror})", "Give --c2pa a certificate and its key."
        ) from error


def _no_pem(path: Path, what: str) -> SongBloomError:
    return SongBloomError(f"{path}: is no {what} in PEM form", "Give --c2pa CERT.pem KEY.pem.")
