//! Do two engines agree row by row, and where not, who is right?

use std::path::Path;

use larder::arrow::datatypes::DataType;
use serde_json::{Value, json};

use crate::Result;
use crate::answers::{ABSENT, Answers, Wanted};
use crate::files;
use crate::oracle::{Class, Oracle};
use crate::shapes::Workload;

/// Entity rows whose answer is checked against the plain search when larder's is compared with itself.
const SAMPLE: usize = 2_000;

/// Cells of an answer (one per row and view) by what they are.
#[derive(Debug, Default)]
struct Counts {
    differ: u64,
    dropped: u64,
    tie: u64,
    nothing: u64,
    other_row: u64,
    other: u64,
    /// Differences where the engine is right.
    larder_wrong: u64,
    checked: u64,
}

pub(crate) fn compare(workload: &Workload, ours: &Path, theirs: &Path) -> Result<Value> {
    let present = files::names(theirs)?;
    let wanted = wanted(workload, ours, &present)?;
    let all: usize = workload.views.iter().map(|view| view.features.len()).sum();
    let columns: usize = wanted.iter().map(|view| view.names.len()).sum();
    let itself = ours == theirs;
    let ours = Answers::read(ours, workload.entity_rows, &wanted)?;
    let theirs = Answers::read(theirs, workload.entity_rows, &wanted)?;

    let mut counts = Counts::default();
    for (at, view) in workload.views.iter().enumerate() {
        let pairs = || ours.hashes[at].iter().zip(&theirs.hashes[at]).enumerate();
        let step = (workload.entity_rows / SAMPLE).max(1);
        let suspect = |(row, (a, b)): &(usize, (&u64, &u64))| a != b || (itself && row % step == 0);
        let rows: Vec<usize> = pairs().filter(suspect).map(|(row, _)| row).collect();
        if rows.is_empty() {
            continue;
        }
        let oracle = Oracle::new(workload, view, &wanted[at], &rows)?;
        for row in rows {
            counts.add(&oracle, row, ours.hashes[at][row], theirs.hashes[at][row]);
        }
    }
    let matched = |answers: &Answers| -> usize {
        let views = answers.hashes.iter().zip(&answers.nothing);
        views
            .map(|(hashes, nothing)| hashes.iter().filter(|h| **h != ABSENT && *h != nothing).count())
            .sum()
    };
    Ok(json!({
        "cells": workload.entity_rows * workload.views.len(),
        "features": columns,
        "features_left_out": all - columns,
        "digest": theirs.digest(),
        "matched": matched(&theirs),
        "repeated_rows": theirs.repeated,
        "differ": counts.differ,
        "dropped": counts.dropped,
        "tie": counts.tie,
        "nothing": counts.nothing,
        "other_row": counts.other_row,
        "other": counts.other,
        "checked": counts.checked,
        "larder_wrong": counts.larder_wrong,
    }))
}

impl Counts {
    fn add(&mut self, oracle: &Oracle, row: usize, ours: u64, theirs: u64) {
        self.checked += 1;
        self.larder_wrong += u64::from(oracle.class(row, ours) != Class::Right);
        if ours == theirs {
            return;
        }
        self.differ += 1;
        if theirs == ABSENT {
            self.dropped += 1;
            return;
        }
        match oracle.class(row, theirs) {
            Class::Right => {}
            Class::Tie => self.tie += 1,
            Class::Nothing => self.nothing += 1,
            Class::OtherRow => self.other_row += 1,
            Class::Other => self.other += 1,
        }
    }
}

/// Per view the features that both have, in larder's types.
fn wanted(workload: &Workload, ours: &Path, present: &[String]) -> Result<Vec<Wanted>> {
    let schema = files::read(ours, None)?;
    let schema = larder::arrow::array::RecordBatchReader::schema(&schema);
    let view = |view: &crate::shapes::View| -> Result<Wanted> {
        let names: Vec<String> = view
            .outputs()
            .into_iter()
            .filter(|name| present.contains(name))
            .collect();
        let of = |name: &String| -> Result<DataType> {
            Ok(schema
                .field_with_name(name)
                .map(|field| field.data_type().clone())?)
        };
        let types = names.iter().map(of).collect::<Result<_>>()?;
        if names.is_empty() {
            return Err(format!("the result has no feature of view {}", view.name).into());
        }
        Ok(Wanted { names, types })
    };
    workload.views.iter().map(view).collect()
}
