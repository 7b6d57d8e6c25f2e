"""The characters that stand for nothing at the ends of a text: Unicode's White_Space, and marks without a width."""

from typing import Final

SPACES: Final = (
    " \t\n\v\f\r\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
MARKS: Final = (
    "\u200b\u200c\u200d\u200e\u200f\u061c\u2060\u2066\u2067\u2068\u2069\u202a\u202b\u202c\u202d\u202e\ufeff\u00ad"
)
"""They direct, join or divide text, and come with what is copied from pages, chats and address books."""
BLANKS: Final = SPACES + MARKS
"""The characters that are trimmed from text."""
