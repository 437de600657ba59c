"""A score of another program: the contrast of exported images, one line of JSON for each.

python data/scores/contrast.py EXPORT > contrast.jsonl

EXPORT is a folder that the command `export` wrote. It needs pyarrow and Pillow, and nothing of Stepscope.
"""

import io
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image, ImageStat

for file in sorted(Path(sys.argv[1], "data", "samples").glob("*.parquet")):
    for row in pq.read_table(file, columns=["sample_id", "status", "image"]).to_pylist():
        if row["status"] == "done":
            image = Image.open(io.BytesIO(row["image"])).convert("L")
            value = ImageStat.Stat(image).stddev[0]  # 0 to 127.5
            print(json.dumps({"sample_id": row["sample_id"], "value": value}))
