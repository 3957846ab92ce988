//! Whether a future that is dropped on its way leaves the store whole.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use larder_core::{FeatureBlock, ReadOptions, WriteOptions, WriteReport};

use super::support::{Cx, Ints, expect_row, int_keys, request, rule, values_at};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, need, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.cancellation.read": "dropping a read at any point harms no later read" => read,
        "online.cancellation.write": "dropping a write leaves each row old or new, and writing again completes it" => write,
        "online.cancellation.never-polled": "a write that was never polled writes nothing" => never_polled,
        "online.cancellation.delete": "dropping a deletion leaves each row there or gone, and deleting again completes it" => delete,
        "online.cancellation.prepare": "dropping a prepare leaves no second identity" => prepare,
    ]
}

/// Polls a future at most `polls` times and drops it; its answer, if it came to one.
async fn abandoned<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => {
                if left == 0 {
                    return Poll::Ready(None);
                }
                Poll::Pending
            }
        }
    })
    .await
}

async fn read(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 111)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let rows: Vec<_> = (0..300).map(|n| (n, 1, None, n)).collect();
    ints.put(&store, &rows, 300, 0).await?;
    let keys: Vec<i64> = (0..300).collect();
    let request = request(&ints.layout, int_keys(&ints.layout, &keys)?);
    let mut block = FeatureBlock::new();
    for polls in [0, 1, 2, 3, 5, 8, 0] {
        let _ = abandoned(store.read(&request, &ReadOptions::default(), &mut block), polls).await;
        // The block's content is undefined now; the next read resets it.
        store.read(&request, &ReadOptions::default(), &mut block).await?;
        for row in [0, 150, 299] {
            expect_row(&block, 0, row, Some(&[larder_core::Value::Int64(row as i64)]))?;
        }
    }
    Ok(())
}

async fn write(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 112)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    let keys: Vec<i64> = (0..200).collect();
    let request = request(&ints.layout, int_keys(&ints.layout, &keys)?);
    let rows = |round: i64| {
        keys.iter()
            .map(|key| (*key, round, None, round))
            .collect::<Vec<_>>()
    };
    ints.put(&store, &rows(0), 200, 0).await?;
    for (round, polls) in (1_i64..).zip([1, 2, 3, 4, 6, 10, 1]) {
        let batch = ints.batch(&rows(round), rule(&store))?;
        let options = WriteOptions::default();
        let answer = abandoned(store.write(&batch, &options), polls).await;
        let block = super::support::read(&store, &request).await?;
        for row in 0..keys.len() {
            let got = values_at(&block, 0, row)?;
            let number = match got.as_deref() {
                Some([larder_core::Value::Int64(n)]) => *n,
                _ => -1,
            };
            ensure!(
                number == round || (number == round - 1 && answer.is_none()),
                "row {row} holds {number} after a write of round {round} that was dropped"
            );
        }
        // The dropped write may still be on its way; the same rows again are the same rows.
        ints.put(&store, &rows(round), 200, 0).await?;
        let want: Vec<_> = keys.iter().map(|_| Some(round)).collect();
        ints.expect(&store, &keys, &want, "after the same batch again")
            .await?;
    }
    Ok(())
}

async fn never_polled(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 113)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let batch = ints.batch(&[(1, 1, None, 1)], rule(&store))?;
    let options = WriteOptions::default();
    drop(store.write(&batch, &options));
    tokio::task::yield_now().await;
    ints.expect(&store, &[1], &[None], "after a write that was never polled")
        .await
}

async fn delete(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 114)?;
    let store = cx.ready(&[&ints.layout]).await?;
    need(store.capabilities().newest_wins, "newest_wins")?;
    let keys: Vec<i64> = (0..50).collect();
    for (round, polls) in (1_i64..).zip([1, 2, 4]) {
        let rows: Vec<_> = keys.iter().map(|key| (*key, round * 10, None, *key)).collect();
        ints.put(&store, &rows, 50, 0).await?;
        let _ = abandoned(ints.delete(&store, &keys, round * 10 + 1, 1), polls).await;
        for (key, value) in keys.iter().zip(ints.read(&store, &keys).await?) {
            ensure!(
                value.is_none() || value == Some(*key),
                "key {key} holds {value:?} after a dropped deletion"
            );
        }
        let report = ints.delete(&store, &keys, round * 10 + 1, 1).await?;
        same(
            report,
            WriteReport::new(50, 0),
            "the report of the same deletion again",
        )?;
        ints.expect(&store, &keys, &vec![None; 50], "after the same deletion again")
            .await?;
    }
    Ok(())
}

async fn prepare(cx: &Cx<'_>) -> Verdict {
    for polls in [1, 2, 3] {
        let ints = Ints::new("conf", "stats", 115)?;
        let store = cx.fresh().await?;
        let _ = abandoned(super::support::prepare(&store, &[&ints.layout]), polls).await;
        super::support::prepare(&store, &[&ints.layout]).await?;
        let identity = store.identity(ints.layout.project()).await?;
        ints.put(&store, &[(1, 1, None, 1)], 1, 0).await?;
        super::support::prepare(&store, &[&ints.layout]).await?;
        same(
            store.identity(ints.layout.project()).await?,
            identity,
            "the identity after a dropped prepare",
        )?;
        ints.expect(&store, &[1], &[Some(1)], "after a dropped prepare")
            .await?;
    }
    Ok(())
}
