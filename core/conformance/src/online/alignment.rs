//! Whether each answer stands where it was asked for.

use std::sync::Arc;

use larder_core::{EntityKeys, FeatureBlock, KeyGroup, OnlineRead, ReadOptions, Value, ViewRead};

use super::support::{Cx, Ints, expect_row, int_keys, keys_of, layout, read, write};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, same};
use crate::rng::Rng;

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.alignment.request-order": "answers come in the order of the request, not of the keys" => request_order,
        "online.alignment.missing-between": "absent keys take their place in the answer" => missing_between,
        "online.alignment.many-views": "several views of one key set are answered side by side" => many_views,
        "online.alignment.many-groups": "groups of different keys and lengths go in one request" => many_groups,
        "online.alignment.slots": "an answer goes to the slot that the request says" => slots,
        "online.alignment.same-view-twice": "one view under two key sets is answered for each" => same_view_twice,
        "online.alignment.empty": "no rows, no views and no groups are requests, too" => empty,
        "online.alignment.some-features": "a view may be read for some of its features" => some_features,
        "online.alignment.reused-block": "a block that was used before shows nothing of that" => reused_block,
    ]
}

async fn request_order(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "ordered", 31)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let rows: Vec<_> = (0..200).map(|n| (n, 1, None, n * 10)).collect();
    ints.put(&store, &rows, 200, 0).await?;
    let mut keys: Vec<i64> = (0..200).collect();
    Rng::new(1).shuffle(&mut keys);
    let want: Vec<_> = keys.iter().map(|n| Some(n * 10)).collect();
    ints.expect(&store, &keys, &want, "200 keys in random order")
        .await
}

async fn missing_between(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "gaps", 32)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let rows: Vec<_> = (0..100).filter(|n| n % 3 == 0).map(|n| (n, 1, None, n)).collect();
    ints.write(&store, &rows).await?;
    let keys: Vec<i64> = (0..100).rev().collect();
    let want: Vec<_> = keys.iter().map(|n| (n % 3 == 0).then_some(*n)).collect();
    ints.expect(&store, &keys, &want, "every third key is there")
        .await?;
    ints.expect(&store, &[-1, -2], &[None, None], "no key is there")
        .await
}

/// Views `v0..`, generation `base..`, where key `k` of view `v` holds `100 v + k`, for `k < 10`.
async fn filled(cx: &Cx<'_>, views: u32) -> Verdict<(Arc<dyn larder_core::OnlineStore>, Vec<Ints>)> {
    let mut all = Vec::new();
    for number in 0..views {
        all.push(Ints::new("conf", &format!("v{number}"), 300 + number)?);
    }
    let layouts: Vec<_> = all.iter().map(|ints| &ints.layout).collect();
    let store = cx.ready(&layouts).await?;
    for (number, ints) in (0_i64..).zip(&all) {
        let rows: Vec<_> = (0..10).map(|key| (key, 1, None, 100 * number + key)).collect();
        ints.put(&store, &rows, 10, 0).await?;
    }
    Ok((store, all))
}

fn expect_view(block: &FeatureBlock, slot: u16, view: i64, keys: &[i64]) -> Verdict {
    same(block.rows(slot), keys.len(), "rows of a view in the answer")?;
    for (row, key) in keys.iter().enumerate() {
        let want = (0..10).contains(key).then(|| [Value::Int64(100 * view + key)]);
        expect_row(block, slot, row, want.as_ref().map(|v| v.as_slice()))?;
    }
    Ok(())
}

async fn many_views(cx: &Cx<'_>) -> Verdict {
    let (store, views) = filled(cx, 6).await?;
    let asked = [3, 99, 0, 9, 3];
    let keys = int_keys(&views[0].layout, &asked)?;
    let group = KeyGroup {
        keys,
        views: (0_u16..)
            .zip(&views)
            .map(|(slot, v)| ViewRead::all(slot, v.layout.clone()))
            .collect(),
    };
    let block = read(&store, &OnlineRead { groups: vec![group] }).await?;
    same(block.view_count(), 6, "views in the answer")?;
    for (slot, view) in (0_u16..6).zip(0..) {
        expect_view(&block, slot, view, &asked)?;
    }
    Ok(())
}

async fn many_groups(cx: &Cx<'_>) -> Verdict {
    let (store, views) = filled(cx, 2).await?;
    let named = layout("conf", "named", 310, &[("name", "string")], &[("n", "int64")])?;
    super::support::prepare(&store, &[&named]).await?;
    let mut packed = larder_core::PackedRows::new();
    packed.push_values(&named, larder_core::Micros(1), None, &[Value::Int64(1_000)])?;
    write(&store, &named, keys_of(&named, &[vec![Value::str("x")]])?, packed).await?;

    let (few, more) = ([5], [0, 1, 2, 77, 3, 4]);
    let names = keys_of(&named, &[vec![Value::str("y")], vec![Value::str("x")]])?;
    let group = |keys, slot, layout: &Arc<larder_core::ViewLayout>| KeyGroup {
        keys,
        views: vec![ViewRead::all(slot, layout.clone())],
    };
    let request = OnlineRead {
        groups: vec![
            group(int_keys(&views[1].layout, &few)?, 0, &views[1].layout),
            group(names, 1, &named),
            group(int_keys(&views[0].layout, &more)?, 2, &views[0].layout),
        ],
    };
    let block = read(&store, &request).await?;
    expect_view(&block, 0, 1, &few)?;
    expect_view(&block, 2, 0, &more)?;
    expect_row(&block, 1, 0, None)?;
    expect_row(&block, 1, 1, Some(&[Value::Int64(1_000)]))
}

