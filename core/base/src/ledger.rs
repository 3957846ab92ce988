//! What has been materialized: one record per run, outside of the versioned registry.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Generation;
use crate::names::{ProjectName, ViewName};
use crate::online::StoreIdentity;
use crate::time::{Micros, Span};

/// Records of materialization runs.
///
/// Each record is written only by its own run and merged by readers, so that runs never contend
/// with each other or with applies.
#[async_trait]
pub trait Ledger: Debug + Send + Sync + 'static {
    /// All records of a view's generation, oldest first.
    async fn runs(
        &self,
        project: &ProjectName,
        view: &ViewName,
        generation: Generation,
    ) -> Result<Vec<RunRecord>>;

    /// Writes the run's record, replacing what the same run wrote before. Durable on return.
    async fn record(&self, project: &ProjectName, run: &RunRecord) -> Result<()>;

    /// Replaces records of finished runs by one that says the same. Idempotent, loses nothing.
    async fn compact(&self, project: &ProjectName, view: &ViewName, generation: Generation) -> Result<()>;
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// It works, or was killed: its heartbeat tells.
    Running,
    /// It finished.
    Done,
    /// It failed and said so.
    Failed,
}

/// One run over one view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Random id.
    pub run: String,
    /// The view.
    pub view: ViewName,
    /// Its generation.
    pub generation: Generation,
    /// The online store that was written.
    pub store: StoreIdentity,
    /// Hash of everything that decides which rows the source gives.
    pub fingerprint: String,
    /// Slots that were written; coverage of a later feature does not follow from this run.
    pub slots: Vec<u16>,
    /// Who runs it, such as `user:pid`.
    pub owner: String,
    /// When it began.
    pub started: Micros,
    /// When it last wrote this record.
    pub heartbeat: Micros,
    /// Whether it fills the view from the beginning: what runs into the same store that began earlier say they did is
    /// void, however this one ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub afresh: bool,
    /// How it stands.
    pub state: RunState,
    /// What is done for certain: the last row of each interval was acknowledged.
    #[serde(default)]
    pub done: Vec<Interval>,
    /// Rows read from the offline store.
    #[serde(default)]
    pub rows_read: u64,
    /// Rows written online.
    #[serde(default)]
    pub rows_written: u64,
    /// Rows refused online because a newer one was there.
    #[serde(default)]
    pub rows_stale: u64,
    /// Newest event time among the rows written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_event: Option<Micros>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What an interval of a run covers: rows that became visible in `(after, until]`.
///
/// A row is visible from `max(event + available_after, created)` on, without a created time from
/// `event + available_after` on. Only rows with an event time of at least `floor` were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// Exclusive lower bound; [`Micros::MIN`] for "from the first event".
    pub after: Micros,
    /// Inclusive upper bound.
    pub until: Micros,
    /// Smallest event time looked at.
    pub floor: Micros,
}

/// When the last run began that filled a store from the beginning: what runs that began earlier say they did is void.
pub fn void_before(runs: &[RunRecord], store: StoreIdentity) -> Option<Micros> {
    let afresh = runs.iter().filter(|run| run.afresh && run.store == store);
    afresh.map(|run| run.started).max()
}

/// How long a run is not heard of, compared with others, until it counts as killed: far more than clocks of machines
/// differ, and than a machine sleeps.
const KILLED_AFTER: Span = Span::days(1);

/// Merges records of finished runs that cover the same thing into as few as possible.
///
/// Shared by the ledgers' `compact`, so that all of them merge alike. Running records, and
/// the newest finished one (people want to see the last run), stay as they are. Runs that were killed
/// leave running records, too: one that had not been heard of for a day when another run was counts
/// as failed. Should it live all the same, it writes its record again. Void records go without a trace.
pub fn compact_runs(runs: &[RunRecord]) -> Compaction {
    let mut compaction = Compaction::default();
    let newest = runs
        .iter()
        .rev()
        .find(|run| run.state != RunState::Running)
        .map(|run| run.run.clone());
    let latest = runs.iter().map(|run| run.heartbeat).max();
    let killed = |run: &RunRecord| latest.is_some_and(|latest| latest.since(run.heartbeat) > KILLED_AFTER);
    for run in runs {
        let is_running = run.state == RunState::Running;
        if (is_running && !killed(run)) || Some(&run.run) == newest.as_ref() {
            continue;
        }
        compaction.remove.push(run.run.clone());
        if void_before(runs, run.store).is_some_and(|since| run.started < since) {
            continue;
        }
        let same = |kept: &&mut RunRecord| {
            kept.store == run.store && kept.fingerprint == run.fingerprint && kept.slots == run.slots
        };
        match compaction.add.iter_mut().find(same) {
            Some(kept) => {
                kept.done.extend(&run.done);
                kept.done = joined(std::mem::take(&mut kept.done));
                kept.rows_read += run.rows_read;
                kept.rows_written += run.rows_written;
                kept.rows_stale += run.rows_stale;
                kept.newest_event = kept.newest_event.max(run.newest_event);
                kept.heartbeat = kept.heartbeat.max(run.heartbeat);
                kept.afresh |= run.afresh;
                kept.error = None;
                kept.state = RunState::Done;
            }
            None => {
                let mut merged = RunRecord {
                    run: format!("{:032x}", crate::random::u128()),
                    ..run.clone()
                };
                if is_running {
                    merged.state = RunState::Failed;
                    merged.error = Some("it was killed".to_owned());
                }
                compaction.add.push(merged);
            }
        }
    }
    // Replacing one record by one is work without gain.
    if compaction.remove.len() <= compaction.add.len() {
        return Compaction::default();
    }
    compaction
}

