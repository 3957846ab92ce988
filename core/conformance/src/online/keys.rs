//! Whether each entity has its own row, whatever its key is.

use larder_core::{EntityKeys, ErrorKind, Micros, OnlineWrite, PackedRows, ReadOptions, Value, WriteOptions};

use super::support::{Cx, Ints, expect_row, keys_of, layout, read, request, rule, values_at, write};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.keys.every-type": "keys of every key type are told apart, extremes included" => every_type,
        "online.keys.composite": "parts of a key do not run into each other" => composite,
        "online.keys.typed": "int 1 and text \"1\" are different entities" => typed,
        "online.keys.empty": "a view without entity has one row, under the empty key" => empty,
        "online.keys.prefixes": "keys that begin alike are different entities" => prefixes,
        "online.keys.long": "keys of up to 1,024 bytes work, also where they differ in the last byte only" => long,
        "online.keys.null-read": "a null key reads not_found and hides no other row" => null_read,
        "online.keys.null-write": "a null key in a write is refused as `Input`" => null_write,
        "online.keys.duplicates": "a key that is asked for twice is answered twice" => duplicates,
    ]
}

/// Writes each key with its number as value, and reads all keys, and one more that is not there.
async fn apart(cx: &Cx<'_>, keys: &[(&str, &str)], rows: &[Vec<Value>], absent: &[Value]) -> Verdict {
    let layout = layout("conf", "keyed", 21, keys, &[("n", "int64")])?;
    let store = cx.ready(&[&layout]).await?;
    let mut packed = PackedRows::new();
    for (number, _) in (0_i64..).zip(rows) {
        packed.push_values(&layout, Micros(5), None, &[Value::Int64(number)])?;
    }
    let all = keys_of(&layout, rows)?;
    let report = write(&store, &layout, all, packed).await?;
    same(
        report.written,
        rows.len() as u64,
        "rows written, each under its own key",
    )?;
    let mut wanted = rows.to_vec();
    wanted.push(absent.to_vec());
    let block = read(&store, &request(&layout, keys_of(&layout, &wanted)?)).await?;
    for (row, number) in (0..rows.len()).zip(0_i64..) {
        expect_row(&block, 0, row, Some(&[Value::Int64(number)]))?;
    }
    expect_row(&block, 0, rows.len(), None)
}

async fn every_type(cx: &Cx<'_>) -> Verdict {
    let one = |value: Value| vec![value];
    let ints: Vec<_> = [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX]
        .into_iter()
        .map(|n| one(Value::Int64(n)))
        .collect();
    apart(cx, &[("k", "int64")], &ints, &[Value::Int64(2)]).await?;
    let ints: Vec<_> = [i32::MIN, -1, 0, 1, i32::MAX]
        .into_iter()
        .map(|n| one(Value::Int32(n)))
        .collect();
    apart(cx, &[("k", "int32")], &ints, &[Value::Int32(2)]).await?;
    let bools = [one(Value::Bool(true))];
    apart(cx, &[("k", "bool")], &bools, &[Value::Bool(false)]).await?;
    let dates: Vec<_> = [-1, 0, 19_000].into_iter().map(|n| one(Value::Date(n))).collect();
    apart(cx, &[("k", "date")], &dates, &[Value::Date(1)]).await?;
    let times: Vec<_> = [i64::MIN, -1, 0, 1, i64::MAX]
        .into_iter()
        .map(|n| one(Value::Timestamp(Micros(n))))
        .collect();
    apart(cx, &[("k", "timestamp")], &times, &[Value::Timestamp(Micros(2))]).await?;
    let bytes: Vec<_> = [&[][..], &[0], &[0, 0], &[255], &[255, 255], b"a\0b", b"a"]
        .into_iter()
        .map(|b| one(Value::Bytes(b.into())))
        .collect();
    apart(
        cx,
        &[("k", "bytes")],
        &bytes,
        &[Value::Bytes([1].as_slice().into())],
    )
    .await?;
    let decimals: Vec<_> = [-1, 0, 1, 10_i128.pow(37)]
        .into_iter()
        .map(|n| one(Value::Decimal(n, 3)))
        .collect();
    apart(cx, &[("k", "decimal(38,3)")], &decimals, &[Value::Decimal(2, 3)]).await?;
    let texts: Vec<_> = [
        "", "a", "A", "ä", "a\u{308}", " a", "a ", "%", "_", ":", "/", "*", "\0", "日本",
    ]
    .into_iter()
    .map(|t| one(Value::str(t)))
    .collect();
    apart(cx, &[("k", "string")], &texts, &[Value::str("b")]).await
}

