//! How are the sample views defined?

use std::fmt::Write as _;

use super::table::SampleView;

/// `features/entities.yaml`.
pub(crate) fn entities_yaml() -> String {
    "\
# What features describe. A join key is the column that identifies an entity in every source
# and in every request; int64 and \"1\" are never mixed up.
entities:
  - name: user
    join_keys: [{ name: user_id, type: int64 }]
    description: A registered customer
    owner: shop@example.com
  - name: product
    join_keys: [{ name: product_id, type: int64 }]
    description: An article of the shop
    owner: shop@example.com
"
    .to_owned()
}

/// `features/<view>.yaml`: the source and the view.
pub(crate) fn view_yaml(view: &SampleView) -> String {
    let mut text = format!(
        "\
# Where the rows come from: all Parquet files below data/{source}/.
sources:
  - name: {source}
    type: parquet
    path: {source}/
    event_time: event_timestamp          # when the row's values became true
    created_time: created_timestamp      # when the row was written; decides between corrections
    # knowledge: as_of                   # training sees a row only from created_timestamp on

# What is served and trained on.
feature_views:
  - name: {name}
    description: {description}
    owner: shop@example.com
    entities: [{entities}]
    source: {source}
",
        source = view.source,
        name = view.name,
        description = view.description,
        entities = view.entities.join(", "),
    );
    match view.ttl {
        Some(ttl) => {
            let _ = writeln!(
                text,
                "    ttl: {ttl:<32} # older values are expired, in training and in serving alike"
            );
        }
        None => text.push_str("    # no ttl: the newest value is good for ever\n"),
    }
    let _ = writeln!(
        text,
        "    freshness: {:<26} # `larder status --check` fails when it was not materialized for so long",
        view.freshness
    );
    text.push_str("    features:\n");
    for feature in &view.features {
        let _ = writeln!(
            text,
            "      - {{ name: {}, type: {}, description: {} }}",
            feature.name,
            feature.make.value_type(),
            feature.description
        );
    }
    text
}

/// `features/services.yaml`: everything one model needs.
pub(crate) fn service_yaml(service: &str, model: &str, views: &[SampleView]) -> String {
    let mut text = format!(
        "\
# The features of one model, in the order of its columns: `view` for all features of a view,
# `view:feature` for one, {{ ref: \"view:feature\", default: 0 }} to fill what is not found.
feature_services:
  - name: {service}
    description: Will this user buy this product?
    owner: shop@example.com
    features:
"
    );
    for view in views {
        let _ = writeln!(text, "      - {}", view.name);
    }
    let _ = write!(
        text,
        "
# Who uses it, so that `larder plan` can tell whom a change touches.
models:
  - {{ name: {model}, service: {service}, owner: shop@example.com, stage: dev }}
"
    );
    text
}
