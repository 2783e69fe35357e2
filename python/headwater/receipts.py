"""Receipts: what was erased, signed with a key of the directory.

A receipt says that this directory's log was written anew without one person's events, and which digest its state has
since. It names the person by a keyed hash only, so it can be kept. Its signature (HMAC-SHA256, RFC 2104) proves to
whoever holds the directory's key, `DIR/receipt.key`, that the receipt was issued here and is unchanged. It proves
nothing to others, and nothing about copies: backups, exports and archives that were taken before.

That the erasure was done is shown by the log itself: no event in it names the person, and folding it gives the
receipt's digest at the receipt's position.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

import msgspec

from headwater.errors import InvalidInput, StoreError
from headwater.events.sync import write_whole
from headwater.plain_data import PlainData

KEY_FILE = "receipt.key"
FOLDER = "receipts"
_KEY_BYTES = 32


class Receipt(PlainData, frozen=True, kw_only=True):
    """What an erasure did. `subject` is HMAC-SHA256 of the user's id; `ids` how many ids of theirs were erased.

    `digest` is the state's at `position`, where the log ended when it took the old one's place: the digest of a
    log that never held these events.
    """

    subject: str
    ids: int
    events: int
    frames: int
    dead_letters: int
    erased_at: int
    generation: str
    position_before: int
    position: int
    digest: str
    seconds: float
    signature: str = ""


def subject_of(directory: Path, user: str) -> str:
    """The keyed hash by which receipts of this directory name a user."""
    return hmac.new(_key(directory), b"subject\0" + user.encode(), hashlib.sha256).hexdigest()


def issue(directory: Path, receipt: Receipt) -> tuple[Receipt, Path]:
    """Sign a receipt and keep it in `DIR/receipts`; the signed one and its file. Durable when it returns.

    The file's name is made of the keyed hash, so no id, however hostile, becomes a path. Raises `StoreError`.
    """
    signed = msgspec.structs.replace(receipt, signature=_sign(directory, receipt))
    folder = directory / FOLDER
    path = folder / f"{receipt.erased_at}-{receipt.subject[:16]}.json"
    try:
        folder.mkdir(exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(signed)) + b"\n", 0o644)
    except OSError as err:
        raise StoreError(f"{path}: the receipt cannot be written: {err.strerror or err}", path=str(path)) from err
    return signed, path


def check(directory: Path, file: Path, user: str | None = None) -> Receipt:
    """The receipt in a file, if this directory's key signed it, and for this user if one is named.

    Raises `InvalidInput` if it did not, or the file is no receipt.
    """
    try:
        receipt = msgspec.json.decode(file.read_bytes(), type=Receipt)
    except OSError as err:
        raise InvalidInput(f"{file}: cannot be read: {err.strerror or err}", field="receipt", value=str(file)) from err
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise InvalidInput(f"{file}: not a receipt: {err}", field="receipt", value=str(file)) from err
    if not (directory / KEY_FILE).exists() or not _equal(receipt.signature, _sign(directory, receipt)):
        raise InvalidInput(
            f"{file}: the signature is not one of {directory}'s key: another directory's receipt, or a changed one",
            field="receipt",
            value=str(file),
        )
    if user is not None and not _equal(receipt.subject, subject_of(directory, user)):
        raise InvalidInput(f"{file}: the receipt is for another user", field="user", value=user)
    return receipt


def _equal(claimed: str, own: str) -> bool:
    """In constant time; what somebody claims may hold any characters, and `compare_digest` takes no text of these."""
    return hmac.compare_digest(claimed.encode(), own.encode())


def _sign(directory: Path, receipt: Receipt) -> str:
    content = msgspec.json.encode(msgspec.structs.replace(receipt, signature=""), order="deterministic")
    return hmac.new(_key(directory), b"receipt\0" + content, hashlib.sha256).hexdigest()


def _key(directory: Path) -> bytes:
    """The directory's key, made with the first receipt; readable by its owner only."""
    path = directory / KEY_FILE
    try:
        if not path.exists():
            write_whole(path, secrets.token_bytes(_KEY_BYTES), 0o600)
        key = path.read_bytes()
    except OSError as err:
        raise StoreError(f"{path}: {err.strerror or err}", path=str(path)) from err
    if len(key) != _KEY_BYTES:
        raise StoreError(
            f"{path}: {len(key)} bytes are no key; restore it, or remove it: earlier receipts cannot be checked then",
            path=str(path),
        )
    return key
