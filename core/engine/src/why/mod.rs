//! Why has a feature this value at that time? The entity's rows around it, and a verdict on each.
//!
//! The answer is the join's own. The verdicts are found without it; where the two disagreed, that
//! would be an error rather than a wrong explanation.

mod answer;
mod verdict;

pub use verdict::Verdict;

use std::collections::BTreeMap;

use futures::TryStreamExt;
use larder_base::error::suggest;
use larder_base::model::{Catalog, Feature, FeatureView, Knowledge};
use larder_base::{EntityKeys, Error, JoinKey, Micros, Result, Span, Value, Version};
use larder_core::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use larder_core::arrow::compute::filter::filter_record_batch;
use larder_core::convert::{TIE_BREAK_COLUMN, array_of, encode_keys, value_at};
use larder_core::{EntityRows, HistoricalRead, OfflineOptions, OfflineStore, RangeRead, ViewJoin, ViewScan};
use serde::Serialize;

use crate::delete::EntityValues;
use crate::guard::Deed;
use crate::historical::latest::times_of;
use crate::sensitive::{Sensitive, ShownValue};
use crate::store::FeatureStore;
use verdict::{Rule, Times, judge};

/// Rows of the entity that are told, unless the caller says.
const ROWS: usize = 20;

/// A question why; see [`FeatureStore::why`].
#[derive(Debug, Clone)]
#[must_use = "a question is answered by `run`"]
pub struct Why {
    store: FeatureStore,
    view: String,
    entity: EntityValues,
    at: Option<Micros>,
    feature: Option<String>,
    knowledge: Option<Knowledge>,
    known_until: Option<Micros>,
    at_version: Option<Version>,
    rows: usize,
    sensitive: Sensitive,
}

/// Why a view answers what it answers for one entity at one time.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WhyReport {
    /// The view.
    pub view: String,
    /// Its source.
    pub source: String,
    /// Version of the definitions.
    pub version: Version,
    /// The time asked for.
    pub at: Micros,
    /// Time to live of the view.
    pub ttl: Option<Span>,
    /// How long after its event a row is known.
    pub available_after: Span,
    /// What created time decides.
    pub knowledge: Knowledge,
    /// The answer in one sentence.
    pub answer: String,
    /// The features told, in order.
    pub features: Vec<String>,
    /// The values that a training set gets; none where no row answers.
    pub values: Option<BTreeMap<String, ShownValue>>,
    /// Rows of the entity, by verdict.
    pub counts: BTreeMap<Verdict, u64>,
    /// Rows around the answer, newest first.
    pub rows: Vec<WhyRow>,
    /// Newer and older rows that are not told.
    pub left_out: (u64, u64),
    /// Features that are masked because they are sensitive.
    pub masked: Vec<String>,
}

/// A row of the entity.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct WhyRow {
    /// Its event time.
    pub event: Micros,
    /// When it was written.
    pub created: Option<Micros>,
    /// Why it answers, or not.
    pub verdict: Verdict,
    /// Its values.
    pub values: BTreeMap<String, ShownValue>,
}

impl FeatureStore {
    /// Asks why a view has the values it has for an entity at a time.
    pub fn why(&self, view: impl Into<String>) -> Why {
        Why {
            store: self.clone(),
            view: view.into(),
            entity: Vec::new(),
            at: None,
            feature: None,
            knowledge: None,
            known_until: None,
            at_version: None,
            rows: ROWS,
            sensitive: Sensitive::Masked,
        }
    }
}

impl Why {
    /// Sets the entity: its join keys and their values.
    pub fn entity(mut self, values: EntityValues) -> Self {
        self.entity = values;
        self
    }

    /// Sets the time; now where nothing is said.
    pub fn at(mut self, at: Micros) -> Self {
        self.at = Some(at);
        self
    }

    /// Tells of one feature only.
    pub fn feature(mut self, name: impl Into<String>) -> Self {
        self.feature = Some(name.into());
        self
    }

