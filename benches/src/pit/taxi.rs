//! What does the public feature-store workload of SIGMOD'24 look like on generated taxi trips?
//!
//! Entity rows are raw trips with their 19 columns. One table groups them by pick-up zone, borough and 15
//! minutes, one by drop-off zone, borough and 30 minutes; both are joined by zone and time of pick-up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use larder::arrow::array::*;

use crate::Result;
use crate::columns::{Random, instants};
use crate::files::Writer;
use crate::generate::{SEED, SPINE_GROUP};
use crate::shapes::{Column, START, View, Workload};

const ZONES: f64 = 263.0;
const MINUTE: i64 = 60_000_000;
/// Three million trips a month.
const BETWEEN: i64 = 880_000;
const BOROUGHS: [&str; 6] = ["Manhattan", "Queens", "Brooklyn", "Bronx", "Staten Island", "EWR"];

pub(crate) fn workload(root: &Path, trips: usize) -> Result<Workload> {
    let spine = format!("trips-{trips}.parquet");
    let pickups = format!("pickups-{trips}");
    let dropoffs = format!("dropoffs-{trips}");
    let dropoff_file = root.join(&dropoffs).join("000.parquet");
    // The last one to be written stands for all.
    if !dropoff_file.exists() {
        let mut by_pickup = Windows::new(15 * MINUTE);
        let mut by_dropoff = Windows::new(30 * MINUTE);
        write_trips(&root.join(&spine), trips, &mut by_pickup, &mut by_dropoff)?;
        by_pickup.write(&root.join(&pickups).join("000.parquet"), "pu_location_id")?;
        by_dropoff.write(&dropoff_file, "do_location_id")?;
    }
    let view = |name: &str, source: String, key: &str| View {
        name: name.to_owned(),
        source,
        key: key.to_owned(),
        key_type: "int64".to_owned(),
        time: "window_start".to_owned(),
        created: None,
        ttl_us: None,
        features: vec![
            Column::new("borough", "string"),
            Column::new("mean_fare", "float64"),
            Column::new("total_distance", "float64"),
            Column::new("trips", "int64"),
        ],
    };
    Ok(Workload {
        name: String::new(),
        entity_rows: trips,
        source_rows: 0,
        root: String::new(),
        spine,
        window: None,
        views: vec![
            view("pickups", pickups, "pu_location_id"),
            view("dropoffs", dropoffs, "do_location_id"),
        ],
    })
}

/// Few zones see most of the trips.
fn zone(random: &mut Random) -> i64 {
    1 + (random.unit().powf(2.2) * ZONES) as i64
}

fn borough(zone: i64) -> &'static str {
    BOROUGHS[match zone {
        ..70 => 0,
        70..140 => 1,
        140..200 => 2,
        200..240 => 3,
        240..260 => 4,
        _ => 5,
    }]
}

/// Fares by zone and window.
struct Windows {
    width: i64,
    cells: BTreeMap<(i64, i64), (f64, f64, i64)>,
}

impl Windows {
    fn new(width: i64) -> Self {
        Self {
            width,
            cells: BTreeMap::new(),
        }
    }

    fn add(&mut self, zone: i64, time: i64, fare: f64, distance: f64) {
        let window = time.div_euclid(self.width) * self.width;
        let cell = self.cells.entry((zone, window)).or_default();
        *cell = (cell.0 + fare, cell.1 + distance, cell.2 + 1);
    }

    fn write(&self, path: &Path, key: &str) -> Result<()> {
        let zones = self.cells.keys().map(|(zone, _)| *zone);
        let batch = RecordBatch::try_from_iter([
            (
                key,
                Arc::new(Int64Array::from_iter_values(zones.clone())) as ArrayRef,
            ),
            (
                "window_start",
                instants(self.cells.keys().map(|(_, w)| *w).collect()),
            ),
            (
                "borough",
                Arc::new(StringArray::from_iter_values(zones.map(borough))),
            ),
            (
                "mean_fare",
                Arc::new(Float64Array::from_iter_values(
                    self.cells.values().map(|(fare, _, n)| fare / *n as f64),
                )),
            ),
            (
                "total_distance",
                Arc::new(Float64Array::from_iter_values(
                    self.cells.values().map(|(_, distance, _)| *distance),
                )),
            ),
            (
                "trips",
                Arc::new(Int64Array::from_iter_values(
                    self.cells.values().map(|(_, _, n)| *n),
                )),
            ),
        ])?;
        let mut writer = Writer::new(path, 1_000_000);
        writer.write(&batch)?;
        writer.finish()
    }
}

