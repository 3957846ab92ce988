//! Can more rows be pushed than fit in memory: read several times, checked whole first, and ended in order?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{StreamExt, stream};
use larder_base::{ErrorKind, Result, Value};
use larder_core::BatchStream;
use larder_core::arrow::array::RecordBatch;
use larder_engine::historical::EntitySource;
use larder_engine::{Push, PushPhase, PushTarget, Selection};
use parking_lot::Mutex;

use crate::push::{at, fresh, history, world};
use crate::support::*;

const KEYS: i64 = 700;

/// Rows that are made while they are read: so many batches of a hundred each.
#[derive(Debug)]
pub(crate) struct Rows {
    batches: i64,
    /// Rows with a null key, by their number.
    bad: Vec<i64>,
    opened: AtomicUsize,
    /// From the second reading on there are fewer batches.
    shrinks: AtomicBool,
}

impl Rows {
    pub(crate) fn new(batches: i64, bad: Vec<i64>) -> Arc<Self> {
        Arc::new(Self {
            batches,
            bad,
            opened: AtomicUsize::new(0),
            shrinks: AtomicBool::new(false),
        })
    }

    fn batch(&self, number: i64) -> RecordBatch {
        let rows: Vec<_> = (number * 100..number * 100 + 100)
            .map(|n| {
                let key = (!self.bad.contains(&n)).then_some(n % KEYS);
                (key, Some(at(-1) + n), Some(n))
            })
            .collect();
        fresh(&rows)
    }
}

impl EntitySource for Rows {
    fn open(&self) -> Result<BatchStream> {
        let again = self.opened.fetch_add(1, Ordering::SeqCst) > 0;
        let fewer = again && self.shrinks.load(Ordering::SeqCst);
        let count = self.batches - i64::from(fewer);
        let batches: Vec<_> = (0..count).map(|number| Ok(self.batch(number))).collect();
        Ok(stream::iter(batches).boxed())
    }
}

fn push(world: &World, rows: &Arc<Rows>, to: PushTarget) -> Push {
    world.store.push("orders").to(to).read_from(rows.clone())
}

#[tokio::test]
async fn every_side_reads_the_rows_for_itself() {
    let world = world().await;
    let rows = Rows::new(50, vec![]);
    let phases = Arc::new(Mutex::new(Vec::new()));
    let told = phases.clone();
    let report = push(&world, &rows, PushTarget::Both)
        .on_event(move |event| told.lock().push((event.phase, event.rows, event.total)))
        .run()
        .await
        .unwrap();
    assert_eq!((report.rows, report.bad, report.appended), (5_000, 0, 5_000));
    assert_eq!((report.views[0].written, report.views[0].stale), (700, 4_300));
    assert_eq!(rows.opened.load(Ordering::SeqCst), 3);
    let (offline, online) = (report.offline.unwrap(), report.online.unwrap());
    assert_eq!((offline.rows, offline.batches, online.rows), (5_000, 1, 5_000));
    assert!(online.batches > 0 && online.rows_per_second > 0.0);
    assert_eq!(history(&world).await.len(), 5_000);
    // The newest of each key.
    assert_eq!((world.n(699).await, world.n(0).await), (Some(4_899), Some(4_900)));
    let phases = phases.lock().clone();
    let last = |of: PushPhase| phases.iter().rfind(|(phase, ..)| *phase == of).unwrap().1;
    assert_eq!(
        (
            last(PushPhase::Check),
            last(PushPhase::Append),
            last(PushPhase::Online)
        ),
        (5_000, 5_000, 5_000)
    );
    assert!(
        phases
            .iter()
            .all(|(phase, _, total)| *phase == PushPhase::Check || *total == Some(5_000))
    );
    // What was pushed is what a run would write.
    let ran = world.materialize().await;
    assert_eq!((ran.written, ran.stale), (700, 0));
}

