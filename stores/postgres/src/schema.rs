//! How a project's table comes to be, changes its form, and gets its identity: once, whoever else tries.

use larder_base::{ErrorKind, ProjectName, StoreIdentity};

use crate::connect::Conn;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault, Turn};
use crate::sql::{Statement, Tables};
use crate::store::Settings;

/// What the project's table is asked to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// A table in the newest form.
    Table,
    /// The same, and an identity if it has none.
    Identity,
}

/// The identity of a project's rows; none without its table, or for one that was emptied.
pub(crate) async fn identity(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
) -> Result<Option<StoreIdentity>, Fault> {
    let tables = settings.tables(project);
    let lease = pool.take().await?;
    settings.meters.admin.round_trips.increment(1);
    let found = read_identity(&lease.conn, &tables, pool).await;
    match lease.settle(found) {
        Err(fault) if fault.turn == Turn::NoTable => Ok(None),
        result => result,
    }
}

/// Brings the project's table into its newest form and answers its identity, if it has one then.
pub(crate) async fn prepare(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
    want: Want,
) -> Result<Option<StoreIdentity>, Fault> {
    let tables = settings.tables(project);
    let lease = pool.take().await?;
    settings.meters.admin.round_trips.increment(1);
    let done = migrate(&lease.conn, &tables, pool, want).await;
    // After a failure the connection closes, and its transaction with it.
    lease.settle(done)
}

async fn migrate(
    conn: &Conn,
    tables: &Tables,
    pool: &Pool,
    want: Want,
) -> Result<Option<StoreIdentity>, Fault> {
    let limit = pool.patience;
    if let Some(identity) = already(conn, tables, pool).await? {
        return Ok(Some(identity));
    }
    conn.batch("BEGIN", limit).await?;
    // Held until the transaction ends, so that a pooler may stand between.
    let lock = Statement::new(
        "SELECT pg_advisory_xact_lock($1)".to_owned(),
        &[tokio_postgres::types::Type::INT8],
    );
    conn.query(&lock, &[&lock_of(tables)], limit).await?;
    let [schema, versions, rows] = there(conn, tables, pool).await?;
    if !schema {
        conn.batch(&format!("CREATE SCHEMA IF NOT EXISTS {}", tables.schema), limit)
            .await?;
    }
    if !versions {
        conn.batch(&tables.make_versions(), limit).await?;
    }
    let steps = tables.steps();
    let version = match rows {
        true => version(conn, tables, pool).await?.unwrap_or(0),
        // What the table of versions says of a table that is gone is history.
        false => 0,
    };
    check_version(version, steps.len())?;
    for step in &steps[version..] {
        conn.batch(step, limit).await?;
    }
    if version < steps.len() {
        let newest = i32::try_from(steps.len()).map_err(|_| fault::odd("too many versions"))?;
        conn.execute(&tables.set_version(), &[&tables.part, &newest], limit)
            .await?;
    }
    if want == Want::Identity {
        let fresh = StoreIdentity::random().0.to_be_bytes();
        conn.execute(&tables.set_identity(), &[&&fresh[..]], limit)
            .await?;
    }
    let identity = read_identity(conn, tables, pool).await?;
    conn.batch("COMMIT", limit).await?;
    Ok(identity)
}

/// The identity of a table that is there in its newest form: nothing needs to be locked then.
async fn already(conn: &Conn, tables: &Tables, pool: &Pool) -> Result<Option<StoreIdentity>, Fault> {
    let [_, versions, rows] = there(conn, tables, pool).await?;
    if !versions || !rows {
        return Ok(None);
    }
    let version = version(conn, tables, pool).await?.unwrap_or(0);
    let newest = tables.steps().len();
    check_version(version, newest)?;
    match version == newest {
        true => read_identity(conn, tables, pool).await,
        false => Ok(None),
    }
}

fn check_version(found: usize, known: usize) -> Result<(), Fault> {
    if found <= known {
        return Ok(());
    }
    let newer = Fault::new(
        Turn::Give,
        ErrorKind::Unsupported,
        "the tables in postgres are of a newer larder",
        "use that version of larder, or a newer one",
    );
    Err(newer.told(format!("version {found}, known are versions up to {known}")))
}

async fn there(conn: &Conn, tables: &Tables, pool: &Pool) -> Result<[bool; 3], Fault> {
    let parameters: [crate::connect::Parameter<'_>; 3] =
        [&tables.schema_name, &tables.versions_name, &tables.part];
    let found = conn.query(&tables.there(), &parameters, pool.patience).await?;
    let row = found
        .first()
        .ok_or_else(|| fault::odd("postgres does not know its tables"))?;
    let mut there = [false; 3];
    for (column, is_there) in there.iter_mut().enumerate() {
        *is_there = row.try_get(column).map_err(|error| fault::of_client(&error))?;
    }
    Ok(there)
}

async fn version(conn: &Conn, tables: &Tables, pool: &Pool) -> Result<Option<usize>, Fault> {
    let found = conn
        .query(&tables.version(), &[&tables.part], pool.patience)
        .await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let version: i32 = row.try_get(0).map_err(|error| fault::of_client(&error))?;
    usize::try_from(version)
        .map(Some)
        .map_err(|_| fault::odd("a version in postgres is below zero"))
}

async fn read_identity(conn: &Conn, tables: &Tables, pool: &Pool) -> Result<Option<StoreIdentity>, Fault> {
    let found = conn.query(&tables.identity(), &[], pool.patience).await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    let bytes: &[u8] = row.try_get(0).map_err(|error| fault::of_client(&error))?;
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| fault::odd("the mark of the store's identity in postgres is damaged"))?;
    Ok(Some(StoreIdentity(u128::from_be_bytes(bytes))))
}

/// The number of the advisory lock under which tables change: one for all that share a table of versions.
fn lock_of(tables: &Tables) -> i64 {
    xxhash_rust::xxh3::xxh3_64(tables.versions.as_bytes()).cast_signed()
}
