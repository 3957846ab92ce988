//! What every online store must do.

mod alignment;
mod batching;
mod cancellation;
mod errors;
mod evolution;
mod honesty;
mod isolation;
mod keys;
mod lifecycle;
mod model;
mod order;
mod races;
mod support;
mod values;

use crate::case::{Case, CaseInfo, Options, infos, run};
use crate::fixture::OnlineFixture;
use crate::report::Report;
use support::Cx;

/// Runs the whole suite on an online store.
pub async fn run_online(fixture: &dyn OnlineFixture) -> Report {
    run_online_with(fixture, &Options::default()).await
}

/// Runs the suite on an online store as the options say.
pub async fn run_online_with(fixture: &dyn OnlineFixture, options: &Options) -> Report {
    let cx = Cx {
        fixture,
        options: options.clone(),
    };
    // A store that cannot even be opened says so in every case.
    let capabilities = match fixture.open().await {
        Ok(store) => store.capabilities().names(),
        Err(_) => Vec::new(),
    };
    let mut report = Report::new("online", fixture.name(), &capabilities);
    run(&mut report, cases(), &cx, options).await;
    report
}

/// All cases for online stores.
pub fn online_cases() -> Vec<CaseInfo> {
    infos(cases())
}

fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    [
        lifecycle::cases(),
        values::cases(),
        keys::cases(),
        alignment::cases(),
        order::cases(),
        races::cases(),
        batching::cases(),
        isolation::cases(),
        evolution::cases(),
        cancellation::cases(),
        errors::cases(),
        honesty::cases(),
        model::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
