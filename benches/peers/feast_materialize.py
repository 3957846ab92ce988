"""Feast's `materialize` into Redis: one view over one Parquet file, timed.

`feast_materialize.py REDIS_HOST:PORT FILE FEATURES` prints the seconds.
"""

import os
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64


def main():
    server, file, features = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="pit-feast-") as folder:
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
        view = FeatureView(
            name="v",
            entities=[user],
            ttl=timedelta(days=36500),
            schema=[Field(name=f"f{feature}", dtype=Float64) for feature in range(features)],
            source=FileSource(path=file, timestamp_field="at"),
        )
        store.apply([user, view])
        began = time.perf_counter()
        store.materialize(datetime(2020, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc))
        print(f"\n{time.perf_counter() - began}", flush=True)
        os._exit(0)


main()
