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
    wrong(
        "- a\n",
        &expect![
            "f.yaml:1:1: expected lists of definitions, found a list; begin with a key such as `entities:` or `feature_views:`"
        ],
    );
    wrong(
        "just text\n",
        &expect![
            "f.yaml:1:1: expected lists of definitions, found a string; begin with a key such as `entities:` or `feature_views:`"
        ],
    );
    wrong(
        "views: []\n",
        &expect!["f.yaml:1:1: there is no list `views` of definitions; did you mean `feature_views`?"],
    );
    wrong(
        "features: []\n",
        &expect![
            "f.yaml:1:1: there is no list `features` of definitions; features stand in a view: feature_views: [{ name: …, features: […] }]"
        ],
    );
    wrong(
        "online: { type: local }\n",
        &expect!["f.yaml:1:1: there is no list `online` of definitions; `online` belongs into larder.yaml"],
    );
    wrong(
        "entitys: []\nfoo: 1\n",
        &expect![[r#"
        f.yaml:1:1: there is no list `entitys` of definitions; did you mean `entities`?
        f.yaml:2:1: there is no list `foo` of definitions; known: entities, feature_services, feature_views, models, on_demand_views, sources"#]],
    );
    wrong(
        "entities: { name: x }\n",
        &expect!["f.yaml:1:11: expected a list of entities, found a map; begin each with `- name:`"],
    );
    wrong("entities:\nsources: ~\n", &expect![[""]]);
    wrong(
        "entities:\n\t- name: x\n",
        &expect!["f.yaml:2:2: a tab stands where YAML wants spaces; indent with spaces"],
    );
    wrong(
        "entities: [{ name: x }\n",
        &expect!["f.yaml:1:11: `[` is never closed; close it, or check the line before"],
    );
    wrong(
        "entities:\n  - name: x\n    name: y\n",
        &expect!["f.yaml:3:5: the key `name` stands twice; the first is in line 2"],
    );
    wrong(
        "entities:\n  - just_a_name\n",
        &expect!["f.yaml:2:5: expected a map with keys such as name, join_keys, description, found a string"],
    );
    wrong(
        "sources:\n  - { name: s, type: parquet, event_time: t, path: \"${HOME}/x\" }\n",
        &expect![
            "f.yaml:2:52: `${…}` is not expanded in definitions; they are kept in history for ever; hosts and secrets belong into larder.yaml, as stores that sources name"
        ],
    );
}

#[test]
fn entities() {
    wrong(
        "entities: [{ join_keys: [] }]",
        &expect!["f.yaml:1:12: the key `name` is missing"],
    );
    wrong(
        "entities: [{ nam: x, join_keys: [] }]",
        &expect!["f.yaml:1:14: unknown key `nam`; did you mean `name`?"],
    );
    wrong(
        "entities: [{ name: x y, join_keys: [] }]",
        &expect![
            "f.yaml:1:20: `x y` is not a entity name; use a letter or `_`, then letters, digits, `_`; at most 128 characters"
        ],
    );
    wrong(
        "entities: [{ name: x, join_keys: [] }]",
        &expect![
            "f.yaml:1:34: entity `x` has no join keys; add one, such as { name: user_id, type: int64 }; features of everything need a view with `entities: []`"
        ],
    );
    wrong(
        "entities: [{ name: x, join_keys: id }]",
        &expect!["f.yaml:1:34: expected a list, found a string; write [id]"],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: float64 }] }]",
        &expect![
            "f.yaml:1:53: the join key `id` cannot be float64; keys are bool, int32, int64, string, bytes, date, timestamp or decimal(p,s)"
        ],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: integer }] }]",
        &expect!["f.yaml:1:53: `integer` is not a type; did you mean `int64`?"],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: decimal(10,2) }] }]",
        &expect![[
            r#"f.yaml:1:53: `decimal(10` ends at the comma; inside of { } it needs quotes: "decimal(10,2)""#
        ]],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: int64 }, { name: ID, type: int64 }] }]",
        &expect!["f.yaml:1:62: entity `x` has the join key `ID` twice; remove one"],
    );
    wrong(
        "entities: [{ name: x, join_keys: [{ name: id, type: int64, sensitivity: secret }] }]",
        &expect!["f.yaml:1:73: `secret` is not one of the choices here; known: none, phi, pii"],
    );
    wrong(
        "entities:\n  - name: User\n    join_keys: [{ name: id, type: int64 }]",
        &expect![
            "f.yaml:2:11: entity `User` has the name of entity `user`; the first is at base.yaml:3:13; names differ by more than case"
        ],
    );
    wrong(
        "entities:\n  - name: user\n    join_keys: [{ name: id, type: int64 }]",
        &expect![
            "f.yaml:2:11: entity `user` is defined twice; the first is at base.yaml:3:13; names differ by more than case"
        ],
    );
}

