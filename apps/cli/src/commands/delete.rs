//! `larder delete`: how do online values of entities go?

use larder::{EntityValues, Error, Micros, Result, Value};

use crate::args::{Pairs, instant, pairs};
use crate::context::Context;
use crate::output::{Report, count};

/// Options of `larder delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes a tombstone, so that an older row on its way cannot bring the entity back; a newer one
may. History stays as it is.

  larder delete user_stats --entity user_id=7")]
pub(crate) struct Args {
    /// The feature view
    view: String,
    /// An entity by its join keys; may be repeated. In values, `\,` is a comma and `\\` a backslash
    #[arg(long, value_name = "KEY=VALUE,..", value_parser = pairs, required = true)]
    entity: Vec<Pairs>,
    /// Rows with an event up to this instant stay dead; now where absent
    #[arg(long, value_name = "T", value_parser = instant)]
    at: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let store = cx.store()?;
    let snapshot = store.snapshot().await?;
    let view = snapshot.catalog().feature_view(&args.view)?;
    let keys = snapshot.catalog().join_keys(view)?;
    let typed = |pairs: &Pairs| -> Result<EntityValues> {
        let value = |(name, text): &(String, String)| -> Result<(String, Value)> {
            // An unknown name goes through as text: the engine names what is known.
            let value = match keys.iter().find(|key| key.name.as_str() == name) {
                Some(key) => Value::parse(text, key.value_type)
                    .map_err(|e| Error::input(format!("join key `{name}`: {}", e.message())))?,
                None => Value::str(text),
            };
            Ok((name.clone(), value))
        };
        pairs.0.iter().map(value).collect()
    };
    let entities: Vec<EntityValues> = args.entity.iter().map(typed).collect::<Result<_>>()?;
    let now = store.clock().now();
    let at = args.at.map(|text| Micros::parse(&text, now)).transpose()?;
    let report = store.delete(&args.view, &entities, at).await?;
    let text = match report.stale {
        0 => format!("deleted {}", count(report.written)),
        stale => format!(
            "deleted {}; {} have newer rows and stay",
            count(report.written),
            count(stale)
        ),
    };
    Ok(Report::new(report).product(text))
}
