//! Is a file that cannot be read told by its name, without a panic and without waiting?

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::training::project;
use crate::world::{Ran, larder, shell};

/// A Parquet file whose Arrow schema, which stands in its footer, is so damaged that decoding it panics.
fn panics(file: &Path) {
    let times = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([
        ("user_id", Arc::new(Int64Array::from(vec![7])) as ArrayRef),
        ("product_id", Arc::new(Int64Array::from(vec![3]))),
        ("event_timestamp", Arc::new(times)),
    ])
    .unwrap();
    let mut good = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut good, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let from = good
        .windows(12)
        .position(|bytes| bytes == b"ARROW:schema")
        .unwrap();
    let panics = (from + 16..good.len() - 8).any(|at| {
        let mut bytes = good.clone();
        bytes[at] = if bytes[at] == b'c' { b'A' } else { b'c' };
        fs::write(file, bytes).unwrap();
        let file = fs::File::open(file).unwrap();
        catch_unwind(|| drop(ParquetRecordBatchReaderBuilder::try_new(file))).is_err()
    });
    assert!(panics, "no byte at which the decoder panics");
}

fn is_told(ran: Ran, file: &str) {
    let ran = ran.code(1);
    assert!(ran.err.contains(file), "{ran:#?}");
    for word in ["panicked", "RUST_BACKTRACE", "report it"] {
        assert!(!ran.err.contains(word), "{ran:#?}");
    }
}

#[test]
fn a_footer_on_which_the_decoder_panics() {
    let (_world, dir) = project();
    panics(&dir.join("in.parquet"));
    let historical = ["historical", "--service", "purchase_v1", "--out", "t.parquet"];
    let run = |args: &[&str]| larder(&dir, &[args, &["--format", "json"]].concat());
    for args in [
        &["push", "user_daily", "--file", "in.parquet"][..],
        &[&historical[..], &["--entities", "in.parquet"]].concat(),
    ] {
        let ran = run(args);
        assert_eq!(ran.error()["kind"], "corrupt", "{ran:#?}");
        is_told(ran, "in.parquet");
    }
    // The same among the files of a source.
    fs::copy(dir.join("in.parquet"), dir.join("data/user_daily/zz.parquet")).unwrap();
    for args in [
        &[&historical[..], &["--entities", "labels.parquet"]].concat()[..],
        &["materialize"],
        &[
            "infer",
            "data/user_daily",
            "--entity",
            "user_id",
            "--time",
            "event_timestamp",
        ],
    ] {
        is_told(run(args), "zz.parquet");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let (_world, dir) = project();
    assert_eq!(
        shell(&dir, "mkfifo pipe.csv pipe.parquet data/user_daily/pipe.parquet").code,
        0
    );
    for (args, file) in [
        ("push user_daily --file pipe.csv", "pipe.csv"),
        ("push user_daily --file pipe.parquet", "pipe.parquet"),
        (
            "historical --service purchase_v1 --entities pipe.csv --out t.csv",
            "pipe.csv",
        ),
        ("historical --service purchase_v1 --entities pipe.csv", "pipe.csv"),
        (
            "historical --service purchase_v1 --entities labels.parquet --out t.csv",
            "user_daily/pipe.parquet",
        ),
        ("materialize", "user_daily/pipe.parquet"),
    ] {
        let ran = shell(&dir, &format!("timeout 20 larder {args}"));
        assert!(ran.err.contains("regular file"), "{args}: {ran:#?}");
        is_told(ran, file);
    }
}
