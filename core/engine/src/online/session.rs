//! A session: keys go in, one call per store, answers come out; nothing is allocated once warm.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashTable;
use larder_base::{
    EntityKeys, Error, ErrorKind, FeatureBlock, Micros, OnPartial, OnlineRead, ReadFuture, ReadOptions,
    Result, Value,
};

use super::bound::{Bound, BoundStore};
use super::handle::{KeyHandle, KeyType, RequestHandle};
use super::outcome::Outcome;
use super::plan::PlanInner;

/// Owns everything a read writes to. Reuse it: the next read uses the same memory.
#[derive(Debug)]
pub struct Session {
    plan: Arc<PlanInner>,
    pub(super) bound: Arc<Bound>,
    columns: Vec<Column>,
    groups: Vec<Group>,
    pub(super) stores: Vec<Answer>,
    hasher: foldhash::fast::RandomState,
    /// The first mistake in the keys of the next read.
    mistake: Option<Error>,
    pub(super) rows: usize,
    pub(super) oldest: Option<larder_base::Span>,
    /// The instant that decided what is expired.
    pub(super) now: Micros,
}

/// Keys of one column as canonical keys of that column alone.
#[derive(Debug, Default)]
struct Column {
    keys: EntityKeys,
    broadcast: bool,
    given: bool,
}

/// The distinct keys of one key set, and which row asks for which.
#[derive(Debug, Default)]
struct Group {
    /// Shared with requests during a read only; otherwise the session's own.
    keys: Arc<EntityKeys>,
    /// Row → distinct key; empty where they are the same.
    map: Vec<u32>,
    seen: HashTable<u32>,
}

/// The request to one store and its answer.
#[derive(Debug)]
pub(super) struct Answer {
    request: OnlineRead,
    pub(super) block: FeatureBlock,
}

impl Session {
    pub(super) fn new(plan: Arc<PlanInner>) -> Self {
        let bound = plan.bound.load_full();
        let mut session = Self {
            plan,
            bound: bound.clone(),
            columns: Vec::new(),
            groups: Vec::new(),
            stores: Vec::new(),
            hasher: foldhash::fast::RandomState::default(),
            mistake: None,
            rows: 0,
            oldest: None,
            now: Micros::MIN,
        };
        session.bind(bound);
        session
    }

    /// Takes a new snapshot's numbers; equal signatures keep the caller's handles valid.
    fn bind(&mut self, bound: Arc<Bound>) {
        self.columns.resize_with(bound.keys.len(), Column::default);
        self.groups.resize_with(bound.groups.len(), Group::default);
        let answer = |store: &BoundStore| Answer {
            request: store.template.clone(),
            block: FeatureBlock::new(),
        };
        self.stores = bound.stores.iter().map(answer).collect();
        self.bound = bound;
    }

    /// Gives the keys of a column, one per row.
    pub fn column<K: KeyType>(&mut self, key: KeyHandle<K>, values: &[K]) -> &mut Self {
        self.fill(key.index, false, values.iter().map(Some))
    }

    /// Gives the keys of a column, one per row; `None` is a null key and reads as not found.
    pub fn nullable<K: KeyType>(&mut self, key: KeyHandle<K>, values: &[Option<K>]) -> &mut Self {
        self.fill(key.index, false, values.iter().map(Option::as_ref))
    }

    /// Gives one key for all rows.
    pub fn broadcast<K: KeyType>(&mut self, key: KeyHandle<K>, value: K) -> &mut Self {
        self.fill(key.index, true, std::iter::once(Some(&value)))
    }

