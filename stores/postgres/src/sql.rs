//! Which tables and statements there are: names quoted once, text built once per project.

use larder_base::ProjectName;
use tokio_postgres::types::Type;

/// Longest identifier of Postgres, in bytes.
const MAX_IDENTIFIER: usize = 63;
/// The 16 bytes of a packed row that order it, as `substring` counts: bytea compares unsigned, byte by byte.
const VERSION: &str = "from 9 for 16";
/// The bytes that name its view generation.
const GENERATION: &str = "from 5 for 4";
/// The newest version of a table that is known here: how many steps there are.
pub(crate) const NEWEST: usize = 1;
/// Where the mark of the store's identity stands: beside all generations, so that it goes with the rows.
pub(crate) const MARK: i64 = -1;

/// The tables of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    /// The schema, quoted.
    pub(crate) schema: String,
    /// The unquoted names of the schema and the table of versions.
    pub(crate) schema_name: String,
    pub(crate) versions_name: String,
    /// The table of rows, qualified and quoted.
    pub(crate) rows: String,
    /// The table of versions, qualified and quoted.
    pub(crate) versions: String,
    /// The unquoted name of the table of rows, by which the table of versions knows it.
    pub(crate) part: String,
    /// The names of the primary key and of the index over expiry, quoted.
    primary: String,
    expiry: String,
}

impl Tables {
    pub(crate) fn new(schema: &str, prefix: &str, project: &ProjectName) -> Self {
        // Tables and indexes share their names' room: what follows the prefix tells them apart, whatever the project.
        let name = |what: &str| fit(&format!("{prefix}{what}_{project}"));
        let part = name("online");
        let quoted = quote(schema);
        let versions_name = versions_name(prefix);
        Self {
            schema_name: schema.to_owned(),
            rows: format!("{quoted}.{}", quote(&part)),
            versions: format!("{quoted}.{}", quote(&versions_name)),
            versions_name,
            primary: quote(&name("key")),
            expiry: quote(&name("expiry")),
            schema: quoted,
            part,
        }
    }

    /// What turns each version of the table into the next; the first one makes it.
    ///
    /// A step is never changed once it was released: tables of that version exist.
    pub(crate) fn steps(&self) -> [String; NEWEST] {
        let rows = &self.rows;
        // Rows are updated in place where a page has room. Packed values are small and rarely get smaller.
        [format!(
            "CREATE TABLE {rows} (generation bigint NOT NULL, key bytea NOT NULL, row bytea NOT NULL, expires bigint, \
             CONSTRAINT {} PRIMARY KEY (generation, key)) WITH (fillfactor = 80); \
             ALTER TABLE {rows} ALTER COLUMN row SET STORAGE EXTERNAL; \
             CREATE INDEX {} ON {rows} (expires) WHERE expires IS NOT NULL",
            self.primary, self.expiry
        )]
    }

    /// What somebody must be granted who reads.
    pub(crate) fn to_read(&self) -> String {
        format!(
            "GRANT USAGE ON SCHEMA {}, and SELECT on {} and {}",
            self.schema, self.rows, self.versions
        )
    }

    /// What somebody must be granted who writes.
    pub(crate) fn to_write(&self) -> String {
        format!(
            "GRANT SELECT, INSERT, UPDATE ON {}, and SELECT on {}",
            self.rows, self.versions
        )
    }

    /// What somebody must be granted who removes what nobody reads any more.
    pub(crate) fn to_remove(&self) -> String {
        format!("GRANT SELECT, UPDATE, DELETE ON {}", self.rows)
    }

    /// What somebody must be granted who makes tables.
    pub(crate) fn to_make(&self) -> String {
        format!(
            "GRANT USAGE, CREATE ON SCHEMA {}, and SELECT, INSERT, UPDATE on {}; or make the tables as somebody who may, \
             with `larder apply`",
            self.schema, self.versions
        )
    }

