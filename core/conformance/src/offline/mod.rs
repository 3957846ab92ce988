//! What every offline store must do.

mod append;
mod compact;
mod errors;
mod files;
mod honesty;
mod random;
mod shape;
mod support;
mod windows;

use crate::case::{Case, CaseInfo, Options, infos, run};
use crate::fixture::OfflineFixture;
use crate::report::Report;
use support::Cx;

/// Runs the whole suite on an offline store.
pub async fn run_offline(fixture: &dyn OfflineFixture) -> Report {
    run_offline_with(fixture, &Options::default()).await
}

/// Runs the suite on an offline store as the options say.
pub async fn run_offline_with(fixture: &dyn OfflineFixture, options: &Options) -> Report {
    let cx = Cx {
        fixture,
        options: options.clone(),
    };
    // A store that cannot even be made says so in every case.
    let capabilities = match fixture.load(Vec::new()).await {
        Ok(loaded) => loaded.store.capabilities().names(),
        Err(_) => Vec::new(),
    };
    let mut report = Report::new("offline", fixture.name(), &capabilities);
    run(&mut report, cases(), &cx, options).await;
    report
}

/// All cases for offline stores.
pub fn offline_cases() -> Vec<CaseInfo> {
    infos(cases())
}

fn cases<'f>() -> Vec<Case<Cx<'f>>> {
    [
        files::cases(),
        random::cases(),
        shape::cases(),
        windows::cases(),
        append::cases(),
        compact::cases(),
        errors::cases(),
        honesty::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
