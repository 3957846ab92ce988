//! Whether a DynamoDB can be used as it should be, and what will hurt later.

use aws_sdk_dynamodb::types::{
    BillingMode, KeysAndAttributes, TableDescription, TableStatus, TimeToLiveDescription, TimeToLiveStatus,
};
use larder_base::{ErrorKind, Health, Micros, ProjectName, Result, Span};

use crate::call::send;
use crate::config::{Billing, WriteMode};
use crate::fault::{Fault, Turn, odd};
use crate::layout::{self, EXPIRES, KEY};
use crate::store::Settings;
use crate::table::{self, LIMIT};

/// Clocks that differ by more than this are worth a word. The server tells whole seconds.
const SKEW: Span = Span::seconds(3);
/// A key that no row and no mark of the store has.
const PROBE: &str = "probe";

/// Asks the server how it is, and tries what the store does, without leaving anything behind.
pub(crate) async fn check(
    settings: &Settings,
    project: Option<&ProjectName>,
    now: impl Fn() -> Micros,
) -> Result<Health> {
    let mut health = Health::new("dynamodb").detail("region", &settings.connection.region);
    if let Some(endpoint) = &settings.endpoint {
        health = health.detail("endpoint", endpoint);
    }
    let health = match project {
        Some(project) => of_table(settings, &settings.table(project), health).await?,
        None => {
            let request = settings.client().list_tables().limit(1).send();
            send(&settings.meters, &settings.meters.admin, LIMIT, request).await?;
            health
        }
    };
    Ok(clock(health, settings.connection.skew(now())))
}

async fn of_table(settings: &Settings, table: &str, health: Health) -> Result<Health, Fault> {
    let health = health.detail("table", table);
    let described = match table::describe(settings, table).await {
        Ok(described) => described,
        Err(fault) if fault.turn == Turn::NoTable => {
            return Ok(health.warning(format!(
                "there is no table {table} in {}; `larder apply` makes it",
                settings.connection.region
            )));
        }
        Err(fault) => return Err(fault),
    };
    let health = tell(health, &described, settings.billing);
    let health = match table::expiry(settings, table).await {
        Ok(expiry) => tell_expiry(health, &expiry),
        Err(fault) if fault.kind() == ErrorKind::Denied => missing(health, "dynamodb:DescribeTimeToLive"),
        Err(fault) => return Err(fault),
    };
    let health = match settings.write_mode {
        WriteMode::NewestWins => health,
        WriteMode::Overwrite => {
            health.detail("write mode", "overwrite: an older row may replace a newer one")
        }
    };
    rights(settings, table, health).await
}

/// Does once what the store does all the time. The conditions never hold, so that nothing is written.
async fn rights(settings: &Settings, table: &str, health: Health) -> Result<Health, Fault> {
    let key = || layout::key_of(layout::mark_key(PROBE));
    let never = format!("attribute_exists({KEY}) AND attribute_not_exists({KEY})");
    let (meters, admin) = (&settings.meters, &settings.meters.admin);
    let keys = KeysAndAttributes::builder()
        .keys(key())
        .build()
        .map_err(|_| odd("a request to dynamodb names no keys"))?;
    let read = settings
        .client()
        .batch_get_item()
        .request_items(table, keys)
        .send();
    // Without this right the store is of no use.
    send(meters, admin, LIMIT, read).await?;
    let put = settings
        .client()
        .put_item()
        .table_name(table)
        .set_item(Some(key()))
        .condition_expression(&never)
        .send();
    let put = send(meters, admin, LIMIT, put).await.map(drop);
    let health = may(health, "dynamodb:PutItem", put)?;
    let delete = batch_delete(settings, table).await;
    may(health, "dynamodb:BatchWriteItem", delete)
}

/// Removes what is not there.
async fn batch_delete(settings: &Settings, table: &str) -> Result<(), Fault> {
    let request = vec![crate::batch::delete(layout::mark_key(PROBE))?];
    let sent = crate::batch::send_all(settings, &settings.meters.admin, table, request, true).await;
    sent.map(drop)
}

fn may(health: Health, action: &str, tried: Result<(), Fault>) -> Result<Health, Fault> {
    match tried {
        Ok(()) => Ok(health),
        Err(fault) if fault.turn == Turn::Stale => Ok(health),
        Err(fault) if fault.kind() == ErrorKind::Denied => Ok(missing(health, action)),
        Err(fault) => Err(fault),
    }
}

fn missing(health: Health, action: &str) -> Health {
    health.warning(format!(
        "these credentials may not {action}: fine for who only reads; else grant what the documentation of this store lists under \"Rights\""
    ))
}

