//! A project's own YAML on stores in memory, with a clock that the test turns.

use std::sync::Arc;

use larder::arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use larder::arrow::datatypes::{Float64Type, Int64Type};
use larder::{ErrorKind, Micros, OnPartial, ReadOptions, Reading, Result};

const PROJECT: &str = "larder.yaml";

#[tokio::test]
async fn values_expire_and_defaults_stand_in() -> Result<()> {
    let t = larder::testing(PROJECT).at("2026-05-01T00:00:00Z").await?;
    t.given(
        "user_stats",
        "user_id,event_timestamp,avg_basket,orders_30d\n7,2026-04-30T00:00:00Z,12.5,3",
    )
    .await?;

    let plan = t.online("fraud_v1").await?;
    let user = plan.key::<i64>("user_id")?;
    let basket = plan.feature::<f64>("user_stats:avg_basket")?;
    let orders = plan.feature::<i64>("user_stats:orders_30d")?;
    let mut session = plan.session();

    let answer = session.column(user, &[7, 8]).read(ReadOptions::new()).await?;
    assert_eq!(answer.get(0, basket), Reading::Present(12.5));
    assert_eq!(answer.get(0, orders), Reading::Present(3));
    assert_eq!(answer.get(1, basket), Reading::NotFound);
    assert_eq!(answer.get(1, orders), Reading::Defaulted(0));

    t.clock().advance("8d")?;
    let answer = session.column(user, &[7]).read(ReadOptions::new()).await?;
    assert_eq!(answer.get(0, basket).status(), "expired");
    assert_eq!(answer.get(0, orders), Reading::Defaulted(0));
    Ok(())
}

#[tokio::test]
async fn training_sees_what_serving_would_have_seen() -> Result<()> {
    let t = larder::testing(PROJECT).at("2026-05-01T00:00:00Z").await?;
    t.given(
        "user_stats",
        "user_id,event_timestamp,avg_basket,orders_30d
         7,2026-04-10T00:00:00Z,10.0,1
         7,2026-04-20T00:00:00Z,20.0,2",
    )
    .await?;

    let moments = [
        "2026-04-09T00:00:00Z",
        "2026-04-12T00:00:00Z",
        "2026-04-21T00:00:00Z",
        "2026-04-21T00:00:00Z",
    ];
    let moments: Vec<i64> = moments
        .iter()
        .map(|text| text.parse::<Micros>().map(|t| t.0))
        .collect::<Result<_>>()?;
    let labels = RecordBatch::try_from_iter([
        (
            "user_id",
            Arc::new(Int64Array::from(vec![7, 7, 7, 8])) as ArrayRef,
        ),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from(moments).with_timezone("UTC")),
        ),
        ("label", Arc::new(Float64Array::from(vec![0.0, 1.0, 0.0, 1.0]))),
    ])
    .expect("columns of one length");

    let (training, report) = t
        .historical("fraud_v1")
        .entities([labels])
        .run()
        .await?
        .collect()
        .await?;
    let basket = training["avg_basket"].as_primitive::<Float64Type>();
    let baskets: Vec<Option<f64>> = basket.iter().collect();
    assert_eq!(baskets, [None, Some(10.0), Some(20.0), None]);
    let orders: Vec<Option<i64>> = training["orders_30d"]
        .as_primitive::<Int64Type>()
        .iter()
        .collect();
    assert_eq!(orders, [Some(0), Some(1), Some(2), Some(0)]);
    assert_eq!(
        (report.rows, report.views[0].matched, report.defaults[0].filled),
        (4, 2, 2)
    );
    Ok(())
}

#[tokio::test]
async fn a_slow_store_gives_a_partial_answer() -> Result<()> {
    let t = larder::testing(PROJECT).at("2026-05-01T00:00:00Z").await?;
    let plan = t.online("fraud_v1").await?;
    let user = plan.key::<i64>("user_id")?;
    let orders = plan.feature::<i64>("orders_30d")?;
    let mut session = plan.session();
    let soon = ReadOptions::new().timeout(std::time::Duration::from_millis(5));

    t.faults().online().delay("10s").times(2);
    let late = session
        .column(user, &[7])
        .read(soon)
        .await
        .expect_err("the store is slow");
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let answer = session
        .column(user, &[7])
        .read(soon.on_partial(OnPartial::Return))
        .await?;
    assert_eq!(answer.get(0, orders), Reading::Unavailable);
    Ok(())
}
