//! Which tables are joined: their shapes, their files, and the join that is asked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_core::arrow::array::builder::{Int64Builder, ListBuilder, StringBuilder};
use larder_core::arrow::array::*;
use larder_core::convert::arrow_type;
use larder_core::model::Source;
use larder_core::{
    ColumnName, EntityRows, FeatureName, HistoricalRead, JoinKey, Span, ValueType, ViewJoin, ViewName,
    ViewScan,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const DAY: i64 = 86_400_000_000;
const DAYS: i64 = 90;
const START: i64 = 1_750_000_000_000_000;

/// Names of the shapes, and what each is.
pub(crate) const SHAPES: [(&str, &str); 12] = [
    ("one", "row groups of 1 M rows"),
    ("single", "one row group"),
    ("views", "three views of one source, with different ttl"),
    ("sources", "three sources with the same keys, one row group each"),
    ("zipf", "one key owns 20 % of the rows on both sides"),
    ("days", "16 files by day, 3 days of entity rows"),
    ("types", "features of every type"),
    ("string", "string keys"),
    ("two", "two key columns, an integer and a string"),
    ("sparse", "integer keys that are far apart"),
    ("text", "one feature of 1 KB strings"),
    ("wide", "30 sources of 30 features"),
];

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What one run joins.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// One of [`SHAPES`].
    pub(crate) name: String,
    /// Rows of the spine.
    pub(crate) entity_rows: usize,
    /// Rows of each source.
    pub(crate) source_rows: usize,
    /// Distinct keys.
    pub(crate) users: u64,
}

impl Shape {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn files(&self) -> usize {
        if self.is("days") { 16 } else { 1 }
    }

    fn group_rows(&self) -> usize {
        match self.name.as_str() {
            "single" | "sources" => usize::MAX,
            _ => 1_000_000,
        }
    }

    /// How many sources there are.
    pub(crate) fn sources(&self) -> usize {
        match self.name.as_str() {
            "sources" => 3,
            "wide" => 30,
            _ => 1,
        }
    }

    /// The types of a source's features.
    fn features(&self) -> Vec<ValueType> {
        let of = |name: &str| name.parse::<ValueType>().expect("a type");
        match self.name.as_str() {
            "types" => [
                "bool",
                "int32",
                "int64",
                "float32",
                "float64",
                "string",
                "bytes",
                "timestamp",
                "date",
                "decimal(10,2)",
                "list<int64>",
                "list<string>",
                "vector(float32,16)",
            ]
            .map(of)
            .to_vec(),
            "text" => vec![of("string")],
            "wide" => vec![of("float64"); 30],
            _ => vec![of("float64"); 10],
        }
    }

    /// Whether a bare decode reads a file: the entity rows of `days` see few of them.
    pub(crate) fn reads(&self, file: usize) -> bool {
        !self.is("days") || (11..15).contains(&file)
    }

    /// The folder of one source.
    pub(crate) fn folder(&self, root: &Path, source: usize) -> PathBuf {
        root.join(format!("s{source}"))
    }

    /// Where the files are; shapes with the same files share them.
    pub(crate) fn root(&self) -> PathBuf {
        let data = if self.is("views") { "one" } else { &self.name };
        std::env::temp_dir().join(format!("larder-p1b-{data}-{}", self.source_rows))
    }

    fn id(&self, rng: &mut Rng) -> i64 {
        if self.is("zipf") && rng.below(5) == 0 {
            return 0;
        }
        rng.below(self.users) as i64
    }

