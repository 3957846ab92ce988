//! How do rows of retired views leave DynamoDB: exactly, slowly, and touching nothing else?
//!
//! Partition keys have no order, so the items of a generation are found by walking over the table. That costs a unit
//! per 8 KB of the whole table, once for all generations that leave together, and a unit per item that goes; an index
//! would instead cost a unit and more with every first write of an item. A walk that is broken off goes on from an item that
//! tells how far it came. Expired rows need none of this.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use larder_base::{Generation, Micros, ProjectName, ReclaimReport, Span};

use crate::batch;
use crate::call::{Patience, Progress, send};
use crate::fault::{Fault, Turn, odd};
use crate::layout::{self, EXPIRES, Item, KEY, ROW};
use crate::store::Settings;

/// Generations that one walk looks for: an expression has a limited length.
const AT_ONCE: usize = 50;
/// How long a page of a walk may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a sweep waits for a server that does not let it go on.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of the item that tells how far a walk came.
const BOOKMARK: &str = "reclaim";
/// How often a walk tells it.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// How long that counts: rows written behind a walk by somebody late are found by the next one after that.
const MARK_HOLDS: Span = Span::days(1);

/// Removes all rows of retired generations.
///
/// Correctness never depends on it: nobody reads a retired generation.
pub(crate) async fn reclaim(
    settings: &Settings,
    project: &ProjectName,
    retired: &[Generation],
    now: impl Fn() -> Micros,
) -> Result<ReclaimReport, Fault> {
    let mut retired = retired.to_vec();
    retired.sort_unstable();
    retired.dedup();
    let mut rows = 0;
    for generations in retired.chunks(AT_ONCE) {
        let walk = Walk {
            settings,
            table: &settings.table(project),
            generations,
            now: &now,
        };
        match walk.run().await {
            Ok(gone) => rows += gone,
            Err(fault) if fault.turn == Turn::NoTable => break,
            Err(fault) => return Err(fault),
        }
    }
    tracing::debug!(
        rows,
        generations = retired.len(),
        "removed rows of retired views from dynamodb"
    );
    Ok(ReclaimReport::new(rows))
}

/// One walk over a table, for some generations.
struct Walk<'a, N> {
    settings: &'a Settings,
    table: &'a str,
    generations: &'a [Generation],
    now: &'a N,
}

/// What one page of a walk found.
struct Page {
    keys: Vec<Vec<u8>>,
    /// Where the next page begins; none at the end.
    next: Option<Vec<u8>>,
    units: f64,
}

