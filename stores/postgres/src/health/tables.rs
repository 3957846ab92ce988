//! What may this user do with the tables that are there, and are they of the form that this larder makes?

use std::time::Duration;

use larder_base::Health;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connect::Conn;
use crate::fault::{self, Fault, Turn};
use crate::sql::{NEWEST, Statement, quote};
use crate::store::Settings;

/// Tables of rows in a schema: names that begin with a text, and what this user may do with them.
const ROWS: &str = "SELECT c.relname::text, has_table_privilege(c.oid, 'SELECT'), has_table_privilege(c.oid, 'INSERT'), \
    has_table_privilege(c.oid, 'UPDATE'), has_table_privilege(c.oid, 'DELETE'), \
    (SELECT string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) \
     FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
    (SELECT string_agg(a.attname::text, ', ' ORDER BY k.place) FROM pg_catalog.pg_index AS i \
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place) \
     JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
     WHERE i.indrelid = c.oid AND i.indisprimary) \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND left(c.relname::text, length($2)) = $2 ORDER BY 1";

/// Whether the table of versions may be read; nothing where it is missing.
const VERSIONS: &str = "SELECT has_table_privilege(c.oid, 'SELECT') FROM pg_catalog.pg_class AS c \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')";

/// Columns and primary key of a table of rows.
const FORM: (&str, &str) = (
    "generation bigint, key bytea, row bytea, expires bigint",
    "generation, key",
);

/// The rights that are looked at, in the order of the answer.
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The tables that are there.
#[derive(Debug, Default)]
pub(super) struct Found {
    schema: String,
    tables: Vec<Table>,
    versions: String,
    /// Whether the table of versions may be read; nothing where it is missing.
    readable: Option<bool>,
}

/// One table of rows.
#[derive(Debug, Clone)]
struct Table {
    name: String,
    may: [bool; 4],
    columns: String,
    primary: String,
    version: Option<i32>,
}

/// Asks for the tables of a store, whatever project they are of.
pub(super) async fn ask(conn: &Conn, settings: &Settings, limit: Duration) -> Result<Found, Fault> {
    let (schema, versions, head) = settings.names();
    let two = [Type::TEXT, Type::TEXT];
    let rows = Statement::new(ROWS.to_owned(), &two);
    let rows = conn.query(&rows, &[&schema, &head], limit).await?;
    let odd =
        |error: tokio_postgres::Error| fault::odd("postgres tells its tables in another way").told(error);
    let tables: Result<Vec<Table>, _> = rows.iter().map(Table::of).collect();
    let right = Statement::new(VERSIONS.to_owned(), &two);
    let right = conn.query(&right, &[&schema, &versions], limit).await?;
    let readable = right.first().map(|row| row.try_get(0)).transpose().map_err(odd)?;
    let mut found = Found {
        schema: quote(schema),
        tables: tables.map_err(odd)?,
        versions: quote(&versions),
        readable,
    };
    if readable == Some(true) {
        let text = format!("SELECT part, version FROM {}.{}", found.schema, found.versions);
        let known = conn.query(&Statement::new(text, &[]), &[], limit).await;
        let known = match known {
            // Without a right on the schema nothing in it can be read, which shows below.
            Err(fault) if fault.turn == Turn::Give => Vec::new(),
            known => known?,
        };
        for row in &known {
            let (part, version): (&str, i32) = (row.try_get(0).map_err(odd)?, row.try_get(1).map_err(odd)?);
            let table = found.tables.iter_mut().find(|table| table.name == part);
            if let Some(table) = table {
                table.version = Some(version);
            }
        }
    }
    Ok(found)
}

impl Table {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            name: row.try_get(0)?,
            may: [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?],
            columns: row.try_get::<_, Option<String>>(5)?.unwrap_or_default(),
            primary: row.try_get::<_, Option<String>>(6)?.unwrap_or_default(),
            version: None,
        })
    }

    fn is_ours(&self) -> bool {
        self.may.contains(&true)
    }
}

impl Found {
    /// Whether there is a table that this user may use in some way.
    pub(super) fn any(&self) -> bool {
        self.tables.iter().any(Table::is_ours)
    }

    /// What will fail. A table with which the user may do nothing is somebody else's, unless there is no other.
    pub(super) fn tell(&self, mut health: Health, user: &str) -> Health {
        let (schema, user) = (&self.schema, quote(user));
        for table in self.tables.iter().filter(|table| table.is_ours() || !self.any()) {
            let name = format!("{schema}.{}", quote(&table.name));
            let missing: Vec<&str> = (0..4).filter(|at| !table.may[*at]).map(|at| RIGHTS[at]).collect();
            if !missing.is_empty() {
                health = health.warning(format!(
                    "the user may not {0} in {name}: what needs that will fail; GRANT {0} ON {name} TO {user}",
                    missing.join(", ")
                ));
            }
            let newest = i32::try_from(NEWEST).unwrap_or(i32::MAX);
            if let Some(version) = table.version.filter(|version| *version > newest) {
                health = health.warning(format!(
                    "{name} is of a newer larder (version {version}, known are versions up to {newest}): nothing can be written; \
                     use that version of larder, or a newer one"
                ));
            } else if (table.columns.as_str(), table.primary.as_str()) != FORM {
                health = health.warning(format!(
                    "{name} has another form than this store makes (columns: {}; primary key: {}): reads and writes will fail; \
                     move it away, then `larder apply` and `larder materialize`",
                    table.columns, table.primary
                ));
            }
        }
        if self.readable == Some(false) && self.any() {
            health = health.warning(format!(
                "the user may not SELECT in {schema}.{0}: nothing can be written; GRANT SELECT ON {schema}.{0} TO {user}",
                self.versions
            ));
        }
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tables: Vec<Table>) -> Found {
        Found {
            schema: "\"s\"".to_owned(),
            tables,
            versions: "\"larder_versions\"".to_owned(),
            readable: Some(true),
        }
    }

    fn fine() -> Table {
        Table {
            name: "larder_online_shop".to_owned(),
            may: [true; 4],
            columns: FORM.0.to_owned(),
            primary: FORM.1.to_owned(),
            version: Some(1),
        }
    }

    fn told(found: &Found) -> Vec<String> {
        found.tell(Health::default(), "bob").warnings
    }

    #[test]
    fn rights_and_form_are_told() {
        assert_eq!(told(&found(vec![fine()])), [""; 0]);
        let reader = Table {
            may: [true, false, false, false],
            ..fine()
        };
        let warnings = told(&found(vec![reader.clone()]));
        assert!(
            warnings[0].contains("GRANT INSERT, UPDATE, DELETE ON \"s\".\"larder_online_shop\" TO \"bob\""),
            "{warnings:?}"
        );
        let others = Table {
            may: [false; 4],
            name: "larder_online_other".to_owned(),
            ..fine()
        };
        assert_eq!(told(&found(vec![fine(), others.clone()])), [""; 0]);
        assert!(told(&found(vec![others]))[0].contains("SELECT, INSERT, UPDATE, DELETE"));
        let odd = Table {
            columns: "a text".to_owned(),
            ..fine()
        };
        assert!(told(&found(vec![odd.clone()]))[0].contains("another form"));
        let newer = Table {
            version: Some(9),
            ..odd
        };
        assert!(told(&found(vec![newer]))[0].contains("newer larder"));
        let blind = Found {
            readable: Some(false),
            ..found(vec![fine()])
        };
        assert!(told(&blind)[0].contains("larder_versions"));
    }
}