    fn keys(&self, ids: &[i64]) -> Vec<ArrayRef> {
        let text = |ids: &mut dyn Iterator<Item = i64>| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                ids.map(|id| format!("user-{id:09}")),
            ))
        };
        match self.name.as_str() {
            "string" => vec![text(&mut ids.iter().copied())],
            "sparse" => vec![Arc::new(Int64Array::from_iter_values(
                ids.iter().map(|id| id.wrapping_mul(0x5851_f42d_4c95_7f2d)),
            ))],
            "two" => vec![
                Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id % 1000))),
                text(&mut ids.iter().map(|id| id / 1000)),
            ],
            _ => vec![Arc::new(Int64Array::from(ids.to_vec()))],
        }
    }

    /// Writes the files unless they are there.
    pub(crate) fn write(&self) {
        let root = self.root();
        if root.join("done").exists() {
            return;
        }
        for source in 0..self.sources() {
            let folder = self.folder(&root, source);
            fs::create_dir_all(&folder).expect("a folder for the data");
            for file in 0..self.files() {
                self.write_file(&folder.join(format!("{file:03}.parquet")), source, file);
            }
        }
        fs::write(root.join("done"), "").expect("a mark");
    }

    fn write_file(&self, path: &Path, source: usize, file: usize) {
        let mut rng = Rng((42 + 100 * source + file) as u64);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(self.group_rows()))
            .build();
        let mut writer: Option<ArrowWriter<File>> = None;
        let mut left = self.source_rows / self.files();
        while left > 0 {
            let n = left.min(100_000);
            left -= n;
            let batch = self.batch(&mut rng, file, n);
            let writer = writer.get_or_insert_with(|| {
                let file = File::create(path).expect("a data file");
                ArrowWriter::try_new(file, batch.schema(), Some(properties.clone())).expect("a writer")
            });
            writer.write(&batch).expect("rows written");
        }
        if let Some(writer) = writer {
            writer.close().expect("a footer");
        }
    }

    fn batch(&self, rng: &mut Rng, file: usize, n: usize) -> RecordBatch {
        let mut ids: Vec<i64> = (0..n).map(|_| self.id(rng)).collect();
        let mut times: Vec<i64> = (0..n)
            .map(|_| match self.is("days") {
                true => START + file as i64 * DAY + rng.below(DAY as u64) as i64,
                false => START + rng.below((DAYS * DAY) as u64) as i64,
            })
            .collect();
        // Some 2 % repeat the key and time of a row before.
        for row in (50..n).step_by(50) {
            times[row] = times[row - 1];
            ids[row] = ids[row - 1];
        }
        let created = (0..n).map(|_| START + rng.below(1 << 40) as i64);
        let created = TimestampMicrosecondArray::from_iter_values(created).with_timezone("UTC");
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (at, key) in self.keys(&ids).into_iter().enumerate() {
            columns.push((format!("k{at}"), key));
        }
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        columns.push(("event_timestamp".into(), Arc::new(times)));
        columns.push(("created".into(), Arc::new(created)));
        for (at, of) in self.features().into_iter().enumerate() {
            columns.push((format!("f{at}"), values(rng, of, n, self.is("text"))));
        }
        RecordBatch::try_from_iter(columns).expect("a batch")
    }

    /// The join.
    pub(crate) fn request(&self) -> HistoricalRead {
        let mut rng = Rng(7);
        let ids: Vec<i64> = (0..self.entity_rows).map(|_| self.id(&mut rng)).collect();
        let times = (0..self.entity_rows).map(|_| match self.is("days") {
            true => START + 12 * DAY + rng.below(3 * DAY as u64) as i64,
            false => START + 7 * DAY + rng.below(((DAYS - 7) * DAY) as u64) as i64,
        });
        let times = TimestampMicrosecondArray::from_iter_values(times);
        let keys = self.keys(&ids);
        let views = if self.is("views") { 3 } else { self.sources() };
        let views = (0..views).map(|at| self.view(at, &keys)).collect();
        HistoricalRead {
            rows: EntityRows::batches(keys, times),
            views,
        }
    }

    fn view(&self, at: usize, keys: &[ArrayRef]) -> ViewJoin {
        let source = if self.is("views") { 0 } else { at };
        let source: Source = serde_json::from_value(serde_json::json!({
            "name": format!("s{source}"), "type": "parquet", "path": format!("s{source}"),
            "event_time": "event_timestamp", "created_time": "created",
        }))
        .expect("a source");
        let name = ViewName::new(format!("v{at}")).expect("a name");
        let mut scan = ViewScan::new(name, Arc::new(source));
        for (at, key) in keys.iter().enumerate() {
            let of = larder_core::convert::infer_type(key.data_type()).expect("a type of key");
            let key = JoinKey {
                name: ColumnName::new(format!("k{at}")).expect("a name"),
                value_type: of,
            };
            scan = scan.key(key, format!("k{at}"));
        }
        for (at, of) in self.features().into_iter().enumerate() {
            let name = format!("f{at}");
            scan = scan.feature(FeatureName::new(&name).expect("a name"), of, name);
        }
        let ttl = if self.is("days") {
            Span::days(1)
        } else if self.is("views") {
            Span::days(7 + at as i64)
        } else {
            Span::days(7)
        };
        ViewJoin::new(scan, (0..keys.len()).collect()).with_ttl(Some(ttl))
    }
}