async fn composite(cx: &Cx<'_>) -> Verdict {
    let pair = |a: &str, b: &str| vec![Value::str(a), Value::str(b)];
    let rows = [
        pair("a", "bc"),
        pair("ab", "c"),
        pair("abc", ""),
        pair("", "abc"),
        pair("", ""),
        pair("c", "ab"),
    ];
    apart(cx, &[("a", "string"), ("b", "string")], &rows, &pair("bc", "a")).await?;
    let mixed = |n: i64, t: &str, b: bool| vec![Value::Int64(n), Value::str(t), Value::Bool(b)];
    let rows = [
        mixed(1, "1", true),
        mixed(1, "1", false),
        mixed(1, "", true),
        mixed(0, "1", true),
        mixed(-1, "1", true),
    ];
    apart(
        cx,
        &[("a", "int64"), ("b", "string"), ("c", "bool")],
        &rows,
        &mixed(2, "1", true),
    )
    .await
}

async fn typed(cx: &Cx<'_>) -> Verdict {
    let number = layout("conf", "by_number", 22, &[("k", "int64")], &[("n", "int64")])?;
    let text = layout("conf", "by_text", 23, &[("k", "string")], &[("n", "int64")])?;
    let store = cx.ready(&[&number, &text]).await?;
    let mut packed = PackedRows::new();
    packed.push_values(&number, Micros(1), None, &[Value::Int64(10)])?;
    write(
        &store,
        &number,
        keys_of(&number, &[vec![Value::Int64(1)]])?,
        packed,
    )
    .await?;
    let block = read(&store, &request(&text, keys_of(&text, &[vec![Value::str("1")]])?)).await?;
    expect_row(&block, 0, 0, None)?;
    let mut packed = PackedRows::new();
    packed.push_values(&text, Micros(1), None, &[Value::Int64(20)])?;
    write(&store, &text, keys_of(&text, &[vec![Value::str("1")]])?, packed).await?;
    let block = read(
        &store,
        &request(&number, keys_of(&number, &[vec![Value::Int64(1)]])?),
    )
    .await?;
    expect_row(&block, 0, 0, Some(&[Value::Int64(10)]))
}

async fn empty(cx: &Cx<'_>) -> Verdict {
    let layout = layout("conf", "global", 24, &[], &[("n", "int64")])?;
    let store = cx.ready(&[&layout]).await?;
    let keys = keys_of(&layout, &[vec![], vec![]])?;
    let block = read(&store, &request(&layout, keys.clone())).await?;
    expect_row(&block, 0, 0, None)?;
    let mut packed = PackedRows::new();
    packed.push_values(&layout, Micros(1), None, &[Value::Int64(7)])?;
    write(&store, &layout, keys_of(&layout, &[vec![]])?, packed).await?;
    let block = read(&store, &request(&layout, keys)).await?;
    expect_row(&block, 0, 0, Some(&[Value::Int64(7)]))?;
    expect_row(&block, 0, 1, Some(&[Value::Int64(7)]))
}

async fn prefixes(cx: &Cx<'_>) -> Verdict {
    let texts = [
        "a", "aa", "aaa", "aaaa", "a\0", "a\0\0", "a\u{1}", "ab", "aab", "\0a",
    ];
    let rows: Vec<Vec<Value>> = texts.iter().map(|t| vec![Value::str(t)]).collect();
    apart(cx, &[("k", "string")], &rows, &[Value::str("aaaaa")]).await
}

