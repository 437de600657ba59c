"""Reads tables of settings with one clear error: file, key, value, what is allowed, what to do."""

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import StepscopeError

MAX_BYTES = 16 * 2**20  # a settings file beyond this is a mistake, not a study
# a.b.c. ...: tomllib takes 22 s for a key of 30,000 parts, in 60 kB.
DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}""")


def read_toml(path: Path, error: type[StepscopeError]) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        error: the file is missing, too big, not UTF-8 or not TOML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a device such as /dev/zero has no size and no end
        if len(data) > MAX_BYTES:
            raise error(f"{path}: too big for settings (at most {MAX_BYTES:,} bytes).")
        text = data.decode("utf-8-sig")
        if DEEP_KEY.search(text):
            raise error(f"{path}: a key of over 64 tables in each other. Write it shorter.")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise error(f"{path}: no such file. Give the path of a TOML file.") from None
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}).") from None
    except UnicodeDecodeError as reason:
        raise error(f"{path}: not UTF-8 at byte {reason.start}. Save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as reason:
        raise error(f"{path}: not TOML: {_one_line(reason)}.") from None
    except ValueError as reason:  # a number of more digits than Python reads
        raise error(f"{path}: cannot be read: {_one_line(reason)}.") from None
    except RecursionError:
        raise error(f"{path}: nested too deeply.") from None


def show(value: object, width: int = 80) -> str:
    """The value as an error message shows it: quoted, on one line, cut at `width`."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, tables in tables in tables
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= width else f"{text[:width]}... ({len(text)} characters)"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def hint(value: object, allowed: Collection[str]) -> str:
    """What is allowed, and the closest match to what was written."""
    close = (
        difflib.get_close_matches(value[:100], list(allowed), n=1) if isinstance(value, str) else []
    )
    meant = f" Did you mean {close[0]!r}?" if close else ""
    return f"Allowed: {', '.join(allowed)}.{meant}"