/// The same intervals, those that touch or overlap as one where that claims nothing that was not
/// done: otherwise a view that runs every few minutes would keep each of its runs for ever.
///
/// Two of one floor are one of that floor. Two that looked back from their ends by the same span,
/// which is the view's ttl, are one with the later floor: it claims less of the older one, and
/// nothing that a reader at the newer end could see.
fn joined(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_unstable_by_key(|i| (i.floor, i.after, i.until));
    let mut joined: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match joined.last_mut() {
            Some(last) if last.floor == interval.floor && interval.after <= last.until => {
                last.until = last.until.max(interval.until);
            }
            _ => joined.push(interval),
        }
    }
    joined.sort_unstable();
    let mut rolling: Vec<Interval> = Vec::with_capacity(joined.len());
    for interval in joined {
        let span = |i: &Interval| i128::from(i.until.0) - i128::from(i.floor.0);
        match rolling.last_mut() {
            Some(last)
                if span(last) == span(&interval)
                    && interval.after <= last.until
                    && interval.floor >= last.floor
                    && interval.until >= last.until =>
            {
                last.until = interval.until;
                last.floor = interval.floor;
            }
            _ => rolling.push(interval),
        }
    }
    rolling
}

/// What [`compact_runs`] found: first add, then remove, and nothing is lost in between.
#[derive(Debug, Clone, Default)]
pub struct Compaction {
    /// Merged records to write.
    pub add: Vec<RunRecord>,
    /// Ids of records that they replace.
    pub remove: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, hours: i64, state: RunState) -> RunRecord {
        let at = Micros(hours * 3_600_000_000);
        RunRecord {
            run: id.to_owned(),
            view: ViewName::new("stats").unwrap(),
            generation: Generation(7),
            store: StoreIdentity(1),
            fingerprint: "f00d".to_owned(),
            slots: vec![0],
            owner: "ada@host:1".to_owned(),
            started: at,
            heartbeat: at,
            afresh: false,
            state,
            done: vec![Interval {
                after: at,
                until: Micros(at.0 + 1),
                floor: at,
            }],
            rows_read: 10,
            rows_written: 9,
            rows_stale: 1,
            newest_event: None,
            error: None,
        }
    }

    #[test]
    fn void_records_go_without_a_trace() {
        let mut runs: Vec<_> = (1..=4)
            .map(|hour| run(&hour.to_string(), hour, RunState::Done))
            .collect();
        runs[2].afresh = true;
        let compaction = compact_runs(&runs);
        assert_eq!(compaction.remove, ["1", "2", "3"]);
        let [kept] = &compaction.add[..] else {
            panic!("{:?}", compaction.add)
        };
        assert_eq!(
            (kept.afresh, kept.started, &kept.done),
            (true, runs[2].started, &runs[2].done)
        );
    }

    #[test]
    fn killed_runs_are_merged_when_others_have_come_long_after() {
        let runs = [
            run("killed", 0, RunState::Running),
            run("killed-too", 1, RunState::Running),
            run("quiet", 3, RunState::Running),
            run("last", 26, RunState::Done),
        ];
        let merged = compact_runs(&runs);
        assert_eq!(merged.remove, ["killed", "killed-too"]);
        let [one] = merged.add.as_slice() else {
            panic!("{merged:?}")
        };
        // What they did for certain stays done.
        assert_eq!(one.done.len(), 2);
        assert_eq!((one.rows_read, one.state), (20, RunState::Done));
        // Alone, or not long enough after, they stay as they are.
        assert!(compact_runs(&runs[..3]).remove.is_empty());
        let recent = [
            run("a", 3, RunState::Running),
            run("b", 4, RunState::Running),
            run("last", 26, RunState::Done),
        ];
        assert!(compact_runs(&recent).remove.is_empty());
        // One among finished ones.
        let mixed = [
            run("killed", 0, RunState::Running),
            run("done", 1, RunState::Done),
            run("last", 26, RunState::Done),
        ];
        assert_eq!(compact_runs(&mixed).remove, ["killed", "done"]);
    }
}
