//! Who wins when several rows were written under one key.

use larder_core::{ErrorKind, WriteOptions, WriteRule};

use super::support::{Cx, Ints};
use crate::case::{Case, Verdict, cases};
use crate::check::{need, need_not, refused, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.order.newest-wins": "a row with an older event is refused and counted as stale" => newest_wins,
        "online.order.created-decides": "among equal events the later created time wins" => created_decides,
        "online.order.absent-created": "an absent created time is smaller than any other" => absent_created,
        "online.order.event-before-created": "a newer event wins whatever the created times are" => event_first,
        "online.order.equal-overwrites": "an equal pair of times overwrites, so a re-run is idempotent" => equal_overwrites,
        "online.order.extreme-times": "times before 1970 and at both ends are ordered as numbers" => extreme_times,
        "online.order.within-a-batch": "the newest of several rows of one key in one batch wins, whatever their order" => within_a_batch,
        "online.order.report": "every row of a write is either written or stale" => report,
        "online.order.unsupported-newest": "a store without newest-wins refuses it and changes nothing" => unsupported_newest,
        "online.order.overwrite": "under `Overwrite` the last arrival wins, older or not" => overwrite,
        "online.order.unsupported-overwrite": "a store without `Overwrite` refuses it and changes nothing" => unsupported_overwrite,
        "online.tombstone.deletes": "a deleted entity reads not_found, others stay" => deletes,
        "online.tombstone.older-write": "a row older than the deletion cannot bring the entity back" => older_write,
        "online.tombstone.newer-write": "a row newer than the deletion lives" => newer_write,
        "online.tombstone.stale": "a deletion older than the stored row is stale" => stale_delete,
        "online.tombstone.absent": "deleting an absent key refuses older rows that arrive later" => absent_delete,
        "online.tombstone.twice": "deleting twice is the same as once" => delete_twice,
        "online.tombstone.created": "at the event time of the deletion its created time decides" => delete_created,
    ]
}

async fn ordered(cx: &Cx<'_>) -> Verdict<(Ints, std::sync::Arc<dyn larder_core::OnlineStore>)> {
    let ints = Ints::new("conf", "ordered", 41)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    Ok((ints, store))
}

async fn newest_wins(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 100, None, 1), (2, 100, None, 2)], 2, 0)
        .await?;
    ints.put(&store, &[(1, 99, None, 9), (2, 101, None, 3)], 1, 1)
        .await?;
    ints.expect(
        &store,
        &[1, 2],
        &[Some(1), Some(3)],
        "after an older and a newer row",
    )
    .await?;
    ints.put(&store, &[(1, 200, None, 4)], 1, 0).await?;
    ints.put(&store, &[(1, 100, None, 1)], 0, 1).await?;
    ints.expect(&store, &[1], &[Some(4)], "after the first row came again")
        .await
}

async fn created_decides(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 100, Some(50), 1)], 1, 0).await?;
    ints.put(&store, &[(1, 100, Some(49), 2)], 0, 1).await?;
    ints.expect(&store, &[1], &[Some(1)], "after an earlier created time")
        .await?;
    ints.put(&store, &[(1, 100, Some(51), 3)], 1, 0).await?;
    ints.expect(&store, &[1], &[Some(3)], "after a later created time")
        .await
}

async fn absent_created(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 100, None, 1), (2, 100, Some(-5), 2)], 2, 0)
        .await?;
    ints.put(
        &store,
        &[(1, 100, Some(i64::MIN + 1), 3), (2, 100, None, 4)],
        1,
        1,
    )
    .await?;
    ints.expect(
        &store,
        &[1, 2],
        &[Some(3), Some(2)],
        "absent against any created time",
    )
    .await
}

async fn event_first(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 100, Some(999), 1)], 1, 0).await?;
    ints.put(&store, &[(1, 101, Some(5), 2)], 1, 0).await?;
    ints.put(&store, &[(1, 100, Some(10_000), 3)], 0, 1).await?;
    ints.put(&store, &[(1, 102, None, 4)], 1, 0).await?;
    ints.expect(&store, &[1], &[Some(4)], "the newest event, though created first")
        .await
}

