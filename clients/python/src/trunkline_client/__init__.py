"""The client of Trunkline for asyncio: one session that comes back by itself.

It keeps the position in the user's event order, sends every message with a key, and hands every message to the
program once and in order.
"""

from .client import Trunkline
from .session import Event, State
from .values import TrunklineError, conversation_of, random_key

__all__ = ["Event", "State", "Trunkline", "TrunklineError", "conversation_of", "random_key"]
__version__ = "0.2.0"