/// What is worth showing of a table, and what will hurt.
fn tell(mut health: Health, table: &TableDescription, wanted: Billing) -> Health {
    let status = table.table_status().map_or("unknown", TableStatus::as_str);
    let on_demand = table
        .billing_mode_summary()
        .and_then(|summary| summary.billing_mode())
        .is_some_and(|mode| *mode == BillingMode::PayPerRequest);
    let units = table.provisioned_throughput();
    let billing = match (on_demand, units) {
        (true, _) => "on demand".to_owned(),
        (false, Some(units)) => format!(
            "provisioned: {} units to read, {} to write",
            units.read_capacity_units.unwrap_or(0),
            units.write_capacity_units.unwrap_or(0)
        ),
        (false, None) => "unknown".to_owned(),
    };
    health = health
        .detail("status", status.to_lowercase())
        .detail("billing", billing)
        .detail("items", table.item_count().unwrap_or(0))
        .detail(
            "size",
            format!("{} MiB", table.table_size_bytes().unwrap_or(0) >> 20),
        );
    if !matches!(
        table.table_status(),
        Some(TableStatus::Active | TableStatus::Updating)
    ) {
        health = health.warning(format!(
            "the table is {}: reads and writes may fail; see its state in AWS",
            status.to_lowercase()
        ));
    }
    if on_demand != (wanted == Billing::OnDemand) {
        health = health.warning(
            "the table is billed in another way than `billing` says, which counts for new tables only; change it in AWS, or the option",
        );
    }
    health
}

fn tell_expiry(health: Health, expiry: &TimeToLiveDescription) -> Health {
    let enabled = matches!(
        expiry.time_to_live_status(),
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    );
    match (enabled, expiry.attribute_name()) {
        (true, Some(EXPIRES)) => health.detail("time to live", "on"),
        (true, Some(other)) => health.warning(format!(
            "the table's time to live goes by the attribute {other}: expired rows and tombstones stay for ever; set it to {EXPIRES}"
        )),
        _ => health.warning(format!(
            "the table's time to live is off: expired rows and tombstones stay for ever; turn it on for the attribute {EXPIRES}"
        )),
    }
}

fn clock(health: Health, skew: Option<Span>) -> Health {
    match skew {
        Some(skew) if skew.0.saturating_abs() > SKEW.0 => health.warning(format!(
            "the clock of dynamodb differs from this machine's by {} s; keep it in time (NTP), or signatures will be refused",
            skew.0 / 1_000_000
        )),
        _ => health,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::{BillingModeSummary, ProvisionedThroughputDescription};

    use super::*;

    fn table(status: TableStatus) -> aws_sdk_dynamodb::types::builders::TableDescriptionBuilder {
        TableDescription::builder().table_status(status)
    }

    #[test]
    fn what_will_hurt_is_told() {
        let on_demand = BillingModeSummary::builder()
            .billing_mode(BillingMode::PayPerRequest)
            .build();
        let fine = table(TableStatus::Active).billing_mode_summary(on_demand).build();
        let health = tell(Health::new("dynamodb"), &fine, Billing::OnDemand);
        assert!(health.warnings.is_empty(), "{health:?}");
        let units = ProvisionedThroughputDescription::builder()
            .read_capacity_units(3)
            .write_capacity_units(4);
        let bad = table(TableStatus::Archived)
            .provisioned_throughput(units.build())
            .build();
        let health = tell(Health::new("dynamodb"), &bad, Billing::OnDemand);
        assert_eq!(health.warnings.len(), 2, "{health:?}");
        assert!(
            health
                .details
                .iter()
                .any(|(_, value)| value.contains("3 units to read, 4"))
        );
    }

    #[test]
    fn expiry_that_frees_nothing_is_told() {
        let told = |status, attribute: &str| {
            let expiry = TimeToLiveDescription::builder()
                .time_to_live_status(status)
                .attribute_name(attribute)
                .build();
            tell_expiry(Health::new("dynamodb"), &expiry).warnings.len()
        };
        assert_eq!(told(TimeToLiveStatus::Enabled, "x"), 0);
        assert_eq!(told(TimeToLiveStatus::Enabling, "x"), 0);
        assert_eq!(told(TimeToLiveStatus::Enabled, "ttl"), 1);
        assert_eq!(told(TimeToLiveStatus::Disabled, "x"), 1);
    }

    #[test]
    fn clocks_and_rights_are_told() {
        let warnings = |skew| clock(Health::new("dynamodb"), skew).warnings.len();
        assert_eq!(warnings(None), 0);
        assert_eq!(warnings(Some(Span::seconds(2))), 0);
        assert_eq!(warnings(Some(Span::seconds(-9))), 1);
        let denied = Fault::new(Turn::Give, ErrorKind::Denied, "no", "ask");
        let health = may(Health::new("dynamodb"), "dynamodb:PutItem", Err(denied)).expect("only a warning");
        assert!(health.warnings[0].contains("dynamodb:PutItem"));
        assert!(may(health, "dynamodb:PutItem", Err(Fault::late())).is_err());
    }
}