async fn equal_overwrites(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    let first = [(1, 100, Some(5), 1), (2, 100, None, 2), (3, -1, Some(-1), 3)];
    ints.put(&store, &first, 3, 0).await?;
    ints.put(&store, &first, 3, 0).await?;
    ints.put(
        &store,
        &[(1, 100, Some(5), 10), (2, 100, None, 20), (3, -1, Some(-1), 30)],
        3,
        0,
    )
    .await?;
    ints.expect(
        &store,
        &[1, 2, 3],
        &[Some(10), Some(20), Some(30)],
        "after equal pairs",
    )
    .await
}

async fn extreme_times(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    // Written from both ends, so that each comparison of neighbours happens in both directions.
    let times = [
        i64::MIN,
        i64::MIN + 1,
        -1_000_000,
        -256,
        -255,
        -1,
        0,
        1,
        255,
        256,
        1 << 32,
        i64::MAX - 1,
        i64::MAX,
    ];
    for (number, event) in (0_i64..).zip(times) {
        ints.put(&store, &[(1, event, None, number)], 1, 0).await?;
        ints.expect(
            &store,
            &[1],
            &[Some(number)],
            &format!("event {event} after smaller ones"),
        )
        .await?;
    }
    for event in times.iter().rev().skip(1) {
        ints.put(&store, &[(1, *event, Some(i64::MAX), 99)], 0, 1).await?;
    }
    for (number, created) in (0_i64..).zip(times.iter().skip(1)) {
        ints.put(&store, &[(2, 7, Some(*created), number)], 1, 0).await?;
    }
    for created in times.iter().skip(1).rev().skip(1) {
        ints.put(&store, &[(2, 7, Some(*created), 99)], 0, 1).await?;
    }
    ints.expect(&store, &[1, 2], &[Some(12), Some(11)], "the last of all times")
        .await
}

async fn within_a_batch(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    let rows = [
        (1, 10, None, 1),
        (2, 30, None, 2),
        (1, 30, None, 3),
        (2, 10, None, 4),
        (1, 20, None, 5),
        (3, 10, Some(2), 6),
        (3, 10, Some(1), 7),
    ];
    let report = ints.write(&store, &rows).await?;
    same(
        report.written + report.stale,
        7,
        "rows accounted for in a batch with repeated keys",
    )?;
    ints.expect(
        &store,
        &[1, 2, 3],
        &[Some(3), Some(2), Some(6)],
        "after one batch with repeated keys",
    )
    .await
}

async fn report(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    let rows: Vec<_> = (0..100).map(|n| (n, 50, None, 1)).collect();
    ints.put(&store, &rows, 100, 0).await?;
    let mixed: Vec<_> = (0..100)
        .map(|n| (n, if n % 4 == 0 { 49 } else { 51 }, None, 2))
        .collect();
    ints.put(&store, &mixed, 75, 25).await?;
    let keys: Vec<i64> = (0..100).collect();
    let want: Vec<_> = keys
        .iter()
        .map(|n| Some(if n % 4 == 0 { 1 } else { 2 }))
        .collect();
    ints.expect(&store, &keys, &want, "after a batch that was stale in part")
        .await
}

async fn unsupported_newest(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "rules", 42)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need_not(store.capabilities().newest_wins, "newest_wins")?;
    ints.write(&store, &[(1, 10, None, 1)]).await?;
    let batch = ints.batch(&[(1, 20, None, 2), (2, 20, None, 2)], WriteRule::NewestWins)?;
    let answer = store.write(&batch, &WriteOptions::default()).await;
    refused(
        answer,
        &[ErrorKind::Unsupported],
        "newest-wins without the capability",
    )?;
    ints.expect(&store, &[1, 2], &[Some(1), None], "after an unsupported write")
        .await
}

async fn overwrite(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "rules", 43)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need(store.capabilities().overwrite, "overwrite")?;
    for (event, value) in [(100, 1), (50, 2), (75, 3)] {
        let batch = ints.batch(&[(1, event, None, value)], WriteRule::Overwrite)?;
        let report = store.write(&batch, &WriteOptions::default()).await?;
        same(
            (report.written, report.stale),
            (1, 0),
            "the report of an overwrite",
        )?;
        ints.expect(&store, &[1], &[Some(value)], "after an overwrite")
            .await?;
    }
    Ok(())
}

