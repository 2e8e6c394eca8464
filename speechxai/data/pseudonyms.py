"""Names of people replaced by names that say nothing.

A plain hash would not do: whoever knows the hash function can hash a list of first names and read the answer off. Here the
hash is keyed (HMAC-SHA256) with 32 random bytes that lie in `.speechxai-salt` beside the recordings, readable by their
owner only. The same copy of the data gives the same pseudonyms in every run; without the salt they cannot be traced
back, and whoever holds the salt holds the named folders anyway. A manifest with pseudonyms can leave the house.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from pathlib import Path

from speechxai.data.files import files_under
from speechxai.errors import SpeechXAIError

SALT_FILE = ".speechxai-salt"
PREFIX = "@"
_SALT_BYTES = 32


def salt(root: str | Path) -> bytes:
    """Return the secret of this copy of the data, drawn at the first call.

    It is read from the file that the environment variable SPEECHXAI_SALT_FILE names, else from `root/.speechxai-salt`.

    Raises:
        SpeechXAIError: a salt that is damaged, or a folder where none can be written.
    """
    file = Path(os.environ.get("SPEECHXAI_SALT_FILE") or Path(root) / SALT_FILE)
    try:
        if not file.exists():
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as new:
                new.write(secrets.token_bytes(_SALT_BYTES))
        secret = file.read_bytes()
    except OSError as error:
        raise SpeechXAIError(
            f"{file}: the secret for pseudonyms cannot be kept here ({error.strerror}). "
            "Set SPEECHXAI_SALT_FILE to a file in a folder of yours that may be written to."
        ) from error
    if len(secret) != _SALT_BYTES:
        raise SpeechXAIError(
            f"{file}: damaged: {len(secret)} bytes instead of {_SALT_BYTES}. Restore it; a new one changes every pseudonym."
        )
    return secret


def pseudonym(secret: bytes, kind: str, name: str, n_characters: int = 12) -> str:
    """Return the keyed hash of a name, hexadecimal; case, spacing and Unicode form of the name do not matter."""
    plain = re.sub(r"\s+", " ", unicodedata.normalize("NFC", name)).strip().casefold()
    return hmac.new(secret, f"{kind}|{plain}".encode(), hashlib.sha256).hexdigest()[:n_characters]


def path_token(secret: bytes, path: str) -> str:
    """Return what stands in a manifest for a path that holds a name."""
    return PREFIX + hmac.new(secret, f"path|{path}".encode(), hashlib.sha256).hexdigest()[:24]


class Locator:
    """Finds the file of a manifest row; the folder is walked once, at the first pseudonymous path.

    Args:
        root: folder that the paths of the manifest are relative to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._paths: dict[str, str] | None = None

    def locate(self, path: str) -> Path:
        """Return the file on disk. Raises SpeechXAIError for a pseudonymous path that no file of the folder has."""
        if not path.startswith(PREFIX):
            return self.root / path
        if self._paths is None:
            secret = salt(self.root)
            self._paths = {path_token(secret, found): found for found in files_under(self.root)}
        try:
            return self.root / self._paths[path]
        except KeyError:
            raise SpeechXAIError(
                f"{self.root}: no file belongs to the pseudonymous path {path}. "
                f"The manifest was made with another copy of the data or another {SALT_FILE}; make it again."
            ) from None
