//! Whether a store says no in the right way.

use std::sync::Arc;
use std::time::Duration;

use larder_core::{
    ErrorKind, FeatureBlock, Micros, OnlineWrite, PackedRows, ReadOptions, Value, WriteOptions,
};

use super::support::{Cx, Ints, expect_row, int_keys, layout, request, rule, write};
use crate::case::{Case, Stop, Verdict, cases};
use crate::check::{ensure, refused};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.errors.other-length": "a write with another number of rows than keys is refused" => other_length,
        "online.errors.deadline": "a read with a deadline answers right or with `Timeout`, and never in part" => deadline,
        "online.errors.row-too-long": "a row longer than declared is refused and changes nothing" => row_too_long,
        "online.errors.quiet": "an error does not tell the values that it was about" => quiet,
    ]
}

async fn other_length(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 121)?;
    let store = cx.ready(&[&ints.layout]).await?;
    for (keys, rows) in [(vec![1, 2], 1), (vec![1], 2), (vec![], 1), (vec![1], 0)] {
        let mut packed = PackedRows::new();
        for _ in 0..rows {
            packed.push_values(&ints.layout, Micros(1), None, &[Value::Int64(1)])?;
        }
        let keys = int_keys(&ints.layout, &keys)?;
        let batch = OnlineWrite::new(ints.layout.clone(), keys, Arc::new(packed)).with_rule(rule(&store));
        let answer = store.write(&batch, &WriteOptions::default()).await;
        let kinds = [ErrorKind::Internal, ErrorKind::Input];
        refused(answer, &kinds, "a write with another number of rows than keys")?;
        ints.expect(
            &store,
            &[1, 2],
            &[None, None],
            "after a write with another number of rows than keys",
        )
        .await?;
    }
    Ok(())
}

async fn deadline(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "stats", 122)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let rows: Vec<_> = (0..2_000).map(|n| (n, 1, None, n)).collect();
    ints.put(&store, &rows, 2_000, 0).await?;
    let keys: Vec<i64> = (0..2_000).collect();
    let request = request(&ints.layout, int_keys(&ints.layout, &keys)?);
    for timeout in [Duration::ZERO, Duration::from_micros(1), Duration::from_secs(60)] {
        let mut block = FeatureBlock::new();
        match store
            .read(&request, &ReadOptions::new().timeout(timeout), &mut block)
            .await
        {
            Ok(()) => {
                for row in 0..keys.len() {
                    expect_row(&block, 0, row, Some(&[Value::Int64(row as i64)]))?;
                }
            }
            Err(error) if error.kind() == ErrorKind::Timeout && timeout < Duration::from_secs(1) => {}
            Err(error) => return Err(Stop::from(error).during(format!("a read within {timeout:?}"))),
        }
    }
    Ok(())
}

async fn row_too_long(cx: &Cx<'_>) -> Verdict {
    let layout = layout("conf", "long", 123, &[("user", "int64")], &[("s", "string")])?;
    let store = cx.ready(&[&layout]).await?;
    let Some(most) = store.capabilities().max_row_bytes else {
        return Err(Stop::Skipped("`max_row_bytes` is not declared".to_owned()));
    };
    ensure!(
        most <= 64 << 20,
        "a limit of {most} bytes per row is not tested; declare none"
    );
    let keys = int_keys(&layout, &[1])?;
    let row = |event, bytes: usize| -> Verdict<PackedRows> {
        let mut packed = PackedRows::new();
        packed.push_values(&layout, Micros(event), None, &[Value::str(&"x".repeat(bytes))])?;
        Ok(packed)
    };
    let overhead = row(1, 0)?.byte_len();
    let fits = row(1, most as usize - overhead)?;
    write(&store, &layout, keys.clone(), fits).await?;
    let longer = Arc::new(row(2, most as usize - overhead + 1)?);
    let batch = OnlineWrite::new(layout.clone(), keys.clone(), longer).with_rule(rule(&store));
    let answer = store.write(&batch, &WriteOptions::default()).await;
    refused(
        answer,
        &[ErrorKind::Input, ErrorKind::Unsupported],
        "a row longer than declared",
    )?;
    let block = super::support::read(&store, &request(&layout, keys)).await?;
    expect_row(
        &block,
        0,
        0,
        Some(&[Value::str(&"x".repeat(most as usize - overhead))]),
    )
}

async fn quiet(cx: &Cx<'_>) -> Verdict {
    let layout = layout("conf", "secret", 124, &[("name", "string")], &[("s", "string")])?;
    let store = cx.ready(&[&layout]).await?;
    let mut keys = larder_core::EntityKeys::new();
    keys.push_values(layout.join_keys(), &[Value::str("bobby-tables")])?;
    keys.push_null();
    let mut packed = PackedRows::new();
    for _ in 0..2 {
        packed.push_values(&layout, Micros(1), None, &[Value::str("topsecret")])?;
    }
    let batch = OnlineWrite::new(layout.clone(), Arc::new(keys), Arc::new(packed)).with_rule(rule(&store));
    let answer = store.write(&batch, &WriteOptions::default()).await;
    let error = refused(answer, &[ErrorKind::Input], "a batch with a null key")?;
    let text = format!("{error:?} {}", error.chain());
    for secret in ["bobby-tables", "topsecret"] {
        ensure!(!text.contains(secret), "the error tells a value of the batch");
    }
    Ok(())
}
