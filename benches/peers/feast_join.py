"""Feast's `get_historical_features` with its offline store PEER_FEAST (`dask`, the default, or `duckdb`)."""

import os
import shutil
import tempfile
from datetime import timedelta
from importlib.metadata import version

import pandas as pd
import peer
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType, types

STORE = os.environ.get("PEER_FEAST", "dask")
KEYS = {"int64": ValueType.INT64, "string": ValueType.STRING}
TYPES = {
    "bool": types.Bool,
    "int32": types.Int32,
    "int64": types.Int64,
    "float32": types.Float32,
    "float64": types.Float64,
    "string": types.String,
    "bytes": types.Bytes,
    "timestamp": types.UnixTimestamp,
    "list<int64>": types.Array(types.Int64),
    "list<string>": types.Array(types.String),
    "vector(float32,8)": types.Array(types.Float32),
}
PROJECT = """\
project: pit
provider: local
registry: registry.db
online_store: { type: sqlite, path: online.db }
offline_store: { type: %s }
entity_key_serialization_version: 3
"""


def features(view):
    """Feast has no dates and decimals: they are left out, and the comparison says so."""
    return [f for f in view["features"] if f["type"] in TYPES]


def definitions(work):
    entities = {}
    for view in work.views:
        key = view["key"]
        entities[key] = Entity(name=key, join_keys=[key], value_type=KEYS[view["key_type"]])
    yield from entities.values()
    for view in work.views:
        source = FileSource(
            name=f"source_{view['name']}",
            path=work.files(view),
            timestamp_field=view["time"],
            created_timestamp_column=view["created"] or "",
        )
        yield FeatureView(
            name=view["name"],
            entities=[entities[view["key"]]],
            ttl=timedelta(microseconds=view["ttl_us"] or 0),
            schema=[Field(name=f["name"], dtype=TYPES[f["type"]]) for f in features(view)],
            source=source,
        )


def prepare(work):
    repo = tempfile.mkdtemp(prefix="pit-feast-")
    with open(os.path.join(repo, "feature_store.yaml"), "w") as file:
        file.write(PROJECT % STORE)
    store = FeatureStore(repo_path=repo)
    store.apply(list(definitions(work)))
    wanted = [f"{view['name']}:{f['name']}" for view in work.views for f in features(view)]
    outputs = [name.replace(":", "__") for name in wanted]

    def join():
        rows = pd.read_parquet(work.spine)
        job = store.get_historical_features(entity_df=rows, features=wanted, full_feature_names=True)
        answer = job.to_df()
        shutil.rmtree(repo, ignore_errors=True)
        return len(answer), lambda path: answer[["row_id", *outputs]].to_parquet(path, index=False)

    return join


peer.main(prepare, {"feast": version("feast")})