/// A column of random values.
fn values(rng: &mut Rng, of: ValueType, n: usize, long: bool) -> ArrayRef {
    let rows = 0..n;
    let name = of.to_string();
    match name.as_str() {
        "bool" => Arc::new(BooleanArray::from_iter(rows.map(|_| Some(rng.below(2) == 0)))),
        "int32" => Arc::new(Int32Array::from_iter_values(rows.map(|_| rng.next() as i32))),
        "int64" => Arc::new(Int64Array::from_iter_values(rows.map(|_| rng.next() as i64))),
        "float32" => Arc::new(Float32Array::from_iter_values(
            rows.map(|_| rng.below(1 << 24) as f32),
        )),
        "float64" => Arc::new(Float64Array::from_iter_values(
            rows.map(|_| rng.below(1 << 53) as f64 / 1e9),
        )),
        "string" if long => Arc::new(StringArray::from_iter_values(rows.map(|_| {
            let word = format!("{:016x}", rng.next());
            word.repeat(64)
        }))),
        // Few distinct values, as categories have.
        "string" => Arc::new(StringArray::from_iter_values(
            rows.map(|_| format!("category {:03}", rng.below(500))),
        )),
        "bytes" => Arc::new(BinaryArray::from_iter_values(
            rows.map(|_| rng.next().to_le_bytes()),
        )),
        "timestamp" => Arc::new(
            TimestampMicrosecondArray::from_iter_values(rows.map(|_| START + rng.below(1 << 40) as i64))
                .with_timezone("UTC"),
        ),
        "date" => Arc::new(Date32Array::from_iter_values(
            rows.map(|_| rng.below(30_000) as i32),
        )),
        "list<int64>" => {
            let mut lists = ListBuilder::new(Int64Builder::new());
            for _ in rows {
                lists.append_value(
                    (0..rng.below(6))
                        .map(|_| Some(rng.below(1000) as i64))
                        .collect::<Vec<_>>(),
                );
            }
            Arc::new(lists.finish())
        }
        "list<string>" => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for _ in rows {
                lists.append_value(
                    (0..rng.below(4))
                        .map(|_| Some(format!("tag {}", rng.below(100))))
                        .collect::<Vec<_>>(),
                );
            }
            Arc::new(lists.finish())
        }
        "decimal(10,2)" => Arc::new(
            Decimal128Array::from_iter_values(rows.map(|_| i128::from(rng.below(1_000_000_000))))
                .with_data_type(arrow_type(of)),
        ),
        _ => {
            let ValueType::Vector(width) = of else {
                unreachable!("every type of the shapes has values")
            };
            let items =
                Float32Array::from_iter_values((0..n * width as usize).map(|_| rng.below(1 << 20) as f32));
            let larder_core::arrow::datatypes::DataType::FixedSizeList(field, size) = arrow_type(of) else {
                unreachable!("a vector is a list of fixed size")
            };
            Arc::new(FixedSizeListArray::new(field, size, Arc::new(items), None))
        }
    }
}
