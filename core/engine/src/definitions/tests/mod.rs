//! Mistakes in definitions and the messages about them; what right ones become.

mod mistakes;
mod schema;
mod services;

use std::path::Path;
use std::time::Instant;

use larder_base::model::{Catalog, Kind, ObjectId, Online};
use larder_base::plugin::SourceKind;
use larder_base::{ErrorKind, Place, SetName, Span, ValueType};

use super::*;

/// Every key there is, most of them of the interface's own example.
pub(super) const EXAMPLE: &str = r#"
entities:
  - name: user
    join_keys: [{ name: user_id, type: int64, sensitivity: pii, description: The number on the card }]
    description: A registered customer
    owner: growth@example.com
    tags: { team: growth, tier: 1 }
sources:
  - name: user_daily
    type: parquet
    path: user_daily/
    store: dwh
    event_time: event_timestamp
    created_time: { column: created_timestamp, trusted_from: 2025-01-01 }
    knowledge: as_of
    available_after: 1h
    timezone: Europe/Stockholm
    tie_break: [seq]
    columns: { user_id: uid, orders_30d: "Orders 30d" }
    filter: "country = 'SE'"
    description: One row per user and day
    owner: growth@example.com
    tags: { raw: true }
feature_views:
  - name: user_stats
    entities: [user]
    source: user_daily
    ttl: 7d
    online: true
    lateness: 2d
    retention: 30d
    schedule: "*/15 * * * *"
    freshness: 1h
    features:
      - { name: orders_30d, type: int64, description: Orders in the last 30 days, sensitivity: none, tags: { a: b } }
      - { name: avg_basket, type: "decimal(10,2)" }
    description: Orders
    owner: growth@example.com
    tags: { team: growth, tier: gold }
on_demand_views:
  - name: basket_features
    inputs:
      request: [{ name: amount, type: float64, description: Of this order }]
      features: ["user_stats:avg_basket"]
    features:
      - { name: basket_ratio, type: float64, expr: "amount / nullif(avg_basket, 0)", description: d, sensitivity: phi, tags: { a: b } }
    description: Of the request
    owner: growth@example.com
    tags: { a: b }
feature_services:
  - name: fraud_v1
    features:
      - user_stats
      - { ref: "user_stats:orders_30d", default: 0, default_null: true }
      - { view: user_stats, as: seller, keys: { user_id: seller_id }, features: [orders_30d] }
      - "basket_features:basket_ratio"
    description: For the fraud model
    owner: risk@example.com
    tags: { a: b }
models:
  - { name: fraud_xgb, service: fraud_v1, owner: risk@example.com, stage: prod, description: d, tags: { a: b } }
"#;

pub(super) const KINDS: [SourceKind; 2] = [
    SourceKind {
        name: "parquet",
        options: &["path", "partitions"],
    },
    SourceKind {
        name: "memory",
        options: &[],
    },
];

pub(super) fn set() -> SetName {
    SetName::new("shop").expect("a name")
}

/// What is wrong with files, one line per mistake.
pub(super) fn findings(files: &[(&str, &str)]) -> String {
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Ok((*text).to_owned())))
        .collect();
    let definitions = match load::load(files, set()) {
        Ok(definitions) => definitions,
        Err(error) => return lines(error.diagnostics()),
    };
    let mut catalog = Catalog::default();
    catalog.extend(&definitions.definitions);
    lines(&check(&definitions, &catalog, &KINDS))
}