    fn fill<'a, K: KeyType>(
        &mut self,
        index: usize,
        broadcast: bool,
        values: impl Iterator<Item = Option<&'a K>>,
    ) -> &mut Self {
        let Some(column) = self.columns.get_mut(index) else {
            self.mistake
                .get_or_insert(Error::input("a key handle of another plan"));
            return self;
        };
        column.keys.clear();
        column.broadcast = broadcast;
        column.given = true;
        for value in values {
            match value {
                None => column.keys.push_null(),
                Some(value) => {
                    let mut writer = column.keys.begin();
                    value.write(&mut writer);
                    if let Err(error) = writer.finish() {
                        self.mistake.get_or_insert(error);
                    }
                }
            }
        }
        self
    }

    /// Gives the keys of a column by name as single values, for callers that learn types at run time.
    ///
    /// # Errors
    /// `Input` for an unknown column or a value of another type.
    pub fn values(&mut self, name: &str, values: &[Value]) -> Result<&mut Self> {
        let mut found = false;
        for (known, column) in self
            .bound
            .keys
            .iter()
            .zip(&mut self.columns)
            .filter(|(key, _)| key.name == *name)
        {
            found = true;
            column.keys.clear();
            column.broadcast = false;
            column.given = true;
            for value in values {
                column
                    .keys
                    .push_values(std::slice::from_ref(&known.key), std::slice::from_ref(value))?;
            }
        }
        if found {
            return Ok(self);
        }
        let known = self.bound.keys.iter().map(|key| key.name.as_str());
        Err(Error::input(format!("no key column `{name}` is needed"))
            .help(larder_base::error::suggest(name, known)))
    }

    /// Gives a request field. There are none until part 5, so there is no handle to call it with.
    pub fn request<T: ?Sized>(&mut self, _field: RequestHandle<T>, _values: &[Value]) -> &mut Self {
        self
    }

    /// Reads.
    ///
    /// # Errors
    /// `Input` for missing key columns or columns of different lengths; `Timeout` at the deadline,
    /// `Unavailable` and others of the stores, unless partial answers are allowed.
    pub async fn read(&mut self, options: ReadOptions) -> Result<Outcome<'_>> {
        let started = options.timeout.map(|timeout| (Instant::now(), timeout));
        if let Some(mistake) = self.mistake.take() {
            return Err(mistake);
        }
        let plan = self.plan.clone();
        {
            let newest = plan.bound.load();
            if !Arc::ptr_eq(&newest, &self.bound) {
                self.bind(newest.clone());
            }
        }
        self.rows = self.row_count()?;
        self.build_keys()?;
        self.lend_keys();
        let failed = match self.stores.as_mut_slice() {
            // One store is the common case and needs no joining of futures.
            [answer] => read_store(&self.bound.stores[0], answer, &options, started).await,
            many => {
                let reads = self.bound.stores.iter().zip(many);
                let reads = reads.map(|(store, answer)| read_store(store, answer, &options, started));
                futures::future::join_all(reads)
                    .await
                    .into_iter()
                    .find_map(Result::err)
                    .map_or(Ok(()), Err)
            }
        };
        self.return_keys();
        failed?;
        self.now = plan.clock.now();
        self.oldest = None;
        for answer in &mut self.stores {
            self.oldest = self.oldest.max(answer.block.settle(self.now));
        }
        Ok(Outcome::new(self, plan.keep_expired))
    }

    fn row_count(&self) -> Result<usize> {
        let mut rows: Option<(usize, usize)> = None;
        for (index, column) in self.columns.iter().enumerate() {
            let name = || &self.bound.keys[index].name;
            if !column.given {
                return Err(Error::input(format!("key column `{}` is missing", name())));
            }
            if column.broadcast {
                continue;
            }
            match rows {
                None => rows = Some((index, column.keys.len())),
                Some((_, count)) if count == column.keys.len() => {}
                Some((first, count)) => {
                    return Err(Error::input(format!(
                        "key column `{}` has {} rows, `{}` has {count}",
                        name(),
                        column.keys.len(),
                        self.bound.keys[first].name
                    )));
                }
            }
        }
        // Only broadcast keys, or no keys at all: one row.
        Ok(rows.map_or(1, |(_, count)| count))
    }

    /// Puts the canonical keys of each key set together, each distinct one once.
    fn build_keys(&mut self) -> Result<()> {
        let rows = self.rows;
        for (group, columns) in self.groups.iter_mut().zip(&self.bound.groups) {
            // Nobody holds the keys between reads; if a store kept them, fresh ones are made.
            if Arc::get_mut(&mut group.keys).is_none() {
                group.keys = Arc::new(EntityKeys::new());
            }
            let Some(keys) = Arc::get_mut(&mut group.keys) else {
                continue;
            };
            keys.clear();
            group.map.clear();
            group.seen.clear();
            let constant = columns.iter().all(|column| self.columns[*column].broadcast);
            let distinct = if constant { 1 } else { rows };
            for row in 0..distinct {
                keys.push_joined(columns.iter().map(|column| self.columns[*column].key(row)))?;
                if distinct == 1 {
                    continue;
                }
                // The key just written is compared with those before it; a known one is taken back.
                let last = keys.len() - 1;
                let Some(key) = keys.get(last) else {
                    group.map.push(last as u32);
                    continue;
                };
                let hash = std::hash::BuildHasher::hash_one(&self.hasher, key);
                match group
                    .seen
                    .find(hash, |known| keys.get(*known as usize) == Some(key))
                {
                    Some(known) => {
                        group.map.push(*known);
                        keys.pop();
                    }
                    None => {
                        let hash_of = |known: &u32| {
                            std::hash::BuildHasher::hash_one(
                                &self.hasher,
                                keys.get(*known as usize).unwrap_or_default(),
                            )
                        };
                        group.seen.insert_unique(hash, last as u32, hash_of);
                        group.map.push(last as u32);
                    }
                }
            }
            if constant && rows != 1 {
                group.map.resize(rows, 0);
            }
        }
        Ok(())
    }

    fn lend_keys(&mut self) {
        for (answer, store) in self.stores.iter_mut().zip(&self.bound.stores) {
            for (request, group) in answer.request.groups.iter_mut().zip(&store.groups) {
                request.keys = self.groups[*group].keys.clone();
            }
        }
    }

    /// Takes the keys back, so that the next read writes into the same memory.
    fn return_keys(&mut self) {
        for answer in &mut self.stores {
            for request in &mut answer.request.groups {
                request.keys = empty_keys();
            }
        }
    }

    /// The block's row for a row of the answer.
    #[inline]
    pub(super) fn block_row(&self, group: usize, row: usize) -> usize {
        self.groups[group]
            .map
            .get(row)
            .map_or(row, |distinct| *distinct as usize)
    }
}

