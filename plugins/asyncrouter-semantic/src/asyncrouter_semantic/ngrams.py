"""Wording: which words and pairs of words a prompt holds, as 32-bit hashes.

A word's hash is its CRC-32; a pair's is ``7 * first + second`` after a multiplicative scrambling of the first, modulo
2^32.  Words of the question's last sentence, where the task usually stands, are counted once more under a hash of
their own.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.text import Text

Hashes = npt.NDArray[np.uint32]
Indices = npt.NDArray[np.intp]

SCRAMBLE = np.uint32(0x9E3779B1)
"""2^32 divided by the golden ratio, as in Knuth's multiplicative hashing (TAOCP 3, 6.4)."""
LAST = np.uint32(0x51ED270B)
LONGEST_NUMBER = 5
MOST_LAST = 40
"""Words of the last sentence that are counted."""


def ngrams(text: Text) -> Hashes:
    """Return the hashes of the words and pairs in *text*, in no order and with repetitions."""
    codes = [_code(word) for word in text.words]
    ones = np.array(codes, dtype=np.uint32)
    pairs = (ones[:-1] * SCRAMBLE) ^ (ones[1:] * np.uint32(7))
    lasts = ones[text.last : min(text.asked, text.last + MOST_LAST)] ^ LAST
    return np.concatenate([ones, pairs, lasts])


def known_places(hashes: Hashes, grams: Hashes) -> Indices:
    """Return the places in *grams*, which are sorted, of those of *hashes* that are among them."""
    if not len(grams):
        return np.zeros(0, dtype=np.intp)
    found = np.minimum(np.searchsorted(grams, hashes), len(grams) - 1)
    known: Indices = found[grams[found] == hashes]
    return known


def _code(word: str) -> int:
    if word[0].isdecimal():  # what number it is matters little, how long it is much
        word = "0" * min(len(word), LONGEST_NUMBER)
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