fn write_trips(path: &Path, trips: usize, by_pickup: &mut Windows, by_dropoff: &mut Windows) -> Result<()> {
    let mut random = Random::new(SEED, "trips");
    let mut writer = Writer::new(path, SPINE_GROUP);
    for first in (0..trips).step_by(100_000) {
        let rows = 100_000.min(trips - first);
        let mut trips = Trips::default();
        for row in first..first + rows {
            trips.add(row as i64, &mut random);
        }
        for at in 0..rows {
            let (fare, distance) = (trips.money[0][at], trips.distance[at]);
            by_pickup.add(trips.from[at], trips.pickup[at], fare, distance);
            by_dropoff.add(trips.to[at], trips.dropoff[at], fare, distance);
        }
        writer.write(&trips.batch()?)?;
    }
    writer.finish()
}

/// Columns of some trips.
#[derive(Default)]
struct Trips {
    row: Vec<i64>,
    pickup: Vec<i64>,
    dropoff: Vec<i64>,
    from: Vec<i64>,
    to: Vec<i64>,
    distance: Vec<f64>,
    /// Vendor, passengers, rate code, kind of payment.
    codes: [Vec<i64>; 4],
    /// Fare, extra, tax, tip, tolls, surcharge, total, congestion, airport.
    money: [Vec<f64>; 9],
}

const CODES: [(&str, u64); 4] = [
    ("vendor_id", 2),
    ("passenger_count", 6),
    ("ratecode_id", 6),
    ("payment_type", 4),
];
const MONEY: [&str; 9] = [
    "fare_amount",
    "extra",
    "mta_tax",
    "tip_amount",
    "tolls_amount",
    "improvement_surcharge",
    "total_amount",
    "congestion_surcharge",
    "airport_fee",
];

impl Trips {
    fn add(&mut self, row: i64, random: &mut Random) {
        // Roughly in order, as in the published files.
        let pickup = START + row * BETWEEN + random.below(20 * MINUTE as u64) as i64;
        let distance = 0.5 + 20.0 * random.unit().powi(3);
        let minutes = distance * (2.0 + 4.0 * random.unit());
        let cents = |amount: f64| (amount * 100.0).round() / 100.0;
        let fare = cents(3.0 + 1.8 * distance + 0.3 * minutes);
        self.row.push(row);
        self.pickup.push(pickup);
        self.dropoff.push(pickup + (minutes * MINUTE as f64) as i64);
        self.from.push(zone(random));
        self.to.push(zone(random));
        self.distance.push(cents(distance));
        for (column, (_, kinds)) in self.codes.iter_mut().zip(CODES) {
            column.push(1 + random.below(kinds) as i64);
        }
        let tip = cents(fare * 0.3 * random.unit());
        let amounts = [fare, 1.0, 0.5, tip, 0.0, 1.0, cents(fare + tip + 5.0), 2.5, 0.0];
        for (column, amount) in self.money.iter_mut().zip(amounts) {
            column.push(amount);
        }
    }

    fn batch(self) -> Result<RecordBatch> {
        let flags =
            StringArray::from_iter_values(self.row.iter().map(|row| if row % 100 == 0 { "Y" } else { "N" }));
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("row_id", Arc::new(Int64Array::from(self.row))),
            ("event_timestamp", instants(self.pickup)),
            ("dropoff_timestamp", instants(self.dropoff)),
            ("pu_location_id", Arc::new(Int64Array::from(self.from))),
            ("do_location_id", Arc::new(Int64Array::from(self.to))),
            ("trip_distance", Arc::new(Float64Array::from(self.distance))),
            ("store_and_fwd_flag", Arc::new(flags)),
        ];
        for ((name, _), column) in CODES.iter().zip(self.codes) {
            columns.push((name, Arc::new(Int64Array::from(column))));
        }
        for (name, column) in MONEY.iter().zip(self.money) {
            columns.push((name, Arc::new(Float64Array::from(column))));
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}
