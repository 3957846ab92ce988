//! The same question answered without larder: sorted lists of flights per airport, searched by time.

use std::collections::HashMap;

use larder::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use larder::arrow::cast::cast;
use larder::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use larder::{Error, Result};

const HOUR: i64 = 3_600_000_000;
/// `available_after` and `ttl` of the definitions, written down a second time on purpose.
const KNOWN_AFTER: i64 = 6 * HOUR;
const GOOD_FOR: i64 = 48 * HOUR;

/// All flights, column by column, and the departures of each airport in order of time.
pub(crate) struct Flights {
    times: Vec<i64>,
    origins: Vec<u32>,
    destinations: Vec<u32>,
    delays: Vec<i64>,
    distances: Vec<i64>,
    names: Vec<String>,
    departures: Vec<Vec<u32>>,
}

impl Flights {
    pub(crate) fn new(batches: &[RecordBatch]) -> Result<Self> {
        let mut flights = Self {
            times: Vec::new(),
            origins: Vec::new(),
            destinations: Vec::new(),
            delays: Vec::new(),
            distances: Vec::new(),
            names: Vec::new(),
            departures: Vec::new(),
        };
        let mut codes = HashMap::new();
        for batch in batches {
            let micros = as_type(
                &column(batch, "date")?,
                &DataType::Timestamp(TimeUnit::Microsecond, None),
            )?;
            let times = as_type(&micros, &DataType::Int64)?;
            flights.times.extend(times.as_primitive::<Int64Type>().values());
            flights
                .delays
                .extend(column(batch, "delay")?.as_primitive::<Int64Type>().values());
            flights
                .distances
                .extend(column(batch, "distance")?.as_primitive::<Int64Type>().values());
            for (name, into) in [
                ("origin", &mut flights.origins),
                ("destination", &mut flights.destinations),
            ] {
                let texts = as_type(&column(batch, name)?, &DataType::Utf8)?;
                for text in texts.as_string::<i32>().iter() {
                    let text = text.ok_or_else(|| Error::input("a flight without airport"))?;
                    let code = *codes.entry(text.to_owned()).or_insert_with(|| {
                        flights.names.push(text.to_owned());
                        flights.names.len() as u32 - 1
                    });
                    into.push(code);
                }
            }
        }
        flights.departures.resize_with(flights.names.len(), Vec::new);
        for row in 0..flights.times.len() {
            flights.departures[flights.origins[row] as usize].push(row as u32);
        }
        let times = &flights.times;
        // By time, then by place in the file: the last of several at one instant is the one that counts.
        flights
            .departures
            .iter_mut()
            .for_each(|rows| rows.sort_by_key(|row| (times[*row as usize], *row)));
        Ok(flights)
    }

    /// The last departure of an airport whose delay is known at an instant and still good.
    pub(crate) fn known(&self, airport: u32, at: i64) -> Option<usize> {
        let rows = &self.departures[airport as usize];
        let count = rows.partition_point(|row| self.times[*row as usize] + KNOWN_AFTER <= at);
        let last = rows[..count].last().map(|row| *row as usize)?;
        (self.times[last] >= at - GOOD_FOR).then_some(last)
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn airports(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(crate) fn time(&self, row: usize) -> i64 {
        self.times[row]
    }

    pub(crate) fn origin(&self, row: usize) -> u32 {
        self.origins[row]
    }

    pub(crate) fn destination(&self, row: usize) -> u32 {
        self.destinations[row]
    }

    pub(crate) fn delay(&self, row: usize) -> i64 {
        self.delays[row]
    }

    pub(crate) fn distance(&self, row: usize) -> i64 {
        self.distances[row]
    }
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let found = batch
        .column_by_name(name)
        .filter(|column| column.null_count() == 0);
    found
        .cloned()
        .ok_or_else(|| Error::input(format!("the flights have no full column `{name}`")))
}

fn as_type(column: &ArrayRef, of: &DataType) -> Result<ArrayRef> {
    cast(column, of).map_err(|error| Error::input("the flights have unexpected types").source(error))
}
