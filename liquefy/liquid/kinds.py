"""Of what kinds the nodes are that a captured state is made of, see `state`. Numbers that are stored: none is given
another meaning."""

from __future__ import annotations

LIST, DICT, PAIRS, SET, TUPLE, FROZEN, OBJECT, REF, BASE, NAMED = range(10)
DEQUE, ODICT, DEFAULT, COUNTER, BYTES, COUNT, PATTERN, PATH, RANGE, RANDOM, LOCK, SLICE, FUNCTION = range(10, 23)
ERROR, FLAG = range(23, 25)