    /// Overrides what created time decides.
    pub fn knowledge(mut self, knowledge: Knowledge) -> Self {
        self.knowledge = Some(knowledge);
        self
    }

    /// Lets only rows take part that were visible at an instant.
    pub fn known_until(mut self, until: Micros) -> Self {
        self.known_until = Some(until);
        self
    }

    /// Takes the definitions of a version in place of the newest.
    pub fn at_version(mut self, version: Version) -> Self {
        self.at_version = Some(version);
        self
    }

    /// Sets how many rows are told.
    pub fn rows(mut self, rows: usize) -> Self {
        self.rows = rows.max(1);
        self
    }

    /// Sets whether sensitive values are shown.
    pub fn sensitive(mut self, sensitive: Sensitive) -> Self {
        self.sensitive = sensitive;
        self
    }

    /// Answers.
    ///
    /// # Errors
    /// `NotFound` for unknown names, `Input` for missing or wrong join keys, `Unsupported` where
    /// the offline store cannot read ranges; what it says.
    pub async fn run(self) -> Result<WhyReport> {
        let snapshot = self.store.snapshot_at(self.at_version).await?;
        let catalog = snapshot.catalog();
        let view = catalog.feature_view(&self.view)?;
        let resource = format!("feature_view:{}", view.name);
        self.store.allow(Deed::ReadOffline, vec![resource]).await?;
        let features = self.features(view)?;
        let scan = crate::scan::scan_of(catalog, view, &features)?;
        let keys = self.keys(catalog, view)?;
        let at = self.at.unwrap_or_else(|| self.store.clock().now());
        let join = ViewJoin::new(scan.clone(), (0..keys.len()).collect())
            .with_ttl(view.ttl)
            .with_known_until(self.known_until);
        let join = match self.knowledge {
            Some(knowledge) => join.with_knowledge(knowledge),
            None => join,
        };
        let rule = Rule {
            at,
            available_after: scan.source.available_after,
            ttl: view.ttl,
            knowledge: join.knowledge,
            trusted_from: scan.source.created_time.as_ref().and_then(|c| c.trusted_from),
            known_until: self.known_until,
        };
        let offline = self.store.store_of(&scan.source).await?;
        let mut rows = rows_of(offline.as_ref(), &scan, &keys).await?;
        let winner = winner(offline.as_ref(), join, &keys, at).await?;
        rows.sort_by(|a, b| b.times.cmp(&a.times));
        let times: Vec<Times> = rows.iter().map(|row| row.times.clone()).collect();
        let mut verdicts = judge(&times, &rule);
        settle(&mut rows, &mut verdicts, winner.as_ref())?;

        let hidden: Vec<bool> = features
            .iter()
            .map(|feature| self.sensitive == Sensitive::Masked && !feature.sensitivity.is_none())
            .collect();
        let values = |values: &[Value]| -> BTreeMap<String, ShownValue> {
            let named = features.iter().zip(values).zip(&hidden);
            named
                .map(|((feature, value), hidden)| {
                    (feature.name.to_string(), ShownValue::new(value.clone(), *hidden))
                })
                .collect()
        };
        let mut counts = BTreeMap::new();
        verdicts
            .iter()
            .for_each(|verdict| *counts.entry(*verdict).or_default() += 1);
        let window = window(&times, &verdicts, at, self.rows);
        let told = |index: usize| WhyRow {
            event: times[index].event,
            created: times[index].created,
            verdict: verdicts[index],
            values: values(&rows[index].values),
        };
        let masked = features.iter().zip(&hidden).filter(|(_, hidden)| **hidden);
        Ok(WhyReport {
            view: view.name.to_string(),
            source: scan.source.name.to_string(),
            version: snapshot.version(),
            at,
            ttl: view.ttl,
            available_after: rule.available_after,
            knowledge: rule.knowledge,
            answer: answer::sentence(&times, &verdicts, &rule, self.null_feature(winner.as_ref())),
            features: features.iter().map(|feature| feature.name.to_string()).collect(),
            values: winner.as_ref().map(|winner| values(&winner.values)),
            counts,
            left_out: (window.start as u64, (times.len() - window.end) as u64),
            rows: window.map(told).collect(),
            masked: masked.map(|(feature, _)| feature.name.to_string()).collect(),
        })
    }

