//! How does a project's table come to be, and get its identity: once, whoever else tries?

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ProvisionedThroughput, ScalarAttributeType,
    TableDescription, TableStatus, Tag, TimeToLiveDescription, TimeToLiveSpecification, TimeToLiveStatus,
};
use larder_base::{Error, ErrorKind, ProjectName, StoreIdentity};
use tokio::time::{Instant, sleep};

use crate::call::{Patience, Progress, send};
use crate::config::Billing;
use crate::fault::{Fault, Turn, odd};
use crate::layout::{self, EXPIRES, KEY, Mark, ROW};
use crate::store::Settings;

/// How long a table may take to become active.
const ACTIVE: Duration = Duration::from_secs(180);
/// How long a request about tables may take: they are slower than those about items.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// The name of the item that holds the identity.
const IDENTITY: &str = "identity";

/// The identity of a project's rows; none without its table, or for one that was emptied.
pub(crate) async fn identity(
    settings: &Settings,
    project: &ProjectName,
) -> Result<Option<StoreIdentity>, Fault> {
    let table = settings.table(project);
    let progress = Progress::new();
    let mut patience = Patience::new(&progress, settings.timeout);
    loop {
        match read_identity(settings, &table).await {
            Err(fault) if fault.turn == Turn::NoTable => return Ok(None),
            Err(fault) if fault.passes() => patience.pause(&settings.meters.admin, fault).await?,
            result => return result,
        }
    }
}

