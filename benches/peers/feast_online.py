"""Feast's SDK over Redis: 50 float64 features in three views (17, 17, 16), some numbers of rows, each read timed.

`feast_online.py REDIS_HOST:PORT ENTITIES ROWS,ROWS,…` prints one JSON document: for each number of rows, in µs, the median and the
99th percentile until there is an answer, and the median until a program has its values (`to_dict`); and what Redis holds per entity.
"""

import json
import os
import random
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

import pandas as pd
import redis
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

WIDTHS = [17, 17, 16]
SECONDS = 4


def main():
    server, entities = sys.argv[1], int(sys.argv[2])
    sizes = [int(rows) for rows in sys.argv[3].split(",")]
    host, port = server.split(":")
    client = redis.Redis(host=host, port=int(port))
    with tempfile.TemporaryDirectory(prefix="pit-feast-") as folder:
        store = definitions(folder, server)
        before = client.info("memory")["used_memory"]
        write(store, entities)
        held = client.info("memory")["used_memory"] - before
        report = {"bytes": held / entities, "rows": {}}
        features = store.get_feature_service("all")
        for rows in sizes:
            report["rows"][rows] = read(store, features, entities, rows)
        print("\n" + json.dumps(report), flush=True)
        os._exit(0)


def definitions(folder, server):
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=os.path.join(folder, "registry.db"),
            online_store={"type": "redis", "connection_string": server},
            entity_key_serialization_version=3,
        )
    )
    user = Entity(name="user", join_keys=["id"], value_type=ValueType.INT64)
    source = FileSource(path=os.path.join(folder, "none.parquet"), timestamp_field="at")
    views = [
        FeatureView(
            name=f"v{view}",
            entities=[user],
            ttl=timedelta(days=36500),
            schema=[Field(name=f"v{view}_f{f}", dtype=Float64) for f in range(width)],
            source=source,
        )
        for view, width in enumerate(WIDTHS)
    ]
    # Feast looks at the source's columns, never at its rows, which are written by themselves.
    columns = {f"v{view}_f{f}": [0.0] for view, width in enumerate(WIDTHS) for f in range(width)}
    frame = pd.DataFrame({"id": [0], "at": [datetime.now(timezone.utc)]} | columns)
    frame.to_parquet(os.path.join(folder, "none.parquet"))
    store.apply([user, *views, FeatureService(name="all", features=views)])
    return store


def write(store, entities):
    now = datetime.now(timezone.utc)
    for view, width in enumerate(WIDTHS):
        for first in range(0, entities, 10_000):
            ids = range(first, min(entities, first + 10_000))
            frame = {"id": list(ids), "at": [now] * len(ids)}
            frame |= {f"v{view}_f{f}": [1.0 / (i + f + 3) for i in ids] for f in range(width)}
            store.write_to_online_store(f"v{view}", pd.DataFrame(frame))


def read(store, features, entities, rows):
    samples, values = [], []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(samples) < 5:
        asked = [{"id": random.randrange(entities)} for _ in range(rows)]
        began = time.perf_counter()
        answer = store.get_online_features(features=features, entity_rows=asked)
        samples.append((time.perf_counter() - began) * 1e6)
        found = answer.to_dict()
        values.append((time.perf_counter() - began) * 1e6)
        assert len(found) == 1 + sum(WIDTHS)
    # The first ones fill Feast's caches.
    samples, values = sorted(samples[2:]), sorted(values[2:])
    return [samples[len(samples) // 2], samples[(len(samples) - 1) * 99 // 100], values[len(values) // 2]]


main()
