//! How a project's table comes to be, changes its form, and gets its identity: once, whoever else tries.

use larder_base::{ErrorKind, ProjectName, StoreIdentity};
use larder_remote::Tries;

use crate::connect::Conn;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault, Turn};
use crate::sql::{MARK, NEWEST, Statement, Tables};
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
    settings.meters.admin.round_trips.increment(2);
    let found = async {
        let identity = read_identity(&lease.conn, &tables, pool).await?;
        let version = version(&lease.conn, &tables, pool).await?;
        check_version(version.unwrap_or(0))?;
        Ok(identity)
    };
    let found = found.await;
    match lease.settle(found) {
        Err(fault) if fault.turn == Turn::NoTable => Ok(None),
        result => result.map_err(fault::needs(|| tables.to_read())),
    }
}

/// Makes sure that the project's table is none of a newer larder, once per process: its rows are not to be touched.
pub(crate) async fn known(pool: &Pool, settings: &Settings, project: &ProjectName) -> Result<(), Fault> {
    if settings.known.lock().contains(project) {
        return Ok(());
    }
    let tables = settings.tables(project);
    let lease = pool.take().await?;
    settings.meters.admin.round_trips.increment(1);
    let found = version(&lease.conn, &tables, pool).await;
    check_version(lease.settle(found)?.unwrap_or(0))?;
    settings.known.lock().insert(project.clone());
    Ok(())
}

/// Brings the project's table into its newest form and answers its identity, if it has one then.
pub(crate) async fn prepare(
    pool: &Pool,
    settings: &Settings,
    project: &ProjectName,
    want: Want,
) -> Result<Option<StoreIdentity>, Fault> {
    let tables = settings.tables(project);
    // Whoever holds the lock is done soon.
    let mut tries = Tries::new(settings.write_timeout);
    loop {
        let tried = async {
            let lease = pool.take().await?;
            settings.meters.admin.round_trips.increment(1);
            let done = migrate(&lease.conn, &tables, pool, want).await;
            // After a failure the connection closes, and its transaction with it.
            lease.settle(done)
        };
        match tried.await {
            Err(fault) if fault.passes() && tries.again().await => {
                settings.meters.admin.retries.increment(1);
            }
            result => return result.map_err(fault::needs(|| tables.to_make())),
        }
    }
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
        true => match version(conn, tables, pool).await? {
            Some(version) => version,
            None => return Err(unknown(tables)),
        },
        // What the table of versions says of a table that is gone is history.
        false => 0,
    };
    check_version(version)?;
    for step in &steps[version..] {
        conn.batch(step, limit).await?;
    }
    if version < NEWEST {
        let newest = i32::try_from(NEWEST).map_err(|_| fault::odd("too many versions"))?;
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
    check_version(version)?;
    match version == NEWEST {
        true => read_identity(conn, tables, pool).await,
        false => Ok(None),
    }
}

/// A table of the right name that nobody of us made.
fn unknown(tables: &Tables) -> Fault {
    let unknown = Fault::new(
        Turn::Give,
        ErrorKind::Corrupt,
        "postgres has a table where this project's would be, and its version is not known",
        format!(
            "check whose {} is; if it is nobody's, drop it, then `larder materialize`",
            tables.rows
        ),
    );
    unknown.told(format!("{} does not name it", tables.versions))
}

fn check_version(found: usize) -> Result<(), Fault> {
    if found <= NEWEST {
        return Ok(());
    }
    let newer = Fault::new(
        Turn::Give,
        ErrorKind::Unsupported,
        "the tables in postgres are of a newer larder",
        "use that version of larder, or a newer one",
    );
    Err(newer.told(format!("version {found}, known are versions up to {NEWEST}")))
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
    // Nobody can tell whose rows these are, so they count as lost.
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| {
        fault::odd("the mark of the store's identity in postgres is damaged").remedy(format!(
            "run DELETE FROM {} WHERE generation = {MARK}; `larder materialize` then fills the store anew",
            tables.rows
        ))
    })?;
    Ok(Some(StoreIdentity(u128::from_be_bytes(bytes))))
}

/// The number of the advisory lock under which tables change: one for all that share a table of versions.
fn lock_of(tables: &Tables) -> i64 {
    xxhash_rust::xxh3::xxh3_64(tables.versions.as_bytes()).cast_signed()
}