fn lines(found: &[larder_base::Diagnostic]) -> String {
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn the_example_is_right() {
    assert_eq!(findings(&[("f.yaml", EXAMPLE)]), "");
    let set = DefinitionSet::from_yaml("f.yaml", EXAMPLE, set()).expect("the example");
    let view = &set.definitions.feature_views[0];
    assert_eq!((view.ttl, &view.online), (Some(Span::days(7)), &Online::Default));
    assert_eq!(
        view.features[1].value_type,
        "decimal(10,2)".parse::<ValueType>().expect("a type")
    );
    assert_eq!(
        set.definitions.sources[0].options["path"],
        serde_json::json!("user_daily/")
    );
    assert_eq!(set.definitions.feature_services[0].features.len(), 4);
}

#[test]
fn places_of_objects_and_of_what_is_in_them() {
    let set = DefinitionSet::from_yaml("f.yaml", EXAMPLE, set()).expect("the example");
    let place = |name, kind, path: &[&str]| {
        let place: Option<Place> = set.place(&ObjectId::new(kind, name), path);
        place.map(|place| place.to_string())
    };
    let view = |path| place("user_stats", Kind::FeatureView, path).expect("a place");
    assert_eq!(view(&[]), "f.yaml:25:5");
    assert_eq!(view(&["ttl"]), "f.yaml:28:10");
    assert_eq!(view(&["features", "avg_basket", "type"]), "f.yaml:36:35");
    assert_eq!(view(&["features", "1"]), "f.yaml:36:9");
    assert_eq!(
        view(&["features", "gone", "type"]),
        "f.yaml:35:7",
        "what encloses it"
    );
    assert_eq!(place("nobody", Kind::Entity, &[]), None);
    let id = ObjectId::new(Kind::FeatureView, "user_stats");
    assert_eq!(
        set.key_place(&id, &["ttl"]).expect("a place").to_string(),
        "f.yaml:28:5"
    );
    let made = DefinitionSet::new(set.set.clone(), set.definitions.clone());
    assert_eq!(made.place(&id, &[]), None);
}

#[test]
fn folders_are_read_to_the_bottom_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let load = || DefinitionSet::load(folder.path(), set());
    let error = load().expect_err("no files");
    assert_eq!(error.kind(), ErrorKind::Definition);
    assert!(
        error.to_string().starts_with("there are no YAML files in "),
        "{error}"
    );
    write(
        "b.yml",
        "entities: [{ name: b, join_keys: [{ name: b_id, type: int64 }] }]",
    );
    write(
        "a/deep/a.yaml",
        "entities: [{ name: a, join_keys: [{ name: a_id, type: int64 }] }]",
    );
    write("empty.yaml", "# nothing yet\n");
    write("notes.txt", "no: [yaml");
    write(".hidden.yaml", "no: [yaml");
    write("larder.yaml", "project: shop");
    let names: Vec<String> = load()
        .expect("three files")
        .definitions
        .entities
        .iter()
        .map(|entity| entity.name.to_string())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let one = DefinitionSet::load(&folder.path().join("b.yml"), set()).expect("one file");
    assert_eq!(one.definitions.entities.len(), 1);
    std::fs::write(folder.path().join("c.yaml"), b"entities:\n  - name: \xff").expect("a file");
    write("d.yaml", "entities: {");
    let error = load().expect_err("two broken files");
    assert_eq!(error.diagnostics().len(), 2, "{error}");
    let text = error.diagnostics()[0].to_string();
    assert!(
        text.ends_with("c.yaml:2:1: the file is not UTF-8 text; save it in UTF-8"),
        "{text}"
    );
    #[cfg(unix)]
    {
        let link = folder.path().join("0.yaml");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), link).expect("a link");
        let error = load().expect_err("a file that cannot be read");
        let text = error.diagnostics()[0].to_string();
        assert!(text.contains("0.yaml:1:1: cannot read the file: "), "{text}");
    }
    let missing = folder.path().join("gone");
    let error = DefinitionSet::load(&missing, set()).expect_err("no folder");
    assert!(error.to_string().starts_with("there is no folder "), "{error}");
}

#[test]
fn files_are_shown_as_people_type_them() {
    assert_eq!(shown(Path::new("./features/a.yaml")), "features/a.yaml");
    assert_eq!(shown(Path::new(".")), ".");
    let here = std::env::current_dir().expect("a folder");
    assert_eq!(shown(&here.join("features")), "features");
    assert_eq!(shown(Path::new("/elsewhere/a.yaml")), "/elsewhere/a.yaml");
}

#[test]
fn objects_of_other_sets_may_be_used_but_not_named_again() {
    let others = DefinitionSet::from_yaml("o.yaml", EXAMPLE, SetName::new("team").expect("a name"))
        .expect("the example");
    let own = DefinitionSet::from_yaml(
        "f.yaml",
        "entities: [{ name: User, join_keys: [{ name: id, type: int64 }] }]\n\
         on_demand_views: [{ name: user_stats, features: [{ name: x, type: int64, expr: '1' }] }]\n\
         models: [{ name: mine, service: fraud_v1 }]",
        set(),
    )
    .expect("three objects");
    let mut catalog = Catalog::default();
    catalog.extend(&others.definitions);
    catalog.extend(&own.definitions);
    let mut found: Vec<String> = check(&own, &catalog, &[])
        .iter()
        .map(ToString::to_string)
        .collect();
    found.sort();
    expect_test::expect![[r#"
        f.yaml:1:20: entity `User` has the name of entity `user`, which belongs to another definition set; names are unique without regard to case; choose another
        f.yaml:2:27: on demand view `user_stats` has the name of feature view `user_stats`, which belongs to another definition set; names are unique without regard to case; choose another"#]].assert_eq(&found.join("\n"));
}

#[test]
fn a_thousand_views_load_quickly() {
    let mut text = String::from(
        "entities: [{ name: user, join_keys: [{ name: user_id, type: int64 }] }]\n\
         sources: [{ name: s, type: parquet, path: s/, event_time: t }]\nfeature_views:\n",
    );
    for view in 0..1000 {
        text.push_str(&format!(
            "  - name: view_{view}\n    entities: [user]\n    source: s\n    ttl: 7d\n    features:\n"
        ));
        for feature in 0..10 {
            text.push_str(&format!(
                "      - {{ name: v{view}_f{feature}, type: float64, description: Feature number {feature} }}\n"
            ));
        }
    }
    let start = Instant::now();
    let set = DefinitionSet::from_yaml("f.yaml", &text, set()).expect("a thousand views");
    let mut catalog = Catalog::default();
    catalog.extend(&set.definitions);
    assert!(check(&set, &catalog, &KINDS).is_empty());
    let checked = start.elapsed();
    assert_eq!(set.definitions.feature_views.len(), 1000);
    // Generous, for debug builds on busy machines; an optimised one takes about 80 ms.
    assert!(checked.as_secs() < 20, "{checked:?}");
}