class Table:
    """A table of settings; every `take_` method checks one key, `finish` refuses the others."""

    def __init__(self, values: object, file: str, name: str, error: type[StepscopeError]) -> None:
        """Wraps the values.

        Args:
            values: the table as tomllib or json gives it.
            file: the file, for messages.
            name: the table's own name, "" for the top.
            error: class of the errors raised.
        """
        self.file, self.name, self.error = file, name, error
        if not isinstance(values, Mapping):
            raise error(f"{file}: [{name}] is {show(values)}, not a table. Write [{name}].")
        self.values: Mapping[str, Any] = values
        self.known: list[str] = []

    def fail(self, key: str, problem: str) -> StepscopeError:
        """The error about a key, to be raised."""
        return self.error(f"{self.file}: {self.key_name(key)} {problem}")

    def key_name(self, key: str) -> str:
        """The key with its table, as a user would look for it."""
        return f"{self.name}.{key}" if self.name else key

    def has(self, key: str) -> bool:
        """Whether the key is written; it then counts as known."""
        self.known.append(key)
        return key in self.values

    def raw(self, key: str) -> Any:
        """The value as it is written.

        Raises:
            StepscopeError: the key is absent.
        """
        if not self.has(key):
            written = difflib.get_close_matches(key, set(self.values) - set(self.known), 1)
            raise self.fail(
                key,
                f"is missing. Is it meant by {written[0]!r}?" if written else "is missing. Add it.",
            )
        return self.values[key]

    def take_text(self, key: str, default: str | None = None, *, empty: bool = True) -> str:
        """A string without control characters; the default where the key is absent."""
        if not self.has(key) and default is not None:
            return default
        value = self.raw(key)
        if not isinstance(value, str):
            raise self.fail(key, f"= {show(value)} is not text. Put it in quotes.")
        if re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", value):
            raise self.fail(key, f"= {show(value)} holds control characters. Remove them.")
        if not empty and not value.strip():
            raise self.fail(key, "is empty. Give it a value, or leave the key out.")
        return value

    def take_place(self, key: str) -> str:
        """A path or a name that may be one, of a length that a file system takes."""
        value = self.take_text(key, empty=False)
        if len(value.encode()) > 4000 or any(len(p.encode()) > 255 for p in value.split("/")):
            raise self.fail(key, f"= {show(value)} is too long for a path.")
        return value

    def take_choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """One of the allowed words."""
        value = self.take_text(key, default)
        if value not in allowed:
            raise self.fail(key, f"= {show(value)} is unknown. {hint(value, allowed)}")
        return value

    def take_flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(key) if self.has(key) else default
        if not isinstance(value, bool):
            raise self.fail(key, f"= {show(value)} is not true or false.")
        return value

    def take_whole(self, key: str, default: int | None, low: int, high: int) -> int:
        """A whole number from low to high."""
        value = self.raw(key) if default is None or self.has(key) else default
        return self.integer(key, value, low, high)

    def take_optional_whole(self, key: str, low: int, high: int) -> int | None:
        """A whole number from low to high, or None where the key is absent."""
        return self.take_whole(key, None, low, high) if self.has(key) else None

    def take_number(self, key: str, default: float | None, low: float, high: float) -> float:
        """A finite number from low to high."""
        value = self.raw(key) if default is None or self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, f"= {show(value)} is not a number.")
        if not low <= value <= high:  # which nan is not
            raise self.fail(key, f"= {show(value)} is out of range. Allowed: {low:g} to {high:g}.")
        return float(value)

    def take_list(self, key: str, default: Sequence[Any] | None = None) -> list[Any]:
        """A list of anything."""
        value = self.raw(key) if default is None or self.has(key) else list(default)
        if not isinstance(value, list | tuple):
            raise self.fail(key, f"= {show(value)} is not a list. Write it as [ ... ].")
        return list(value)

    def take_words(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of different, non-empty strings."""
        words = self.take_list(key, default)
        for word in words:
            if not isinstance(word, str) or not word.strip():
                raise self.fail(key, f"holds {show(word)}, which is not text.")
        self.refuse_twice(key, words)
        return tuple(words)

    def take_wholes(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A non-empty list of different whole numbers from low to high."""
        numbers = [self.integer(key, number, low, high) for number in self.take_list(key)]
        if not numbers:
            raise self.fail(key, "is an empty list. Give at least one number.")
        self.refuse_twice(key, numbers)
        return tuple(numbers)

    def take_table(self, key: str, default: Mapping[str, Any] | None = None) -> "Table":
        """A table inside this one."""
        value = self.raw(key) if default is None or self.has(key) else default
        return Table(value, self.file, self.key_name(key), self.error)

    def take_tables(self, key: str, most: int | None = None) -> list["Table"]:
        """A non-empty list of tables, written [[key]]; of at most so many."""
        values = self.take_list(key)
        if not values:
            raise self.fail(key, f"is empty. Add at least one [[{key}]].")
        if most is not None and len(values) > most:
            raise self.fail(key, f"holds {len(values)} tables. Allowed: 1 to {most}.")
        return [
            Table(value, self.file, f"{self.key_name(key)}[{index}]", self.error)
            for index, value in enumerate(values)
        ]

    def integer(self, key: str, value: object, low: int, high: int) -> int:
        """The value, if it is a whole number from low to high."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"= {show(value)} is not a whole number.")
        if not low <= value <= high:
            raise self.fail(key, f"= {show(value)} is out of range. Allowed: {low} to {high}.")
        return value

    def refuse_twice(self, key: str, values: Sequence[Any]) -> None:
        """Refuses a list that says the same thing twice."""
        seen = set()
        for value in values:
            if value in seen:
                raise self.fail(key, f"holds {show(value)} twice. Keep one of them.")
            seen.add(value)

    def finish(self) -> None:
        """Refuses keys that nothing has asked for.

        Raises:
            StepscopeError: names the first of them and the keys that exist.
        """
        known = list(dict.fromkeys(self.known))
        for key in self.values:
            if key not in known:
                raise self.fail(show(key)[1:-1], f"is an unknown key. {hint(key, known)}")
