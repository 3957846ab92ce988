//! Whether every value comes back as it was written, to the bit.

use larder_core::{Micros, PackedRows, SlotCell, Value, ValueType};

use super::support::{Cx, expect_row, int_keys, layout, read, request, write};
use crate::case::{Case, Verdict, cases};
use crate::check::{ensure, same};

pub(crate) fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    cases![
        "online.values.every-type": "a value of every type comes back as it was written" => every_type,
        "online.values.nulls": "a null is a value of the row, not an absent row, and no zero" => nulls,
        "online.values.empty-is-not-null": "empty list, text and bytes are no nulls" => empty_is_not_null,
        "online.values.floats": "NaN, -0.0, infinities and the smallest floats keep their bits" => floats,
        "online.values.extremes": "the smallest and largest number of every type survive" => extremes,
        "online.values.unicode": "text of any script and any control character survives" => unicode,
        "online.values.large": "a text of 1 MB survives" => large,
        "online.values.wide": "a view of 600 features survives, most of them null" => wide,
        "online.values.same-bytes": "the packed row comes back byte for byte, times included" => same_bytes,
    ]
}

/// One slot of every type, each list type included.
const TYPES: [&str; 18] = [
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "bytes",
    "timestamp",
    "date",
    "decimal(38,10)",
    "list<bool>",
    "list<int64>",
    "list<float64>",
    "list<string>",
    "list<bytes>",
    "list<timestamp>",
    "list<decimal(20,2)>",
    "vector(float32,3)",
];

/// Writes each row under its number as key, reads all of them at once, and compares.
async fn round_trip(cx: &Cx<'_>, types: &[&str], rows: &[Vec<Value>]) -> Verdict {
    let names: Vec<String> = (0..types.len()).map(|i| format!("f{i}")).collect();
    let slots: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(types.iter().copied())
        .collect();
    let layout = layout("conf", "every_type", 11, &[("user", "int64")], &slots)?;
    let store = cx.ready(&[&layout]).await?;
    let numbers: Vec<i64> = (0_i64..).take(rows.len()).collect();
    let keys = int_keys(&layout, &numbers)?;
    let mut packed = PackedRows::new();
    for values in rows {
        packed.push_values(&layout, Micros(1_000), Some(Micros(2_000)), values)?;
    }
    write(&store, &layout, keys.clone(), packed).await?;
    let block = read(&store, &request(&layout, keys)).await?;
    for (row, values) in rows.iter().enumerate() {
        expect_row(&block, 0, row, Some(values))?;
    }
    Ok(())
}

fn text(text: &str) -> Value {
    Value::str(text)
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.into())
}

async fn every_type(cx: &Cx<'_>) -> Verdict {
    let row = vec![
        Value::Bool(true),
        Value::Int32(-7),
        Value::Int64(1 << 60),
        Value::Float32(1.5),
        Value::Float64(-2.25),
        text("larder"),
        bytes(&[0, 255, 10]),
        Value::Timestamp(Micros(-1)),
        Value::Date(20_000),
        Value::Decimal(-12_345_678_901_234_567_890, 10),
        Value::List(vec![Value::Bool(true), Value::Null, Value::Bool(false)]),
        Value::List(vec![Value::Int64(i64::MIN), Value::Null]),
        Value::List(vec![Value::Float64(0.1)]),
        Value::List(vec![text("a"), text(""), Value::Null]),
        Value::List(vec![bytes(&[]), bytes(&[1, 2])]),
        Value::List(vec![Value::Timestamp(Micros(5)), Value::Null]),
        Value::List(vec![Value::Decimal(-1, 2), Value::Decimal(99, 2)]),
        Value::Vector([1.0, -0.5, 3.25].into()),
    ];
    round_trip(cx, &TYPES, &[row.clone(), row]).await
}

async fn nulls(cx: &Cx<'_>) -> Verdict {
    let all = vec![Value::Null; TYPES.len()];
    let mut some = all.clone();
    some[1] = Value::Int32(0);
    some[5] = text("");
    round_trip(cx, &TYPES, &[all, some]).await
}

async fn empty_is_not_null(cx: &Cx<'_>) -> Verdict {
    let types = ["list<int64>", "list<string>", "string", "bytes"];
    let empty = vec![Value::List(vec![]), Value::List(vec![]), text(""), bytes(&[])];
    let nulls = vec![Value::Null; 4];
    let null_item = vec![
        Value::List(vec![Value::Null]),
        Value::List(vec![text("")]),
        text("\0"),
        bytes(&[0]),
    ];
    round_trip(cx, &types, &[empty, nulls, null_item]).await
}

