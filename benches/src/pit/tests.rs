//! Is the data the same each time, and does the comparison see what is wrong?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder::arrow::array::*;
use larder::arrow::compute::concat::concat_batches;
use serde_json::Value;

use crate::answers::{Answers, Wanted};
use crate::files::{self, Writer};
use crate::shapes::{self, SHAPES, Workload};
use crate::{compare, generate, run};

/// Every shape with a few hundred rows, larder's answer beside it.
fn answered(folder: &Path, shape: &str, divisor: usize) -> (Workload, PathBuf) {
    let shape = shapes::find(shape).expect("a shape");
    let path = generate::workload(folder, shape, divisor).expect("data");
    let workload = Workload::read(&path).expect("its description");
    let result = folder.join("larder.parquet");
    let tell = |told: &Value| assert_eq!(told["rows"], workload.entity_rows);
    run::run(&workload, Some(&result), tell).expect("an answer");
    (workload, result)
}

/// Larder's answer with something done to it.
fn altered(result: &Path, change: impl Fn(RecordBatch) -> RecordBatch) -> PathBuf {
    let batches: Vec<RecordBatch> = files::read(result, None)
        .expect("an answer")
        .collect::<Result<_, _>>()
        .expect("batches");
    let whole = concat_batches(&batches[0].schema(), &batches).expect("one batch");
    let path = result.with_file_name("other.parquet");
    let mut writer = Writer::new(&path, 1_000_000);
    writer.write(&change(whole)).expect("rows written");
    writer.finish().expect("a footer");
    path
}

fn counts(told: &Value, names: &[&str]) -> Vec<u64> {
    names
        .iter()
        .map(|name| told[*name].as_u64().expect("a count"))
        .collect()
}

#[test]
fn larder_is_right_on_every_shape() {
    for shape in SHAPES {
        let folder = tempfile::tempdir().expect("a folder");
        // Enough rows for some of everything: ties, unknown users, files of 16 days.
        let divisor = if shape.name == "wide" { 100 } else { 1000 };
        let (workload, result) = answered(folder.path(), shape.name, divisor);
        let told = compare::compare(&workload, &result, &result).expect("compared");
        let found = counts(&told, &["larder_wrong", "differ", "features_left_out"]);
        assert_eq!(found, [0, 0, 0], "{}: {told}", shape.name);
        assert!(told["checked"].as_u64() >= Some(100), "{}: {told}", shape.name);
        assert!(told["matched"].as_u64() >= Some(50), "{}: {told}", shape.name);
    }
}

#[test]
fn data_is_the_same_each_time() {
    let read = || {
        let folder = tempfile::tempdir().expect("a folder");
        let shape = shapes::find("types").expect("a shape");
        let path = generate::workload(folder.path(), shape, 1000).expect("data");
        let workload = Workload::read(&path).expect("its description");
        let mut bytes = std::fs::read(workload.spine()).expect("entity rows");
        for file in workload.files(&workload.views[0]).expect("files") {
            bytes.extend(std::fs::read(file).expect("a file"));
        }
        bytes
    };
    assert!(read() == read());
}

#[test]
fn differences_are_seen_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (workload, result) = answered(folder.path(), "1m-1m", 1000);
    let names = [
        "differ",
        "dropped",
        "repeated_rows",
        "nothing",
        "other",
        "larder_wrong",
    ];

    let shorter = altered(&result, |batch| batch.slice(10, batch.num_rows() - 10));
    let told = compare::compare(&workload, &result, &shorter).expect("compared");
    assert_eq!(counts(&told, &names), [10, 10, 0, 0, 0, 0]);

    let twice = altered(&result, |batch| {
        concat_batches(&batch.schema(), [&batch, &batch.slice(0, 7)]).expect("one batch")
    });
    let told = compare::compare(&workload, &result, &twice).expect("compared");
    assert_eq!(counts(&told, &names), [0, 0, 7, 0, 0, 0]);

    let matched = told["matched"].as_u64().expect("a count");
    let empty = altered(&result, |batch| {
        let mut columns = batch.columns().to_vec();
        for column in &mut columns[1..] {
            *column = new_null_array(column.data_type(), batch.num_rows());
        }
        RecordBatch::try_new(batch.schema(), columns).expect("a batch")
    });
    let told = compare::compare(&workload, &result, &empty).expect("compared");
    assert_eq!(counts(&told, &names), [matched, 0, 0, matched, 0, 0]);

    let invented = altered(&result, |batch| {
        let mut columns = batch.columns().to_vec();
        columns[1] = Arc::new(Float64Array::from(vec![-1.0; batch.num_rows()]));
        RecordBatch::try_new(batch.schema(), columns).expect("a batch")
    });
    let told = compare::compare(&workload, &result, &invented).expect("compared");
    let rows = workload.entity_rows as u64;
    assert_eq!(counts(&told, &names), [rows, 0, 0, 0, rows, 0]);
    // The other way round it is larder who made it up.
    let told = compare::compare(&workload, &invented, &result).expect("compared");
    assert_eq!(counts(&told, &["larder_wrong"]), [rows]);
}

#[test]
fn answers_are_equal_in_any_order_and_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("answer.parquet");
    let digest = |ids: ArrayRef, values: ArrayRef| {
        let mut writer = Writer::new(&path, 100);
        let batch = RecordBatch::try_from_iter_with_nullable([("row_id", ids, true), ("v__f", values, true)]);
        writer.write(&batch.expect("a batch")).expect("rows written");
        writer.finish().expect("a footer");
        let wanted = Wanted {
            names: vec!["v__f".to_owned()],
            types: vec![larder::arrow::datatypes::DataType::Int64],
        };
        let answers = Answers::read(&path, 3, &[wanted]);
        answers
            .map(|answers| answers.digest())
            .map_err(|error| error.to_string())
    };
    let ids = |ids: [i64; 3]| Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
    let ints = |values: [Option<i64>; 3]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let first = digest(ids([0, 1, 2]), ints([Some(7), None, Some(9)])).expect("a digest");
    let turned = digest(ids([2, 0, 1]), ints([Some(9), Some(7), None]));
    assert_eq!(turned.as_ref(), Ok(&first));
    let floats = Arc::new(Float64Array::from(vec![Some(7.0), None, Some(9.0)])) as ArrayRef;
    assert_eq!(digest(ids([0, 1, 2]), floats).as_ref(), Ok(&first));
    let other = digest(ids([0, 1, 2]), ints([Some(7), Some(0), Some(9)])).expect("a digest");
    assert_ne!(other, first, "0 is not null");
    let unknown = digest(ids([0, 1, 3]), ints([None; 3])).expect_err("nobody asked for row 3");
    assert!(unknown.contains("row 3"), "{unknown}");
}
