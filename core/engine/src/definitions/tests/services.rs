//! What checks let pass can be selected, and what they refuse cannot: both ask the same about an item of a service.

use proptest::prelude::*;

use super::findings;
use crate::definitions::DefinitionSet;
use crate::selection::Selection;

const BASE: &str = "
entities:
  - { name: user, join_keys: [{ name: user_id, type: int64 }] }
  - { name: product, join_keys: [{ name: product_id, type: string }] }
sources:
  - { name: tx, type: parquet, path: tx/, event_time: t, timezone: UTC, created_time: c }
feature_views:
  - { name: stats, entities: [user], source: tx, features: [{ name: orders, type: int64 }, { name: basket, type: float64 }] }
  - { name: other, entities: [product], source: tx, features: [{ name: orders, type: int64 }, { name: BASKET, type: int64 }] }
  - { name: pairs, entities: [user, product], source: tx, features: [{ name: seen, type: bool }] }
";

/// Whether checks find nothing, and whether the service can be selected.
fn both(items: &str) -> (bool, bool) {
    let text = format!("{BASE}feature_services:\n  - {{ name: s, features: [{items}] }}\n");
    let found = findings(&[("f.yaml", &text)]);
    let definitions = DefinitionSet::from_yaml("f.yaml", &text, "set".parse().unwrap()).unwrap();
    let mut catalog = larder_base::model::Catalog::default();
    catalog.extend(&definitions.definitions);
    let selected = Selection::service("s").resolve(&catalog, false);
    (found.is_empty(), selected.is_ok())
}

#[test]
fn a_key_that_is_renamed_to_itself_is_no_other_role() {
    let items = "stats, { view: stats, keys: { user_id: user_id }, default: 0 }";
    assert_eq!(both(items), (true, true));
    let items = "stats, { view: stats, keys: { user_id: seller_id } }";
    assert_eq!(both(items), (false, false));
}

fn item() -> impl Strategy<Value = String> {
    let view = prop_oneof![Just("stats"), Just("other"), Just("pairs"), Just("nothing")];
    let alias = prop_oneof![3 => Just(""), 1 => Just(", as: a"), 1 => Just(", as: A")];
    let keys = prop_oneof![
        4 => Just(""),
        1 => Just(", keys: { user_id: user_id }"),
        1 => Just(", keys: { user_id: seller_id }"),
        1 => Just(", keys: { product_id: user_id }"),
    ];
    let features = prop_oneof![
        3 => Just(""),
        1 => Just(", features: [orders]"),
        1 => Just(", features: [basket, basket]"),
        1 => Just(", features: [seen]"),
    ];
    let default = prop_oneof![4 => Just(""), 1 => Just(", default: 1"), 1 => Just(", default: true")];
    (view, alias, keys, features, default)
        .prop_map(|(view, a, k, f, d)| format!("{{ view: {view}{a}{k}{f}{d} }}"))
}

proptest! {
    #[test]
    fn checks_and_selections_agree(items in prop::collection::vec(item(), 1..4)) {
        let items = items.join(", ");
        let (checked, selected) = both(&items);
        prop_assert_eq!(checked, selected, "{}", items);
    }
}
