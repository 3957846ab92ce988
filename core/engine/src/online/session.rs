//! A session: keys go in, one call per store, answers come out; nothing is allocated once warm.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::Guard;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use larder_base::{
    EntityKeys, Error, ErrorKind, FeatureBlock, Micros, OnPartial, OnlineRead, ReadFuture, ReadOptions,
    Result, Value,
};

use super::bound::{Bound, BoundStore};
use super::handle::{KeyHandle, KeyType, RequestHandle};
use super::outcome::Outcome;
use super::plan::PlanInner;

type Hasher = foldhash::fast::RandomState;

/// Owns everything a read writes to. Reuse it: the next read uses the same memory.
#[derive(Debug)]
pub struct Session {
    plan: Arc<PlanInner>,
    pub(super) bound: Arc<Bound>,
    columns: Vec<Column>,
    pub(super) stores: Vec<Answer>,
    hasher: Hasher,
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
    /// Whether they were given since the last read.
    fresh: bool,
}

/// Which row of the answer asks for which of a key set's distinct keys.
#[derive(Debug, Default)]
struct Group {
    /// Row → distinct key; empty where they are the same.
    map: Vec<u32>,
    seen: HashTable<u32>,
}

/// The request to one store and its answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The keys in it are the session's own: nobody else holds them between reads.
    request: OnlineRead,
    groups: Vec<Group>,
    pub(super) block: FeatureBlock,
}

