//! One table of mistakes: what is written, and what is answered.

use expect_test::{Expect, expect};

use super::findings;

const BASE: &str = r#"
entities:
  - { name: user, join_keys: [{ name: user_id, type: int64 }] }
  - { name: product, join_keys: [{ name: product_id, type: string }] }
  - { name: account, join_keys: [{ name: USER_ID, type: int64 }] }
sources:
  - { name: tx, type: parquet, path: tx/, event_time: t }
feature_views:
  - { name: stats, entities: [user], source: tx, features: [{ name: orders, type: int64 }, { name: basket, type: float64 }] }
  - { name: other, entities: [product], source: tx, features: [{ name: orders, type: int64 }] }
on_demand_views:
  - name: ratio
    inputs: { request: [{ name: amount, type: float64 }], features: ["stats:basket"] }
    features: [{ name: rel, type: float64, expr: amount / basket }]
feature_services:
  - { name: fraud, features: [stats] }
"#;

fn wrong(text: &str, expected: &Expect) {
    expected.assert_eq(&findings(&[("base.yaml", BASE), ("f.yaml", text)]));
}

#[test]
fn files() {
    wrong("- a\n", &expect![[""]]);
    wrong("just text\n", &expect![[""]]);
    wrong("views: []\n", &expect![[""]]);
    wrong("features: []\n", &expect![[""]]);
    wrong("online: { type: local }\n", &expect![[""]]);
    wrong("entitys: []\nfoo: 1\n", &expect![[""]]);
    wrong("entities: { name: x }\n", &expect![[""]]);
    wrong("entities:\nsources: ~\n", &expect![[""]]);
    wrong("entities:\n\t- name: x\n", &expect![[""]]);
    wrong("entities: [{ name: x }\n", &expect![[""]]);
    wrong("entities:\n  - name: x\n    name: y\n", &expect![[""]]);
    wrong("entities:\n  - just_a_name\n", &expect![[""]]);
    wrong(
        "sources:\n  - { name: s, type: parquet, event_time: t, path: \"${HOME}/x\" }\n",
        &expect![[""]],
    );
}

#[test]
fn entities() {
    wrong("entities: [{ join_keys: [] }]", &expect![[""]]);
    wrong("entities: [{ nam: x, join_keys: [] }]", &expect![[""]]);
    wrong("entities: [{ name: x y, join_keys: [] }]", &expect![[""]]);
    wrong("entities: [{ name: x, join_keys: [] }]", &expect![[""]]);
    wrong("entities: [{ name: x, join_keys: id }]", &expect![[""]]);
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: float64 }] }]",
        &expect![[""]],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: integer }] }]",
        &expect![[""]],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: decimal(10,2) }] }]",
        &expect![[""]],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: int64 }, { name: ID, type: int64 }] }]",
        &expect![[""]],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: int64, sensitivity: secret }] }]",
        &expect![[""]],
    );
    wrong(
        "entities:\n  - name: User\n    join_keys: [{ name: id, type: int64 }]",
        &expect![[""]],
    );
    wrong(
        "entities:\n  - name: user\n    join_keys: [{ name: id, type: int64 }]",
        &expect![[""]],
    );
}

#[test]
fn sources() {
    let source = |rest: &str, expected: Expect| {
        wrong(&format!("sources:\n  - name: s\n    {rest}\n"), &expected);
    };
    source("type: parquet", expect![[""]]);
    source("type: parquet\n    evnt_time: t", expect![[""]]);
    source("type: parqet\n    event_time: t", expect![[""]]);
    source("type: parquet\n    event_time: t\n    pth: x/", expect![[""]]);
    source("type: memory\n    event_time: t\n    path: x/", expect![[""]]);
    source(
        "type: parquet\n    event_time: t\n    created_time: { colum: c }",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    created_time: [c]",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    created_time: { column: c, trusted_from: yesterday }",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    knowledge: asof",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    knowledge: as_of",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    available_after: 3",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    timezone: Europe/Stokholm",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: t\n    tie_break: [a, b, a]",
        expect![[""]],
    );
    source(
        "type: parquet\n    event_time: ''\n    filter: ' '",
        expect![[""]],
    );
    wrong(
        "sources: [{ name: u, type: parquet, event_time: t, columns: { usr_id: uid } }]\n\
         feature_views: [{ name: v, entities: [user], source: u, features: [{ name: f, type: int64 }] }]",
        &expect![[""]],
    );
}

