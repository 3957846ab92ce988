//! How are rows read: each key once, in pages of a hundred for all views together, pages side by side, and what is left
//! over asked for again until the deadline?

use std::hash::BuildHasher;

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnConsumedCapacity};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hashbrown::HashTable;
use larder_base::{ErrorKind, FeatureBlock, OnPartial, OnlineRead, ProjectName, ReadOptions, Result};
use larder_remote::within;

use crate::call::{Patience, Progress, send};
use crate::fault::{Fault, Turn, left_over, odd};
use crate::layout::{self, KEY, ROW};
use crate::store::Settings;

/// Most keys of one request.
const KEYS: usize = 100;

/// What is asked of one project's table.
struct Asked {
    table: String,
    /// Keys of items, each once.
    keys: Vec<Vec<u8>>,
    /// Where a key stands in them.
    places: HashTable<usize>,
    hasher: foldhash::fast::RandomState,
    /// Where answers go: slot, row, and which key.
    cells: Vec<(u16, usize, usize)>,
}

/// Some keys of a table, asked for together.
struct Page<'a> {
    asked: &'a Asked,
    /// What was not answered yet.
    missing: Vec<usize>,
    /// What is there.
    found: Vec<(usize, Vec<u8>)>,
}

/// Reads everything a request needs.
pub(crate) async fn read(
    settings: &Settings,
    request: &OnlineRead,
    options: &ReadOptions,
    out: &mut FeatureBlock,
) -> Result<(), Fault> {
    let partial = options.on_partial == OnPartial::Return;
    let asked = plan(settings, request);
    let mut pages: Vec<Page<'_>> = asked.iter().flat_map(pages).collect();
    if !pages.is_empty() {
        let work = fetch_all(settings, &mut pages, partial);
        match within(options, work).await {
            // What is missing is told of each row.
            Err(fault) if partial && fault.is_passing() => {}
            result => result?,
        }
    }
    for asked in &asked {
        let pages = pages.iter().filter(|page| std::ptr::eq(page.asked, asked));
        put(asked, pages, out, partial)?;
    }
    Ok(())
}

impl Asked {
    fn new(table: String) -> Self {
        Self {
            table,
            keys: Vec::new(),
            places: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            cells: Vec::new(),
        }
    }

    /// The place of a key, which is a new one where nobody asked for it yet.
    fn place(&mut self, key: &[u8]) -> usize {
        let Self {
            keys, places, hasher, ..
        } = self;
        let next = keys.len();
        let entry = places.entry(
            hasher.hash_one(key),
            |place| keys[*place] == key,
            |place| hasher.hash_one(keys[*place].as_slice()),
        );
        let place = *entry.or_insert(next).get();
        if place == next {
            keys.push(key.to_vec());
        }
        place
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.places
            .find(self.hasher.hash_one(key), |place| self.keys[*place] == key)
            .copied()
    }
}

fn plan(settings: &Settings, request: &OnlineRead) -> Vec<Asked> {
    let mut parts: Vec<(&ProjectName, Asked)> = Vec::new();
    let mut item_key = Vec::new();
    for group in &request.groups {
        for view in &group.views {
            let project = view.layout.project();
            let at = match parts.iter().position(|(of, _)| *of == project) {
                Some(at) => at,
                None => {
                    parts.push((project, Asked::new(settings.table(project))));
                    parts.len() - 1
                }
            };
            let asked = &mut parts[at].1;
            item_key.clear();
            item_key.extend_from_slice(&layout::prefix(view.layout.generation()));
            let start = item_key.len();
            for (row, key) in group.keys.iter().enumerate() {
                let Some(key) = key else { continue };
                item_key.truncate(start);
                item_key.extend_from_slice(key);
                let place = asked.place(&item_key);
                asked.cells.push((view.slot, row, place));
            }
        }
    }
    parts.into_iter().map(|(_, asked)| asked).collect()
}

/// As few pages as can be, of about the same size: the largest one decides how long a read takes.
fn pages(asked: &Asked) -> impl Iterator<Item = Page<'_>> {
    let count = asked.keys.len().div_ceil(KEYS);
    let size = asked.keys.len().div_ceil(count.max(1)).max(1);
    let page = move |start| Page {
        asked,
        missing: (start..asked.keys.len().min(start + size)).collect(),
        found: Vec::new(),
    };
    (0..asked.keys.len()).step_by(size).map(page)
}

