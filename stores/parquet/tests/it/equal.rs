//! Whether files in any layout answer as one table in memory does.

use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use larder_core::arrow::array::*;
use larder_core::arrow::cast::cast;
use larder_core::arrow::datatypes::{DataType, TimeUnit};
use larder_core::arrow::row::{RowConverter, SortField};
use larder_core::memory::MemoryOffline;
use larder_core::model::Source;
use larder_core::{
    EntityRows, HistoricalRead, LatestRead, Micros, OfflineOptions, OfflineStore, RangeRead, Span,
    SpineFiles, ViewJoin, ViewScan,
};
use larder_parquet::ParquetStore;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use serde_json::json;

use crate::common::{Rng, batch, joined, scan, source, write_with};

/// Near the hour that Stockholm's clock is set back, so that local times are ambiguous.
const BASE: i64 = 1_792_882_800_000_000;
const STEP: i64 = 600_000_000;

const KEY_TYPES: [&str; 8] = [
    "bool",
    "int32",
    "int64",
    "string",
    "bytes",
    "date",
    "timestamp",
    "decimal(10,2)",
];

/// A random column of keys in the canonical type.
fn keys(rng: &mut Rng, of: &str, rows: usize, distinct: u64) -> ArrayRef {
    let ids: Vec<Option<u64>> = (0..rows)
        .map(|_| (!rng.one_in(15)).then(|| rng.below(distinct)))
        .collect();
    let text = |id: u64| match id % 3 {
        0 => format!("k{id}"),
        1 => format!("a key longer than sixteen bytes {id}"),
        _ => format!("é{id}"),
    };
    let ids = ids.into_iter();
    match of {
        "bool" => Arc::new(ids.map(|id| id.map(|id| id % 2 == 0)).collect::<BooleanArray>()),
        "int32" => Arc::new(ids.map(|id| id.map(|id| id as i32 - 3)).collect::<Int32Array>()),
        "int64" => Arc::new(ids.map(|id| id.map(|id| id as i64 - 3)).collect::<Int64Array>()),
        "string" => Arc::new(ids.map(|id| id.map(text)).collect::<StringArray>()),
        "bytes" => Arc::new(
            ids.map(|id| id.map(|id| text(id).into_bytes()))
                .collect::<BinaryArray>(),
        ),
        "date" => Arc::new(ids.map(|id| id.map(|id| id as i32)).collect::<Date32Array>()),
        "timestamp" => Arc::new(
            ids.map(|id| id.map(|id| id as i64 * 1_000_000))
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
        _ => Arc::new(
            ids.map(|id| id.map(i128::from))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
    }
}

fn times(rng: &mut Rng, rows: usize, nulls: u64, naive: bool) -> ArrayRef {
    let times: TimestampMicrosecondArray = (0..rows)
        .map(|_| (!rng.one_in(nulls)).then(|| BASE + STEP * rng.below(60) as i64))
        .collect();
    if naive {
        Arc::new(times)
    } else {
        Arc::new(times.with_timezone("UTC"))
    }
}

/// The same values in another type that some producer would write.
fn disguise(rng: &mut Rng, column: &ArrayRef, tie_break: bool) -> ArrayRef {
    let to: Vec<DataType> = match column.data_type() {
        DataType::Int64 if tie_break => vec![DataType::Int64, DataType::Int32],
        DataType::Int64 => vec![DataType::Int64, DataType::Int32, DataType::Int16],
        DataType::Int32 => vec![DataType::Int32, DataType::Int8],
        DataType::Utf8 => vec![
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Utf8View,
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ],
        DataType::Binary => vec![DataType::Binary, DataType::LargeBinary],
        DataType::Timestamp(_, zone) => [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond]
            .map(|unit| DataType::Timestamp(unit, zone.clone()))
            .to_vec(),
        DataType::Decimal128(..) => vec![DataType::Decimal128(10, 2), DataType::Decimal64(10, 2)],
        other => vec![other.clone()],
    };
    cast(column, rng.pick(&to)).unwrap()
}

fn properties(rng: &mut Rng, rows: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(1 + rng.below(rows as u64 + 10) as usize))
        .set_data_page_row_count_limit(1 + rng.below(40) as usize)
        .set_write_batch_size(1 + rng.below(10) as usize)
        .set_dictionary_enabled(rng.one_in(2))
        .set_writer_version(*rng.pick(&[WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0]))
        .set_statistics_enabled(*rng.pick(&[
            EnabledStatistics::None,
            EnabledStatistics::Chunk,
            EnabledStatistics::Page,
        ]))
        .set_statistics_truncate_length(rng.pick(&[Some(1), Some(64), None]).to_owned())
        .set_bloom_filter_enabled(rng.one_in(2))
        .set_offset_index_disabled(rng.one_in(3))
        .set_compression(*rng.pick(&[
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::LZ4_RAW,
            Compression::ZSTD(ZstdLevel::default()),
        ]))
}

/// One random source, in files and in memory.
struct Case {
    folder: tempfile::TempDir,
    memory: MemoryOffline,
    source: Arc<Source>,
    keys: Vec<(String, String)>,
    has_created: bool,
}

const FEATURES: [(&str, &str); 6] = [
    ("f_int", "int64"),
    ("f_text", "string"),
    ("f_float", "float64"),
    ("f_list", "list<int64>"),
    ("f_flag", "bool"),
    ("f_bytes", "bytes"),
];

impl Case {
    fn new(rng: &mut Rng) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = MemoryOffline::new();
        let key_count = rng.below(4) as usize;
        let keys: Vec<(String, String)> = (0..key_count)
            .map(|at| (format!("k{at}"), (*rng.pick(&KEY_TYPES)).to_owned()))
            .collect();
        let has_created = rng.one_in(2);
        let has_tie = rng.one_in(2);
        let naive = rng.one_in(3);
        let partitioned = rng.one_in(3);
        let mut definition = json!({
            "name": "s", "type": "parquet", "path": "s", "event_time": "at",
            "available_after": rng.pick(&["0s", "0s", "20m"]),
            "columns": { "f_text": "Some text" },
        });
        if has_created {
            definition["created_time"] = match rng.below(3) {
                0 => json!({ "column": "written", "trusted_from": Micros(BASE + STEP * 20) }),
                _ => json!("written"),
            };
            definition["knowledge"] = json!(rng.pick(&["tie_break", "as_of"]));
        }
        if has_tie {
            definition["tie_break"] = json!(["seq", "word"]);
        }
        if naive {
            definition["timezone"] = json!(rng.pick(&["UTC", "Europe/Stockholm", "+05:30"]));
        }
        let mut names: Vec<String> = (0..rng.below(5)).map(|at| format!("{at}.parquet")).collect();
        if partitioned {
            names = (0..names.len() * 2)
                .map(|at| format!("part={}/{at}.pq", at % 3))
                .collect();
        }
        names.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
        std::fs::create_dir(folder.path().join("s")).unwrap();
        for name in names {
            let rows = if rng.one_in(8) { 0 } else { rng.below(120) as usize };
            let mut columns: Vec<(String, ArrayRef)> = Vec::new();
            let distinct = 1 + rng.below(6);
            for (name, of) in &keys {
                columns.push((name.clone(), self::keys(rng, of, rows, distinct)));
            }
            columns.push(("at".into(), times(rng, rows, 20, naive)));
            columns.push(("written".into(), times(rng, rows, 6, naive)));
            let seq: Int64Array = (0..rows)
                .map(|_| (!rng.one_in(5)).then(|| rng.below(3) as i64))
                .collect();
            columns.push(("seq".into(), Arc::new(seq)));
            let word: StringArray = (0..rows).map(|_| Some(format!("w{}", rng.below(2)))).collect();
            columns.push(("word".into(), Arc::new(word)));
            columns.extend(features(rng, rows));

            let disguised: Vec<(&str, ArrayRef)> = columns
                .iter()
                .map(|(name, column)| match name.as_str() {
                    "Some text" | "f_float" | "f_list" | "f_flag" => (name.as_str(), column.clone()),
                    name => (name, disguise(rng, column, name == "seq")),
                })
                .collect();
            write_with(
                &folder.path().join("s").join(&name),
                &batch(disguised),
                properties(rng, rows),
            );
            if partitioned {
                let value = name.trim_start_matches("part=").split('/').next().unwrap();
                let part = Int64Array::from_value(value.parse().unwrap(), rows);
                columns.push(("part".into(), Arc::new(part)));
            }
            let columns = columns
                .iter()
                .map(|(name, column)| (name.as_str(), column.clone()));
            memory.insert("s", batch(columns.collect()));
        }
        let mut keys = keys;
        if partitioned && rng.one_in(2) {
            keys.push(("part".to_owned(), "int64".to_owned()));
        }
        Self {
            folder,
            memory,
            source: source(definition),
            keys,
            has_created,
        }
    }

    fn scan(&self, features: &[(&str, &str)]) -> ViewScan {
        let keys: Vec<(&str, &str)> = self
            .keys
            .iter()
            .map(|(name, of)| (name.as_str(), of.as_str()))
            .collect();
        scan(&self.source, &keys, features)
    }

    fn store(&self) -> ParquetStore {
        ParquetStore::new(self.folder.path())
    }
}

