//! How does one stream of rows become one or several outputs, each with its digest?

use larder_base::Result;
use larder_core::arrow::array::RecordBatch;
use larder_core::arrow::datatypes::SchemaRef;

use super::content::{Content, ContentHash};
use super::parameters::{Parameters, RowsFrom};
use super::split::Splitter;

/// Cuts the batches of a training set into the parts that were asked for, and digests each.
#[derive(Debug)]
pub struct Parts {
    /// Absent where the training set is not split.
    names: Option<Vec<String>>,
    splitter: Option<Splitter>,
    hashes: Vec<ContentHash>,
}

impl Parts {
    pub(super) fn new(schema: &SchemaRef, parameters: &Parameters) -> Result<Self> {
        let split = parameters.split.as_ref();
        let names = split.map(|split| split.names().into_iter().map(str::to_owned).collect::<Vec<_>>());
        let count = names.as_ref().map_or(1, Vec::len);
        // Stores promise no order of the rows in an interval, and compaction changes it.
        let hash = || match parameters.rows {
            RowsFrom::Range { .. } => ContentHash::new(schema).in_any_order(),
            _ => ContentHash::new(schema),
        };
        Ok(Self {
            splitter: split
                .map(|split| Splitter::new(split, schema, parameters))
                .transpose()?,
            hashes: (0..count).map(|_| hash()).collect(),
            names,
        })
    }

    /// The names of the parts; one without a name where the training set is not split.
    pub fn names(&self) -> Vec<Option<&str>> {
        match &self.names {
            None => vec![None],
            Some(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }

    /// The rows of a batch by part, in the order of [`Parts::names`].
    ///
    /// # Errors
    /// `Input` for times or keys that cannot be read as what the split needs.
    pub fn cut(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let cut = match &mut self.splitter {
            None => vec![batch],
            Some(splitter) => splitter.cut(&batch)?,
        };
        for (hash, rows) in self.hashes.iter_mut().zip(&cut) {
            hash.update(rows)?;
        }
        Ok(cut)
    }

    /// What each part amounts to so far.
    pub fn contents(&self) -> Vec<Content> {
        self.hashes.iter().map(ContentHash::content).collect()
    }

    /// Rows in no part because no condition holds, and because of the embargo.
    pub fn left_out(&self) -> (u64, u64) {
        let splitter = self.splitter.as_ref();
        splitter.map_or((0, 0), |splitter| (splitter.outside, splitter.embargoed))
    }
}