async fn floats(cx: &Cx<'_>) -> Verdict {
    let doubles = [
        f64::NAN,
        f64::from_bits(0x7ff8_0000_dead_beef),
        -0.0,
        0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::MAX,
    ];
    let rows: Vec<Vec<Value>> = doubles
        .iter()
        .map(|x| {
            let single = if *x == 0.0 {
                *x as f32
            } else {
                f32::from_bits((x.to_bits() >> 32) as u32)
            };
            vec![
                Value::Float64(*x),
                Value::Float32(single),
                Value::List(vec![Value::Float64(*x), Value::Null]),
                Value::Vector([single, -0.0].into()),
            ]
        })
        .collect();
    round_trip(
        cx,
        &["float64", "float32", "list<float64>", "vector(float32,2)"],
        &rows,
    )
    .await
}

async fn extremes(cx: &Cx<'_>) -> Verdict {
    let types = ["int32", "int64", "timestamp", "date", "decimal(38,0)"];
    let digits = 10_i128.pow(38) - 1;
    let row = |small: i32, big: i64, decimal: i128| {
        vec![
            Value::Int32(small),
            Value::Int64(big),
            Value::Timestamp(Micros(big)),
            Value::Date(small),
            Value::Decimal(decimal, 0),
        ]
    };
    let rows = [
        row(i32::MIN, i64::MIN, -digits),
        row(i32::MAX, i64::MAX, digits),
        row(-1, -1, -1),
        row(0, 0, 0),
        // Beyond what a double can hold.
        row(1, (1 << 53) + 1, (1 << 53) + 1),
    ];
    round_trip(cx, &types, &rows).await
}

async fn unicode(cx: &Cx<'_>) -> Verdict {
    let texts = [
        "åäö",
        "日本語",
        "👩‍👩‍👧‍👦",
        "e\u{301}",
        "é",
        "\u{0}\u{1}\n\t\"'\\%_{}",
        "\u{10ffff}",
        "עברית",
    ];
    let rows: Vec<Vec<Value>> = texts
        .iter()
        .map(|t| vec![text(t), Value::List(vec![text(t), text(t)])])
        .collect();
    round_trip(cx, &["string", "list<string>"], &rows).await
}

async fn large(cx: &Cx<'_>) -> Verdict {
    let store = cx.open().await?;
    let most = store.capabilities().max_row_bytes;
    drop(store);
    // Where the store takes less, it must at least take what it declares.
    let size = most.map_or(1 << 20, |most| (most as usize).saturating_sub(64).min(1 << 20));
    let long = "0123456789abcdeé".repeat(size / 17);
    round_trip(
        cx,
        &["string", "int32"],
        &[
            vec![text(&long), Value::Int32(1)],
            vec![text("short"), Value::Int32(2)],
        ],
    )
    .await
}

async fn wide(cx: &Cx<'_>) -> Verdict {
    let types = vec!["int64"; 600];
    let row = |step: usize| -> Vec<Value> {
        (0..600_usize)
            .map(|i| {
                if i % step == 0 {
                    Value::Int64(i as i64)
                } else {
                    Value::Null
                }
            })
            .collect()
    };
    round_trip(cx, &types, &[row(1), row(7), row(599)]).await
}

async fn same_bytes(cx: &Cx<'_>) -> Verdict {
    let layout = layout(
        "conf",
        "bytes",
        12,
        &[("user", "int64")],
        &[("s", "string"), ("n", "int64")],
    )?;
    let store = cx.ready(&[&layout]).await?;
    let keys = int_keys(&layout, &[1, 2, 3, 4])?;
    let mut packed = PackedRows::new();
    for (event, created) in [
        (i64::MIN, None),
        (i64::MAX, Some(i64::MAX)),
        (-5, Some(-6)),
        (0, None),
    ] {
        packed.push_values(
            &layout,
            Micros(event),
            created.map(Micros),
            &[text("x"), Value::Int64(event)],
        )?;
    }
    write(&store, &layout, keys.clone(), packed.clone()).await?;
    let block = read(&store, &request(&layout, keys)).await?;
    for row in 0..packed.len() {
        ensure!(
            block.packed(0, row) == Some(packed.get(row)),
            "row {row} came back in other bytes"
        );
        let event = larder_core::RowRef::parse(packed.get(row))?.event();
        same(block.event_time(0, row), Some(event), "the event time")?;
        ensure!(
            matches!(block.cell(0, 1, row), SlotCell::Cell(cell) if cell.to_value(ValueType::INT64) == Value::Int64(event.0)),
            "row {row}: the slot read directly is another value"
        );
    }
    Ok(())
}
