//! What the point-in-time rule says, taken literally: nested loops over single values.
//!
//! It is slow on purpose, and shares no code with the kernel, the memory store or any other store. The files in
//! `cases/` check it; it checks the stores on tables that nobody wrote by hand.

use std::cmp::Ordering;

use larder_core::model::Knowledge;
use larder_core::{Result, Value};

use crate::table::{Facts, Scenario, View};

/// What one view answers to one entity row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Rows of the source that may be the winner, equal in all that decides. Where the source has an order, it is the
    /// last one.
    Winner(Vec<usize>),
    /// Rows were known, all of them older than the ttl allows.
    Expired,
    /// No row was known.
    Unmatched,
    /// A key is null.
    NullKey,
}

/// What one view answers to all entity rows.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Joined {
    /// One answer per entity row.
    pub answers: Vec<Answer>,
    /// Entity rows whose winner was one of several fully tied rows.
    pub full_ties: u64,
    /// Entity rows whose winner was created after `T`; in `as_of` mode, rows where the modes differ.
    pub known_later: u64,
    /// Of the expired entity rows those with a candidate that is not older than the oldest event time any entity row
    /// can use. A store that leaves older rows unread counts only these as expired, and the others as unmatched.
    pub expired_in_reach: u64,
}

impl Joined {
    /// How many entity rows have a winner, are expired, are unmatched, have a null key.
    pub fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for answer in &self.answers {
            counts[match answer {
                Answer::Winner(_) => 0,
                Answer::Expired => 1,
                Answer::Unmatched => 2,
                Answer::NullKey => 3,
            }] += 1;
        }
        counts
    }
}

/// One row of a source, reduced to what decides.
#[derive(Debug, Clone)]
struct Fact {
    keys: Vec<Value>,
    event: Option<i128>,
    created: Option<i128>,
    tie: Vec<Value>,
}

/// What the rule needs to know.
struct Terms {
    available_after: i128,
    ttl: Option<i128>,
    as_of: bool,
    trusted_from: Option<i128>,
}

/// Joins one view of a scenario.
///
/// # Errors
/// `Internal` when the scenario names columns that it does not have.
pub fn join(scenario: &Scenario, view: &View) -> Result<Joined> {
    let table = &scenario.tables[view.table];
    let facts = facts(table, view)?;
    let terms = terms(table, view);
    let mut joined = Joined::default();
    let oldest = reach(scenario, view, &terms);
    for (row, time) in scenario.spine.rows.iter().zip(&scenario.spine.times) {
        let keys: Vec<Value> = view.keys.iter().map(|(_, column)| row[*column].clone()).collect();
        let time = i128::from(*time);
        let answer = answer(&facts, &terms, terms.as_of, &keys, time);
        match &answer {
            Answer::Winner(tied) => {
                joined.full_ties += u64::from(tied.len() > 1);
                let created = tied.first().and_then(|at| trusted(&facts[*at], &terms));
                if !terms.as_of && created.is_some_and(|created| created > time) {
                    joined.known_later += 1;
                }
            }
            Answer::Expired => {
                let known = |fact: &Fact| is_known(fact, &terms, terms.as_of, &keys, time);
                let in_reach = |fact: &Fact| oldest.is_none_or(|oldest| fact.event >= Some(oldest));
                joined.expired_in_reach += u64::from(facts.iter().any(|fact| known(fact) && in_reach(fact)));
            }
            _ => {}
        }
        if terms.as_of {
            let otherwise = self::answer(&facts, &terms, false, &keys, time);
            let winner = |answer: &Answer| match answer {
                Answer::Winner(tied) => tied.last().copied(),
                _ => None,
            };
            joined.known_later += u64::from(winner(&otherwise) != winner(&answer));
        }
        joined.answers.push(answer);
    }
    Ok(joined)
}

/// The oldest event time that any entity row can use.
fn reach(scenario: &Scenario, view: &View, terms: &Terms) -> Option<i128> {
    let mut first: Option<i128> = None;
    for (row, time) in scenario.spine.rows.iter().zip(&scenario.spine.times) {
        if view.keys.iter().all(|(_, column)| !row[*column].is_null()) {
            let time = i128::from(*time);
            first = Some(first.map_or(time, |first| first.min(time)));
        }
    }
    Some(first? - terms.ttl?)
}

fn terms(table: &Facts, view: &View) -> Terms {
    let source = &table.source;
    let created = source.created_time.as_ref();
    Terms {
        available_after: i128::from(source.available_after.0),
        ttl: view.ttl.map(i128::from),
        as_of: view.mode(table) == Knowledge::AsOf,
        trusted_from: created
            .and_then(|created| created.trusted_from)
            .map(|t| i128::from(t.0)),
    }
}