impl Column {
    fn key(&self, row: usize) -> Option<&[u8]> {
        self.keys.get(if self.broadcast { 0 } else { row })
    }
}

/// One shared empty set of keys: replacing a request's keys must not allocate.
fn empty_keys() -> Arc<EntityKeys> {
    static EMPTY: std::sync::LazyLock<Arc<EntityKeys>> = std::sync::LazyLock::new(Arc::default);
    EMPTY.clone()
}

async fn read_store(
    store: &BoundStore,
    answer: &mut Answer,
    options: &ReadOptions,
    started: Option<(Instant, std::time::Duration)>,
) -> Result<()> {
    let Answer { request, block } = answer;
    let result = match (store.store.read(request, options, block), started) {
        (ReadFuture::Ready(result), Some((started, timeout))) if started.elapsed() > timeout => {
            drop(result);
            Err(late(store))
        }
        (ReadFuture::Ready(result), _) => result.unwrap_or(Ok(())),
        (ReadFuture::Pending(future), None) => future.await,
        (ReadFuture::Pending(future), Some((started, timeout))) => {
            let left = timeout.saturating_sub(started.elapsed());
            tokio::time::timeout(left, future)
                .await
                .unwrap_or_else(|_| Err(late(store)))
        }
    };
    match result {
        Err(error) if options.on_partial == OnPartial::Return && partial(error.kind()) => {
            // What was put so far is undefined after an error, so the whole store is unavailable.
            block.reset(request);
            (0..store.slots.len()).for_each(|slot| block.fail_view(slot as u16));
            tracing::debug!(%error, store = %store.name, "partial answer");
            Ok(())
        }
        other => other.map_err(|error| error.operation("online read")),
    }
}

fn late(store: &BoundStore) -> Error {
    Error::timeout(format!(
        "online store `{}` did not answer within the deadline",
        store.name
    ))
}

/// Whether an error means "not now", so that a partial answer makes sense.
fn partial(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded
    )
}
