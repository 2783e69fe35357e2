"""Who was forgotten since: the past answers them as a stranger.

`forget` drops a user's state at once; their events stay in the log until `erase`, and a state of the past has folded
them. So questions about the past ask the log first whether a forgetting followed. Verifying (`verify --slates`,
`replay`) is no answer to anyone: it goes on folding what the log holds.
"""

from __future__ import annotations

import msgspec

from headwater.events.frame import decode_frame
from headwater.events.log import EventLog
from headwater.events.subjects import PARTITION, Subject, partition_of
from headwater.events.types import UserForget


def forgotten_since(log: EventLog, user: str, position: int, partitions: int) -> bool:
    """Whether the log forgets the user behind a position, whether or not they came back. O(frames of their partition
    behind it); only those that name the user are decoded."""
    needle = msgspec.msgpack.encode(user)
    subject = Subject(PARTITION, partition_of(user, partitions))
    for batch in log.read(max(position + 1, log.first(), 1), subjects=[subject]):
        for frame in batch.frames:
            if needle in frame and any(isinstance(e, UserForget) and e.user == user for e in decode_frame(frame)[1]):
                return True
    return False


def forgotten_note(user: str) -> str:
    """What a slate of the past says of it."""
    return f"user {user!r:.80} was forgotten since: nothing of what they had done is used"