fn features(rng: &mut Rng, rows: usize) -> Vec<(String, ArrayRef)> {
    let ints: Int64Array = (0..rows)
        .map(|_| (!rng.one_in(4)).then(|| rng.below(30_000) as i64))
        .collect();
    // Long values are put together in another way than short ones.
    let times = if rng.one_in(4) { 100 } else { 1 };
    let texts: StringArray = (0..rows)
        .map(|_| (!rng.one_in(4)).then(|| format!("text {}", rng.below(40)).repeat(times)))
        .collect();
    let bytes: BinaryArray = (0..rows)
        .map(|_| (!rng.one_in(4)).then(|| vec![0xff; rng.below(20) as usize]))
        .collect();
    let floats: Float64Array = (0..rows)
        .map(|_| (!rng.one_in(4)).then(|| rng.below(1 << 40) as f64 / 7.0))
        .collect();
    let lists = ListArray::from_iter_primitive::<larder_core::arrow::datatypes::Int64Type, _, _>(
        (0..rows).map(|_| {
            (!rng.one_in(4)).then(|| {
                (0..rng.below(4))
                    .map(|n| (n != 2).then_some(n as i64))
                    .collect::<Vec<_>>()
            })
        }),
    );
    let flags: BooleanArray = (0..rows)
        .map(|_| (!rng.one_in(4)).then(|| rng.one_in(2)))
        .collect();
    vec![
        ("f_int".into(), Arc::new(ints)),
        ("Some text".into(), Arc::new(texts)),
        ("f_float".into(), Arc::new(floats)),
        ("f_list".into(), Arc::new(lists)),
        ("f_flag".into(), Arc::new(flags)),
        ("f_bytes".into(), Arc::new(bytes)),
    ]
}

