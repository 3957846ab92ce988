//! The stores in memory keep every rule.

use larder_conformance::{Outcome, Report, run_online};

use crate::fixtures::Online;

fn summary(report: &Report) {
    println!("{report}");
    report.assert_passed();
    let back: Report = serde_json::from_value(report.to_json()).unwrap();
    assert_eq!(back, *report);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_online() {
    let report = run_online(&Online::default()).await;
    summary(&report);
    for case in &report.cases {
        if let Outcome::Skipped { reason } = &case.outcome {
            assert!(reason.contains("declared"), "{}: {reason}", case.id);
        }
    }
}
