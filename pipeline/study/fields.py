"""Tables of settings read by the types of a record: a msgspec struct says what each key may be.

The types are the only definition; what an error allows is read from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from pipeline.errors import StepscopeError
from pipeline.study.settings import Table, hint, show

Record = TypeVar("Record", bound=msgspec.Struct)


def take_record(table: Table, kind: type[Record]) -> Record:
    """A table as a record; keys that are absent have the record's default.

    Raises:
        StepscopeError: of the table's class; names file, key and value, and says what is allowed.
    """
    values = {
        field.name: _take(table, field.encode_name, field.type)
        for field in msgspec.structs.fields(kind)
        if table.has(field.encode_name) or field.required
    }
    table.finish()
    return kind(**values)


def written_values(record: msgspec.Struct) -> dict[str, Any]:
    """The fields of a record that are not UNSET."""
    values = ((name, getattr(record, name)) for name in record.__struct_fields__)
    return {name: value for name, value in values if value is not msgspec.UNSET}


def _take(table: Table, key: str, kind: Any) -> Any:
    value = table.raw(key)
    try:
        taken = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _explain(table, key, value, inspect.type_info(kind), str(error)) from None
    if isinstance(taken, tuple):
        table.refuse_twice(key, taken)
    return taken


def _explain(table: Table, key: str, value: Any, kind: inspect.Type, reason: str) -> StepscopeError:
    """What is wrong with a value that does not convert."""
    bare = kind.type if isinstance(kind, inspect.Metadata) else kind
    for each in bare.types if isinstance(bare, inspect.UnionType) else (bare,):
        if isinstance(each, inspect.StructType) and isinstance(value, Mapping):
            return _explain_table(table, key, each.cls)
        if isinstance(each, inspect.VarTupleType) and isinstance(value, list | tuple):
            return _explain_list(table, key, value, each.item_type, reason)
    return table.fail(key, f"= {show(value)} {_problem(kind, value)}")


def _explain_table(table: Table, key: str, record: type[msgspec.Struct]) -> StepscopeError:
    try:
        take_record(table.take_table(key), record)
    except StepscopeError as error:
        return error
    raise AssertionError(f"{key} converts, and did not before")


def _explain_list(
    table: Table, key: str, values: Sequence[Any], item: inspect.Type, reason: str
) -> StepscopeError:
    index = re.search(r"`\$\[(\d+)\]", reason)
    if index is None:
        return table.fail(key, "is an empty list. Give at least one.")
    value = values[int(index[1])]
    return table.fail(key, f"holds {show(value)}, which {_problem(item, value)}")


def _problem(kind: inspect.Type, value: Any) -> str:
    """What a type does not accept in a value, and what it does."""
    match kind:
        case inspect.LiteralType(values=words):
            return f"is unknown. {hint(value, [str(word) for word in words])}"
        case inspect.BoolType():
            return "is not true or false."
        case inspect.StrType():
            return "is not text."
        case inspect.VarTupleType():
            return "is not a list. Write it as [ ... ]."
        case inspect.IntType(ge=low, le=high):
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            return (
                f"is out of range. Allowed: {low} to {high}."
                if is_integer
                else "is not a whole number."
            )
        case inspect.FloatType(ge=low, le=high):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return f"is out of range. Allowed: {low} to {high}." if number else "is not a number."
        case inspect.Metadata(extra_json_schema={"description": allowed}):
            return f"is not allowed. Allowed: {allowed}."
    raise AssertionError(f"no message for {kind}")