async fn unsupported_overwrite(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "rules", 44)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need_not(store.capabilities().overwrite, "overwrite")?;
    ints.write(&store, &[(1, 10, None, 1)]).await?;
    let batch = ints.batch(&[(1, 20, None, 2), (2, 20, None, 2)], WriteRule::Overwrite)?;
    let answer = store.write(&batch, &WriteOptions::default()).await;
    refused(
        answer,
        &[ErrorKind::Unsupported],
        "overwrite without the capability",
    )?;
    ints.expect(&store, &[1, 2], &[Some(1), None], "after an unsupported write")
        .await
}

async fn deletes(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(
        &store,
        &[(1, 10, None, 1), (2, 10, None, 2), (3, 10, None, 3)],
        3,
        0,
    )
    .await?;
    let report = ints.delete(&store, &[1, 3], 20, 21).await?;
    same((report.written, report.stale), (2, 0), "the report of a deletion")?;
    ints.expect(&store, &[1, 2, 3], &[None, Some(2), None], "after a deletion")
        .await
}

async fn older_write(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 10, None, 1)], 1, 0).await?;
    ints.delete(&store, &[1], 20, 21).await?;
    ints.put(&store, &[(1, 19, Some(1_000), 9)], 0, 1).await?;
    ints.expect(&store, &[1], &[None], "after a row older than the deletion")
        .await
}

async fn newer_write(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 10, None, 1)], 1, 0).await?;
    ints.delete(&store, &[1], 20, 21).await?;
    ints.put(&store, &[(1, 21, None, 9)], 1, 0).await?;
    ints.expect(&store, &[1], &[Some(9)], "after a row newer than the deletion")
        .await?;
    ints.put(&store, &[(1, 20, Some(5), 8)], 0, 1).await?;
    ints.expect(&store, &[1], &[Some(9)], "after a row in between")
        .await
}

async fn stale_delete(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 30, None, 1), (2, 10, None, 2)], 2, 0)
        .await?;
    let report = ints.delete(&store, &[1, 2], 20, 21).await?;
    same(
        (report.written, report.stale),
        (1, 1),
        "the report of a deletion older than one of the rows",
    )?;
    ints.expect(
        &store,
        &[1, 2],
        &[Some(1), None],
        "after a deletion older than one of the rows",
    )
    .await
}

async fn absent_delete(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    let report = ints.delete(&store, &[5], 20, 21).await?;
    same(
        (report.written, report.stale),
        (1, 0),
        "the report of deleting an absent key",
    )?;
    ints.put(&store, &[(5, 10, None, 1)], 0, 1).await?;
    ints.expect(&store, &[5], &[None], "after a row that was in flight")
        .await?;
    ints.put(&store, &[(5, 30, None, 2)], 1, 0).await?;
    ints.expect(&store, &[5], &[Some(2)], "after a newer row").await
}

async fn delete_twice(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.put(&store, &[(1, 10, None, 1)], 1, 0).await?;
    ints.delete(&store, &[1], 20, 21).await?;
    let again = ints.delete(&store, &[1], 20, 21).await?;
    same(
        (again.written, again.stale),
        (1, 0),
        "the report of the same deletion again",
    )?;
    let older = ints.delete(&store, &[1], 15, 22).await?;
    same(
        (older.written, older.stale),
        (0, 1),
        "the report of an older deletion",
    )?;
    ints.put(&store, &[(1, 18, None, 9)], 0, 1).await?;
    ints.expect(&store, &[1], &[None], "after three deletions").await
}

async fn delete_created(cx: &Cx<'_>) -> Verdict {
    let (ints, store) = ordered(cx).await?;
    ints.delete(&store, &[1, 2, 3], 20, 100).await?;
    ints.put(
        &store,
        &[(1, 20, None, 1), (2, 20, Some(99), 2), (3, 20, Some(101), 3)],
        1,
        2,
    )
    .await?;
    ints.expect(
        &store,
        &[1, 2, 3],
        &[None, None, Some(3)],
        "rows at the event time of the deletion",
    )
    .await
}
