//! Random histories with rows that arrive late, and what they say at any time: the material for tests that training
//! equals serving.
//!
//! A history grows in steps. At the end of each step, at [`Step::until`], a test materializes the source's rows so far
//! up to that instant, reads online with the clock there, joins historically at `T` there, and expects both to be what
//! [`History::answer`] says. There are no full ties, so each answer is one row.

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_core::arrow::array::{ArrayRef, RecordBatch};
use larder_core::convert::array_of;
use larder_core::model::{CreatedTime, Knowledge, Source};
use larder_core::{Error, Micros, Result, Span, Value, ValueType};
use serde_json::json;

use crate::rng::Rng;

/// What kind of history is generated.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HistoryShape {
    /// Entities, numbered from 0.
    pub entities: i64,
    /// Steps.
    pub steps: usize,
    /// Rows that arrive per step, about.
    pub rows_per_step: usize,
    /// Whether the source has created times. Without them no row arrives later than `lateness` allows.
    pub created: bool,
    /// Whether the created times of the first step are not trusted, as after a backfill.
    pub backfilled: bool,
    /// What created time decides.
    pub knowledge: Knowledge,
    /// When a row is known, after its event.
    pub available_after: Span,
    /// Time to live of the view.
    pub ttl: Option<Span>,
    /// How late rows may arrive where the source has no created times.
    pub lateness: Span,
}

impl Default for HistoryShape {
    fn default() -> Self {
        Self {
            entities: 8,
            steps: 6,
            rows_per_step: 25,
            created: true,
            backfilled: false,
            knowledge: Knowledge::TieBreak,
            available_after: Span::ZERO,
            ttl: None,
            lateness: Span::hours(2),
        }
    }
}

impl HistoryShape {
    /// Eight entities, six steps of an hour, about 25 rows each, with created times that break ties.
    pub fn new() -> Self {
        Self::default()
    }

    /// One of the shapes worth testing: every mode, delays, ttls, with and without created times, in turn.
    pub fn varied(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let created = rng.percent(75);
        Self {
            created,
            backfilled: created && rng.percent(30),
            knowledge: if created && rng.percent(50) {
                Knowledge::AsOf
            } else {
                Knowledge::TieBreak
            },
            available_after: *rng.pick(&[Span::ZERO, Span(1), Span::minutes(20), Span::hours(1)]),
            ttl: *rng.pick(&[None, None, Some(Span::hours(1)), Some(Span::hours(3))]),
            ..Self::default()
        }
    }
}

/// A history: what arrived when.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct History {
    /// Its shape.
    pub shape: HistoryShape,
    /// Its steps, oldest first.
    pub steps: Vec<Step>,
    /// From when on created times mean anything.
    pub trusted_from: Option<Micros>,
}

/// What arrives before one materialization.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Step {
    /// Rows that arrive, in the order in which they do.
    pub rows: Vec<HistoryRow>,
    /// The instant at which is materialized, read and joined, µs UTC. All rows of the step are there by then.
    pub until: Micros,
}

/// One row of the source.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HistoryRow {
    /// The entity, the value of the key column `user`.
    pub entity: i64,
    /// Event time, column `at`.
    pub event: Micros,
    /// Created time, column `created`.
    pub created: Option<Micros>,
    /// Values of [`FEATURES`].
    pub values: Vec<Value>,
}

/// What a history says of an entity at an instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known<'a> {
    /// This row is the newest.
    Row(&'a HistoryRow),
    /// The newest row is older than the ttl allows.
    Expired,
    /// Nothing is known.
    Nothing,
}

/// Names and types of the features.
pub const FEATURES: [(&str, ValueType); 3] = [
    ("n", ValueType::INT64),
    ("x", ValueType::FLOAT64),
    ("s", ValueType::STRING),
];

const HOUR: i64 = 3_600_000_000;
/// 2026-05-01T00:00:00Z
const START: i64 = 1_777_593_600_000_000;

impl History {
    /// A history of a shape.
    pub fn random(seed: u64, shape: &HistoryShape) -> Self {
        let mut rng = Rng::new(seed);
        let mut history = Self {
            shape: shape.clone(),
            steps: Vec::new(),
            trusted_from: shape.backfilled.then_some(Micros(START)),
        };
        let mut seen = BTreeSet::new();
        for number in 0..shape.steps {
            let until = START + HOUR * number as i64;
            let mut rows = Vec::new();
            for _ in 0..rng.below(2 * shape.rows_per_step + 1) {
                let row = history.row(&mut rng, number, until);
                if seen.insert((row.entity, row.event, row.created)) {
                    rows.push(row);
                }
            }
            rows.sort_by_key(|row| row.created.unwrap_or(row.event));
            history.steps.push(Step {
                rows,
                until: Micros(until),
            });
        }
        history
    }