fn options(rng: &mut Rng) -> OfflineOptions {
    OfflineOptions::default()
        .with_threads(1 + rng.below(3) as usize)
        .with_batch_rows(1 + rng.below(60) as usize)
}

/// The same entity rows in files, in several batches each.
fn in_files(rng: &mut Rng, rows: &EntityRows, folder: &Path) -> EntityRows {
    let EntityRows::Batches { keys, times } = rows else {
        panic!("they are in memory");
    };
    let mut columns: Vec<(String, ArrayRef)> = keys
        .iter()
        .cloned()
        .enumerate()
        .map(|(at, key)| (format!("k{at}"), key))
        .collect();
    columns.push(("t".into(), Arc::new(times.clone().with_timezone("UTC"))));
    let whole = batch(
        columns
            .iter()
            .map(|(name, column)| (name.as_str(), column.clone()))
            .collect(),
    );
    let (mut paths, mut first) = (Vec::new(), 0);
    while first < whole.num_rows() || rng.one_in(3) {
        let path = folder.join(format!("rows-{}", paths.len()));
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = arrow_ipc::writer::StreamWriter::try_new(file, &whole.schema()).unwrap();
        for _ in 0..rng.below(3) {
            let n = (rng.below(50) as usize).min(whole.num_rows() - first);
            writer.write(&whole.slice(first, n)).unwrap();
            first += n;
        }
        writer.finish().unwrap();
        paths.push(path);
    }
    EntityRows::Files(SpineFiles::new(paths, whole.num_rows() as u64))
}

