"""manifest.sha256: the digest of a bundle, which is that of its manifest's very bytes.

The manifest holds the hash of every other file, so this one number stands for all of them. It is taken over the bytes
as they lie there, not over a canonical form: what is hashed is what is read, and `sha256sum -c manifest.sha256` checks
it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from temport.exporter.errors import UserError

MANIFEST, DIGEST = "manifest.json", "manifest.sha256"


def digest(content: bytes) -> str:
    """The digest of a manifest, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_digest(directory: Path) -> str:
    """Write the digest of the manifest of `directory` beside it."""
    found = digest((directory / MANIFEST).read_bytes())
    (directory / DIGEST).write_text(f"{found}  {MANIFEST}\n")
    return found


def check_digest(directory: Path, content: bytes, expected: str | None) -> str:
    """The digest of the manifest `content`; UserError where it is not `expected`, or not the one beside it.

    Bundles of before 0.2 have none beside it, and open without.
    """
    found = digest(content)
    beside = directory / DIGEST
    if beside.is_symlink() or (beside.exists() and not beside.is_file()):
        raise UserError(f"{beside} is not a plain file; export the bundle again")
    if beside.exists() and beside.read_bytes() != f"{found}  {MANIFEST}\n".encode():
        raise UserError(f"{directory / MANIFEST} differs from its {DIGEST}; export the bundle again")
    if expected is not None:
        if not re.fullmatch("[0-9a-f]{64}", expected):
            raise UserError(
                f"the expected digest {expected!r} is not one; it has 64 hexadecimal digits in lower case"
            )
        if expected != found:
            raise UserError(f"{directory} is another bundle: its digest is {found}, expected was {expected}")
    return found
