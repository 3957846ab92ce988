//! Do splits part rows, do digests tell contents, do manifests tell what changed?

use std::sync::Arc;

use futures::StreamExt;
use larder_base::{Micros, Span};
use larder_core::arrow::array::{ArrayRef, RecordBatch, StringArray};
use larder_core::arrow::cast::cast;
use larder_core::arrow::datatypes::DataType;
use larder_core::{OfflineOptions, SourceFile, SourceFiles};
use larder_engine::historical::{
    Changed, Content, ContentHash, Difference, EntityFile, Historical, Manifest, Split, row_hashes,
};
use proptest::prelude::*;

use crate::support::*;

fn content(batches: &[RecordBatch]) -> Content {
    let mut hash = ContentHash::new(&batches[0].schema());
    batches.iter().for_each(|batch| hash.update(batch).unwrap());
    hash.content()
}

fn rows(values: &[(Option<i64>, Option<f64>, Option<String>)]) -> RecordBatch {
    let texts: StringArray = values.iter().map(|value| value.2.as_deref()).collect();
    let of_lists = |values: &[(Option<i64>, Option<f64>, Option<String>)]| {
        use larder_base::Value;
        let lists = values.iter().map(|(n, _, text)| match (n, text) {
            (None, _) => Value::Null,
            (Some(n), None) => Value::List(vec![Value::Int64(*n)]),
            (Some(n), Some(_)) => Value::List(vec![Value::Int64(*n), Value::Null]),
        });
        let lists: Vec<Value> = lists.collect();
        larder_core::convert::array_of(&lists, "list<int64>".parse().unwrap()).unwrap()
    };
    batch(vec![
        ("n", ints(values.iter().map(|value| value.0))),
        ("x", floats(values.iter().map(|value| value.1))),
        ("s", Arc::new(texts)),
        ("l", of_lists(values)),
    ])
}

fn value() -> impl Strategy<Value = (Option<i64>, Option<f64>, Option<String>)> {
    (
        proptest::option::of(0_i64..4),
        proptest::option::of(prop_oneof![Just(0.0), Just(f64::NAN), Just(1.5)]),
        proptest::option::of("[a-c]{0,2}"),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_digest_does_not_depend_on_where_batches_end(
        values in proptest::collection::vec(value(), 1..40),
        cuts in proptest::collection::vec(0_usize..40, 0..5),
    ) {
        let whole = rows(&values);
        let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(values.len())).collect();
        ends.extend([0, values.len()]);
        ends.sort_unstable();
        let pieces: Vec<RecordBatch> =
            ends.windows(2).map(|pair| whole.slice(pair[0], pair[1] - pair[0])).collect();
        prop_assert_eq!(content(&pieces), content(std::slice::from_ref(&whole)));
        let hashes: Vec<u64> = pieces.iter().flat_map(|piece| row_hashes(piece).unwrap()).collect();
        prop_assert_eq!(hashes, row_hashes(&whole).unwrap());
    }

    #[test]
    fn a_digest_tells_every_change_of_a_value(
        values in proptest::collection::vec(value(), 1..20),
        place in any::<prop::sample::Index>(),
        other in value(),
    ) {
        let row = place.index(values.len());
        let mut changed = values.clone();
        changed[row] = other.clone();
        // NaN is not equal to itself, but it is the same content.
        let same = format!("{:?}", values[row]) == format!("{other:?}");
        let (before, after) = (rows(&values), rows(&changed));
        prop_assert_eq!(content(std::slice::from_ref(&before)) == content(std::slice::from_ref(&after)), same);
        let (before, after) = (row_hashes(&before).unwrap(), row_hashes(&after).unwrap());
        let differ: Vec<usize> = (0..values.len()).filter(|row| before[*row] != after[*row]).collect();
        prop_assert_eq!(differ, if same { vec![] } else { vec![row] });
    }
}