    pub(crate) fn make_versions(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (part text PRIMARY KEY, version integer NOT NULL)",
            self.versions
        )
    }

    /// What of all this is there: the schema, the table of versions, the table of rows.
    pub(crate) fn there(&self) -> Statement {
        // Not `to_regclass`: within a transaction it may go by what was known before somebody else's commit.
        let table = |number: u8| {
            format!(
                "EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = ${number} AND c.relkind IN ('r', 'p'))"
            )
        };
        let text = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1), {}, {}",
            table(2),
            table(3)
        );
        Statement::new(text, &[Type::TEXT, Type::TEXT, Type::TEXT])
    }

    pub(crate) fn version(&self) -> Statement {
        let text = format!("SELECT version FROM {} WHERE part = $1", self.versions);
        Statement::new(text, &[Type::TEXT])
    }

    pub(crate) fn set_version(&self) -> Statement {
        let text = format!(
            "INSERT INTO {} (part, version) VALUES ($1, $2) ON CONFLICT (part) DO UPDATE SET version = excluded.version",
            self.versions
        );
        Statement::new(text, &[Type::TEXT, Type::INT4])
    }

    pub(crate) fn identity(&self) -> Statement {
        let text = format!(
            "SELECT row FROM {} WHERE generation = {MARK} AND key = ''::bytea",
            self.rows
        );
        Statement::new(text, &[])
    }

    pub(crate) fn set_identity(&self) -> Statement {
        let text = format!(
            "INSERT INTO {} (generation, key, row) VALUES ({MARK}, ''::bytea, $1) ON CONFLICT DO NOTHING",
            self.rows
        );
        Statement::new(text, &[Type::BYTEA])
    }

    /// Rows by (generation, key): one probe of the primary key for each, whatever the planner believes.
    pub(crate) fn read(&self) -> Statement {
        // OFFSET 0 keeps the lookup from being planned as a join of whole tables.
        let text = format!(
            "SELECT asked.place, found.row FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY \
             AS asked (generation, key, place), \
             LATERAL (SELECT stored.row FROM {} AS stored \
             WHERE stored.generation = asked.generation AND stored.key = asked.key OFFSET 0) AS found",
            self.rows
        );
        Statement::new(text, &[Type::INT8_ARRAY, Type::BYTEA_ARRAY])
    }

    /// Rows of one generation, each key once; counts those that are now stored.
    pub(crate) fn write(&self, newest_wins: bool) -> Statement {
        let mut text = format!(
            "INSERT INTO {} AS stored (generation, key, row, expires) \
             SELECT $1::bigint, sent.key, sent.row, sent.expires \
             FROM unnest($2::bytea[], $3::bytea[], $4::bigint[]) AS sent (key, row, expires) \
             ON CONFLICT (generation, key) DO UPDATE SET row = excluded.row, expires = excluded.expires",
            self.rows
        );
        if newest_wins {
            // What is no row of this generation loses against any, so that damage goes when a row is written again: what
            // is too short, has no format, or names another generation. A newer format is compared like this one.
            text += &format!(
                " WHERE length(stored.row) < 24 OR substring(stored.row from 1 for 1) = decode('00', 'hex') \
                 OR substring(stored.row {GENERATION}) <> substring(excluded.row {GENERATION}) \
                 OR substring(stored.row {VERSION}) <= substring(excluded.row {VERSION})"
            );
        }
        Statement::new(
            text,
            &[Type::INT8, Type::BYTEA_ARRAY, Type::BYTEA_ARRAY, Type::INT8_ARRAY],
        )
    }

    /// Removes a page of a generation: how many rows went, and the last key of the page.
    pub(crate) fn reclaim(&self) -> Statement {
        let rows = &self.rows;
        let text = format!(
            "WITH page AS (SELECT key FROM {rows} WHERE generation = $1 AND key >= $2 ORDER BY key LIMIT $3 FOR UPDATE), \
             gone AS (DELETE FROM {rows} AS stored USING page \
             WHERE stored.generation = $1 AND stored.key = page.key RETURNING 1) \
             SELECT (SELECT count(*) FROM gone), (SELECT key FROM page ORDER BY key DESC LIMIT 1)"
        );
        Statement::new(text, &[Type::INT8, Type::BYTEA, Type::INT8])
    }

    /// Removes some rows that expired before an instant.
    pub(crate) fn expire(&self) -> Statement {
        let rows = &self.rows;
        // What a writer holds now is left for the next time: nobody waits, so nobody waits in a circle. The time is asked
        // again of the row that goes: it may have been replaced meanwhile.
        let text = format!(
            "WITH page AS MATERIALIZED (SELECT generation, key FROM {rows} WHERE expires < $1 LIMIT $2 \
             FOR UPDATE SKIP LOCKED), \
             gone AS (DELETE FROM {rows} AS stored USING page WHERE stored.generation = page.generation \
             AND stored.key = page.key AND stored.expires < $1 RETURNING 1) \
             SELECT count(*) FROM gone"
        );
        Statement::new(text, &[Type::INT8, Type::INT8])
    }

    /// A page of a generation in key order.
    pub(crate) fn scan(&self) -> Statement {
        let text = format!(
            "SELECT key, row FROM {} WHERE generation = $1 AND key >= $2 ORDER BY key LIMIT $3",
            self.rows
        );
        Statement::new(text, &[Type::INT8, Type::BYTEA, Type::INT8])
    }
}

