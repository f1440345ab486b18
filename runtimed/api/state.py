"""Names the states of a connection.

    from                        to          when
    IDLE, RESPONDING            READING     a part of a request has arrived
    IDLE, READING               RESPONDING  a request is complete, or the client does not read
    RESPONDING                  IDLE        all responses are written, and no request has begun
    RESPONDING                  STREAMING   a response is a stream
    IDLE, READING, RESPONDING   LINGERING   a refusal is sent
    all                         CLOSING     the last response is written, the client has left, or a deadline has passed

`Connection._settle` chooses between them; `_answer` enters RESPONDING before, and `_begin_stream` STREAMING.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """The activity of a connection."""

    # Waits for a request. The bytes of a known one are answered without the parser.
    IDLE = auto()
    # Waits for the rest of a request.
    READING = auto()
    # Answers requests. It may wait for a slow response, or for the client to read.
    RESPONDING = auto()
    # Sends an endless response. Input is discarded.
    STREAMING = auto()
    # Has sent a refusal. Input is discarded for a while, because a reset could overtake the refusal.
    LINGERING = auto()
    # Closes once everything is sent, or is lost.
    CLOSING = auto()


WITHOUT_INPUT = frozenset({State.STREAMING, State.LINGERING, State.CLOSING})