async fn slots(cx: &Cx<'_>) -> Verdict {
    let (store, views) = filled(cx, 4).await?;
    // Backwards, and woven over two groups of different lengths.
    let (first, second) = ([1, 2, 3], [9, 8]);
    let at = |slot: u16, view: usize| ViewRead::all(slot, views[view].layout.clone());
    let request = OnlineRead {
        groups: vec![
            KeyGroup {
                keys: int_keys(&views[0].layout, &first)?,
                views: vec![at(3, 0), at(1, 1)],
            },
            KeyGroup {
                keys: int_keys(&views[0].layout, &second)?,
                views: vec![at(2, 2), at(0, 3)],
            },
        ],
    };
    let block = read(&store, &request).await?;
    same(block.view_count(), 4, "views in the answer")?;
    for (slot, view, keys) in [
        (3, 0, &first[..]),
        (1, 1, &first),
        (2, 2, &second),
        (0, 3, &second),
    ] {
        same(
            block.layout(slot).view(),
            views[view as usize].layout.view(),
            "the view in a slot",
        )?;
        expect_view(&block, slot, view, keys)?;
    }
    Ok(())
}

async fn same_view_twice(cx: &Cx<'_>) -> Verdict {
    let (store, views) = filled(cx, 1).await?;
    let layout = &views[0].layout;
    let (origin, destination) = ([1, 2, 3], [3, 42, 1]);
    let group = |keys: &[i64], slot| -> Verdict<KeyGroup> {
        Ok(KeyGroup {
            keys: int_keys(layout, keys)?,
            views: vec![ViewRead::all(slot, layout.clone())],
        })
    };
    let request = OnlineRead {
        groups: vec![group(&origin, 0)?, group(&destination, 1)?],
    };
    let block = read(&store, &request).await?;
    expect_view(&block, 0, 0, &origin)?;
    expect_view(&block, 1, 0, &destination)
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let (store, views) = filled(cx, 1).await?;
    let block = read(&store, &OnlineRead::default()).await?;
    same(block.view_count(), 0, "views of a request without groups")?;
    let no_rows = KeyGroup {
        keys: Arc::new(EntityKeys::new()),
        views: vec![ViewRead::all(0, views[0].layout.clone())],
    };
    let no_views = KeyGroup {
        keys: int_keys(&views[0].layout, &[1])?,
        views: vec![],
    };
    let some = KeyGroup {
        keys: int_keys(&views[0].layout, &[1])?,
        views: vec![ViewRead::all(1, views[0].layout.clone())],
    };
    let request = OnlineRead {
        groups: vec![no_rows, no_views, some],
    };
    let block = read(&store, &request).await?;
    same(block.rows(0), 0, "rows of a group without keys")?;
    expect_view(&block, 1, 0, &[1])
}

async fn some_features(cx: &Cx<'_>) -> Verdict {
    let layout = layout(
        "conf",
        "wide",
        330,
        &[("user", "int64")],
        &[("a", "int64"), ("b", "string"), ("c", "int64")],
    )?;
    let store = cx.ready(&[&layout]).await?;
    let keys = int_keys(&layout, &[1])?;
    let mut packed = larder_core::PackedRows::new();
    let row = [Value::Int64(1), Value::str("two"), Value::Int64(3)];
    packed.push_values(&layout, larder_core::Micros(1), None, &row)?;
    write(&store, &layout, keys.clone(), packed).await?;
    for (features, checked) in [
        (vec![2_u16], vec![2_u16]),
        (vec![1, 0], vec![0, 1]),
        (vec![], vec![]),
    ] {
        let view = ViewRead {
            features: features.into(),
            ..ViewRead::all(0, layout.clone())
        };
        let request = OnlineRead {
            groups: vec![KeyGroup {
                keys: keys.clone(),
                views: vec![view],
            }],
        };
        let block = read(&store, &request).await?;
        let values = super::support::values_at(&block, 0, 0)?;
        ensure!(
            values.is_some(),
            "a row read for features {checked:?} was not found"
        );
        for feature in checked {
            let got = values.as_ref().map(|v| v[usize::from(feature)].clone());
            same(
                got,
                Some(row[usize::from(feature)].clone()),
                "a feature asked for",
            )?;
        }
    }
    Ok(())
}

async fn reused_block(cx: &Cx<'_>) -> Verdict {
    let (store, views) = filled(cx, 3).await?;
    let request = |keys: &[i64], of: &[usize]| -> Verdict<OnlineRead> {
        let reads = (0_u16..)
            .zip(of)
            .map(|(slot, v)| ViewRead::all(slot, views[*v].layout.clone()));
        Ok(OnlineRead {
            groups: vec![KeyGroup {
                keys: int_keys(&views[0].layout, keys)?,
                views: reads.collect(),
            }],
        })
    };
    let mut block = FeatureBlock::new();
    let options = ReadOptions::default();
    store
        .read(&request(&[1, 2, 3, 4], &[0, 1, 2])?, &options, &mut block)
        .await?;
    store
        .read(&request(&[77, 2], &[1])?, &options, &mut block)
        .await?;
    same(
        block.view_count(),
        1,
        "views after a smaller request in a used block",
    )?;
    expect_view(&block, 0, 1, &[77, 2])?;
    store.read(&request(&[], &[0])?, &options, &mut block).await?;
    same(block.rows(0), 0, "rows after an empty request in a used block")?;
    store
        .read(&request(&[5; 50], &[2, 0])?, &options, &mut block)
        .await?;
    expect_view(&block, 0, 2, &[5; 50])?;
    expect_view(&block, 1, 0, &[5; 50])
}
