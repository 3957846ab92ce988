//! Whether a Postgres can be used as it should be, and what will hurt later.

mod tables;

use larder_base::{Health, Micros};
use tokio_postgres::Row;

use crate::connect::pool::Pool;
use crate::fault::{self, Fault};
use crate::sql::{Statement, quote};
use crate::store::Settings;

/// Clocks that differ by more than this are worth a word, in µs.
const SKEW: i64 = 2_000_000;
/// The oldest server that is supported.
const OLDEST: i32 = 12;

const ASK: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, \
    pg_is_in_recovery(), current_setting('fsync'), current_setting('synchronous_commit'), \
    current_setting('full_page_writes'), current_setting('autovacuum'), \
    (extract(epoch from clock_timestamp()) * 1000000)::bigint, \
    current_setting('max_connections')::int, (SELECT count(*)::int FROM pg_stat_activity), \
    pg_database_size(current_database()), current_user::text, \
    to_regnamespace($1) IS NOT NULL, \
    CASE WHEN to_regnamespace($1) IS NULL THEN has_database_privilege(current_database(), 'CREATE') \
    ELSE has_schema_privilege(to_regnamespace($1)::oid, 'CREATE') AND has_schema_privilege(to_regnamespace($1)::oid, 'USAGE') END";

/// Asks the server how it is.
pub(crate) async fn check(
    pool: &Pool,
    settings: &Settings,
    connections: i64,
    now: Micros,
) -> Result<Health, Fault> {
    let statement = Statement::new(ASK.to_owned(), &[tokio_postgres::types::Type::TEXT]);
    let schema = quote(settings.names().0);
    let lease = pool.take().await?;
    settings.meters.admin.round_trips.increment(2);
    let found = async {
        let rows = lease.conn.query(&statement, &[&schema], pool.patience).await?;
        let tables = tables::ask(&lease.conn, settings, pool.patience).await?;
        Ok((rows, tables))
    };
    let found = found.await;
    let (rows, tables) = lease.settle(found)?;
    let row = rows
        .first()
        .ok_or_else(|| fault::odd("postgres does not tell its state"))?;
    let state =
        State::of(row).map_err(|error| fault::odd("postgres tells its state in another way").told(error))?;
    let health = tables.tell(state.tell(connections, now), &state.user);
    // Whoever makes tables is perhaps not who uses them.
    Ok(match tables.any() {
        true => health,
        false => state.may_make(health, &schema),
    })
}

/// What a server says about itself.
#[derive(Debug, Clone)]
struct State {
    version: String,
    major: i32,
    standby: bool,
    fsync: String,
    synchronous_commit: String,
    full_page_writes: String,
    autovacuum: String,
    /// Its clock, in µs.
    time: i64,
    max_connections: i32,
    used_connections: i32,
    bytes: i64,
    user: String,
    schema: bool,
    may_create: bool,
}

impl State {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            version: row.try_get(0)?,
            major: row.try_get(1)?,
            standby: row.try_get(2)?,
            fsync: row.try_get(3)?,
            synchronous_commit: row.try_get(4)?,
            full_page_writes: row.try_get(5)?,
            autovacuum: row.try_get(6)?,
            time: row.try_get(7)?,
            max_connections: row.try_get(8)?,
            used_connections: row.try_get(9)?,
            bytes: row.try_get(10)?,
            user: row.try_get(11)?,
            schema: row.try_get(12)?,
            may_create: row.try_get(13)?,
        })
    }

    /// What is worth showing, and what will hurt.
    fn tell(&self, connections: i64, now: Micros) -> Health {
        let mut health = Health::new(format!("postgres {}", self.version))
            .detail("role", if self.standby { "standby" } else { "primary" })
            .detail("user", &self.user)
            .detail(
                "connections",
                format!("{} of {}", self.used_connections, self.max_connections),
            )
            .detail("database", format!("{} MiB", self.bytes >> 20));
        let mut warn = |true_now: bool, text: String| {
            if true_now {
                health = std::mem::take(&mut health).warning(text);
            }
        };
        warn(
            self.major < OLDEST,
            format!("this postgres is older than {OLDEST} and is not tested; use {OLDEST} or newer"),
        );
        warn(
            self.standby,
            "this postgres is a standby: nothing can be written; name the primary in `url`".to_owned(),
        );
        for (name, value) in [
            ("fsync", &self.fsync),
            ("full_page_writes", &self.full_page_writes),
        ] {
            warn(
                value == "off",
                format!("{name} is off: a crash of the machine may destroy the database; turn it on"),
            );
        }
        warn(
            self.synchronous_commit == "off",
            "synchronous_commit is off: acknowledged writes of the last moments are lost in a crash; turn it on, \
             or materialize again after a crash (`larder materialize --repair`)"
                .to_owned(),
        );
        warn(
            self.autovacuum == "off",
            "autovacuum is off: updated rows leave dead ones behind for ever; turn it on".to_owned(),
        );
        warn(
            connections > i64::from(self.max_connections),
            format!(
                "max_connections is {}, and this store alone may open {connections}; lower `connections`, or raise it",
                self.max_connections
            ),
        );
        let skew = self.time.saturating_sub(now.0);
        warn(
            skew.saturating_abs() > SKEW,
            format!(
                "the clock of postgres differs from this machine's by {} s; keep both in time (NTP)",
                skew / 1_000_000
            ),
        );
        health
    }

    /// Whether the first table of a project can be made.
    fn may_make(&self, health: Health, schema: &str) -> Health {
        match (self.may_create, self.schema) {
            (true, _) => health,
            (false, true) => health.warning(format!(
                "there is no table in schema {schema}, and the user may not create one: `larder apply` will fail; \
                 GRANT USAGE, CREATE ON SCHEMA {schema} TO {}",
                quote(&self.user)
            )),
            (false, false) => health.warning(format!(
                "schema {schema} is missing and the user may not create it; create it, or grant CREATE on the database"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> State {
        State {
            version: "15.4".to_owned(),
            major: 15,
            standby: false,
            fsync: "on".to_owned(),
            synchronous_commit: "on".to_owned(),
            full_page_writes: "on".to_owned(),
            autovacuum: "on".to_owned(),
            time: 5,
            max_connections: 100,
            used_connections: 3,
            bytes: 9 << 20,
            user: "me".to_owned(),
            schema: true,
            may_create: true,
        }
    }

    #[test]
    fn what_will_hurt_is_told() {
        let health = fine().may_make(fine().tell(12, Micros(5)), "public");
        assert_eq!(
            (health.backend.as_str(), health.warnings.len()),
            ("postgres 15.4", 0)
        );
        let bad = State {
            major: 9,
            standby: true,
            fsync: "off".to_owned(),
            synchronous_commit: "off".to_owned(),
            full_page_writes: "off".to_owned(),
            autovacuum: "off".to_owned(),
            time: -9_000_000,
            max_connections: 5,
            may_create: false,
            ..fine()
        };
        let health = bad.may_make(bad.tell(12, Micros(0)), "public");
        let told = health.warnings.join("\n");
        for part in [
            "older than",
            "standby",
            "GRANT",
            "fsync",
            "full_page_writes",
            "synchronous_commit",
            "autovacuum",
            "max_connections",
            "clock",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let missing = State {
            schema: false,
            may_create: false,
            ..fine()
        };
        assert!(missing.may_make(missing.tell(1, Micros(5)), "s").warnings[0].contains("missing"));
    }
}
