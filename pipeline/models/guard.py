"""What holds while a library loads a model: no Python of a folder is run, and nothing is printed or asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn
from unittest import mock

import diffusers
import transformers
from diffusers.utils import dynamic_modules_utils
from transformers import dynamic_module_utils
from transformers.integrations import hub_kernels

from pipeline.errors import ModelError

_LOCK = threading.RLock()  # what is changed belongs to the libraries


@contextmanager
def no_remote_code() -> Iterator[None]:
    """The functions of diffusers and transformers that import a folder's Python, or a kernel of the Hub, raise instead.

    This is the second barrier, behind the configurations' allow lists: it holds whatever asks for the code.

    Raises:
        RuntimeError: something asked for it.
    """
    with _LOCK, ExitStack() as stack:
        for module in (dynamic_modules_utils, dynamic_module_utils):
            stack.enter_context(mock.patch.object(module, "get_class_in_module", _refuse))
        stack.enter_context(mock.patch.object(hub_kernels, "get_kernel", _refuse))
        # 0: the question "run the custom code? [y/N]" is an error at once
        stack.enter_context(mock.patch.object(dynamic_module_utils, "TIME_OUT_REMOTE_CODE", 0))
        yield


def _refuse(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("it asks for Python code of its own, which is never run")


@contextmanager
def no_bars() -> Iterator[None]:
    """Hides the bars that diffusers and transformers draw while they load: a run has one bar, its own."""
    logs: list[Any] = [diffusers.utils.logging, transformers.logging]
    shown = [log for log in logs if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what diffusers and transformers print while they load: reports of gaps, which are errors here, and bars."""
    logs: list[Any] = [diffusers.utils.logging, transformers.logging]
    levels = [log.get_verbosity() for log in logs]
    for log in logs:
        log.set_verbosity(log.CRITICAL)
    try:
        with no_bars():
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.set_verbosity(level)


@contextmanager
def one_line(before: str, after: str) -> Iterator[None]:
    """Turns whatever a library raises over a folder into one ModelError: `before`: reason. `after`

    A tokenizer's panic is no Exception (Rust's PanicException), and is an error like any other here.

    Raises:
        ModelError: anything was raised but a ModelError, which passes as it is, or a wish to stop.
    """
    try:
        yield
    except (ModelError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise ModelError(f"{before}: {reason(error)}. {after}") from error


def reason(error: BaseException) -> str:
    """An error's text on one line, its class where it has none."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".")
