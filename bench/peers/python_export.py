"""Stored images as Arrow record batches with psycopg 3: python_export.py METHOD COLUMNS ROWS QUERY

METHOD is `cursor` (a server-side binary cursor) or `copy` (binary COPY); COLUMNS names the columns that QUERY gives, and
`image` is decoded from base64. The environment names the database (PGURL). Prints JSON: rows/s, and what tells that all
of it came. ROWS is how many rows a batch has.
"""
import json
import os
import sys
import time
from binascii import a2b_base64

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

method, names, batch_rows, query = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3]), sys.argv[4]
TYPES = {
    "id": pa.utf8(),
    "image": pa.binary(),
    "known_label": pa.int32(),
    "prediction": pa.int32(),
    "confidence": pa.float32(),
    "scores": pa.list_(pa.float32()),
    "ingested_at": pa.timestamp("us", tz="UTC"),
}
POSTGRES = {
    "id": "text",
    "image": "text",
    "known_label": "int4",
    "prediction": "int4",
    "confidence": "float4",
    "scores": "float4[]",
    "ingested_at": "timestamptz",
}


def batch(rows):
    columns = list(zip(*rows))
    arrays = []
    for name, column in zip(names, columns):
        if name == "image":
            column = [a2b_base64(value) for value in column]
        arrays.append(pa.array(column, type=TYPES[name]))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def by_cursor(connection):
    with connection.cursor("export", binary=True) as cursor:
        cursor.execute(query)
        while rows := cursor.fetchmany(batch_rows):
            yield batch(rows)


def by_copy(connection):
    with connection.cursor() as cursor:
        with cursor.copy(f"copy ({query}) to stdout (format binary)") as copy:
            copy.set_types([POSTGRES[name] for name in names])
            rows = []
            for row in copy.rows():
                rows.append(row)
                if len(rows) == batch_rows:
                    yield batch(rows)
                    rows = []
            if rows:
                yield batch(rows)


count = labels = image_bytes = 0
started = time.perf_counter()
with psycopg.connect(os.environ["PGURL"]) as connection:
    for each in (by_cursor if method == "cursor" else by_copy)(connection):
        count += each.num_rows
        labels += pc.sum(each.column("known_label")).as_py() or 0
        if "image" in names:
            image_bytes += pc.sum(pc.binary_length(each.column("image"))).as_py()
seconds = time.perf_counter() - started
print(json.dumps({"rate": count / seconds, "rows": count, "labels": labels, "imageBytes": image_bytes}))