    fn features(&self, view: &FeatureView) -> Result<Vec<Feature>> {
        let Some(name) = &self.feature else {
            return Ok(view.features.clone());
        };
        let known = view.features.iter().map(|feature| feature.name.as_str());
        match view.feature(name) {
            Some(feature) => Ok(vec![feature.clone()]),
            None => Err(
                Error::not_found(format!("feature view `{}` has no feature `{name}`", view.name))
                    .help(suggest(name, known)),
            ),
        }
    }

    /// The entity's keys as columns of one row, in canonical order.
    fn keys(&self, catalog: &Catalog, view: &FeatureView) -> Result<Vec<ArrayRef>> {
        let keys = catalog.join_keys(view)?;
        let known = || keys.iter().map(|key| key.name.as_str());
        if let Some((unknown, _)) = self
            .entity
            .iter()
            .find(|(name, _)| !known().any(|key| key == name))
        {
            return Err(Error::input(format!(
                "`{unknown}` is not a join key of feature view `{}`",
                view.name
            ))
            .help(suggest(unknown, known().collect::<Vec<_>>())));
        }
        let column = |key: &JoinKey| {
            let found = self.entity.iter().find(|(name, _)| key.name == *name.as_str());
            let (_, value) = found.ok_or_else(|| {
                Error::input(format!("join key `{}` is missing", key.name))
                    .help("an entity is named by all of its join keys")
            })?;
            array_of(std::slice::from_ref(value), key.value_type)
                .map_err(|_| Error::input(format!("join key `{}` is not a {}", key.name, key.value_type)))
        };
        keys.iter().map(column).collect()
    }

    /// The feature that was asked for, where the answering row has a null in it.
    fn null_feature(&self, winner: Option<&Winner>) -> Option<&str> {
        let name = self.feature.as_deref()?;
        let null = winner?.values.first().is_some_and(Value::is_null);
        null.then_some(name)
    }
}

/// A row of the entity.
#[derive(Debug)]
struct Found {
    times: Times,
    values: Vec<Value>,
}

/// What the join answers.
#[derive(Debug)]
struct Winner {
    event: Micros,
    created: Option<Micros>,
    values: Vec<Value>,
}

/// All rows of an entity.
async fn rows_of(offline: &dyn OfflineStore, scan: &ViewScan, keys: &[ArrayRef]) -> Result<Vec<Found>> {
    let join_keys: Vec<JoinKey> = scan.keys.iter().map(|key| key.key.clone()).collect();
    let mut wanted = EntityKeys::new();
    encode_keys(&join_keys, keys, 1, &mut wanted)?;
    // A null key matches nothing, as in the join.
    let Some(wanted) = wanted.get(0) else {
        return Ok(Vec::new());
    };
    let request = RangeRead::new(scan.clone(), Micros::MIN, Micros::MAX).with_keys(Some(keys.to_vec()));
    let mut batches = offline.range(request, &OfflineOptions::default()).await?;
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let mut there = EntityKeys::new();
        // Only the key columns: a null elsewhere is no null key.
        let key_columns = &batch.columns()[..join_keys.len()];
        encode_keys(&join_keys, key_columns, batch.num_rows(), &mut there)?;
        let mask: BooleanArray = there.iter().map(|key| Some(key == Some(wanted))).collect();
        if mask.true_count() > 0 {
            let rows = filter_record_batch(&batch, &mask)
                .map_err(|error| Error::internal("rows could not be sifted").source(error))?;
            add_rows(scan, &rows, &mut found)?;
        }
    }
    Ok(found)
}