/// One statement and the types of its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) types: Vec<Type>,
}

impl Statement {
    pub(crate) fn new(text: String, types: &[Type]) -> Self {
        Self {
            text,
            types: types.to_vec(),
        }
    }
}

/// An identifier in quotes: any text but one with a NUL is then a name and nothing else.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The unquoted name of the table that knows the versions of the others.
pub(crate) fn versions_name(prefix: &str) -> String {
    fit(&format!("{prefix}versions"))
}

/// A name that Postgres does not cut: a long one keeps its head, and a digest tells it from its like.
fn fit(name: &str) -> String {
    if name.len() <= MAX_IDENTIFIER {
        return name.to_owned();
    }
    let digest = format!("_{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()));
    let mut head = MAX_IDENTIFIER - digest.len();
    while !name.is_char_boundary(head) {
        head -= 1;
    }
    format!("{}{digest}", &name[..head])
}

/// The smallest key behind another one.
pub(crate) fn behind(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(schema: &str, prefix: &str, project: &str) -> Tables {
        Tables::new(schema, prefix, &ProjectName::new(project).expect("a name"))
    }

    #[test]
    fn names_are_quoted() {
        let plain = tables("public", "larder_", "shop");
        assert_eq!(plain.rows, r#""public"."larder_online_shop""#);
        assert_eq!(plain.versions, r#""public"."larder_versions""#);
        let odd = tables(r#"x"; DROP"#, r#"é""#, "Shop-1");
        assert_eq!(odd.rows, r#""x""; DROP"."é""online_Shop-1""#);
    }

    #[test]
    fn long_names_stay_apart_and_fit() {
        let (one, two) = ("p".repeat(127) + "1", "p".repeat(127) + "2");
        let (one, two) = (
            tables("s", "larder_é", &one).part,
            tables("s", "larder_é", &two).part,
        );
        assert_ne!(one, two);
        assert!(one.len() <= MAX_IDENTIFIER && two.len() <= MAX_IDENTIFIER);
        assert_eq!(fit(&"é".repeat(40)).len(), 63);
    }

    #[test]
    fn the_version_is_where_rows_have_it() {
        let range = larder_base::row::VERSION_RANGE;
        let expected = format!("from {} for {}", range.start + 1, range.len());
        assert_eq!(VERSION, expected);
        assert_eq!(larder_base::row::HEADER, 24);
    }

    #[test]
    fn no_project_has_a_table_where_another_has_an_index() {
        let names = |project: &str| {
            let tables = tables("public", "larder_", project);
            [
                quote(&tables.part),
                quote(&tables.versions_name),
                tables.primary,
                tables.expiry,
            ]
        };
        let app = names("app");
        for other in [
            "app_expires",
            "app_expiry",
            "app_pkey",
            "app_key",
            "key_app",
            "expiry_app",
            "versions",
        ] {
            let other = names(other);
            assert!(
                other.iter().all(|name| !app.contains(name) || *name == app[1]),
                "{other:?}"
            );
        }
    }

    #[test]
    fn nothing_lies_between_a_key_and_the_one_behind() {
        assert_eq!(behind(b"a"), b"a\0");
        assert!(behind(b"").as_slice() > b"".as_slice());
    }
}
