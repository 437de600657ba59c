"""The demo models' tokenizer: one token for each word of the scenes, characters for all else."""

from transformers import CLIPTokenizer

from pipeline.demo.scenes import COLOURS, OBJECTS, RELATIONS, SIZES, TEXTURES

CONTEXT_LENGTH = 16
START, END = "<|startoftext|>", "<|endoftext|>"

_COMMON_WORDS = (
    *("a", "an", "the", "on", "of", "and", "with", "to", "in", "at", "by", "is", "no"),
    *("background", "object", "objects", "one", "two", "another", "other", "alone", "pattern"),
    *("picture", "image", "something", "side", "top", "bottom", "next", "stacked", "colour"),
    *("large", "little", "left", "right", "stripes", "dots", "squares", "single", "pair"),
)


def known_words() -> list[str]:
    """Every word that has a token of its own, sorted."""
    relations = [word for relation in RELATIONS for word in relation.split()]
    return sorted({*_COMMON_WORDS, *OBJECTS, *COLOURS, *TEXTURES, *SIZES, *relations})


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose merges build each known word from its last letter backwards.

    Only the end of a word carries `</w>`, so that no merge can apply inside another word, and any
    other text falls back to bytes. The end token has the highest id, where CLIP pools.
    """
    symbols = _byte_symbols()
    vocabulary = [*symbols, *(f"{symbol}</w>" for symbol in symbols)]
    merges: dict[tuple[str, str], None] = {}
    for word in known_words():
        for start in range(len(word) - 2, -1, -1):
            merges[word[start], f"{word[start + 1 :]}</w>"] = None
    vocabulary += ["".join(pair) for pair in merges]
    vocabulary += [START, END]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=list(merges),
        model_max_length=CONTEXT_LENGTH,
    )


def _byte_symbols() -> list[str]:
    """The printable stand-ins that byte-level BPE uses for the 256 bytes (GPT-2's table)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    table |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [table[byte] for byte in range(256)]
