"""DuckDB `ASOF JOIN` on Parquet files, the answer as an Arrow table; a ttl is applied to what it found."""

import duckdb
import peer
import pyarrow.parquet as pq


def query(work):
    columns = ["e.*"]
    joins = []
    for view in work.views:
        name, time, ttl = view["name"], view["time"], view["ttl_us"]
        found = f"{name}.{time} >= e.event_timestamp - to_microseconds({ttl})"
        for feature in view["features"]:
            value = f'{name}."{feature["name"]}"'
            if ttl is not None:
                value = f"CASE WHEN {found} THEN {value} END"
            columns.append(f"{value} AS {name}__{feature['name']}")
        rows = f"SELECT * FROM read_parquet('{work.files(view)}')"
        if work.window:
            low, high = work.window
            rows += f" WHERE {time} BETWEEN make_timestamptz({low}) AND make_timestamptz({high})"
        joins.append(
            f"ASOF LEFT JOIN ({rows}) AS {name} "
            f"ON e.{view['key']} = {name}.{view['key']} AND e.event_timestamp >= {name}.{time}"
        )
    return f"SELECT {', '.join(columns)} FROM read_parquet('{work.spine}') AS e {' '.join(joins)}"


def prepare(work):
    connection = duckdb.connect()
    connection.execute("SET preserve_insertion_order = false")
    connection.execute("SET TimeZone = 'UTC'")
    text = query(work)

    def join():
        table = connection.sql(text).to_arrow_table()
        wanted = ["row_id", *work.outputs()]
        return table.num_rows, lambda path: pq.write_table(table.select(wanted), path)

    return join


peer.main(prepare, {"duckdb": duckdb.__version__})
