"""What a liquid program imports: `from liquefy import Context, Message, answer, emit`."""

from liquefy.context import Context
from liquefy.fluxion import Message, answer, emit

__all__ = ["Context", "Message", "answer", "emit"]