#[test]
fn a_digest_does_not_depend_on_encodings() {
    let texts: ArrayRef = texts([Some("a"), None, Some(""), Some("a")]);
    let numbers: ArrayRef = ints([Some(1), None, Some(-3), Some(7)]);
    let times: ArrayRef = times([Some(1_000_000), None, Some(0), Some(-2_000_000)]);
    let plain = content(&[batch(vec![
        ("s", texts.clone()),
        ("n", numbers.clone()),
        ("t", times.clone()),
    ])]);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8));
    let seconds = DataType::Timestamp(
        larder_core::arrow::datatypes::TimeUnit::Second,
        Some("Europe/Stockholm".into()),
    );
    let encoded = content(&[batch(vec![
        ("s", cast(&texts, &dictionary).unwrap()),
        ("n", cast(&numbers, &DataType::Int32).unwrap()),
        ("t", cast(&times, &seconds).unwrap()),
    ])]);
    assert_eq!(plain, encoded);
    let view = content(&[batch(vec![
        ("s", cast(&texts, &DataType::Utf8View).unwrap()),
        ("n", cast(&numbers, &DataType::Int16).unwrap()),
        ("t", times.clone()),
    ])]);
    assert_eq!(plain, view);
    // Names, kinds and the order of columns and rows are content.
    let renamed = content(&[batch(vec![
        ("s", texts.clone()),
        ("m", numbers.clone()),
        ("t", times),
    ])]);
    assert_ne!(plain.digest, renamed.digest);
    assert_eq!(plain.columns[1].digest, renamed.columns[1].digest);
    let text_null = content(&[batch(vec![(
        "s",
        Arc::new(StringArray::from(vec![""])) as ArrayRef,
    )])]);
    let null = content(&[batch(vec![(
        "s",
        larder_core::arrow::array::new_null_array(&DataType::Utf8, 1),
    )])]);
    assert_ne!(text_null.digest, null.digest);
}

/// The definition in docs/spec/manifest.md, byte by byte: it must not change.
#[test]
fn the_digest_is_pinned() {
    use xxhash_rust::xxh3::xxh3_128;
    let found = content(&[batch(vec![
        ("n", ints([Some(1), None])),
        ("s", texts([Some("ab"), None])),
    ])]);
    let mut n = vec![1];
    n.extend(1_i64.to_le_bytes());
    n.push(0);
    let mut s = vec![1];
    s.extend(2_u64.to_le_bytes());
    s.extend(b"ab");
    s.push(0);
    let mut whole = 2_u64.to_le_bytes().to_vec();
    for (name, kind, bytes) in [("n", "int", &n), ("s", "text", &s)] {
        for text in [name, kind] {
            whole.extend((text.len() as u64).to_le_bytes());
            whole.extend(text.as_bytes());
        }
        whole.extend(xxh3_128(bytes).to_le_bytes());
    }
    assert_eq!(found.columns[0].digest, format!("{:032x}", xxh3_128(&n)));
    assert_eq!(found.digest, format!("{:032x}", xxh3_128(&whole)));
}