async fn long(cx: &Cx<'_>) -> Verdict {
    // A text key has 5 bytes around it. The lengths are those at which backends change their ways.
    let mut rows = Vec::new();
    for length in [
        100, 240, 250, 255, 256, 480, 486, 500, 505, 506, 511, 512, 600, 767, 1000, 1018, 1019,
    ] {
        for end in ["a", "b"] {
            rows.push(vec![Value::str(&format!("{}{end}", "x".repeat(length - 1)))]);
        }
    }
    // The same at both ends, different in the middle.
    for middle in ["p", "q"] {
        rows.push(vec![Value::str(&format!(
            "{}{middle}{}",
            "y".repeat(500),
            "z".repeat(500)
        ))]);
    }
    let absent = Value::str(&format!("{}c", "x".repeat(1018)));
    apart(cx, &[("k", "string")], &rows, &[absent]).await
}

async fn null_read(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "nulls", 25)?;
    let store = cx.ready(&[&ints.layout]).await?;
    ints.put(&store, &[(0, 1, None, 10), (1, 1, None, 11)], 2, 0)
        .await?;
    let key = |n: i64| vec![Value::Int64(n)];
    let rows = [
        vec![Value::Null],
        key(0),
        vec![Value::Null],
        key(1),
        vec![Value::Null],
    ];
    let block = read(&store, &request(&ints.layout, keys_of(&ints.layout, &rows)?)).await?;
    for (row, want) in [None, Some(10), None, Some(11), None].into_iter().enumerate() {
        expect_row(
            &block,
            0,
            row,
            want.map(|n| [Value::Int64(n)]).as_ref().map(|v| v.as_slice()),
        )?;
    }
    // A part of a key that is null is a null key.
    let pair = layout(
        "conf",
        "pairs",
        26,
        &[("a", "int64"), ("b", "int64")],
        &[("n", "int64")],
    )?;
    let keys = keys_of(&pair, &[vec![Value::Int64(0), Value::Null]])?;
    let block = read(&store, &request(&pair, keys)).await?;
    expect_row(&block, 0, 0, None)
}

async fn null_write(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "nulls", 27)?;
    let store = cx.ready(&[&ints.layout]).await?;
    let mut keys = EntityKeys::new();
    keys.push_null();
    let mut packed = PackedRows::new();
    packed.push_values(&ints.layout, Micros(1), None, &[Value::Int64(1)])?;
    let batch = OnlineWrite::new(ints.layout.clone(), keys.into(), packed.into()).with_rule(rule(&store));
    let answer = store.write(&batch, &WriteOptions::default()).await;
    crate::check::refused(answer, &[ErrorKind::Input], "writing a null key")?;
    // The store is as good as before, and nothing became visible under a null or empty key.
    ints.put(&store, &[(0, 1, None, 5)], 1, 0).await?;
    ints.expect(&store, &[0, 1], &[Some(5), None], "after a refused write")
        .await?;
    let block = read(
        &store,
        &request(&ints.layout, keys_of(&ints.layout, &[vec![Value::Null]])?),
    )
    .await?;
    expect_row(&block, 0, 0, None)
}

async fn duplicates(cx: &Cx<'_>) -> Verdict {
    let ints = Ints::new("conf", "twice", 28)?;
    let store = cx.ready(&[&ints.layout]).await?;
    ints.put(&store, &[(1, 1, None, 10), (2, 1, None, 20)], 2, 0)
        .await?;
    let keys = [1, 1, 2, 9, 1, 2, 9];
    let want = [10, 10, 20, 0, 10, 20, 0].map(|n| (n != 0).then_some(n));
    ints.expect(&store, &keys, &want, "a request with duplicates")
        .await?;
    let many = super::support::int_keys(&ints.layout, &vec![1; 1_000])?;
    let mut block = larder_core::FeatureBlock::new();
    store
        .read(&request(&ints.layout, many), &ReadOptions::default(), &mut block)
        .await?;
    for row in 0..1_000 {
        ensure!(
            values_at(&block, 0, row)?.is_some(),
            "row {row} of 1,000 times the same key was not found"
        );
    }
    Ok(())
}
