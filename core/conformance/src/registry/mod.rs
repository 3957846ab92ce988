//! What every registry and its ledger must do.

mod commits;
mod history;
mod ledger;
mod loading;
mod races;
mod support;

use crate::case::{Case, CaseInfo, Options, infos, run};
use crate::fixture::RegistryFixture;
use crate::report::Report;
use support::Cx;

/// Runs the whole suite on a registry.
pub async fn run_registry(fixture: &dyn RegistryFixture) -> Report {
    run_registry_with(fixture, &Options::default()).await
}

/// Runs the suite on a registry as the options say.
pub async fn run_registry_with(fixture: &dyn RegistryFixture, options: &Options) -> Report {
    let cx = Cx {
        fixture,
        options: options.clone(),
    };
    let mut report = Report::new("registry", fixture.name(), &[]);
    run(&mut report, cases(), &cx, options).await;
    report
}

/// All cases for registries.
pub fn registry_cases() -> Vec<CaseInfo> {
    infos(cases())
}

fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    [
        commits::cases(),
        loading::cases(),
        history::cases(),
        races::cases(),
        ledger::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
