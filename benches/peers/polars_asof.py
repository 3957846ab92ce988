"""Polars `join_asof` over lazily scanned files. With PEER_TIES=1 a created time decides among equal event times."""

import os
from datetime import datetime, timedelta, timezone

import peer
import polars as pl

TIES = os.environ.get("PEER_TIES") == "1"
ENGINE = os.environ.get("PEER_POLARS_ENGINE", "streaming")


def instant(us):
    return datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=us)


def source(work, view):
    name, time = view["name"], view["time"]
    table = pl.scan_parquet(work.files(view))
    if work.window:
        low, high = map(instant, work.window)
        table = table.filter(pl.col(time).is_between(low, high))
    by = [f"{name}__time"]
    columns = [pl.col(view["key"]).alias(f"{name}__key"), pl.col(time).alias(f"{name}__time")]
    if TIES and view["created"]:
        by.append(f"{name}__created")
        columns.append(pl.col(view["created"]).alias(f"{name}__created"))
    columns += [pl.col(f["name"]).alias(f"{name}__{f['name']}") for f in view["features"]]
    return table.select(columns).sort(by, nulls_last=False)


def prepare(work):
    def join():
        spine = pl.scan_parquet(work.spine)
        kept = spine.collect_schema().names()
        rows = spine.sort("event_timestamp")
        for view in work.views:
            name, ttl = view["name"], view["ttl_us"]
            rows = rows.join_asof(
                source(work, view),
                left_on="event_timestamp",
                right_on=f"{name}__time",
                by_left=view["key"],
                by_right=f"{name}__key",
                strategy="backward",
                tolerance=timedelta(microseconds=ttl) if ttl is not None else None,
                check_sortedness=False,
            )
        answer = rows.select(kept + work.outputs()).collect(engine=ENGINE)
        return answer.height, lambda path: answer.select(["row_id", *work.outputs()]).write_parquet(path)

    return join


peer.main(prepare, {"polars": pl.__version__})
