"""The key `quantization` of a model entry: a denoiser whose weights are quantised when it is loaded."""

from pipeline.study.settings import Table
from pipeline.study.spec import QuantizationSpec

BACKENDS = ("torchao",)
BITS = (4, 8)


def take_quantization(table: Table) -> QuantizationSpec | None:
    """The quantization of a model entry; None where it has none.

    Raises:
        StudyError: the backend is not known, or has no such number of bits.
    """
    if not table.has("quantization"):
        return None
    settings = table.take_table("quantization")
    backend = settings.take_choice("backend", BACKENDS)
    bits = settings.take_whole("bits", 8, min(BITS), max(BITS))
    if bits not in BITS:
        raise settings.fail("bits", f"= {bits} is not a number of bits that {backend} has. Allowed: 4, 8.")  # fmt: skip
    settings.finish()
    return QuantizationSpec(backend, bits)
