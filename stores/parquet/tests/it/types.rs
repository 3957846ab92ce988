//! Whether every encoding that producers use is read for what it is.

use std::fs::File;
use std::sync::Arc;

use larder_core::arrow::array::types::{Float32Type, Int32Type, Int64Type};
use larder_core::arrow::array::*;
use larder_core::arrow::datatypes::{DataType, Decimal128Type, Field};
use larder_core::{EntityRows, ErrorKind, HistoricalRead, Micros, OfflineOptions, OfflineStore, ViewJoin};
use larder_parquet::ParquetStore;
use parquet::data_type::{Int64Type as PhysicalInt64, Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use crate::common::{batch, joined, micros, scan, source, write};

#[tokio::test]
async fn features_of_all_types() {
    let dir = tempfile::tempdir().unwrap();
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [Some(vec![Some(1.0), Some(2.0)]), None],
        2,
    );
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(3.0), Some(4.0)]), None]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None].into_iter().collect();
    let decimal = |p, s, v: i128| {
        Arc::new(
            Decimal128Array::from(vec![Some(v), None])
                .with_precision_and_scale(p, s)
                .unwrap(),
        ) as ArrayRef
    };
    let columns: Vec<(&str, &str, ArrayRef)> = vec![
        ("small", "int32", Arc::new(Int8Array::from(vec![Some(-7), None]))),
        (
            "unsigned",
            "int64",
            Arc::new(UInt32Array::from(vec![Some(u32::MAX), None])),
        ),
        (
            "half",
            "float64",
            Arc::new(Float32Array::from(vec![Some(0.5), None])),
        ),
        (
            "large",
            "string",
            Arc::new(LargeStringArray::from(vec![Some("a"), None])),
        ),
        ("dict", "string", Arc::new(dictionary)),
        (
            "raw",
            "bytes",
            Arc::new(LargeBinaryArray::from(vec![Some(b"\xff".as_slice()), None])),
        ),
        ("d9", "decimal(9,2)", decimal(9, 2, 1234)),
        ("d18", "decimal(20,4)", decimal(18, 2, 1234)),
        ("d38", "decimal(38,0)", decimal(38, 0, -5)),
        ("day", "date", Arc::new(Date32Array::from(vec![Some(3), None]))),
        (
            "when",
            "timestamp",
            Arc::new(TimestampSecondArray::from(vec![Some(3), None])),
        ),
        ("vector", "vector(float32,2)", Arc::new(vectors)),
        ("vector_of_list", "vector(float32,2)", Arc::new(lists)),
        ("nothing", "int64", Arc::new(NullArray::new(2))),
    ];
    let mut all = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("at", micros([1, 1])),
    ];
    all.extend(columns.iter().map(|(name, _, column)| (*name, column.clone())));
    write(&dir.path().join("s.parquet"), &batch(all));

    let source = source(json!({
        "name": "s", "type": "parquet", "path": "s.parquet", "event_time": "at", "timezone": "UTC",
    }));
    let features: Vec<(&str, &str)> = columns.iter().map(|(name, of, _)| (*name, *of)).collect();
    let scan = scan(&source, &[("id", "int64")], &features);
    let request = HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from(vec![2, 1, 3]))],
            TimestampMicrosecondArray::from(vec![5, 5, 5]),
        ),
        views: vec![ViewJoin::new(scan.clone(), vec![0])],
    };
    let store = ParquetStore::new(dir.path());
    let (views, _) = joined(&store, request, &OfflineOptions::default()).await.unwrap();
    let got: Vec<String> = views[0]
        .features
        .iter()
        .zip(&scan.features)
        .map(|(column, feature)| {
            assert_eq!(
                *column.data_type(),
                larder_core::convert::arrow_type(feature.value_type)
            );
            assert!(column.is_null(0) && column.is_null(2), "{}", feature.name);
            larder_core::convert::value_at(column, 1, feature.value_type).to_string()
        })
        .collect();
    assert_eq!(
        got,
        [
            "-7",
            "4294967295",
            "0.5",
            "a",
            "x",
            "ff",
            "12.34",
            "12.3400",
            "-5",
            "1970-01-04",
            "1970-01-01T00:00:03Z",
            "[1.0,2.0]",
            "[3.0,4.0]",
            "null"
        ]
    );
    let schema = store.schema(&source).await.unwrap();
    assert_eq!(
        schema.field_with_name("d18").unwrap().data_type(),
        &DataType::Decimal128(18, 2)
    );
}

