//! `larder doctor`: does everything that is configured work, and what is to be done where not?

use larder::{Finding, Result};

use crate::context::Context;
use crate::output::{Report, Table};

/// Options of `larder doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Exit with 3 when something does not work or will hurt later
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, args: Args) -> Result<Report> {
    let findings = cx.store()?.doctor().await;
    let mut table = Table::new(["role", "store", "works", "backend", "details"]);
    for finding in &findings {
        let details: Vec<String> = finding
            .details
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        table.row([
            finding.role.to_owned(),
            finding.store.clone(),
            if finding.ok { "yes" } else { "no" }.to_owned(),
            finding.backend.clone(),
            details.join(", "),
        ]);
    }
    let mut report = Report::new(&findings).table(table);
    for finding in &findings {
        for line in remarks(finding) {
            report = report.product(line);
        }
    }
    let found = findings
        .iter()
        .any(|finding| !finding.ok || !finding.warnings.is_empty());
    Ok(report.exit(if args.check && found { 3 } else { 0 }))
}

fn remarks(finding: &Finding) -> Vec<String> {
    let who = format!("{} `{}`", finding.role, finding.store);
    let mut lines = Vec::new();
    if let Some(error) = &finding.error {
        lines.push(format!("{who} does not work: {error}"));
    }
    if let Some(remedy) = &finding.remedy {
        lines.push(format!("  help: {remedy}"));
    }
    lines.extend(finding.warnings.iter().map(|warning| format!("{who}: {warning}")));
    lines
}
