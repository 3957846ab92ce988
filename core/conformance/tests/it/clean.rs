//! The stores in memory keep every rule.

use std::collections::BTreeSet;

use larder_conformance::{
    Options, Outcome, Report, offline_cases, online_cases, registry_cases, run_offline, run_online,
    run_online_with, run_registry,
};

use crate::fixtures::{Offline, Online, Registries};

fn passes(report: &Report) {
    report.assert_passed();
    assert!(report.to_string().contains("0 failed"), "{report}");
    let back: Report = serde_json::from_value(report.to_json()).unwrap();
    assert_eq!(back, *report);
    for case in &report.cases {
        if let Outcome::Skipped { reason } = &case.outcome {
            assert!(reason.contains("declared"), "{}: {reason}", case.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_online() {
    passes(&run_online(&Online::clean()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_registry() {
    passes(&run_registry(&Registries::clean()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_offline() {
    passes(&run_offline(&Offline).await);
}

#[tokio::test]
async fn one_thread_is_enough() {
    let options = Options::new().only("races").seeds(2);
    let report = run_online_with(&Online::clean(), &options).await;
    passes(&report);
    assert!(report.cases.iter().all(|case| case.id.contains("races")));
}

#[test]
fn ids_are_unique_and_rules_are_told() {
    let mut ids = BTreeSet::new();
    for case in online_cases()
        .into_iter()
        .chain(registry_cases())
        .chain(offline_cases())
    {
        assert!(ids.insert(case.id), "{} is there twice", case.id);
        assert!(case.about.len() > 20, "{}: `{}`", case.id, case.about);
    }
    assert!(ids.len() > 150, "{} cases", ids.len());
}

#[test]
fn every_case_file_is_listed() {
    let listed: BTreeSet<String> = offline_cases()
        .iter()
        .filter_map(|case| case.id.strip_prefix("offline.pit."))
        .map(|name| format!("{name}.case"))
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir("cases")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(listed, there);
}
