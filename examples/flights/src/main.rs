//! Does larder answer right on real data? Every flight gets the last delays known at its airports;
//! an independent computation must agree on every row, offline and online.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program tells what it found"
)]

mod independent;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use larder::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use larder::arrow::cast::cast;
use larder::arrow::datatypes::{DataType, Int64Type};
use larder::{ApplyOptions, DefinitionSet, Error, Micros, ReadOptions, Reading, Result, VirtualClock};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use independent::Flights;

/// The end of the data: the clock stands here, so that values are as fresh as they were then.
const END: &str = "2001-07-01T00:00:00Z";

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.chain());
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let data = data()?;
    let folder = tempfile::tempdir().map_err(|e| Error::internal("no temporary folder").source(e))?;
    lay_out(folder.path(), &data)?;

    let end: Micros = END.parse()?;
    let store = larder::open(folder.path())
        .clock(Arc::new(VirtualClock::at(end)))
        .await?;
    let project = larder::project(folder.path(), None)?;
    let definitions = DefinitionSet::load(&project.definitions.path, project.definitions.set.clone())?;
    store.apply(&definitions, &ApplyOptions::new()).await?;

    let rows = read(&data)?;
    let flights = Flights::new(&rows)?;
    println!(
        "{} flights between {} airports",
        flights.len(),
        flights.airports()
    );

    let started = Instant::now();
    let training = store
        .historical("delay_v1")
        .entities(rows)
        .time_column("date")
        .timezone("UTC");
    let (training, report) = training.run().await?.collect().await?;
    println!(
        "joined in {:.1} s: {} rows",
        started.elapsed().as_secs_f64(),
        training.num_rows()
    );
    for view in &report.views {
        println!(
            "  {}: {} matched, {} expired, {} unmatched, {} full ties",
            view.view, view.matched, view.expired, view.unmatched, view.full_ties
        );
    }
    compare_training(&flights, &training)?;

    let started = Instant::now();
    let run = store.materialize().run().await?;
    let written: u64 = run.views.iter().map(|view| view.written).sum();
    println!(
        "materialized in {:.1} s: {written} airports",
        started.elapsed().as_secs_f64()
    );
    compare_online(&store, &flights, end).await
}

fn data() -> Result<PathBuf> {
    let path = std::env::var_os("LARDER_FLIGHTS_DATA")
        .map(PathBuf::from)
        .filter(|path| path.is_file());
    path.ok_or_else(|| {
        Error::input("the flights data set is not there")
            .help("run `cargo xtask data` and set LARDER_FLIGHTS_DATA to the path it prints")
    })
}

/// The project in a folder of its own, with the data beside it, so that nothing is left behind.
fn lay_out(folder: &Path, data: &Path) -> Result<()> {
    let files = [
        ("larder.yaml", include_str!("../larder.yaml")),
        (
            "features/airports.yaml",
            include_str!("../features/airports.yaml"),
        ),
    ];
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder.join("features"))?;
        std::fs::create_dir_all(folder.join("data"))?;
        for (file, text) in files {
            std::fs::write(folder.join(file), text)?;
        }
        let target = folder.join("data/flights-3m.parquet");
        std::fs::hard_link(data, &target).or_else(|_| std::fs::copy(data, &target).map(drop))
    };
    copy().map_err(|error| Error::internal("the project could not be laid out").source(error))
}

fn read(path: &Path) -> Result<Vec<RecordBatch>> {
    let wrong =
        |error: parquet::errors::ParquetError| Error::input("the flights cannot be read").source(error);
    let file = std::fs::File::open(path)
        .map_err(|error| Error::input("the flights cannot be read").source(error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(wrong)?
        .with_batch_size(65_536);
    let batches = reader.build().map_err(wrong)?;
    batches
        .map(|batch| batch.map_err(|error| Error::input("the flights cannot be read").source(error)))
        .collect()
}

fn compare_training(flights: &Flights, training: &RecordBatch) -> Result<()> {
    let column = |name: &str| -> Result<ArrayRef> {
        training
            .column_by_name(name)
            .cloned()
            .ok_or_else(|| Error::internal(format!("no column `{name}`")))
    };
    let (delay, distance) = (column("origin__delay")?, column("origin__distance")?);
    let (delay, distance) = (
        delay.as_primitive::<Int64Type>(),
        distance.as_primitive::<Int64Type>(),
    );
    let arriving = column("destination__delay")?;
    let arriving = arriving.as_primitive::<Int64Type>();
    // The caller's own columns come out untouched and in order.
    let order =
        cast(&column("date")?, &DataType::Int64).map_err(|e| Error::internal("no times").source(e))?;
    let order = order.as_primitive::<Int64Type>();

    let value = |column: &larder::arrow::array::Int64Array, row: usize| {
        column.is_valid(row).then(|| column.value(row))
    };
    let mut wrong = 0;
    for row in 0..flights.len() {
        let at = flights.time(row);
        let from = flights.known(flights.origin(row), at);
        let to = flights.known(flights.destination(row), at);
        let expected = (
            from.map(|f| flights.delay(f)),
            from.map(|f| flights.distance(f)),
            to.map(|f| flights.delay(f)),
        );
        let found = (value(delay, row), value(distance, row), value(arriving, row));
        if expected != found || order.value(row) != at {
            wrong += 1;
            if wrong <= 5 {
                println!("  row {row}: expected {expected:?}, found {found:?}");
            }
        }
    }
    match wrong {
        0 if training.num_rows() == flights.len() => {
            println!(
                "independent computation: {} of {} rows equal",
                flights.len(),
                flights.len()
            );
            Ok(())
        }
        _ => Err(Error::internal(format!(
            "{wrong} of {} training rows differ",
            flights.len()
        ))),
    }
}

async fn compare_online(store: &larder::FeatureStore, flights: &Flights, end: Micros) -> Result<()> {
    let plan = store.online("delay_v1").await?;
    let (origin, destination) = (plan.key::<String>("origin")?, plan.key::<String>("destination")?);
    let from = plan.feature::<i64>("origin__delay")?;
    let to = plan.feature::<i64>("destination__delay")?;
    let airports: Vec<String> = flights.names().map(str::to_owned).collect();
    let mut session = plan.session();
    let answer = session
        .column(origin, &airports)
        .column(destination, &airports)
        .read(ReadOptions::new())
        .await?;
    let mut present = 0;
    for (row, airport) in airports.iter().enumerate() {
        let expected = flights
            .known(row as u32, end.0)
            .map(|flight| flights.delay(flight));
        for found in [answer.get(row, from), answer.get(row, to)] {
            let found = match found {
                Reading::Present(delay) => Some(delay),
                Reading::NotFound | Reading::Expired { .. } => None,
                other => return Err(Error::internal(format!("unexpected answer {other:?}"))),
            };
            if found != expected {
                return Err(Error::internal(format!(
                    "online {}: expected {expected:?}, found {found:?}",
                    airport
                )));
            }
        }
        present += usize::from(expected.is_some());
    }
    println!(
        "online: {} of {} airports equal, {present} with a delay",
        airports.len(),
        airports.len()
    );
    Ok(())
}
