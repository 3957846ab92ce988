//! Which columns a source has, over all of its files.

use std::sync::Arc;

use larder_core::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use larder_core::convert::{accepts, arrow_type, infer_type};
use larder_core::{Error, Result, model::Source};

use crate::live;
use crate::plan::{self, Context};
use crate::root::Root;

/// The first file's columns, each in the widest type that it has in any file, and the columns of the path.
pub(crate) fn schema(root: &Root, source: &Source, context: &Context) -> Result<SchemaRef> {
    let found = live::all(root, source, context)?;
    let partitions = plan::partition_types(&found.files);
    let files = found
        .files
        .into_iter()
        .map(|file| (Arc::new(file), Arc::default()));
    let files = plan::open(files.collect(), context)?;
    let here = |error: Error| error.with("source", &source.name);
    let Some((first, others)) = files.split_first() else {
        return Err(here(Error::not_found("the source's folder is empty"))
            .with("path", found.shown)
            .help("write data there or push some"));
    };
    let mut fields: Vec<FieldRef> = Vec::new();
    for field in first.footer.schema().fields() {
        if partitions.iter().any(|(name, _)| name == field.name()) {
            continue;
        }
        let mut widest = field.data_type().clone();
        let mut place = &first.file.shown;
        for other in others {
            let disagree = |what: String| {
                here(Error::input(what))
                    .with("column", field.name())
                    .with("file", &other.file.shown)
                    .with("unlike", place)
            };
            let Ok(found) = other.footer.schema().field_with_name(field.name()) else {
                return Err(disagree("a column is missing in one of the files".to_owned())
                    .help("write all files of a source with the same columns"));
            };
            match wider(&widest, found.data_type()) {
                Some(Side::Left) => {}
                Some(Side::Right) => {
                    widest = found.data_type().clone();
                    place = &other.file.shown;
                }
                None => {
                    let text = format!("the files have a column as {} and as {widest}", found.data_type());
                    return Err(disagree(text).help("write all files of a source with the same types"));
                }
            }
        }
        fields.push(Arc::new(field.as_ref().clone().with_data_type(widest)));
    }
    // The path's values are typed by what a view declares; `check` in larder-core knows them by this mark.
    fields.extend(partitions.into_iter().map(|(name, of)| {
        let mark = (larder_core::convert::PARTITION.to_owned(), String::new());
        Arc::new(Field::new(name, arrow_type(of), true).with_metadata([mark].into()))
    }));
    Ok(Arc::new(Schema::new(fields)))
}

enum Side {
    Left,
    Right,
}

/// Which of two types can stand for both; none when neither can.
fn wider(left: &DataType, right: &DataType) -> Option<Side> {
    if left == right {
        return Some(Side::Left);
    }
    // Times without a zone need a declaration, so they are the ones to show.
    let naive = |of: &DataType| matches!(of, DataType::Timestamp(_, None));
    if naive(left) != naive(right)
        && matches!((left, right), (DataType::Timestamp(..), DataType::Timestamp(..)))
    {
        return Some(if naive(left) { Side::Left } else { Side::Right });
    }
    let reads =
        |from: &DataType, to: &DataType| infer_type(to).is_some_and(|to| accepts(from, to, true).is_ok());
    match (reads(right, left), reads(left, right)) {
        (true, _) if *left != DataType::Null => Some(Side::Left),
        (_, true) => Some(Side::Right),
        (true, false) => Some(Side::Left),
        (false, false) if *right == DataType::Null => Some(Side::Left),
        (false, false) if *left == DataType::Null => Some(Side::Right),
        (false, false) => None,
    }
}
