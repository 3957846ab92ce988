//! Is everything right from one entity to ten thousand, from one view to twenty, with keys that are missing?

use larder_base::{
    FeatureBlock, OnlineStore, ReadOptions, RowStatus, SlotCell, Span, Value, ValueType, WriteOptions,
    WriteRule,
};

use super::common::{batch, config, layout, open, prepare, request};
use super::server::Server;

const ENTITIES: i64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dynoxide; cargo xtask test builds it"]
async fn requests_of_any_size_are_answered() {
    let server = Server::start();
    let mut config = config(server.endpoint());
    config.timeout = Span::seconds(60);
    config.write_timeout = Span::seconds(60);
    let store = open(&config).await;
    let views: Vec<_> = (1..=20).map(|n| layout("shop", &format!("v{n}"), n)).collect();
    prepare(&store, &views[0]).await;
    // Every third entity is missing; only the first two views have them all.
    for (number, view) in views.iter().enumerate() {
        let entities = if number < 2 { ENTITIES } else { 1_000 };
        let rows: Vec<_> = (0..entities)
            .filter(|key| key % 3 != 0)
            .map(|key| (key, 1, key + number as i64))
            .collect();
        let batch = batch(view, &rows).with_rule(WriteRule::Overwrite);
        let done = store.write(&batch, &WriteOptions::default()).await;
        assert_eq!(done.expect("a write").written, rows.len() as u64);
    }
    let views: Vec<_> = views.iter().collect();
    let mut block = FeatureBlock::new();
    for (entities, views) in [
        (1, &views[..1]),
        (1, &views[..]),
        (10, &views[..7]),
        (100, &views[..]),
        (1_000, &views[..]),
        (ENTITIES, &views[..2]),
    ] {
        // From the last one on, so that no order of the table's is the request's.
        let names: Vec<i64> = (0..entities).rev().collect();
        let request = request(views, &names);
        store
            .read(&request, &ReadOptions::default(), &mut block)
            .await
            .expect("a read");
        for slot in 0..views.len() {
            for (row, key) in names.iter().enumerate() {
                let here = block.status(slot as u16, row) == RowStatus::Present;
                assert_eq!(
                    here,
                    key % 3 != 0,
                    "{entities} entities, view {slot}, entity {key}"
                );
                if let (true, SlotCell::Cell(cell)) = (here, block.cell(slot as u16, 0, row)) {
                    assert_eq!(cell.to_value(ValueType::INT64), Value::Int64(key + slot as i64));
                }
            }
        }
    }
}