    fn row(&self, rng: &mut Rng, step: usize, until: i64) -> HistoryRow {
        let shape = &self.shape;
        let arrived = match rng.below(8) {
            0 => until,
            1 => until - HOUR + 1,
            _ => rng.between(until - HOUR + 1, until),
        };
        let delay = shape.available_after.0;
        let ttl = shape.ttl.map_or(HOUR, |ttl| ttl.0);
        let mut event = match rng.below(10) {
            // At the edges of being known, and of being expired, at this step or the next ones.
            0 => until - delay,
            1 => until - delay + 1,
            2 => until - ttl,
            3 => until - ttl - 1,
            4 => until + HOUR - ttl,
            // In the future, as clocks of devices have it.
            5 => arrived + rng.between(0, HOUR),
            // Late, by up to three steps.
            6 | 7 => arrived - rng.between(0, 3 * HOUR),
            // Few different times, so that created times have ties to break.
            8 => until - HOUR / 2 * rng.between(0, 4),
            _ => arrived - rng.between(0, HOUR / 10),
        };
        if !shape.created && step > 0 {
            // An incremental run looks at events after `until - 1 step - lateness`, each later by the delay.
            event = event.max(until - HOUR - shape.lateness.0 - delay + 1);
        }
        let created = match rng.below(12) {
            _ if !shape.created => None,
            // Known at the event: such a row is found by an increment only if that is not before the increment.
            0 if step == 0 || event + delay > until - HOUR => None,
            _ if shape.backfilled && step == 0 => Some(Micros(arrived.min(START - 1))),
            _ => Some(Micros(arrived)),
        };
        let null = |rng: &mut Rng, value| if rng.percent(20) { Value::Null } else { value };
        let (number, text) = (rng.between(-9, 9), rng.below(5));
        let values = vec![
            null(rng, Value::Int64(number)),
            null(rng, Value::Float64(number as f64 / 4.0)),
            null(rng, Value::str(["", "a", "å", "bc", "d"][text])),
        ];
        HistoryRow {
            entity: rng.between(0, shape.entities - 1),
            event: Micros(event),
            created,
            values,
        }
    }

    /// The source: named `history`, of type `memory`, without options. Its columns are `user`, `at`, `created` (where
    /// there is one) and [`FEATURES`].
    ///
    /// # Errors
    /// `Internal` never happens: the source is made of constants.
    pub fn source(&self) -> Result<Source> {
        let document = json!({ "name": "history", "type": "memory", "event_time": "at" });
        let mut source: Source = serde_json::from_value(document)
            .map_err(|error| Error::internal("the history's own source").source(error))?;
        source.available_after = self.shape.available_after;
        source.knowledge = self.shape.knowledge;
        source.created_time = self.shape.created.then(|| CreatedTime {
            column: "created".to_owned(),
            trusted_from: self.trusted_from,
        });
        Ok(source)
    }

    /// The rows that arrive in a step, as the source stores them.
    ///
    /// # Errors
    /// `Internal` never happens: each value is made for its column.
    pub fn batch(&self, step: usize) -> Result<RecordBatch> {
        let rows = &self.steps[step].rows;
        let column =
            |get: &dyn Fn(&HistoryRow) -> Value, of| array_of(&rows.iter().map(get).collect::<Vec<_>>(), of);
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
            (
                "user",
                column(&|row| Value::Int64(row.entity), ValueType::INT64)?,
                true,
            ),
            (
                "at",
                column(&|row| Value::Timestamp(row.event), ValueType::TIMESTAMP)?,
                true,
            ),
        ];
        if self.shape.created {
            let created = |row: &HistoryRow| row.created.map_or(Value::Null, Value::Timestamp);
            columns.push(("created", column(&created, ValueType::TIMESTAMP)?, true));
        }
        for (number, (name, of)) in FEATURES.iter().enumerate() {
            columns.push((name, column(&|row| row.values[number].clone(), *of)?, true));
        }
        RecordBatch::try_from_iter_with_nullable(columns)
            .map_err(|error| Error::internal("the history's own batch").source(error))
    }

    /// What is known of an entity at an instant, when the rows of steps up to `step`, included, have arrived.
    pub fn answer(&self, step: usize, entity: i64, at: Micros) -> Known<'_> {
        let mut best: Option<&HistoryRow> = None;
        for row in self.steps.iter().take(step + 1).flat_map(|step| &step.rows) {
            let available = i128::from(row.event.0) + i128::from(self.shape.available_after.0);
            let trusted = row
                .created
                .filter(|created| self.trusted_from.is_none_or(|from| *created >= from));
            let unseen =
                self.shape.knowledge == Knowledge::AsOf && trusted.is_some_and(|created| created > at);
            if row.entity != entity || available > i128::from(at.0) || unseen {
                continue;
            }
            if best.is_none_or(|best| (row.event, row.created) > (best.event, best.created)) {
                best = Some(row);
            }
        }
        match (best, self.shape.ttl) {
            (None, _) => Known::Nothing,
            (Some(row), Some(ttl)) if i128::from(row.event.0) < i128::from(at.0) - i128::from(ttl.0) => {
                Known::Expired
            }
            (Some(row), _) => Known::Row(row),
        }
    }

    /// The source behind an `Arc`, as scans want it.
    ///
    /// # Errors
    /// As [`History::source`].
    pub fn shared_source(&self) -> Result<Arc<Source>> {
        self.source().map(Arc::new)
    }
}
