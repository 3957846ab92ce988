//! Files, definitions and random numbers for the tests.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use larder_core::arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use larder_core::arrow::compute::concat::concat;
use larder_core::model::Source;
use larder_core::{
    ColumnName, Error, FeatureName, HistoricalRead, JoinKey, JoinReport, JoinedView, OfflineOptions,
    OfflineStore, Result, ViewName, ViewScan,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

pub(crate) fn source(json: serde_json::Value) -> Arc<Source> {
    Arc::new(serde_json::from_value(json).unwrap())
}

/// A scan with keys and features given as `name: type`, each in the column that the source says.
pub(crate) fn scan(source: &Arc<Source>, keys: &[(&str, &str)], features: &[(&str, &str)]) -> ViewScan {
    let mut scan = ViewScan::new(ViewName::new("v").unwrap(), source.clone());
    for (name, of) in keys {
        let key = JoinKey {
            name: ColumnName::new(name).unwrap(),
            value_type: of.parse().unwrap(),
        };
        scan = scan.key(key, source.column_of(name));
    }
    for (name, of) in features {
        let feature = FeatureName::new(name).unwrap();
        scan = scan.feature(feature, of.parse().unwrap(), source.column_of(name));
    }
    scan
}

pub(crate) fn plain() -> WriterPropertiesBuilder {
    WriterProperties::builder()
}

pub(crate) fn write(path: &Path, batch: &RecordBatch) {
    write_with(path, batch, plain());
}

pub(crate) fn write_with(path: &Path, batch: &RecordBatch, properties: WriterPropertiesBuilder) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

pub(crate) fn micros(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    let values: Vec<i64> = values.into_iter().collect();
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

/// Every view's columns as a whole, and the report.
pub(crate) async fn joined(
    store: &dyn OfflineStore,
    request: HistoricalRead,
    options: &OfflineOptions,
) -> Result<(Vec<JoinedView>, JoinReport)> {
    let views = request.views.len();
    let stream = store.historical(request, options).await?;
    let report = stream.report.clone();
    let batches: Vec<_> = stream.batches.try_collect().await?;
    let whole = |arrays: Vec<ArrayRef>| {
        let parts: Vec<&dyn larder_core::arrow::array::Array> = arrays.iter().map(AsRef::as_ref).collect();
        concat(&parts).map_err(|error| Error::internal("concat").source(error))
    };
    let mut out = Vec::new();
    for view in 0..views {
        if batches.is_empty() {
            continue;
        }
        use larder_core::arrow::array::AsArray;
        let times = |get: &dyn Fn(&JoinedView) -> TimestampMicrosecondArray| {
            let parts = batches
                .iter()
                .map(|batch| Arc::new(get(&batch.views[view])) as ArrayRef)
                .collect();
            whole(parts).map(|array| array.as_primitive().clone())
        };
        for batch in &batches {
            assert!(batch.views[view].features.iter().all(|f| f.len() == batch.rows));
        }
        let features = batches[0].views[view].features.len();
        out.push(JoinedView {
            features: (0..features)
                .map(|at| {
                    whole(
                        batches
                            .iter()
                            .map(|b| b.views[view].features[at].clone())
                            .collect(),
                    )
                })
                .collect::<Result<_>>()?,
            event: times(&|view| view.event.clone())?,
            created: times(&|view| view.created.clone())?,
        });
    }
    let report = report.lock().clone();
    Ok((out, report))
}