impl Session {
    pub(super) fn new(plan: Arc<PlanInner>) -> Self {
        let bound = plan.bound.load_full();
        let mut session = Self {
            plan,
            bound: bound.clone(),
            columns: Vec::new(),
            stores: Vec::new(),
            hasher: Hasher::default(),
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
        let answer = |store: &BoundStore| Answer {
            request: store.template.clone(),
            groups: store.groups.iter().map(|_| Group::default()).collect(),
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
        let known = self.bound.keys.get(index);
        let known = known.filter(|known| K::accepts(known.key.value_type));
        let (Some(column), Some(_)) = (self.columns.get_mut(index), known) else {
            self.mistake
                .get_or_insert_with(|| Error::input("a key handle of another plan"));
            return self;
        };
        column.keys.clear();
        column.broadcast = broadcast;
        column.given = true;
        column.fresh = true;
        for value in values {
            match value {
                None => column.keys.push_null(),
                Some(value) => {
                    let mut writer = column.keys.begin();
                    value.write(&mut writer);
                    if let Err(error) = writer.finish() {
                        // Fewer keys than rows are no column: the next read needs it anew.
                        column.given = false;
                        self.mistake.get_or_insert(error);
                        return self;
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
            column.given = false;
            for value in values {
                column
                    .keys
                    .push_values(std::slice::from_ref(&known.key), std::slice::from_ref(value))?;
            }
            column.given = true;
            column.fresh = true;
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
        self.follow();
        self.rows = self.row_count()?;
        for (store, answer) in self.bound.stores.iter().zip(&mut self.stores) {
            answer.fill(store, &self.columns, self.rows, &self.hasher)?;
        }
        self.read_stores(&options, started).await?;
        self.now = self.plan.clock.now();
        self.oldest = None;
        for answer in &mut self.stores {
            self.oldest = self.oldest.max(answer.block.settle(self.now));
        }
        Ok(Outcome::new(self, self.plan.keep_expired))
    }

    /// Takes a newer snapshot, where the plan did.
    fn follow(&mut self) {
        let newest = self.plan.bound.load();
        if !Arc::ptr_eq(&newest, &self.bound) {
            self.bind(Guard::into_inner(newest));
        }
    }

    async fn read_stores(&mut self, options: &ReadOptions, started: Option<Started>) -> Result<()> {
        let alone = self.stores.len() == 1;
        let mut waiting = Vec::new();
        for (store, answer) in self.bound.stores.iter().zip(&mut self.stores) {
            let read = read_store(store, answer, options, started);
            // What answers at once needs no joining of futures, nor does what has nothing to join.
            if alone || store.in_process {
                read.await?;
            } else {
                waiting.push(read);
            }
        }
        if !waiting.is_empty() {
            futures::future::try_join_all(waiting).await?;
        }
        Ok(())
    }

    fn row_count(&mut self) -> Result<usize> {
        let mut rows: Option<(usize, usize)> = None;
        // Reading again with all keys as they were is fine. With some of them new, the others are
        // those of an earlier request: serving them would answer for somebody else.
        let renewed = self.columns.iter().any(|column| column.fresh);
        for column in &mut self.columns {
            column.given &= column.fresh || !renewed;
        }
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
        for column in &mut self.columns {
            column.fresh = false;
        }
        // Only broadcast keys, or no keys at all: one row.
        Ok(rows.map_or(1, |(_, count)| count))
    }

    /// The block's row for a row of the answer.
    #[inline]
    pub(super) fn block_row(&self, store: usize, group: usize, row: usize) -> usize {
        let map = &self.stores[store].groups[group].map;
        map.get(row).map_or(row, |distinct| *distinct as usize)
    }

    /// Whether the block's rows are the answer's.
    #[inline]
    pub(super) fn is_distinct(&self, store: usize, group: usize) -> bool {
        self.stores[store].groups[group].map.is_empty()
    }
}

impl Answer {
    /// Puts the canonical keys of each key set together, each distinct one once.
    fn fill(&mut self, store: &BoundStore, columns: &[Column], rows: usize, hasher: &Hasher) -> Result<()> {
        let requests = self.request.groups.iter_mut().zip(&store.groups);
        for ((request, of), group) in requests.zip(&mut self.groups) {
            // A store that kept the keys, or a read that was dropped in it, leaves them to it.
            if Arc::get_mut(&mut request.keys).is_none() {
                request.keys = Arc::new(EntityKeys::new());
            }
            let Some(keys) = Arc::get_mut(&mut request.keys) else {
                return Err(Error::internal("fresh keys are shared"));
            };
            keys.clear();
            group.map.clear();
            let constant = of.iter().all(|column| columns[*column].broadcast);
            if constant || rows == 1 {
                push(keys, of, columns, 0)?;
                if rows != 1 {
                    group.map.resize(rows, 0);
                }
            } else {
                group.fill(keys, of, columns, rows, hasher)?;
            }
        }
        Ok(())
    }
}

impl Group {
    fn fill(
        &mut self,
        keys: &mut EntityKeys,
        of: &[usize],
        columns: &[Column],
        rows: usize,
        hasher: &Hasher,
    ) -> Result<()> {
        self.seen.clear();
        let hash = |key: &[u8]| hasher.hash_one(key);
        for row in 0..rows {
            push(keys, of, columns, row)?;
            // The key just written is compared with those before it; a known one is taken back.
            let last = keys.len() - 1;
            let mut asked = last as u32;
            if let Some(key) = keys.get(last) {
                let entry = self.seen.entry(
                    hash(key),
                    |known| keys.get(*known as usize) == Some(key),
                    |known| hash(keys.get(*known as usize).unwrap_or_default()),
                );
                match entry {
                    Entry::Occupied(known) => asked = *known.get(),
                    Entry::Vacant(free) => {
                        free.insert(asked);
                    }
                }
            }
            if asked as usize != last {
                keys.pop();
            }
            self.map.push(asked);
        }
        if keys.len() == rows {
            self.map.clear();
        }
        Ok(())
    }
}

impl Column {
    #[inline]
    fn key(&self, row: usize) -> Option<&[u8]> {
        self.keys.get(if self.broadcast { 0 } else { row })
    }
}

#[inline]
fn push(keys: &mut EntityKeys, of: &[usize], columns: &[Column], row: usize) -> Result<()> {
    let parts = of.iter().map(|column| columns[*column].key(row));
    // The row that the caller knows, which is another one after duplicates.
    keys.push_joined(parts)
        .map_err(|error| Error::input(error.message().to_owned()).with("row", row))
}

/// When a read with a timeout began, and the timeout.
type Started = (Instant, std::time::Duration);

async fn read_store(
    store: &BoundStore,
    answer: &mut Answer,
    options: &ReadOptions,
    started: Option<Started>,
) -> Result<()> {
    let Answer { request, block, .. } = answer;
    let partial = options.on_partial == OnPartial::Return;
    let result = match (store.store.read(request, options, block), started) {
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
        // The timer may have been late itself. Whoever takes partial answers takes a whole one.
        Ok(()) if !partial && started.is_some_and(|(began, timeout)| began.elapsed() > timeout) => {
            Err(late(store).operation("online read"))
        }
        Ok(()) => Ok(()),
        Err(error) if partial && is_passing(error.kind()) => {
            // What was put so far is undefined after an error, so the whole store is unavailable.
            block.reset(request);
            (0..store.slots.len()).for_each(|slot| block.fail_view(slot as u16));
            tracing::debug!(%error, store = %store.name, "partial answer");
            Ok(())
        }
        Err(error) => Err(error.operation("online read")),
    }
}

fn late(store: &BoundStore) -> Error {
    Error::timeout(format!(
        "online store `{}` did not answer within the deadline",
        store.name
    ))
}

/// Whether an error means "not now", so that a partial answer makes sense.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Overloaded
    )
}
