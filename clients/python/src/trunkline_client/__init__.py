"""The client of Trunkline for asyncio: one session that comes back by itself.

It keeps the position in the user's event order, sends every message with a key, and hands every message to the
program once and in order.
"""

from .client import Trunkline
from .session import Event, State
from .shapes import (
    Delete,
    Edit,
    GroupChange,
    Message,
    Presence,
    Publication,
    Reaction,
    Recall,
    Receipt,
    Settings,
    Signal,
    Typing,
)
from .timeline import Fate, Marks, Timeline
from .values import TrunklineError, conversation_of, random_key

__all__ = [
    "Delete",
    "Edit",
    "Event",
    "Fate",
    "GroupChange",
    "Marks",
    "Message",
    "Presence",
    "Publication",
    "Reaction",
    "Recall",
    "Receipt",
    "Settings",
    "Signal",
    "State",
    "Timeline",
    "Trunkline",
    "TrunklineError",
    "Typing",
    "conversation_of",
    "random_key",
]
__version__ = "0.2.0"
