"""Answers many statements as `console_child` does one, in one process with its limits: `python -I ask_many.py < JSON > JSON`.

Starting a process takes longer than a cheap statement. Reads {"child": file, "request": {...}, "statements": [...]}; writes
for each statement {"error": text} or {"names": [...], "rows": n, "first": first cell as text}.
"""

import importlib.util
import json
import os
import sys

import pyarrow as pa

asked = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("console_child", asked["child"])
child = importlib.util.module_from_spec(spec)
sys.modules["console_child"] = child
spec.loader.exec_module(child)
request = asked["request"]
child.limit(request["memory"], 300, request["files"])
os.chdir(request["folder"])
problems = []
for sql in asked["statements"]:
    head, _, body = child.respond(child.Request(**{**request, "sql": sql})).partition(b"\n")
    said = json.loads(head)
    if "error" not in said:
        rows = pa.ipc.open_stream(body).read_all()
        first = rows.column(0)[0].as_py() if len(rows) else None
        said = {"names": said["names"], "rows": len(rows), "first": str(first)}
    problems.append(said)
json.dump(problems, sys.stdout)