#[test]
fn rows_without_an_order_have_a_digest_without_one() {
    use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};
    let content = |batch: &RecordBatch, any: bool| {
        let mut hash = ContentHash::new(&batch.schema());
        if any {
            hash = hash.in_any_order();
        }
        hash.update(batch).unwrap();
        hash.content()
    };
    let rows = |ns: [i64; 3], xs: [i64; 3]| batch(vec![("n", ints(ns.map(Some))), ("x", ints(xs.map(Some)))]);
    let (was, moved) = (rows([1, 2, 2], [5, 6, 7]), rows([2, 1, 2], [7, 5, 6]));
    let (mixed, twice) = (rows([1, 2, 2], [6, 5, 7]), rows([1, 1, 2], [5, 5, 6]));
    assert!(content(&was, true).is_same(&content(&moved, true)));
    assert_eq!(content(&was, true).digest, content(&was, false).digest);
    for other in [mixed, twice, rows([1, 2, 2], [5, 6, 8]), was.slice(0, 2)] {
        assert!(!content(&was, true).is_same(&content(&other, true)));
    }
    // A manifest of before knows the order only.
    assert!(content(&was, false).is_same(&content(&was, true)));
    assert!(!content(&was, false).is_same(&content(&moved, true)));
    // The definition in docs/spec/manifest.md, which must not change.
    let hash = |ns: i64, xs: i64| {
        [ns, xs].iter().fold(0, |hash, value| {
            let bytes = [&[1][..], &value.to_le_bytes()].concat();
            xxh3_64_with_seed(&bytes, hash)
        })
    };
    let sum: u128 = [(1, 5), (2, 6), (2, 7)]
        .map(|(n, x)| u128::from(hash(n, x)))
        .iter()
        .sum();
    let mut bytes = 3_u64.to_le_bytes().to_vec();
    for text in ["n", "int", "x", "int"] {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes.extend(sum.to_le_bytes());
    assert_eq!(
        content(&was, true).any_order,
        Some(format!("{:032x}", xxh3_128(&bytes)))
    );
}

fn spine(rows: &[(Option<i64>, i64)]) -> RecordBatch {
    batch(vec![
        ("user_id", ints(rows.iter().map(|row| row.0))),
        ("event_timestamp", times(rows.iter().map(|row| START + row.1))),
        ("row", ints(0..rows.len() as i64)),
    ])
}

/// The rows of each part, and those that were left out.
async fn cut(task: Historical) -> (Vec<Vec<i64>>, u64, u64) {
    let mut training = task.run().await.unwrap();
    let mut parts = training.parts().unwrap();
    let mut rows = vec![Vec::new(); parts.names().len()];
    while let Some(batch) = training.next().await {
        for (part, batch) in rows.iter_mut().zip(parts.cut(batch.unwrap()).unwrap()) {
            part.extend(numbers(&batch, "row").into_iter().flatten());
        }
    }
    let contents = parts.contents();
    assert!(
        contents
            .iter()
            .zip(&rows)
            .all(|(content, rows)| content.rows == rows.len() as u64)
    );
    let (outside, embargoed) = parts.left_out();
    (rows, outside, embargoed)
}

