//! Are long keys, tombstones, extreme times, projects and retired generations kept as the rules say?

use std::sync::Arc;

use larder_base::{
    EntityKeys, ErrorKind, FeatureBlock, Generation, KeyGroup, LayoutChanges, Micros, OnlineDelete,
    OnlineRead, OnlineStore, ProjectName, ReadOptions, RowStatus, Span, ViewRead, VirtualClock, WriteOptions,
};
use larder_local::{LocalConfig, LocalStore};

use crate::common::{Row, batch, keys, layout, open, plain_layout, read, wait, write};

const DAY: i64 = 86_400_000_000;
/// 2026-01-01 in µs.
const NOW: i64 = 1_767_225_600_000_000;

fn delete(
    store: &LocalStore,
    layout: &Arc<larder_base::ViewLayout>,
    names: &[&str],
    at: i64,
    now: i64,
) -> (u64, u64) {
    let delete = OnlineDelete {
        layout: layout.clone(),
        keys: keys(layout, names),
        at: Micros(at),
        now: Micros(now),
    };
    let report = wait(store.delete(&delete, &WriteOptions::default())).expect("a delete");
    (report.written, report.stale)
}

fn project() -> ProjectName {
    ProjectName::new("p").expect("a name")
}

#[test]
fn keys_of_every_length_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let view = layout("p", 1);
    // From short to the longest canonical key (1,024 bytes with version, mode, tag and length), around every border.
    let lengths = [
        0, 1, 480, 481, 482, 490, 496, 497, 498, 499, 506, 507, 700, 1018, 1019,
    ];
    let rows: Vec<Row> = lengths
        .iter()
        .flat_map(|length| ["a", "b"].map(|tail| format!("{}{tail}", "x".repeat(length - length.min(&1)))))
        .enumerate()
        .map(|(n, key)| Row::new(key, 1, n as i64))
        .collect();
    write(&store, &view, &rows).expect("a write");
    let names: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let found = read(&store, &view, &names).expect("a read");
    for (row, found) in rows.iter().zip(found) {
        let newest = rows
            .iter()
            .rfind(|other| other.key == row.key)
            .map(|row| row.number);
        assert_eq!(found.map(|found| found.1), newest, "{} bytes", row.key.len());
    }
    assert_eq!(read(&store, &view, &[&"x".repeat(900)]).expect("a read"), [None]);
    // The walk meets every key once, in order, whatever the page.
    for limit in [1, 3, 1000] {
        let scan = store.scan().expect("a walk");
        let (mut met, mut after): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
        loop {
            let page = wait(scan.page(&view, after.as_deref(), limit)).expect("a page");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            met.extend(page.into_iter().map(|row| row.key));
        }
        let mut wanted: Vec<Vec<u8>> = keys(&view, &names).iter().flatten().map(<[u8]>::to_vec).collect();
        wanted.sort();
        wanted.dedup();
        assert_eq!(met, wanted, "pages of {limit}");
    }
}

#[test]
fn tombstones_follow_the_same_rule() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let view = layout("p", 1);
    write(&store, &view, &[Row::new("a", 10, 1), Row::new("b", 30, 1)]).expect("a write");
    assert_eq!(delete(&store, &view, &["a", "b", "c"], 20, NOW), (2, 1));
    let found = read(&store, &view, &["a", "b", "c"]).expect("a read");
    assert_eq!(
        found.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true, false]
    );
    let report = write(&store, &view, &[Row::new("a", 19, 2), Row::new("c", 15, 2)]).expect("a write");
    assert_eq!(
        (report.written, report.stale),
        (0, 2),
        "an older row in flight brings nothing back"
    );
    write(&store, &view, &[Row::new("a", 21, 3)]).expect("a write");
    assert_eq!(
        read(&store, &view, &["a"]).expect("a read")[0]
            .as_ref()
            .map(|found| found.1),
        Some(3)
    );
}

#[test]
fn extreme_times_and_created_decide() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let view = layout("p", 1);
    let row = |event, created, number| Row {
        created,
        ..Row::new("a", event, number)
    };
    let order = [
        row(i64::MIN, None, 1),
        row(i64::MIN, Some(0), 2),
        row(-1, None, 3),
        row(0, Some(-5), 4),
        row(0, Some(5), 5),
        row(i64::MAX, None, 6),
        row(i64::MAX, Some(i64::MAX), 7),
    ];
    for (i, row) in order.iter().enumerate() {
        assert_eq!(
            write(&store, &view, std::slice::from_ref(row))
                .expect("a write")
                .written,
            1
        );
        for older in &order[..i] {
            assert_eq!(
                write(&store, &view, std::slice::from_ref(older))
                    .expect("a write")
                    .stale,
                1
            );
        }
        let found = read(&store, &view, &["a"]).expect("a read");
        assert_eq!(found[0].as_ref().map(|found| found.1), Some(row.number));
    }
    // In one batch too, where the order of equals decides.
    let report = write(
        &store,
        &view,
        &[row(5, None, 8), row(i64::MAX, Some(i64::MAX), 9)],
    )
    .expect("a write");
    assert_eq!((report.written, report.stale), (1, 1));
    assert_eq!(
        read(&store, &view, &["a"]).expect("a read")[0]
            .as_ref()
            .map(|found| found.1),
        Some(9)
    );
}