fn facts(table: &Facts, view: &View) -> Result<Vec<Fact>> {
    let source = &table.source;
    let mut keys = Vec::new();
    for (name, _) in &view.keys {
        keys.push(table.column(source.column_of(name))?);
    }
    let event = table.column(&source.event_time)?;
    let created = source
        .created_time
        .as_ref()
        .map(|c| table.column(&c.column))
        .transpose()?;
    let mut tie = Vec::new();
    for name in &source.tie_break {
        tie.push(table.column(name)?);
    }
    let time = |value: &Value| match value {
        Value::Timestamp(t) => Some(i128::from(t.0)),
        _ => None,
    };
    let fact = |row: &Vec<Value>| Fact {
        keys: keys.iter().map(|at| row[*at].clone()).collect(),
        event: time(&row[event]),
        created: created.and_then(|at| time(&row[at])),
        tie: tie.iter().map(|at| row[*at].clone()).collect(),
    };
    Ok(table.rows.iter().map(fact).collect())
}

/// The created time where it means anything.
fn trusted(fact: &Fact, terms: &Terms) -> Option<i128> {
    let created = fact.created?;
    match terms.trusted_from {
        Some(from) if created < from => None,
        _ => Some(created),
    }
}

fn is_known(fact: &Fact, terms: &Terms, as_of: bool, keys: &[Value], time: i128) -> bool {
    let Some(event) = fact.event else {
        return false;
    };
    if fact.keys != keys {
        return false;
    }
    if event + terms.available_after > time {
        return false;
    }
    if as_of && trusted(fact, terms).is_some_and(|created| created > time) {
        return false;
    }
    true
}

fn answer(facts: &[Fact], terms: &Terms, as_of: bool, keys: &[Value], time: i128) -> Answer {
    if keys.iter().any(Value::is_null) {
        return Answer::NullKey;
    }
    let mut best: Vec<usize> = Vec::new();
    for (at, fact) in facts.iter().enumerate() {
        if !is_known(fact, terms, as_of, keys, time) {
            continue;
        }
        match best.first().map(|best| rank(fact, &facts[*best])) {
            None | Some(Ordering::Greater) => best = vec![at],
            Some(Ordering::Equal) => best.push(at),
            Some(Ordering::Less) => {}
        }
    }
    let Some(winner) = best.first() else {
        return Answer::Unmatched;
    };
    let event = facts[*winner].event.unwrap_or(i128::MIN);
    if terms.ttl.is_some_and(|ttl| event < time - ttl) {
        return Answer::Expired;
    }
    Answer::Winner(best)
}

/// Which of two rows wins: event, then created (absent is smallest), then the tie-break columns (null is smallest).
fn rank(a: &Fact, b: &Fact) -> Ordering {
    if a.event != b.event {
        return a.event.cmp(&b.event);
    }
    if a.created != b.created {
        return a.created.cmp(&b.created);
    }
    for (a, b) in a.tie.iter().zip(&b.tie) {
        let order = order(a, b);
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (Value::Int32(a), Value::Int32(b)) | (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Int64(a), Value::Int64(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.0.cmp(&b.0),
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// What became visible in a window, as a materialization run asks for it; see `LatestRead`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Window {
    /// Rows of the source in the window.
    pub rows: Vec<usize>,
    /// For each key with a row in the window the rows that may be its newest, equal in all that decides.
    pub newest: Vec<Vec<usize>>,
}

/// The rows of a view that became visible in `(after, until]`, with `event >= floor`; `after` absent takes all.
///
/// # Errors
/// `Internal` when the scenario names columns that it does not have.
pub fn window(table: &Facts, view: &View, floor: i64, after: Option<i64>, until: i64) -> Result<Window> {
    let facts = facts(table, view)?;
    let mut terms = terms(table, view);
    // What an online store holds does not depend on a join's override.
    terms.as_of = table.source.knowledge == Knowledge::AsOf;
    let mut window = Window::default();
    for (at, fact) in facts.iter().enumerate() {
        let Some(event) = fact.event else { continue };
        let available = event + terms.available_after;
        let created = trusted(fact, &terms);
        let visible = created.map_or(available, |created| created.max(available));
        let inside = event >= i128::from(floor)
            && available <= i128::from(until)
            && after.is_none_or(|after| visible > i128::from(after))
            && (!terms.as_of || visible <= i128::from(until));
        if inside && !fact.keys.iter().any(Value::is_null) {
            window.rows.push(at);
        }
    }
    for at in &window.rows {
        let of_key = |other: &&usize| facts[**other].keys == facts[*at].keys;
        let mut best: Vec<usize> = Vec::new();
        for other in window.rows.iter().filter(of_key) {
            match best.first().map(|best| rank(&facts[*other], &facts[*best])) {
                None | Some(Ordering::Greater) => best = vec![*other],
                Some(Ordering::Equal) => best.push(*other),
                Some(Ordering::Less) => {}
            }
        }
        if best.first() == Some(at) {
            window.newest.push(best);
        }
    }
    Ok(window)
}