#[tokio::test]
async fn a_bad_row_at_the_end_refuses_all() {
    let world = world().await;
    let rows = Rows::new(20, vec![7, 1_999]);
    let error = assert_says(
        push(&world, &rows, PushTarget::Both).run().await,
        &["row 7: join key", "row 1999: join key", "2 problems"],
    );
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(history(&world).await.is_empty());
    assert_eq!(world.online.writes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn bad_rows_are_told_before_the_first_is_written() {
    let world = world().await;
    let rows = Rows::new(30, (0..3_000).step_by(2).collect());
    let online = world.online.clone();
    let seen = Arc::new(Mutex::new((0_u64, 0_usize)));
    let told = seen.clone();
    let report = push(&world, &rows, PushTarget::Both)
        .dead_letter_to(move |judged| {
            assert_eq!(online.writes.load(Ordering::SeqCst), 0);
            let mut seen = told.lock();
            assert_eq!(judged.first_row, seen.0);
            let dead = judged.dead.unwrap();
            assert_eq!(dead.num_rows(), judged.refused.len());
            // Rows come back as they were given, without a created time of ours.
            assert!(dead.column_by_name("created").is_none() && dead.column_by_name("reason").is_some());
            assert_eq!(judged.refused[0].row as u64, judged.first_row);
            seen.0 += judged.rows;
            seen.1 += dead.num_rows();
            Ok(())
        })
        .run()
        .await
        .unwrap();
    assert_eq!(*seen.lock(), (3_000, 1_500));
    assert_eq!((report.rows, report.bad, report.appended), (3_000, 1_500, 1_500));
    assert_eq!((report.refused.len(), report.dead.is_none()), (1_000, true));
    assert_eq!(history(&world).await.len(), 1_500);
    // A dead letter that cannot be written ends the push before anything is.
    let full = push(&world, &Rows::new(3, vec![1]), PushTarget::Both)
        .dead_letter_to(|_| Err(larder_base::Error::unavailable("the disk is full")));
    assert_says(full.run().await, &["the disk is full"]);
    assert_eq!(history(&world).await.len(), 1_500);
}

#[tokio::test]
async fn rows_that_change_meanwhile_are_refused() {
    for to in [PushTarget::Offline, PushTarget::Both, PushTarget::Online] {
        let world = world().await;
        let rows = Rows::new(10, vec![]);
        rows.shrinks.store(true, Ordering::SeqCst);
        let error = assert_says(push(&world, &rows, to).run().await, &["changed"]);
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(history(&world).await.is_empty(), "the history has all or none");
    }
}

#[tokio::test]
async fn a_push_that_is_stopped_says_what_is_there() {
    let world = world().await;
    let rows = Rows::new(10, vec![]);
    let stopped = push(&world, &rows, PushTarget::Both).stop_when(std::future::ready(()));
    assert_says(stopped.run().await, &["stopped", "nothing was written"]);
    assert!(history(&world).await.is_empty());
    // In the middle of the online side: what is under way ends, and the history has all rows.
    let (send, told) = tokio::sync::oneshot::channel::<()>();
    let send = Mutex::new(Some(send));
    let rows = Rows::new(10, vec![]);
    let stopped = push(&world, &rows, PushTarget::Both)
        .on_event(move |event| {
            if event.phase == PushPhase::Online
                && let Some(send) = send.lock().take()
            {
                let _ = send.send(());
            }
        })
        .stop_when(async move {
            let _ = told.await;
        });
    match stopped.run().await {
        // The rows may have been faster.
        Ok(report) => assert_eq!(report.appended, 1_000),
        Err(error) => assert!(error.to_string().contains("--to online"), "{error}"),
    }
    assert_eq!(history(&world).await.len(), 1_000);
    push(&world, &rows, PushTarget::Online).run().await.unwrap();
    assert_eq!(world.n(5).await, Some(705));
}

/// A push to both that broke off and is run again leaves rows in the history twice; no answer changes.
#[tokio::test]
async fn pushing_again_changes_no_answer() {
    for created in ["", ", created_time: created"] {
        let world = World::new();
        world
            .apply(&USERS.replace(", created_time: created", created))
            .await;
        let rows = Rows::new(3, vec![]);
        world.online.fail_in(0);
        let error = assert_says(
            push(&world, &rows, PushTarget::Both).run().await,
            &["pulled the plug", "appended_offline=300", "--to online"],
        );
        assert!(error.is_retryable());
        world.online.heal();
        let spine = || {
            batch(vec![
                ("user_id", ints((0..300).map(|n| n % 5 * 60))),
                ("event_timestamp", times((0..300).map(|n| at(-1) + n))),
            ])
        };
        let join = async || {
            let task = world
                .store
                .historical(Selection::features(["stats"]))
                .entities([spine()]);
            let (out, _) = task.run().await.unwrap().collect().await.unwrap();
            (numbers(&out, "n"), column(&out, "x"))
        };
        let once = join().await;
        pass(&world, MINUTE);
        push(&world, &rows, PushTarget::Both).run().await.unwrap();
        assert_eq!(history(&world).await.len(), 600);
        assert_eq!(join().await, once, "created: {created:?}");
        assert_eq!(world.n(299).await, Some(299));
        let ran = world.materialize().await;
        assert_eq!((ran.written, ran.stale), (300, 0));
        assert_eq!(
            world.read(&["stats:n"], &[7]).await[0][0],
            larder_engine::Reading::Present(Value::Int64(7))
        );
    }
}