/// 96-bit timestamps, as Spark and Hive write them.
#[tokio::test]
async fn timestamps_of_96_bits_do_not_wrap() {
    let dir = tempfile::tempdir().unwrap();
    let schema =
        parse_message_type("message m { required int64 id; required int96 at; optional int96 until; }")
            .unwrap();
    let file = File::create(dir.path().join("s.parquet")).unwrap();
    let mut writer = SerializedFileWriter::new(
        file,
        Arc::new(schema),
        Arc::new(WriterProperties::builder().build()),
    )
    .unwrap();
    let day = |julian: u32, nanos: u64| {
        let mut value = Int96::new();
        value.set_data(nanos as u32, (nanos >> 32) as u32, julian);
        value
    };
    const EPOCH: u32 = 2_440_588;
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<PhysicalInt64>()
        .write_batch(&[1, 1], None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    // A time of today, and one in the year 9999, which nanoseconds cannot hold.
    let times = [day(EPOCH + 20_000, 3_600_000_000_001), day(5_373_483, 0)];
    column
        .typed::<Int96Type>()
        .write_batch(&times, None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column
        .typed::<Int96Type>()
        .write_batch(&[day(5_373_483, 0)], Some(&[1, 0]), None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let source = source(json!({
        "name": "s", "type": "parquet", "path": "s.parquet", "event_time": "at", "timezone": "UTC",
    }));
    let scan = scan(&source, &[("id", "int64")], &[("until", "timestamp")]);
    let never = "9999-12-30T00:00:00Z".parse::<Micros>().unwrap().0;
    let request = HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from(vec![1, 1]))],
            TimestampMicrosecondArray::from(vec![20_001 * 86_400_000_000, never]),
        ),
        views: vec![ViewJoin::new(scan, vec![0])],
    };
    let store = ParquetStore::new(dir.path());
    let (views, _) = joined(&store, request, &OfflineOptions::default()).await.unwrap();
    assert_eq!(
        views[0].event.values(),
        &[20_000 * 86_400_000_000 + 3_600_000_000, never]
    );
    let until = views[0].features[0].as_primitive::<types::TimestampMicrosecondType>();
    assert_eq!((until.value(0), until.is_null(1)), (never, true));
}

#[tokio::test]
async fn what_would_lose_something_is_an_error_that_names_the_column() {
    let dir = tempfile::tempdir().unwrap();
    let store = ParquetStore::new(dir.path());
    let body = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1]))),
        ("big", Arc::new(Int64Array::from(vec![1]))),
        (
            "far",
            Arc::new(TimestampSecondArray::from(vec![i64::MAX]).with_timezone("UTC")),
        ),
        ("utc", micros([1])),
    ]);
    write(&dir.path().join("s.parquet"), &body);
    for (event, feature, of, column) in [
        ("at", "big", "int64", "at"),
        ("utc", "big", "int32", "big"),
        ("utc", "big", "float64", "big"),
        ("utc", "far", "timestamp", "far"),
    ] {
        let source =
            source(json!({ "name": "s", "type": "parquet", "path": "s.parquet", "event_time": event }));
        let scan = scan(&source, &[("id", "int64")], &[(feature, of)]);
        let request = HistoricalRead {
            rows: EntityRows::batches(
                vec![Arc::new(Int64Array::from(vec![1]))],
                TimestampMicrosecondArray::from(vec![5]),
            ),
            views: vec![ViewJoin::new(scan, vec![0])],
        };
        let error = joined(&store, request, &OfflineOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        for named in ["s.parquet", &format!("column={column}")] {
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}

#[tokio::test]
async fn nested_columns_that_nobody_wants_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let pair = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef,
    )]);
    let body = batch(vec![
        ("pair", Arc::new(pair)),
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("at", micros([1, 1])),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![150, 250])
                    .with_precision_and_scale(5, 2)
                    .unwrap(),
            ),
        ),
    ]);
    write(&dir.path().join("s.parquet"), &body);
    let source = source(json!({ "name": "s", "type": "parquet", "path": "s.parquet", "event_time": "at" }));
    let scan = scan(&source, &[("id", "int64")], &[("price", "decimal(5,2)")]);
    let request = HistoricalRead {
        rows: EntityRows::batches(
            vec![Arc::new(Int64Array::from(vec![2]))],
            TimestampMicrosecondArray::from(vec![5]),
        ),
        views: vec![ViewJoin::new(scan, vec![0])],
    };
    let store = ParquetStore::new(dir.path());
    let (views, _) = joined(&store, request, &OfflineOptions::default()).await.unwrap();
    assert_eq!(
        views[0].features[0].as_primitive::<Decimal128Type>().value(0),
        250
    );
    let widened = views[0].event.reinterpret_cast::<Int64Type>();
    assert_eq!(widened.value(0), 1);
}
