//! How rows are read: one statement for all views of a project, decoded from the client's own reply.

use std::sync::Arc;

use futures::future::try_join_all;
use hashbrown::HashMap;
use larder_base::{FeatureBlock, OnlineRead, ProjectName};
use tokio_postgres::Row;

use crate::connect::Conn;
use crate::connect::pool::Pool;
use crate::fault::{self, Fault, Turn};
use crate::sql::Statement;
use crate::store::Settings;

/// Lookups of one statement: larger requests are cut, and the pieces sent at once.
const LOOKUPS: usize = 20_000;

/// What is asked of one project's table.
struct Asked<'a> {
    project: &'a ProjectName,
    statement: Arc<Statement>,
    /// Each (generation, key) once.
    generations: Vec<i64>,
    keys: Vec<&'a [u8]>,
    /// Where answers go: slot, row, and which lookup.
    cells: Vec<(u16, usize, usize)>,
}

/// Reads everything a request needs.
pub(crate) async fn read(
    pool: &Pool,
    settings: &Settings,
    request: &OnlineRead,
    out: &mut FeatureBlock,
    partial: bool,
) -> Result<(), Fault> {
    let asked = plan(settings, request);
    if asked.iter().all(|asked| asked.keys.is_empty()) {
        return Ok(());
    }
    let answers = match once(pool, settings, &asked).await {
        // An idle connection may have broken unseen; a new one tells whether the server is there.
        Err(fault) if fault.turn == Turn::Reconnect => {
            settings.meters.read.retries.increment(1);
            once(pool, settings, &asked).await?
        }
        result => result?,
    };
    for (asked, pieces) in asked.iter().zip(&answers) {
        put(asked, pieces, out, partial)?;
    }
    Ok(())
}

/// The answers to each part: its pieces, none where the project has no table.
type Answers = Vec<Vec<Vec<Row>>>;

async fn once(pool: &Pool, settings: &Settings, asked: &[Asked<'_>]) -> Result<Answers, Fault> {
    let lease = pool.take().await?;
    settings.meters.read.round_trips.increment(1);
    let keys: usize = asked.iter().map(|asked| asked.keys.len()).sum();
    settings.meters.read.keys.increment(keys as u64);
    let parts = asked.iter().map(|asked| async {
        let rights = || settings.tables(asked.project).to_read();
        let found = ask(&lease.conn, asked, pool).await;
        found.map_err(fault::needs(rights))
    });
    let answers = try_join_all(parts).await;
    lease.settle(answers)
}

async fn ask(conn: &Conn, asked: &Asked<'_>, pool: &Pool) -> Result<Vec<Vec<Row>>, Fault> {
    let found = async {
        let ready = conn.ready(&asked.statement, pool.patience).await?;
        let pieces = asked.generations.chunks(LOOKUPS).zip(asked.keys.chunks(LOOKUPS));
        let ready = &ready;
        let pieces =
            pieces.map(|(generations, keys)| async move { ready.query(&[&generations, &keys]).await });
        try_join_all(pieces).await
    };
    match found.await {
        // Nothing was ever written: there is no error in asking.
        Err(fault) if fault.turn == Turn::NoTable => Ok(Vec::new()),
        result => result,
    }
}

/// Which lookup answers for a (generation, key).
type Seen<'a> = HashMap<(i64, &'a [u8]), usize, foldhash::fast::RandomState>;

fn plan<'a>(settings: &Settings, request: &'a OnlineRead) -> Vec<Asked<'a>> {
    let mut parts: Vec<(Asked<'a>, Seen<'a>)> = Vec::new();
    for group in &request.groups {
        for view in &group.views {
            let project = view.layout.project();
            let at = match parts.iter().position(|(asked, _)| asked.project == project) {
                Some(at) => at,
                None => {
                    let asked = Asked {
                        project,
                        statement: settings.read_statement(project),
                        generations: Vec::new(),
                        keys: Vec::new(),
                        cells: Vec::new(),
                    };
                    parts.push((asked, HashMap::default()));
                    parts.len() - 1
                }
            };
            let (asked, seen) = &mut parts[at];
            let generation = i64::from(view.layout.generation().0);
            for (row, key) in group.keys.iter().enumerate() {
                let Some(key) = key else { continue };
                let next = asked.keys.len();
                let lookup = *seen.entry((generation, key)).or_insert(next);
                if lookup == next {
                    asked.generations.push(generation);
                    asked.keys.push(key);
                }
                asked.cells.push((view.slot, row, lookup));
            }
        }
    }
    parts.into_iter().map(|(asked, _)| asked).collect()
}

fn put(asked: &Asked<'_>, pieces: &[Vec<Row>], out: &mut FeatureBlock, partial: bool) -> Result<(), Fault> {
    let mut found: Vec<Option<&[u8]>> = vec![None; asked.keys.len()];
    for (piece, rows) in pieces.iter().enumerate() {
        for row in rows {
            let odd = |error: tokio_postgres::Error| {
                fault::odd("postgres answered something else than rows").told(error)
            };
            let place: i64 = row.try_get(0).map_err(odd)?;
            let place = usize::try_from(place).unwrap_or(0).wrapping_sub(1);
            let bytes: &[u8] = row.try_get(1).map_err(odd)?;
            match found.get_mut(place.saturating_add(piece * LOOKUPS)) {
                Some(found) => *found = Some(bytes),
                None => return Err(fault::odd("postgres answered a row that nobody asked for")),
            }
        }
    }
    for (slot, row, lookup) in &asked.cells {
        let Some(bytes) = found[*lookup] else { continue };
        match out.put_row(*slot, *row, bytes) {
            Ok(()) => {}
            Err(error) if partial => out.fail(*slot, *row, error.kind()),
            Err(error) => return Err(Fault::damaged(out.layout(*slot).view(), *row, &error)),
        }
    }
    Ok(())
}