fn split(text: &str, embargo: Option<Span>, seed: Option<u64>) -> Split {
    Split::parse(text, embargo, seed, Micros(START)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn splits_part_the_rows(
        entities in proptest::collection::vec((proptest::option::of(0_i64..12), -5_i64..5), 0..60),
        batch_rows in 1_usize..9,
        seed in 0_u64..4,
        embargo in 0_i64..4,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let world = World::new();
            world.apply(USERS).await;
            let rows: Vec<(Option<i64>, i64)> =
                entities.iter().map(|(user, hour)| (*user, hour * HOUR)).collect();
            let task = |split| {
                world
                    .store
                    .historical("svc")
                    .entities([spine(&rows)])
                    .options(OfflineOptions::default().with_batch_rows(batch_rows))
                    .split(split)
            };
            // By hash: every row in one part, all rows of one user in the same, in their order.
            let (parts, outside, embargoed) = cut(task(split("hash:user_id:6,3,1", None, Some(seed)))).await;
            prop_assert_eq!((parts.len(), outside, embargoed), (3, 0, 0));
            let mut all: Vec<i64> = parts.iter().flatten().copied().collect();
            prop_assert!(parts.iter().all(|part| part.is_sorted()));
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows.len() as i64).collect::<Vec<_>>());
            let users = |part: &Vec<i64>| -> std::collections::BTreeSet<Option<i64>> {
                part.iter().map(|row| rows[*row as usize].0).collect()
            };
            prop_assert!(users(&parts[0]).is_disjoint(&users(&parts[1])));
            prop_assert!(users(&parts[0]).is_disjoint(&users(&parts[2])));
            prop_assert!(users(&parts[1]).is_disjoint(&users(&parts[2])));

            // By time: what no part holds is counted, and why.
            let now = Micros(START);
            let text = format!("time:train<{now},test>={}<{}", now.plus(Span::hours(1)), now.plus(Span::hours(4)));
            let embargo = Span::hours(embargo);
            let (parts, outside, embargoed) = cut(task(split(&text, Some(embargo), None))).await;
            let expected = |of: &dyn Fn(i64) -> bool| -> Vec<i64> {
                (0..rows.len() as i64).filter(|row| of(rows[*row as usize].1)).collect()
            };
            prop_assert_eq!(&parts[0], &expected(&|time| time < 0));
            prop_assert_eq!(&parts[1], &expected(&|time| time >= HOUR.max(embargo.0) && time < 4 * HOUR));
            prop_assert_eq!(outside, expected(&|time| (0..HOUR).contains(&time) || time >= 4 * HOUR).len() as u64);
            prop_assert_eq!(parts.iter().map(Vec::len).sum::<usize>() as u64 + outside + embargoed, rows.len() as u64);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_split_by_what_is_not_there_is_told_before_reading() {
    let world = World::new();
    world.apply(USERS).await;
    let task = |text| {
        world
            .store
            .historical("svc")
            .entities([spine(&[(Some(1), 0)])])
            .split(split(text, None, None))
    };
    assert_says(
        task("hash:usr_id:8,2").run().await,
        &["no column `usr_id`", "did you mean `user_id`"],
    );
    assert_says(task("hash:x:8,2").run().await, &["Float64", "cannot split"]);
}

#[test]
fn integers_of_any_width_go_into_the_same_part() {
    // The hash sees int64 keys whatever the file had, so a re-typed file keeps its split.
    let keys = [
        ints([1, 2, 3, 4, 5, 6, 7, 8]),
        small_ints([1, 2, 3, 4, 5, 6, 7, 8]),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let parts: Vec<_> = keys
        .iter()
        .map(|keys| {
            runtime.block_on(async {
                let world = World::new();
                world.apply(USERS).await;
                let rows = batch(vec![
                    ("user_id", keys.clone()),
                    ("event_timestamp", times([START; 8])),
                    ("row", ints(0..8)),
                ]);
                let task = world.store.historical("svc").entities([rows]);
                cut(task.split(split("hash:user_id:1,1", None, Some(3)))).await.0
            })
        })
        .collect();
    assert_eq!(parts[0], parts[1]);
    assert!(parts[0].iter().all(|part| !part.is_empty()), "{parts:?}");
}

/// Every machine and every later version must part these rows so: see docs/spec/manifest.md.
#[tokio::test]
async fn a_split_by_hash_is_pinned() {
    let world = World::new();
    world.apply(USERS).await;
    let rows: Vec<(Option<i64>, i64)> = (0..24).map(|row| ((row < 23).then_some(row - 3), 0)).collect();
    let task = world.store.historical("svc").entities([spine(&rows)]);
    let (parts, ..) = cut(task.split(split("hash:user_id:6,2,2", None, Some(7)))).await;
    assert_eq!(
        parts,
        [
            vec![0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 21, 23],
            vec![6, 9, 10, 14, 15, 18, 19, 20],
            vec![8, 16, 17, 22]
        ]
    );
}

async fn manifest(world: &World, task: Historical, entities: &str) -> Manifest {
    let mut training = task.run().await.unwrap();
    let mut parts = training.parts().unwrap();
    while let Some(batch) = training.next().await {
        parts.cut(batch.unwrap()).unwrap();
    }
    let report = training.report();
    Manifest::new(
        &training.inputs(),
        &training.schema(),
        &report,
        &parts,
        world.now(),
    )
    .with_entities(Some(EntityFile::new("labels.csv", 1, entities)))
}

#[tokio::test]
async fn a_manifest_tells_what_changed() {
    let world = World::new();
    world.apply(USERS).await;
    world.orders(&[(1, START - HOUR, None, Some(1)), (2, START - DAY, None, Some(2))]);
    let task = || {
        world
            .store
            .historical("svc")
            .entities([spine(&[(Some(1), 0), (Some(2), 0)])])
    };
    let was = manifest(&world, task(), "same").await;
    assert_eq!(Manifest::from_json(&was.to_json()).unwrap(), was);
    let again = manifest(&world, task(), "same").await;
    assert_eq!(
        (again.differences(&was), was.same_content(&again)),
        (vec![], true)
    );

    // Words and what concerns serving only are no difference.
    let yaml = USERS.replace("ttl: 7d", "ttl: 7d, online: false, owner: me, tags: { a: b }");
    world.apply(&yaml).await;
    assert_eq!(was.differences(&manifest(&world, task(), "same").await), []);

    world.apply(&USERS.replace("ttl: 7d", "ttl: 2h")).await;
    let now = manifest(&world, task().full_names(false), "other").await;
    assert!(!was.same_content(&now));
    let find = |differences: &[Difference], what: Changed| -> String {
        let found = differences.iter().filter(|difference| difference.what == what);
        found
            .map(|d| format!("{} {}", d.name, d.how))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let differences = was.differences(&now);
    assert_eq!(
        find(&differences, Changed::Definition),
        "feature view `stats` ttl: 7d -> 2h"
    );
    assert_eq!(
        find(&differences, Changed::Content),
        "the training set columns n, x"
    );
    assert!(find(&differences, Changed::EntityRows).starts_with("labels.csv the file changed"));
    assert_eq!(find(&differences, Changed::Parameter), "");

    let now = manifest(&world, task().full_names(true).limit(1), "same").await;
    let differences = was.differences(&now);
    let parameters = find(&differences, Changed::Parameter);
    assert_eq!(parameters, "full_names false -> true; limit (none) -> 1");
    assert!(find(&differences, Changed::Schema).contains("stats__n is new, int64"));
    let content = find(&differences, Changed::Content);
    assert!(content.contains("2 -> 1 rows"), "{content}");
}

#[tokio::test]
async fn changed_source_files_are_named() {
    let world = World::new();
    world.apply(USERS).await;
    let task = world.store.historical("svc").entities([spine(&[(Some(1), 0)])]);
    let mut was = manifest(&world, task, "same").await;
    let mut now = was.clone();
    let file = |path: &str, bytes, tag: &str| SourceFile::new(path, bytes, tag);
    was.sources = vec![SourceFiles::new(
        "orders",
        vec![
            file("a", 1, "x"),
            file("b", 2, "x"),
            file("c", 3, "x"),
            file("d", 4, "x"),
        ],
    )];
    now.sources = vec![SourceFiles::new(
        "orders",
        vec![
            file("e", 5, "x"),
            file("d", 4, "x"),
            file("c", 3, "y"),
            file("b", 9, "y"),
        ],
    )];
    let told: Vec<String> = was
        .differences(&now)
        .into_iter()
        .map(|difference| {
            assert_eq!(difference.what, Changed::SourceFile);
            format!("{} {}", difference.name, difference.how)
        })
        .collect();
    assert_eq!(
        told,
        [
            "a is gone (source `orders`)",
            "b changed: 2 -> 9 bytes (source `orders`)",
            "c was written again in the same size (source `orders`)",
            "e is new, 5 bytes (source `orders`)",
        ]
    );
}

#[test]
fn a_newer_manifest_is_refused() {
    assert_says(
        Manifest::from_json(r#"{ "format": 2 }"#),
        &["format 2", "upgrade"],
    );
    assert_says(Manifest::from_json("[]"), &["no manifest"]);
    assert_says(Manifest::from_json("x"), &["no manifest"]);
}