impl<N: Fn() -> Micros> Walk<'_, N> {
    /// Goes page by page, from where one that was broken off ended; answers how many rows went.
    async fn run(&self) -> Result<u64, Fault> {
        let settings = self.settings;
        let operation = &settings.meters.admin;
        let progress = Progress::new();
        let mut patience = Patience::new(&progress, PATIENCE);
        let mut after = loop {
            match self.bookmark().await {
                Err(fault) if fault.passes() => patience.pause(operation, fault).await?,
                result => break result?,
            }
        };
        let mut marked = after.is_some().then(Instant::now);
        let (mut rows, begun) = (0, Instant::now());
        loop {
            let started = Instant::now();
            let page = match self.page(after.as_deref()).await {
                Err(fault) if fault.passes() => {
                    patience.pause(operation, fault).await?;
                    continue;
                }
                result => result?,
            };
            patience.made_progress();
            let mut units = page.units;
            rows += page.keys.len() as u64;
            if !page.keys.is_empty() {
                let requests = page.keys.into_iter().map(batch::delete);
                let requests = requests.collect::<Result<Vec<_>, _>>()?;
                units += batch::send_all(settings, operation, self.table, requests, true).await?;
            }
            let Some(next) = page.next else { break };
            if marked.unwrap_or(begun).elapsed() >= MARK_EVERY {
                self.mark(&next).await?;
                marked = Some(Instant::now());
            }
            after = Some(next);
            let due = Duration::from_secs_f64(units / f64::from(settings.reclaim_rate));
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
        if marked.is_some() {
            let gone = vec![batch::delete(layout::mark_key(BOOKMARK))?];
            batch::send_all(settings, operation, self.table, gone, true).await?;
        }
        Ok(rows)
    }

    async fn page(&self, after: Option<&[u8]>) -> Result<Page, Fault> {
        let settings = self.settings;
        let names: Vec<String> = (0..self.generations.len())
            .map(|at| format!("begins_with({KEY}, :g{at})"))
            .collect();
        let mut request = settings
            .client()
            .scan()
            .table_name(self.table)
            .projection_expression(KEY)
            .filter_expression(names.join(" OR "))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(after.map(layout::key_of));
        for (at, generation) in self.generations.iter().enumerate() {
            let prefix = layout::binary(layout::prefix(*generation));
            request = request.expression_attribute_values(format!(":g{at}"), prefix);
        }
        let answer = send(&settings.meters, &settings.meters.admin, LIMIT, request.send()).await?;
        let told = answer.consumed_capacity().and_then(|units| units.capacity_units);
        settings.read_units.add(told);
        let key = |mut item: Item| {
            layout::take(&mut item, KEY).ok_or_else(|| odd("an item in dynamodb has no binary key"))
        };
        let next = answer.last_evaluated_key.filter(|key| !key.is_empty());
        let keys = answer.items.unwrap_or_default().into_iter().map(key);
        Ok(Page {
            keys: keys.collect::<Result<_, _>>()?,
            next: next.map(key).transpose()?,
            // A page is 1 MB of items, whoever does not tell what it cost.
            units: told.unwrap_or(128.0),
        })
    }

    /// Tells the next walk for the same generations where to begin.
    async fn mark(&self, next: &[u8]) -> Result<(), Fault> {
        let until = (self.now)().plus(MARK_HOLDS).0.div_euclid(1_000_000);
        let mut item = layout::key_of(layout::mark_key(BOOKMARK));
        item.insert(ROW.to_owned(), layout::binary(bookmark(self.generations, next)));
        item.insert(EXPIRES.to_owned(), AttributeValue::N(until.to_string()));
        let put = vec![batch::put(item)?];
        batch::send_all(self.settings, &self.settings.meters.admin, self.table, put, true)
            .await
            .map(drop)
    }

    /// Where a walk for the same generations was broken off, not long ago.
    async fn bookmark(&self) -> Result<Option<Vec<u8>>, Fault> {
        let settings = self.settings;
        let request = settings
            .client()
            .get_item()
            .table_name(self.table)
            .set_key(Some(layout::key_of(layout::mark_key(BOOKMARK))))
            .consistent_read(true)
            .send();
        let told = send(&settings.meters, &settings.meters.admin, LIMIT, request).await?;
        let Some(mut item) = told.item else {
            return Ok(None);
        };
        let until: Option<i64> = item
            .get(EXPIRES)
            .and_then(|until| until.as_n().ok()?.parse().ok());
        let holds = until.is_some_and(|until| (self.now)().0.div_euclid(1_000_000) < until);
        let place = layout::take(&mut item, ROW).and_then(|mark| place_in(&mark, self.generations));
        Ok(place.filter(|_| holds))
    }
}

/// How far a walk came: how many generations it looks for (4 bytes, big-endian), these, and the last key that it saw.
fn bookmark(generations: &[Generation], next: &[u8]) -> Vec<u8> {
    let mut mark = (generations.len() as u32).to_be_bytes().to_vec();
    for generation in generations {
        mark.extend_from_slice(&generation.0.to_be_bytes());
    }
    mark.extend_from_slice(next);
    mark
}

/// The last key in a mark, if it is about the same generations.
fn place_in(mark: &[u8], generations: &[Generation]) -> Option<Vec<u8>> {
    let place = mark.strip_prefix(bookmark(generations, &[]).as_slice())?;
    (!place.is_empty()).then(|| place.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_for_the_same_generations() {
        let [a, b] = [Generation(1), Generation(0x0001_0000)];
        let mark = bookmark(&[a, b], b"key");
        assert_eq!(place_in(&mark, &[a, b]), Some(b"key".to_vec()));
        for others in [&[a][..], &[b], &[b, a], &[a, b, b], &[]] {
            assert_eq!(place_in(&mark, others), None, "{others:?}");
        }
        assert_eq!(place_in(&bookmark(&[a], b""), &[a]), None);
        assert_eq!(place_in(b"", &[a]), None);
    }
}