/// Makes the project's table where it is missing, and gives it an identity where it has none.
pub(crate) async fn prepare(settings: &Settings, project: &ProjectName) -> Result<StoreIdentity, Fault> {
    // The identity is written last: who has one lacks nothing.
    if let Some(identity) = identity(settings, project).await? {
        return Ok(identity);
    }
    let table = settings.table(project);
    let progress = Progress::new();
    let mut patience = Patience::new(&progress, settings.write_timeout);
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        match step(settings, &table).await {
            Ok(Some(identity)) => return Ok(identity),
            // Also a table that is there, and not yet for everybody.
            Ok(None) => {}
            Err(fault) if matches!(fault.turn, Turn::NoTable | Turn::InUse) => {}
            Err(fault) if fault.passes() => {
                patience.pause(&settings.meters.admin, fault).await?;
                continue;
            }
            Err(fault) => return Err(fault),
        }
        if started.elapsed() > ACTIVE {
            let slow = Fault::new(
                Turn::Give,
                ErrorKind::Timeout,
                "the table in dynamodb does not become active",
                "see its state in AWS, and try again",
            );
            return Err(slow.told(format!("table {table}")));
        }
        patience.made_progress();
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// One step towards a table with an identity; the next one is due after a pause.
async fn step(settings: &Settings, table: &str) -> Result<Option<StoreIdentity>, Fault> {
    let described = match describe(settings, table).await {
        Err(fault) if fault.turn == Turn::NoTable => {
            create(settings, table).await?;
            return Ok(None);
        }
        result => result?,
    };
    check_key(&described, table)?;
    match described.table_status() {
        Some(TableStatus::Active | TableStatus::Updating) => {}
        Some(TableStatus::Creating | TableStatus::Deleting) => return Ok(None),
        status => {
            let state = status.map_or("unknown", TableStatus::as_str).to_lowercase();
            let fault = Fault::new(
                Turn::Give,
                ErrorKind::Unavailable,
                "the table in dynamodb cannot be used",
                "see its state in AWS",
            );
            return Err(fault.told(format!("table {table} is {state}")));
        }
    }
    enable_expiry(settings, table).await?;
    write_identity(settings, table).await.map(Some)
}

/// What DynamoDB says of a table.
pub(crate) async fn describe(settings: &Settings, table: &str) -> Result<TableDescription, Fault> {
    let request = settings.client().describe_table().table_name(table).send();
    let told = send(&settings.meters, &settings.meters.admin, LIMIT, request).await?;
    told.table
        .ok_or_else(|| odd("dynamodb tells nothing of the table"))
}

/// What DynamoDB says of the expiry of a table's items.
pub(crate) async fn expiry(settings: &Settings, table: &str) -> Result<TimeToLiveDescription, Fault> {
    let request = settings.client().describe_time_to_live().table_name(table).send();
    let told = send(&settings.meters, &settings.meters.admin, LIMIT, request).await?;
    Ok(told
        .time_to_live_description
        .unwrap_or_else(|| TimeToLiveDescription::builder().build()))
}

async fn create(settings: &Settings, table: &str) -> Result<(), Fault> {
    let refused = |_| odd("dynamodb's client refuses the description of the table");
    let key = KeySchemaElement::builder()
        .attribute_name(KEY)
        .key_type(KeyType::Hash)
        .build()
        .map_err(refused)?;
    let attribute = AttributeDefinition::builder()
        .attribute_name(KEY)
        .attribute_type(ScalarAttributeType::B)
        .build()
        .map_err(refused)?;
    let mut request = settings
        .client()
        .create_table()
        .table_name(table)
        .key_schema(key)
        .attribute_definitions(attribute);
    request = match settings.billing {
        Billing::OnDemand => request.billing_mode(BillingMode::PayPerRequest),
        Billing::Provisioned { read, write } => {
            let units = ProvisionedThroughput::builder()
                .read_capacity_units(i64::from(read))
                .write_capacity_units(i64::from(write))
                .build()
                .map_err(refused)?;
            request
                .billing_mode(BillingMode::Provisioned)
                .provisioned_throughput(units)
        }
    };
    for (key, value) in &settings.tags {
        request = request.tags(Tag::builder().key(key).value(value).build().map_err(refused)?);
    }
    match send(&settings.meters, &settings.meters.admin, LIMIT, request.send()).await {
        Ok(_) => {
            tracing::info!(table, "made a table in dynamodb");
            Ok(())
        }
        // Somebody else did.
        Err(fault) if fault.turn == Turn::InUse => Ok(()),
        Err(fault) => Err(fault),
    }
}

fn check_key(described: &TableDescription, table: &str) -> Result<(), Fault> {
    let ours =
        |element: &KeySchemaElement| element.attribute_name() == KEY && *element.key_type() == KeyType::Hash;
    let binary = described
        .attribute_definitions()
        .iter()
        .any(|of| of.attribute_name() == KEY && *of.attribute_type() == ScalarAttributeType::B);
    match described.key_schema() {
        [only] if ours(only) && binary => Ok(()),
        _ => {
            let foreign = Fault::new(
                Turn::Give,
                ErrorKind::Config,
                "the table in dynamodb was not made by larder: it has another key",
                "choose another name with `table:`, or remove that table",
            );
            Err(foreign.told(format!("table {table}")))
        }
    }
}

/// Lets DynamoDB free items after their time. Rows are right without it, so that nothing depends on the right to do this.
async fn enable_expiry(settings: &Settings, table: &str) -> Result<(), Fault> {
    let enabled = async {
        if matches!(
            expiry(settings, table).await?.time_to_live_status(),
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        ) {
            return Ok(());
        }
        let wanted = TimeToLiveSpecification::builder()
            .enabled(true)
            .attribute_name(EXPIRES)
            .build()
            .map_err(|_| odd("dynamodb's client refuses the expiry of the table"))?;
        let request = settings
            .client()
            .update_time_to_live()
            .table_name(table)
            .time_to_live_specification(wanted)
            .send();
        send(&settings.meters, &settings.meters.admin, LIMIT, request)
            .await
            .map(drop)
    };
    match enabled.await {
        // Also "is already enabled", which somebody else did meanwhile.
        Err(fault) if !fault.is_passing() && !matches!(fault.turn, Turn::NoTable | Turn::InUse) => {
            let error = Error::from(fault);
            tracing::warn!(table, error = %error.chain(), "items of the table in dynamodb may not expire; see `larder doctor`");
            Ok(())
        }
        result => result,
    }
}

async fn read_identity(settings: &Settings, table: &str) -> Result<Option<StoreIdentity>, Fault> {
    let request = settings
        .client()
        .get_item()
        .table_name(table)
        .set_key(Some(layout::key_of(layout::mark_key(IDENTITY))))
        .consistent_read(true)
        .send();
    let told = send(
        &settings.meters,
        &settings.meters.admin,
        settings.write_attempt,
        request,
    )
    .await?;
    let Some(mut item) = told.item else {
        return Ok(None);
    };
    match layout::read_mark(&layout::take(&mut item, ROW).unwrap_or_default()) {
        Mark::Identity(identity) => Ok(Some(identity)),
        Mark::Newer(format) => {
            let newer = Fault::new(
                Turn::Give,
                ErrorKind::Unsupported,
                "the table in dynamodb is of a newer larder",
                "use that version of larder, or a newer one",
            );
            Err(newer.told(format!("table {table} has form {format}")))
        }
        Mark::Damaged => {
            let damaged = odd("the mark of the store's identity in dynamodb is damaged");
            Err(damaged.told(format!("table {table}")))
        }
    }
}

/// Writes an identity where there is none, and answers the one that is there then.
async fn write_identity(settings: &Settings, table: &str) -> Result<StoreIdentity, Fault> {
    let fresh = StoreIdentity::random();
    let mut item = layout::key_of(layout::mark_key(IDENTITY));
    item.insert(ROW.to_owned(), layout::binary(layout::identity_mark(fresh)));
    let request = settings
        .client()
        .put_item()
        .table_name(table)
        .set_item(Some(item))
        .condition_expression(format!("attribute_not_exists({KEY})"))
        .send();
    let written = send(
        &settings.meters,
        &settings.meters.admin,
        settings.write_attempt,
        request,
    )
    .await;
    match written {
        Ok(_) => {}
        // An answer that was lost looks the same; so does somebody else.
        Err(fault) if fault.turn == Turn::Stale => {}
        Err(fault) => return Err(fault),
    }
    read_identity(settings, table).await?.ok_or_else(|| {
        Fault::new(
            Turn::Again,
            ErrorKind::Conflict,
            "the table of the dynamodb store was emptied meanwhile",
            "try again",
        )
    })
}