#[test]
fn projects_and_generations_are_apart_and_reclaim_takes_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let views = [layout("p", 7), layout("p", 8), layout("q", 7)];
    let names: Vec<String> = (0..3000)
        .map(|n| {
            if n % 50 == 0 {
                format!("{n}{}", "l".repeat(800))
            } else {
                n.to_string()
            }
        })
        .collect();
    for (number, view) in views.iter().enumerate() {
        let rows: Vec<Row> = names
            .iter()
            .map(|name| Row::new(name, 1, number as i64))
            .collect();
        write(&store, view, &rows).expect("a write");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for expected in [3000, 0] {
        let report = wait(store.reclaim(&project(), &[Generation(7), Generation(99)])).expect("a reclaim");
        assert_eq!(report.rows, expected, "reclaim is idempotent");
        for (number, view) in views.iter().enumerate() {
            let found = read(&store, view, &names).expect("a read");
            let want = (number != 0).then_some(number as i64);
            assert!(
                found
                    .iter()
                    .all(|found| found.as_ref().map(|found| found.1) == want),
                "view {number}"
            );
        }
    }
}

#[test]
fn sweeping_frees_old_tombstones_and_rows_past_retention() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = VirtualClock::at(Micros(NOW));
    let store =
        LocalStore::with_config(&LocalConfig::new(folder.path()), Arc::new(clock.clone())).expect("a store");
    let kept = Arc::new(plain_layout("p", 1));
    let short = Arc::new(
        plain_layout("p", 2)
            .with_ttl(Some(Span(2 * DAY)))
            .with_retention(Some(Span(DAY))),
    );
    let changes = LayoutChanges {
        project: project(),
        layouts: vec![kept.clone(), short.clone()],
    };
    wait(store.prepare(&changes)).expect("prepared");
    for view in [&kept, &short] {
        write(
            &store,
            view,
            &[Row::new("old", NOW - 3 * DAY, 1), Row::new("new", NOW, 1)],
        )
        .expect("a write");
    }
    assert_eq!(delete(&store, &kept, &["dead"], NOW, NOW), (1, 0));
    let rows = |view| {
        wait(store.scan().expect("a walk").page(view, None, 100))
            .expect("a page")
            .len()
    };
    let reclaim = || wait(store.reclaim(&project(), &[])).expect("a reclaim").rows;
    assert_eq!(
        (reclaim(), rows(&kept), rows(&short)),
        (0, 3, 1),
        "max(ttl, retention) + 1 h has passed for one row"
    );
    clock.advance(Span(7 * DAY + 1));
    assert_eq!((reclaim(), rows(&kept), rows(&short)), (0, 2, 0));
    let found = read(&store, &kept, &["old", "new"]).expect("a read");
    assert!(
        found.iter().all(Option::is_some),
        "without a retention rows stay for ever"
    );
}

#[test]
fn wrong_writes_are_refused_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let view = layout("p", 1);
    let refused = |batch| wait(store.write(&batch, &WriteOptions::default())).expect_err("a refusal");
    let mut wrong = batch(&view, &[Row::new("a", 1, 1)]);
    wrong.layout = layout("p", 2);
    assert_eq!(
        refused(wrong).kind(),
        ErrorKind::Input,
        "rows of another generation"
    );
    let mut wrong = batch(&view, &[Row::new("a", 1, 1), Row::new("b", 1, 1)]);
    wrong.keys = keys(&view, &["a"]);
    assert_eq!(refused(wrong).kind(), ErrorKind::Input, "fewer keys than rows");
    let mut wrong = batch(&view, &[Row::new("a", 1, 1)]);
    let mut null = EntityKeys::new();
    null.push_null();
    wrong.keys = Arc::new(null);
    assert_eq!(refused(wrong).kind(), ErrorKind::Input, "a null key");
    let mut late = WriteOptions::default();
    late.timeout = Some(std::time::Duration::ZERO);
    let error = wait(store.write(&batch(&view, &[Row::new("a", 1, 1)]), &late)).expect_err("a timeout");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(read(&store, &view, &["a", "b"]).expect("a read"), [None, None]);
}

#[test]
fn one_read_answers_many_views_in_order_with_nulls_and_duplicates() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let views = [layout("p", 1), layout("p", 2)];
    write(&store, &views[0], &[Row::new("a", 1, 1)]).expect("a write");
    write(&store, &views[1], &[Row::new("b", 1, 2)]).expect("a write");
    let mut asked = EntityKeys::clone(&keys(&views[0], &["a", "b", "a"]));
    asked.push_null();
    let reads = views
        .iter()
        .zip([1, 0])
        .map(|(view, slot)| ViewRead::all(slot, view.clone()))
        .collect();
    let request = OnlineRead {
        groups: vec![KeyGroup {
            keys: Arc::new(asked),
            views: reads,
        }],
    };
    let mut block = FeatureBlock::new();
    wait(store.read(&request, &ReadOptions::default(), &mut block)).expect("a read");
    let status = |slot| {
        (0..4)
            .map(|row| block.status(slot, row) == RowStatus::Present)
            .collect::<Vec<_>>()
    };
    assert_eq!(status(1), [true, false, true, false]);
    assert_eq!(status(0), [false, true, false, false]);
}