#[test]
fn feature_views() {
    let view = |rest: &str, expected: Expect| {
        wrong(
            &format!(
                "feature_views:\n  - name: v\n    source: tx\n    features: [{{ name: f, type: int64 }}]\n    {rest}\n"
            ),
            &expected,
        );
    };
    view("entities: [usr]", expect![[""]]);
    view("entities: user", expect![[""]]);
    view("entities: [user, user]", expect![[""]]);
    view("entities: [user, account]", expect![[""]]);
    view("ttl: 7days", expect![[""]]);
    view("ttl: 7", expect![[""]]);
    view("ttl: -7d", expect![[""]]);
    view("ttl: 0s\n    freshness: 0s", expect![[""]]);
    view("ttl: 7d\n    retention: 1d", expect![[""]]);
    view("retention: 1d", expect![[""]]);
    view("online: [a]", expect![[""]]);
    view("online: { stor: a }", expect![[""]]);
    view("schedule: \"*/15 * * *\"", expect![[""]]);
    view("schedule: \"61 * * * *\"", expect![[""]]);
    view("materialize: true\n    frshness: 1h\n    tag: {}", expect![[""]]);
    view("tags: [a]", expect![[""]]);
    wrong(
        "feature_views: [{ name: v, source: txx, features: [] }]",
        &expect![[""]],
    );
    wrong("feature_views: [{ name: v, source: tx }]", &expect![[""]]);
    wrong(
        "feature_views:\n  - name: v\n    source: tx\n    features:\n      - { name: a, type: int64 }\n      - { name: b, type: int64 }\n      - { name: A, type: int64 }\n",
        &expect![[""]],
    );
    wrong(
        "feature_views:\n  - name: v\n    source: tx\n    entities: [user]\n    features:\n      - { name: user_id, type: int64 }\n",
        &expect![[""]],
    );
    wrong(
        "feature_views: [{ name: ratio, source: tx, features: [{ name: a, type: int64 }] }]",
        &expect![[""]],
    );
}

#[test]
fn on_demand_views() {
    let view = |rest: &str, expected: Expect| {
        wrong(&format!("on_demand_views:\n  - name: o\n    {rest}\n"), &expected);
    };
    view("features: []", expect![[""]]);
    view("features: [{ name: a, type: int64 }]", expect![[""]]);
    view(
        "features: [{ name: a, type: int64, expr: ' ' }, { name: a, type: int64, expr: x }]",
        expect![[""]],
    );
    view(
        "inputs: { features: [stats:baskt, sttas, stats@2] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[""]],
    );
    view(
        "inputs: { features: [stats, other] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[""]],
    );
    view(
        "inputs: { request: [{ name: orders, type: int64 }], features: [other] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[""]],
    );
    view(
        "inputs: { request: [{ name: a, type: int64 }, { name: a, type: int32 }] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[""]],
    );
    view(
        "inputs: { requests: [] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[""]],
    );
    wrong(
        r#"
on_demand_views:
  - { name: a, inputs: { features: ["b:y"] }, features: [{ name: x, type: int64, expr: y }] }
  - { name: b, inputs: { features: ["c:z"] }, features: [{ name: y, type: int64, expr: z }] }
  - { name: c, inputs: { features: ["a:x"] }, features: [{ name: z, type: int64, expr: x }] }
  - { name: d, inputs: { features: ["d:w"] }, features: [{ name: w, type: int64, expr: w }] }
"#,
        &expect![[""]],
    );
}

#[test]
fn services_and_models() {
    let service = |rest: &str, expected: Expect| {
        wrong(
            &format!("feature_services:\n  - name: s\n    features:\n      {rest}\n"),
            &expected,
        );
    };
    service("[]", expect![[""]]);
    service("- stat", expect![[""]]);
    service("- stats:order", expect![[""]]);
    service("- 7", expect![[""]]);
    service("- team/stats", expect![[""]]);
    service("- { view: stats, feature: [orders] }", expect![[""]]);
    service("- { as: x }", expect![[""]]);
    service("- { view: stats, features: [ordrs] }", expect![[""]]);
    service(
        "- { view: stats, as: seller, keys: { usr_id: seller_id } }",
        expect![[""]],
    );
    service("- stats\n      - other", expect![[""]]);
    service(
        "- stats\n      - { view: stats, keys: { user_id: seller_id }, features: [basket] }",
        expect![[""]],
    );
    service(
        "- { view: stats, as: x }\n      - { view: other, as: x }",
        expect![[""]],
    );
    service(
        "- stats\n      - { view: other, as: x }\n      - { view: stats, as: y }\n      - stats:orders",
        expect![[""]],
    );
    service("- { ref: \"stats:orders\", default: none }", expect![[""]]);
    service("- { ref: \"stats:orders\", default_null: true }", expect![[""]]);
    service(
        "- { view: ratio, default: 1.0 }\n      - { view: ratio, as: x }",
        expect![[""]],
    );
    wrong(
        r#"
on_demand_views:
  - { name: p, inputs: { request: [{ name: amount, type: int64 }] }, features: [{ name: p1, type: int64, expr: amount }] }
feature_services:
  - { name: s, features: [ratio, p] }
"#,
        &expect![[""]],
    );
    wrong("models: [{ name: m, service: fruad }]", &expect![[""]]);
    wrong(
        "models: [{ name: m, service: fraud, stge: prod }, { name: m, service: fraud }]",
        &expect![[""]],
    );
}