fn add_rows(scan: &ViewScan, rows: &RecordBatch, found: &mut Vec<Found>) -> Result<()> {
    let (events, created) = times_of(rows)?;
    let tie = rows.column_by_name(TIE_BREAK_COLUMN);
    let tie = tie.and_then(|column| column.as_binary_opt::<i32>());
    let first = scan.keys.len() + 2;
    for row in (0..rows.num_rows()).filter(|row| events.is_valid(*row)) {
        let features = scan.features.iter().enumerate();
        found.push(Found {
            times: Times {
                event: Micros(events.value(row)),
                created: created.is_valid(row).then(|| Micros(created.value(row))),
                tie: tie.map(|tie| tie.value(row).to_vec()),
            },
            values: features
                .map(|(index, feature)| value_at(rows.column(first + index), row, feature.value_type))
                .collect(),
        });
    }
    Ok(())
}

/// What a join of this one row answers.
async fn winner(
    offline: &dyn OfflineStore,
    join: ViewJoin,
    keys: &[ArrayRef],
    at: Micros,
) -> Result<Option<Winner>> {
    let features = join.scan.features.clone();
    let request = HistoricalRead {
        rows: EntityRows::batches(keys.to_vec(), vec![at.0].into()),
        views: vec![join],
    };
    let mut joined = offline.historical(request, &OfflineOptions::default()).await?;
    while let Some(batch) = joined.batches.try_next().await? {
        let Some(view) = batch.views.first().filter(|_| batch.rows > 0) else {
            continue;
        };
        let value = |(feature, column): (&larder_core::offline::ScanFeature, &ArrayRef)| {
            value_at(column, 0, feature.value_type)
        };
        return Ok(view.event.is_valid(0).then(|| Winner {
            event: Micros(view.event.value(0)),
            created: view.created.is_valid(0).then(|| Micros(view.created.value(0))),
            values: features.iter().zip(&view.features).map(value).collect(),
        }));
    }
    Err(Error::internal("an offline store answered no row for one"))
}

/// Lets the join decide between rows that are equal in everything the rule looks at.
fn settle(rows: &mut [Found], verdicts: &mut [Verdict], winner: Option<&Winner>) -> Result<()> {
    let disagree = || {
        Error::internal("the join and its explanation disagree")
            .help("rows may have been written in between: ask again; if it stays, please report it")
    };
    let tied: Vec<usize> = (0..rows.len())
        .filter(|row| verdicts[*row] == Verdict::Winner)
        .collect();
    let Some(winner) = winner else {
        return match tied.is_empty() {
            true => Ok(()),
            false => Err(disagree()),
        };
    };
    let is_it = |row: &Found| {
        row.times.event == winner.event
            && row.times.created == winner.created
            && same_values(&row.values, &winner.values)
    };
    let found = tied.iter().rev().find(|row| is_it(&rows[**row])).copied();
    let found = found.ok_or_else(disagree)?;
    for row in &tied {
        verdicts[*row] = Verdict::LostByOrder;
    }
    // The winner stands first among its equals.
    verdicts[tied[0]] = Verdict::Winner;
    rows.swap(tied[0], found);
    Ok(())
}

/// Equal, where not-a-number is equal to itself.
fn same_values(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.to_json() == b.to_json())
}

/// The rows to tell: some that are newer than the answer, the answer, older ones.
fn window(times: &[Times], verdicts: &[Verdict], at: Micros, rows: usize) -> std::ops::Range<usize> {
    let answer = verdicts.iter().position(|verdict| *verdict == Verdict::Winner);
    let answer = answer.unwrap_or_else(|| times.partition_point(|row| row.event > at));
    let start = answer.saturating_sub(rows / 3);
    let end = times.len().min(start + rows);
    end.saturating_sub(rows)..end
}

/// For the answer's sentence: shared by its module.
fn plural(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}