#[tokio::test]
async fn joins_answer_as_in_memory() {
    let mut matched = 0;
    let mut tied = 0;
    let mut spilled = 0;
    for seed in 0..400 {
        let rng = &mut Rng::new(seed);
        let case = Case::new(rng);
        let rows = rng.below(80) as usize;
        let distinct = 1 + rng.below(6);
        let scan = case.scan(&FEATURES);
        let mut spine = Vec::new();
        for key in &scan.keys {
            let of = key.key.value_type.to_string();
            spine.push(keys(rng, &of, rows, distinct));
        }
        let late = *rng.pick(&[0, 0, 1_000_000]);
        let at: TimestampMicrosecondArray = (0..rows)
            .map(|_| Some(BASE + STEP * (rng.below(70) as i64 - 20 - late)))
            .collect();
        let mut views = Vec::new();
        for _ in 0..1 + rng.below(3) {
            // Some views with other features, other ttl or the other mode, all over one scan.
            let wanted: Vec<_> = FEATURES.into_iter().filter(|_| rng.one_in(2)).collect();
            let mut view = ViewJoin::new(case.scan(&wanted), (0..spine.len()).collect());
            view = view.with_ttl(
                rng.pick(&[None, Some(Span(STEP * 10)), Some(Span(STEP * 60)), Some(Span(0))])
                    .to_owned(),
            );
            if rng.one_in(3) && case.has_created {
                view = view.with_knowledge(*rng.pick(&[
                    larder_core::model::Knowledge::TieBreak,
                    larder_core::model::Knowledge::AsOf,
                ]));
            }
            views.push(view);
        }
        let request = HistoricalRead {
            rows: EntityRows::batches(spine, at),
            views,
        };
        let (want, want_report) = joined(&case.memory, request.clone(), &OfflineOptions::default())
            .await
            .unwrap();
        let store = case.store();
        let mut request = request;
        let mut options = options(rng);
        let spills = tempfile::tempdir().unwrap();
        if rng.one_in(3) {
            request.rows = in_files(rng, &request.rows, case.folder.path());
        }
        if rng.one_in(2) {
            // From what makes every part tiny to what is never reached.
            let limit = *rng.pick(&[1, 10_000, 100_000, 1_000_000, 1 << 40]);
            options = options
                .with_memory_limit(Some(limit))
                .with_spill_dir(Some(spills.path().to_owned()));
        }
        let (got, report) = joined(&store, request, &options).await.unwrap();
        spilled += u64::from(report.spilled > 0);
        assert_eq!(spills.path().read_dir().unwrap().count(), 0, "seed {seed}");
        assert_eq!(got.len(), want.len(), "seed {seed}");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.event, want.event, "event times, seed {seed}");
            assert_eq!(got.created, want.created, "created times, seed {seed}");
            assert_eq!(got.features, want.features, "features, seed {seed}");
        }
        for (got, want) in report.views.iter().zip(&want_report.views) {
            assert_eq!(got.matched, want.matched, "seed {seed}");
            assert_eq!(got.full_ties, want.full_ties, "seed {seed}");
            assert_eq!(got.known_later, want.known_later, "seed {seed}");
            assert_eq!(got.null_keys, want.null_keys, "seed {seed}");
            assert_eq!(
                got.expired + got.unmatched,
                want.expired + want.unmatched,
                "seed {seed}"
            );
            matched += got.matched;
            tied += got.full_ties;
        }
    }
    assert!(
        matched > 3000 && tied > 100,
        "the cases are not trivial: {matched} {tied}"
    );
    assert!(spilled > 80, "spilling is tried, too: {spilled}");
}

/// All rows of a stream, sorted, without the column whose bytes are private to a store.
async fn sorted(store: &dyn OfflineStore, stream: larder_core::BatchStream, scan: &ViewScan) -> Vec<Vec<u8>> {
    let _ = store;
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let columns = scan.keys.len() + 2 + scan.features.len();
    let fields = scan.schema().fields()[..columns]
        .iter()
        .map(|field| SortField::new(field.data_type().clone()))
        .collect();
    let converter = RowConverter::new(fields).unwrap();
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for batch in batches {
        assert_eq!(batch.schema(), scan.schema());
        let found = converter.convert_columns(&batch.columns()[..columns]).unwrap();
        rows.extend(found.iter().map(|row| row.data().to_vec()));
    }
    rows.sort();
    rows
}

#[tokio::test]
async fn windows_answer_as_in_memory() {
    let mut seen = 0;
    for seed in 0..200 {
        let rng = &mut Rng::new(seed + 1_000_000);
        let case = Case::new(rng);
        let scan = case.scan(&FEATURES);
        let time = |rng: &mut Rng| Micros(BASE + STEP * (rng.below(70) as i64 - 5));
        let request = LatestRead {
            scan: scan.clone(),
            floor: if rng.one_in(2) { Micros::MIN } else { time(rng) },
            after: if rng.one_in(3) { Micros::MIN } else { time(rng) },
            until: if rng.one_in(5) { Micros::MAX } else { time(rng) },
        };
        let store = case.store();
        let all = OfflineOptions::default();
        let want = case.memory.latest(request.clone(), &all).await.unwrap();
        let want = sorted(&case.memory, want, &scan).await;
        let got = store.latest(request, &options(rng)).await.unwrap();
        assert_eq!(sorted(&store, got, &scan).await, want, "latest, seed {seed}");
        seen += want.len();

        let request = RangeRead::new(scan.clone(), time(rng), time(rng));
        let want = case.memory.range(request.clone(), &all).await.unwrap();
        let want = sorted(&case.memory, want, &scan).await;
        let got = store.range(request, &options(rng)).await.unwrap();
        assert_eq!(sorted(&store, got, &scan).await, want, "range, seed {seed}");
    }
    assert!(seen > 1000, "the cases are not trivial: {seen}");
}