#[test]
fn sources() {
    let source = |rest: &str, expected: Expect| {
        wrong(&format!("sources:\n  - name: s\n    {rest}\n"), &expected);
    };
    source(
        "type: parquet",
        expect!["f.yaml:2:5: the key `event_time` is missing"],
    );
    source(
        "type: parquet\n    evnt_time: t",
        expect!["f.yaml:4:5: unknown key `evnt_time`; did you mean `event_time`?"],
    );
    source(
        "type: parqet\n    event_time: t",
        expect!["f.yaml:3:11: there is no source type `parqet`; did you mean `parquet`?"],
    );
    source(
        "type: parquet\n    event_time: t\n    pth: x/",
        expect!["f.yaml:5:5: unknown key `pth` in source `s`; did you mean `path`?"],
    );
    source(
        "type: memory\n    event_time: t\n    path: x/",
        expect!["f.yaml:5:5: unknown key `path` in source `s`; type `memory` has no options of its own"],
    );
    source(
        "type: parquet\n    event_time: t\n    created_time: { colum: c }",
        expect!["f.yaml:5:21: unknown key `colum`; did you mean `column`?"],
    );
    source(
        "type: parquet\n    event_time: t\n    created_time: [c]",
        expect!["f.yaml:5:19: expected a column name or { column: NAME, trusted_from: DATE }, found a list"],
    );
    source(
        "type: parquet\n    event_time: t\n    created_time: { column: c, trusted_from: yesterday }",
        expect![
            "f.yaml:5:46: `yesterday` is not an instant; write RFC 3339 with a zone such as 2026-05-01T00:00:00Z, or now, or now-7d"
        ],
    );
    source(
        "type: parquet\n    event_time: t\n    knowledge: asof",
        expect!["f.yaml:5:16: `asof` is not one of the choices here; did you mean `as_of`?"],
    );
    source(
        "type: parquet\n    event_time: t\n    knowledge: as_of",
        expect![
            "f.yaml:5:16: source `s` has `knowledge: as_of` but no created time; add `created_time:`, or remove `knowledge:`"
        ],
    );
    source(
        "type: parquet\n    event_time: t\n    available_after: 3",
        expect![
            "f.yaml:5:22: `3` is not a duration; write a number and a unit: 500us 10ms 30s 15m 24h 7d 2w"
        ],
    );
    source(
        "type: parquet\n    event_time: t\n    timezone: Europe/Stokholm",
        expect![
            "f.yaml:5:15: there is no time zone `Europe/Stokholm`; write UTC, an IANA name such as Europe/Stockholm, or an offset such as +02:00"
        ],
    );
    source(
        "type: parquet\n    event_time: t\n    tie_break: [a, b, a]",
        expect!["f.yaml:5:17: `a` stands twice in the tie break of source `s`; remove one"],
    );
    source(
        "type: parquet\n    event_time: ''\n    filter: ' '",
        expect![[r#"
            f.yaml:4:17: the event_time of source `s` is empty; name the column
            f.yaml:5:13: the filter of source `s` is empty; remove it, or write an expression such as "country = 'SE'""#]],
    );
    wrong(
        "sources: [{ name: u, type: parquet, event_time: t, columns: { usr_id: uid } }]\n\
         feature_views: [{ name: v, entities: [user], source: u, features: [{ name: f, type: int64 }] }]",
        &expect![
            "f.yaml:1:63: `usr_id` is no feature or key of a view of source `u`; `columns:` maps our names to the file's; did you mean `user_id`?"
        ],
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
    view(
        "entities: [usr]",
        expect!["f.yaml:5:16: there is no entity `usr`; did you mean `user`?"],
    );
    view(
        "entities: user",
        expect!["f.yaml:5:15: expected a list, found a string; write [user]"],
    );
    view(
        "entities: [user, user]",
        expect![
            "f.yaml:5:16: feature view `v` has the entity `user` twice; list it once; the same entity in two roles is two items of a service with `as:`"
        ],
    );
    view(
        "entities: [user, account]",
        expect![
            "f.yaml:5:22: the entities `user` and `account` of feature view `v` both have the join key `USER_ID`; rename the join key of one entity"
        ],
    );
    view(
        "ttl: 7days",
        expect![
            "f.yaml:5:10: `7days` is not a duration; write a number and a unit: 500us 10ms 30s 15m 24h 7d 2w"
        ],
    );
    view(
        "ttl: 7",
        expect![
            "f.yaml:5:10: `7` is not a duration; write a number and a unit: 500us 10ms 30s 15m 24h 7d 2w"
        ],
    );
    view(
        "ttl: -7d",
        expect![
            "f.yaml:5:10: `-7d` is not a duration; write a number and a unit: 500us 10ms 30s 15m 24h 7d 2w"
        ],
    );
    view(
        "ttl: 0s\n    freshness: 0s",
        expect![[r#"
        f.yaml:5:10: with a ttl of zero every value of feature view `v` is expired at once; write a duration such as 7d, or remove `ttl:` for values that hold for ever
        f.yaml:6:16: feature view `v` can never be fresh with `freshness` zero; write a duration such as 1h"#]],
    );
    view(
        "ttl: 7d\n    retention: 1d",
        expect![
            "f.yaml:6:16: feature view `v` has a retention of 1d, shorter than its ttl of 7d; rows are kept for the ttl anyway; write at least 7d, or remove `retention:`"
        ],
    );
    view(
        "retention: 1d",
        expect![
            "f.yaml:5:16: feature view `v` has a retention but no ttl; values without a ttl hold for ever and are never freed; add `ttl:` or remove `retention:`"
        ],
    );
    view(
        "online: [a]",
        expect!["f.yaml:5:13: expected true, false or the name of an online store, found a list"],
    );
    view(
        "online: { stor: a }",
        expect!["f.yaml:5:15: unknown key `stor`; did you mean `store`?"],
    );
    view(
        "schedule: \"*/15 * * *\"",
        expect![[
            r#"f.yaml:5:15: the schedule of feature view `v` has 4 fields, not five; write a cron line: minute hour day month weekday, such as "*/15 * * * *""#
        ]],
    );
    view(
        "schedule: \"61 * * * *\"",
        expect![[
            r#"f.yaml:5:15: the schedule of feature view `v` has `61` as its minute; write a cron line: minute hour day month weekday, such as "*/15 * * * *""#
        ]],
    );
    view(
        "materialize: true\n    frshness: 1h\n    tag: {}",
        expect![[r#"
        f.yaml:5:5: unknown key `materialize`; known: description, entities, features, freshness, lateness, name, online, owner, retention, schedule, source, tags, … (13 in all)
        f.yaml:6:5: unknown key `frshness`; did you mean `freshness`?
        f.yaml:7:5: unknown key `tag`; did you mean `tags`?"#]],
    );
    view("tags: [a]", expect!["f.yaml:5:11: expected a map, found a list"]);
    wrong(
        "feature_views: [{ name: v, source: txx, features: [] }]",
        &expect![[r#"
            f.yaml:1:36: there is no source `txx`; did you mean `tx`?
            f.yaml:1:51: feature view `v` has no features; add one, such as { name: orders_30d, type: int64 }"#]],
    );
    wrong(
        "feature_views: [{ name: v, source: tx }]",
        &expect!["f.yaml:1:17: the key `features` is missing"],
    );
    wrong(
        "feature_views:\n  - name: v\n    source: tx\n    features:\n      - { name: a, type: int64 }\n      - { name: b, type: int64 }\n      - { name: A, type: int64 }\n",
        &expect![
            "f.yaml:7:9: feature view `v` has the feature `A` twice; rename or remove one; names differ by more than case"
        ],
    );
    wrong(
        "feature_views:\n  - name: v\n    source: tx\n    entities: [user]\n    features:\n      - { name: user_id, type: int64 }\n",
        &expect![
            "f.yaml:6:17: the feature `user_id` has the name of a join key of entity `user`; rename the feature, and map it by the source's `columns:`"
        ],
    );
    wrong(
        "feature_views: [{ name: ratio, source: tx, features: [{ name: a, type: int64 }] }]",
        &expect![
            "f.yaml:1:25: feature view `ratio` has the name of on demand view `ratio`; the first is at base.yaml:12:11; names differ by more than case"
        ],
    );
}

#[test]
fn on_demand_views() {
    let view = |rest: &str, expected: Expect| {
        wrong(&format!("on_demand_views:\n  - name: o\n    {rest}\n"), &expected);
    };
    view(
        "features: []",
        expect![[
            r#"f.yaml:3:15: on-demand view `o` has no features; add one, such as { name: ratio, type: float64, expr: "a / b" }"#
        ]],
    );
    view(
        "features: [{ name: a, type: int64 }]",
        expect!["f.yaml:3:16: the key `expr` is missing"],
    );
    view(
        "features: [{ name: a, type: int64, expr: ' ' }, { name: a, type: int64, expr: x }]",
        expect![[r#"
            f.yaml:3:53: on-demand view `o` has the feature `a` twice; rename or remove one; names differ by more than case
            f.yaml:3:46: the expression of `o:a` is empty; write an expression over the inputs, such as "amount / nullif(avg_basket, 0)""#]],
    );
    view(
        "inputs: { features: [stats:baskt, sttas, stats@2] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[r#"
            f.yaml:3:26: there is no feature `baskt` in view `stats`; did you mean `basket`?
            f.yaml:3:39: there is no view `sttas`; did you mean `stats`?
            f.yaml:3:46: `stats@2`: references to other projects (`project/view`) and versions (`name@version`) are reserved; write `view:feature` or `view`"#]],
    );
    view(
        "inputs: { features: [stats, other] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![
            "f.yaml:3:33: `orders` means `stats:orders` and `other:orders` in on-demand view `o`; leave one out, or rename one at its view"
        ],
    );
    view(
        "inputs: { request: [{ name: orders, type: int64 }], features: [other] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![
            "f.yaml:3:68: `orders` means the request field `orders` and `other:orders` in on-demand view `o`; leave one out, or rename one at its view"
        ],
    );
    view(
        "inputs: { request: [{ name: a, type: int64 }, { name: a, type: int32 }] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect![[r#"
            f.yaml:4:24: the feature `o:a` has the name of a request field; rename one: both are columns of a training set
            f.yaml:3:25: on-demand view `o` has the request field `a` twice; remove one"#]],
    );
    view(
        "inputs: { requests: [] }\n    features: [{ name: a, type: int64, expr: x }]",
        expect!["f.yaml:3:15: unknown key `requests`; did you mean `request`?"],
    );
    wrong(
        r#"
on_demand_views:
  - { name: a, inputs: { features: ["b:y"] }, features: [{ name: x, type: int64, expr: y }] }
  - { name: b, inputs: { features: ["c:z"] }, features: [{ name: y, type: int64, expr: z }] }
  - { name: c, inputs: { features: ["a:x"] }, features: [{ name: z, type: int64, expr: x }] }
  - { name: d, inputs: { features: ["d:w"] }, features: [{ name: w, type: int64, expr: w }] }
"#,
        &expect![[r#"
            f.yaml:3:36: on-demand views need each other: `a` -> `b` -> `c` -> `a`; move what they share into a view of its own
            f.yaml:6:36: on-demand views need each other: `d` -> `d`; move what they share into a view of its own"#]],
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
    service(
        "[]",
        expect![[
            r#"f.yaml:4:7: feature service `s` has no features; list views or features, such as "user_stats:orders_30d""#
        ]],
    );
    service(
        "- stat",
        expect!["f.yaml:4:9: there is no view `stat`; did you mean `stats`?"],
    );
    service(
        "- stats:order",
        expect!["f.yaml:4:9: there is no feature `order` in view `stats`; did you mean `orders`?"],
    );
    service(
        "- 7",
        expect![
            "f.yaml:4:9: expected `view`, `view:feature`, { ref: …, default: … } or { view: …, as: …, keys: …, features: … }, found an integer"
        ],
    );
    service(
        "- team/stats",
        expect![
            "f.yaml:4:9: `team/stats`: references to other projects (`project/view`) and versions (`name@version`) are reserved; write `view:feature` or `view`"
        ],
    );
    service(
        "- { view: stats, feature: [orders] }",
        expect!["f.yaml:4:24: unknown key `feature`; did you mean `features`?"],
    );
    service(
        "- { as: x }",
        expect!["f.yaml:4:9: an item needs either `ref` or `view`"],
    );
    service(
        "- { view: stats, features: [ordrs] }",
        expect!["f.yaml:4:35: there is no feature `ordrs` in view `stats`; did you mean `orders`?"],
    );
    service(
        "- { view: stats, as: seller, keys: { usr_id: seller_id } }",
        expect![
            "f.yaml:4:44: `usr_id` is not a join key of view `stats`; `keys:` maps a join key to a column of the request; did you mean `user_id`?"
        ],
    );
    service(
        "- stats\n      - other",
        expect![
            "f.yaml:5:9: the column `orders` of feature service `s` would be both `stats:orders` and `other:orders`; give one of the views a role: { view: other, as: NAME } (the other is at f.yaml:4:9)"
        ],
    );
    service(
        "- stats\n      - { view: stats, keys: { user_id: seller_id }, features: [basket] }",
        expect![
            "f.yaml:5:9: the column `basket` of feature service `s` would be both `stats:basket` and `stats:basket` with user_id=seller_id; give one of the views a role: { view: stats, as: NAME } (the other is at f.yaml:4:9)"
        ],
    );
    service(
        "- { view: stats, as: x }\n      - { view: other, as: x }",
        expect![
            "f.yaml:5:9: the column `x__orders` of feature service `s` would be both `stats:orders` as `x` and `other:orders` as `x`; give one of the views a role: { view: other, as: NAME } (the other is at f.yaml:4:9)"
        ],
    );
    service(
        "- stats\n      - { view: other, as: x }\n      - { view: stats, as: y }\n      - stats:orders",
        expect![[""]],
    );
    service(
        "- { ref: \"stats:orders\", default: none }",
        expect![
            "f.yaml:4:41: the default does not fit the feature `stats:orders`: expected int64, got a string; write a value of type int64"
        ],
    );
    service(
        "- { ref: \"stats:orders\", default_null: true }",
        expect!["f.yaml:4:9: `default_null` needs a `default`"],
    );
    service(
        "- { view: ratio, default: 1.0 }\n      - { view: ratio, as: x }",
        expect![[r#"
            f.yaml:4:33: the on-demand view `ratio` cannot have a default; its features are always computed; use coalesce(…) in the expression, or a default on an input
            f.yaml:5:28: the on-demand view `ratio` has no keys, so it has no roles; remove `as:`"#]],
    );
    wrong(
        r#"
on_demand_views:
  - { name: p, inputs: { request: [{ name: amount, type: int64 }] }, features: [{ name: p1, type: int64, expr: amount }] }
feature_services:
  - { name: s, features: [ratio, p] }
"#,
        &expect![
            "f.yaml:5:13: the request field `amount` of feature service `s` is int64 in `p` and float64 in `ratio`; give it one type, or two names"
        ],
    );
    wrong(
        "models: [{ name: m, service: fruad }]",
        &expect!["f.yaml:1:30: there is no feature service `fruad`; did you mean `fraud`?"],
    );
    wrong(
        "models: [{ name: m, service: fraud, stge: prod }, { name: m, service: fraud }]",
        &expect!["f.yaml:1:37: unknown key `stge`; did you mean `stage`?"],
    );
}