async fn fetch_all(settings: &Settings, pages: &mut [Page<'_>], partial: bool) -> Result<(), Fault> {
    let mut worst = Ok(());
    let mut take = |result: Result<(), Fault>| match result {
        // Others may still answer.
        Err(fault) if partial && fault.is_passing() => {
            worst = Err(fault);
            Ok(())
        }
        result => result,
    };
    let mut under_way = FuturesUnordered::new();
    for page in pages {
        if under_way.len() >= settings.reads.limit()
            && let Some(result) = under_way.next().await
        {
            take(result)?;
        }
        under_way.push(fetch(settings, page));
    }
    while let Some(result) = under_way.next().await {
        take(result)?;
    }
    worst
}

/// Asks until every key of a page is answered, or it makes no sense any more.
fn fetch<'a>(settings: &'a Settings, page: &'a mut Page<'_>) -> BoxFuture<'a, Result<(), Fault>> {
    Box::pin(async move {
        let operation = &settings.meters.read;
        let progress = Progress::new();
        let mut patience = Patience::new(&progress, settings.timeout);
        let mut reconnects = 0;
        loop {
            let before = page.missing.len();
            match ask(settings, page).await {
                Ok(()) if page.missing.is_empty() => return Ok(()),
                Ok(()) => {
                    if page.missing.len() < before {
                        patience.made_progress();
                    }
                    settings.left_over.increment(page.missing.len() as u64);
                    patience.pause(operation, left_over()).await?;
                }
                Err(fault) => match fault.turn {
                    // Nothing was ever written: there is no error in asking.
                    Turn::NoTable => {
                        page.missing.clear();
                        return Ok(());
                    }
                    // Idle connections may have broken unseen; a new one tells whether the server is there.
                    Turn::Reconnect if reconnects < 2 => {
                        reconnects += 1;
                        patience.pause(operation, fault).await?;
                    }
                    Turn::Later | Turn::Again => patience.pause(operation, fault).await?,
                    _ => return Err(fault),
                },
            }
        }
    })
}

/// Asks once for what is missing.
async fn ask(settings: &Settings, page: &mut Page<'_>) -> Result<(), Fault> {
    let asked = page.asked;
    let _place = settings.reads.enter(&settings.meters, settings.timeout).await?;
    let keys = page
        .missing
        .iter()
        .map(|place| layout::key_of(asked.keys[*place].clone()));
    let keys = KeysAndAttributes::builder()
        .set_keys(Some(keys.collect()))
        .projection_expression(format!("{KEY}, {ROW}"))
        .consistent_read(settings.consistent_reads)
        .build()
        .map_err(|_| odd("a request to dynamodb names no keys"))?;
    settings.meters.read.keys.increment(page.missing.len() as u64);
    let request = settings
        .client()
        .batch_get_item()
        .request_items(&asked.table, keys)
        .return_consumed_capacity(ReturnConsumedCapacity::Total)
        .send();
    let answer = send(&settings.meters, &settings.meters.read, settings.timeout, request).await?;
    let units = answer.consumed_capacity();
    settings
        .read_units
        .add(Some(units.iter().filter_map(|units| units.capacity_units).sum()));
    for mut item in answer
        .responses
        .into_iter()
        .flatten()
        .flat_map(|(_, items)| items)
    {
        let (Some(key), Some(row)) = (layout::take(&mut item, KEY), layout::take(&mut item, ROW)) else {
            return Err(odd("an item in dynamodb is no row"));
        };
        match asked.find(&key) {
            Some(place) => page.found.push((place, row)),
            None => return Err(odd("dynamodb answered an item that nobody asked for")),
        }
    }
    page.missing.clear();
    for (_, left) in answer.unprocessed_keys.into_iter().flatten() {
        for mut key in left.keys {
            let place = layout::take(&mut key, KEY).and_then(|key| asked.find(&key));
            page.missing
                .push(place.ok_or_else(|| odd("dynamodb left over a key that nobody asked for"))?);
        }
    }
    Ok(())
}

fn put<'a>(
    asked: &Asked,
    pages: impl Iterator<Item = &'a Page<'a>>,
    out: &mut FeatureBlock,
    partial: bool,
) -> Result<(), Fault> {
    let mut found: Vec<Answer<'_>> = vec![Answer::Absent; asked.keys.len()];
    for page in pages {
        for (place, row) in &page.found {
            found[*place] = Answer::Row(row);
        }
        for place in &page.missing {
            found[*place] = Answer::Missing;
        }
    }
    for (slot, row, place) in &asked.cells {
        match found[*place] {
            Answer::Absent => {}
            Answer::Missing => out.fail(*slot, *row, ErrorKind::Unavailable),
            Answer::Row(bytes) => match out.put_row(*slot, *row, bytes) {
                Ok(()) => {}
                Err(error) if partial => out.fail(*slot, *row, error.kind()),
                Err(error) => return Err(Fault::damaged(out.layout(*slot).view(), *row, &error)),
            },
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Answer<'a> {
    Absent,
    Missing,
    Row(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(keys: usize) -> Asked {
        let mut asked = Asked::new("t".to_owned());
        for key in 0..keys {
            assert_eq!(asked.place(&key.to_be_bytes()), key);
        }
        asked
    }

    #[test]
    fn pages_are_few_and_even() {
        let sizes = |keys| {
            let asked = asked(keys);
            let pages: Vec<Vec<usize>> = pages(&asked).map(|page| page.missing).collect();
            assert_eq!(pages.concat(), (0..keys).collect::<Vec<_>>());
            pages.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert!(sizes(0).is_empty());
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(100), [100]);
        assert_eq!(sizes(101), [51, 50]);
        assert_eq!(sizes(1_000), [100; 10]);
    }

    #[test]
    fn a_key_is_asked_for_once() {
        let mut asked = asked(3);
        assert_eq!(asked.place(&1_usize.to_be_bytes()), 1);
        assert_eq!(
            (asked.keys.len(), asked.find(&2_usize.to_be_bytes())),
            (3, Some(2))
        );
        assert_eq!(asked.find(b"other"), None);
    }
}
