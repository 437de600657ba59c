"""What a reader writes into the search of prompts: words and phrases, all of which the text must have."""

from __future__ import annotations

import re

MOST_TERMS = 20
TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')


def terms(text: str) -> list[str]:
    """The words and the quoted phrases of a search: `cat "on a blue"` -> ["cat", "on a blue"].

    A quotation mark that is not closed runs to the end. At most MOST_TERMS of them count.
    """
    matches = [(phrase or word).strip() for phrase, word in TERM.findall(text)]
    return [each for each in dict.fromkeys(matches) if each][:MOST_TERMS]
