//! What editors complete and check: JSON Schemas (draft 2020-12) of definitions and of the project file.

use larder_base::Role;
use larder_base::model::Source;
use larder_base::plugin::known::KNOWN;
use serde_json::{Map, Value, json};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The schema of a definitions file, as `larder schema` prints it.
pub fn json_schema() -> Value {
    json!({
        "$schema": DRAFT,
        "title": "larder definitions",
        "description": "Entities, sources, views, services and models of a larder project; each list may stand in any file.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "entities": list("Things that features describe.", "entity"),
            "sources": list("Where rows come from and what their times mean.", "source"),
            "feature_views": list("Features of the same entities from one source.", "feature_view"),
            "on_demand_views": list("Features computed at request time.", "on_demand_view"),
            "feature_services": list("The features that one model needs.", "feature_service"),
            "models": list("Trained models and the services they use.", "model"),
        },
        "$defs": {
            "name": {
                "description": "A letter or _, then letters, digits, _; unique without regard to case.",
                "type": "string",
                "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$",
            },
            "store_name": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,127}$" },
            "type": {
                "description": "bool int32 int64 float32 float64 string bytes timestamp date decimal(p,s) list<T> vector(float32,N)",
                "type": "string",
                "pattern": "^\\s*((bool|int32|int64|float32|float64|string|bytes|timestamp|date)|decimal\\(\\s*\\d+\\s*,\\s*\\d+\\s*\\)|list<.+>|vector\\(\\s*float32\\s*,\\s*\\d+\\s*\\))\\s*$",
                "examples": ["int64", "float64", "string", "timestamp", "decimal(10,2)", "list<string>", "vector(float32,128)"],
            },
            "duration": {
                "description": "A number and a unit: 500us 10ms 30s 15m 24h 7d 2w.",
                "type": ["string", "integer"],
                "pattern": "^(0|\\d+(us|ms|s|m|h|d|w))$",
                "maximum": 0,
                "minimum": 0,
            },
            "sensitivity": {
                "description": "How sensitive the values are.",
                "enum": ["none", "pii", "phi"],
            },
            "reference": {
                "description": "view:feature, or view for all of its features.",
                "type": "string",
                "pattern": "^\\s*[A-Za-z_][A-Za-z0-9_]*(:[A-Za-z_][A-Za-z0-9_]*)?\\s*$",
            },
            "tags": {
                "description": "Free labels.",
                "type": "object",
                "additionalProperties": { "type": ["string", "number", "boolean"] },
            },
            "entity": entity(),
            "source": source(),
            "feature_view": feature_view(),
            "on_demand_view": on_demand_view(),
            "feature_service": feature_service(),
            "model": object(&["name", "service"], &[
                ("service", reference("name", "The feature service it reads.")),
                ("stage", text("Where it stands, such as prod.")),
            ]),
        },
    })
}

/// What a block is for, and the types it may have in some build.
fn of_types(what: &str, role: Role) -> String {
    let known = KNOWN.iter().filter(|(of, ..)| *of == role);
    let names: Vec<&str> = known.map(|(_, name, _)| *name).collect();
    format!("{what}: {}.", names.join(", "))
}

/// The schema of `larder.yaml`.
pub fn project_schema() -> Value {
    let blocks = json!({
        "definitions": {
            "description": "The folder or file of the definitions; with `set`, the definition set they make.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["path"],
                    "properties": { "path": { "type": "string" }, "set": { "$ref": "#/$defs/name" } },
                },
            ],
        },
        "registry": block(&of_types("Where definitions and their history are kept", Role::Registry)),
        "online": stores(&of_types("Where features are served from", Role::Online)),
        "offline": stores(&of_types("Where training data comes from", Role::Offline)),
        "provider": block(&of_types("A preset that expands to registry, online and offline", Role::Provider)),
    });
    let mut properties = blocks.clone();
    if let Some(map) = properties.as_object_mut() {
        map.insert(
            "project".to_owned(),
            json!({ "description": "The project's name.", "$ref": "#/$defs/name" }),
        );
        map.insert(
            "environments".to_owned(),
            json!({
                "description": "By name, chosen by --env or LARDER_ENV; each replaces whole blocks.",
                "type": "object",
                "additionalProperties": { "type": "object", "additionalProperties": false, "properties": blocks },
            }),
        );
    }
    json!({
        "$schema": DRAFT,
        "title": "larder.yaml",
        "description": "A larder project. Values may hold ${NAME}, ${NAME:-default} and ${file:/path}.",
        "type": "object",
        "additionalProperties": false,
        "required": ["project"],
        "properties": properties,
        "$defs": {
            "name": { "type": "string", "pattern": "^([A-Za-z_][A-Za-z0-9_-]{0,127}|.*\\$\\{.*)$" },
            "block": {
                "type": "object",
                "required": ["type"],
                "properties": { "type": { "description": "`larder stores` lists the types.", "type": "string" } },
            },
        },
    })
}

fn block(description: &str) -> Value {
    json!({ "description": description, "$ref": "#/$defs/block" })
}

fn stores(description: &str) -> Value {
    json!({
        "description": description,
        "oneOf": [
            { "$ref": "#/$defs/block" },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["stores"],
                "properties": {
                    "default": { "description": "The store that views and sources without `store:` use.", "type": "string" },
                    "stores": { "type": "object", "additionalProperties": { "$ref": "#/$defs/block" } },
                },
            },
        ],
    })
}

fn list(description: &str, item: &str) -> Value {
    json!({
        "description": description,
        "type": ["array", "null"],
        "items": { "$ref": format!("#/$defs/{item}") },
    })
}

fn text(description: &str) -> Value {
    json!({ "description": description, "type": ["string", "number", "boolean"] })
}

fn reference(to: &str, description: &str) -> Value {
    json!({ "description": description, "$ref": format!("#/$defs/{to}") })
}

fn list_of(to: &str, description: &str) -> Value {
    json!({ "description": description, "type": "array", "items": { "$ref": format!("#/$defs/{to}") } })
}

/// An object with a name, what all objects have, and its own keys.
fn object(required: &[&str], own: &[(&str, Value)]) -> Value {
    let common = [
        ("name", reference("name", "Its name.")),
        ("description", text("What it is.")),
        ("owner", text("Who answers for it.")),
        ("tags", reference("tags", "Labels.")),
    ];
    let properties: Map<String, Value> = common
        .iter()
        .chain(own)
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

/// A small map inside of an object.
fn inner(required: &[&str], properties: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn entity() -> Value {
    let key = inner(
        &["name", "type"],
        &[
            ("name", reference("name", "The column.")),
            (
                "type",
                reference("type", "Any type but floats, lists and vectors."),
            ),
            (
                "sensitivity",
                reference("sensitivity", "How sensitive its values are."),
            ),
            ("description", text("What it is.")),
        ],
    );
    let keys = json!({
        "description": "The columns that identify it.",
        "type": "array",
        "minItems": 1,
        "items": key,
    });
    object(&["name", "join_keys"], &[("join_keys", keys)])
}

fn source() -> Value {
    let created = json!({
        "description": "Column with the time at which the row was written.",
        "oneOf": [
            { "type": "string" },
            inner(&["column"], &[
                ("column", text("The column.")),
                ("trusted_from", text("Created times before this instant mean nothing, since a backfill stamps everything with its own day.")),
            ]),
        ],
    });
    let mut schema = object(
        &["name", "type", "event_time"],
        &[
            (
                "type",
                text("What it is to its store, such as parquet; decides which other keys there are."),
            ),
            (
                "store",
                reference(
                    "store_name",
                    "The offline store that reads it; the default store where absent.",
                ),
            ),
            (
                "event_time",
                text("Column with the time at which the row's values became true."),
            ),
            ("created_time", created),
            (
                "knowledge",
                json!({
                    "description": "What created time decides in a training join: only ties, or also whether a row was known.",
                    "enum": ["tie_break", "as_of"],
                }),
            ),
            (
                "available_after",
                reference("duration", "How long after its event time a row is really known."),
            ),
            (
                "timezone",
                text("Zone of timestamp columns without one, such as UTC or Europe/Stockholm."),
            ),
            (
                "tie_break",
                json!({
                    "description": "Columns that decide between rows with equal times, larger first.",
                    "type": "array",
                    "items": { "type": "string" },
                }),
            ),
            (
                "columns",
                json!({
                    "description": "Feature or key name to column name, where they differ.",
                    "type": "object",
                    "additionalProperties": { "type": "string" },
                }),
            ),
            ("filter", text("Expression that rows must satisfy.")),
        ],
    );
    // The options of a type belong to its store.
    schema["additionalProperties"] = Value::Bool(true);
    debug_assert!(
        Source::KEYS
            .iter()
            .all(|key| schema["properties"].get(key).is_some())
    );
    schema
}

fn feature_view() -> Value {
    let feature = inner(
        &["name", "type"],
        &[
            (
                "name",
                reference(
                    "name",
                    "Its name, and the source's column unless `columns:` renames it.",
                ),
            ),
            ("type", reference("type", "Its type.")),
            ("description", text("What it is.")),
            ("sensitivity", reference("sensitivity", "How sensitive it is.")),
            ("tags", reference("tags", "Labels.")),
        ],
    );
    let online = json!({
        "description": "Whether it is served online; or the name of the online store.",
        "oneOf": [
            { "type": "boolean" },
            { "$ref": "#/$defs/store_name" },
            inner(&["store"], &[("store", reference("store_name", "The online store."))]),
        ],
    });
    object(
        &["name", "source", "features"],
        &[
            (
                "entities",
                list_of(
                    "name",
                    "Whose features; none for features that hold for everything.",
                ),
            ),
            ("source", reference("name", "Where the rows come from.")),
            (
                "ttl",
                reference(
                    "duration",
                    "How long a value is good after its event time; for ever where absent.",
                ),
            ),
            ("online", online),
            (
                "lateness",
                reference(
                    "duration",
                    "How late rows may arrive where there is no created time.",
                ),
            ),
            (
                "retention",
                reference(
                    "duration",
                    "After how long the online store may free a row; at least the ttl.",
                ),
            ),
            (
                "schedule",
                text("Cron line for generated jobs: minute hour day month weekday."),
            ),
            (
                "freshness",
                reference(
                    "duration",
                    "How long ago the view may have been materialized; `larder status --check` finds it when it is longer.",
                ),
            ),
            (
                "features",
                json!({ "description": "Its features.", "type": "array", "minItems": 1, "items": feature }),
            ),
        ],
    )
}

fn on_demand_view() -> Value {
    let field = inner(
        &["name", "type"],
        &[
            ("name", reference("name", "The field.")),
            ("type", reference("type", "Its type.")),
            ("description", text("What it is.")),
        ],
    );
    let inputs = inner(
        &[],
        &[
            (
                "request",
                json!({ "description": "Fields that come with the request.", "type": "array", "items": field }),
            ),
            (
                "features",
                list_of("reference", "Features that the expressions use."),
            ),
        ],
    );
    let feature = inner(
        &["name", "type", "expr"],
        &[
            ("name", reference("name", "Its name.")),
            ("type", reference("type", "The type of the result.")),
            ("expr", text("SQL expression over the inputs.")),
            ("description", text("What it is.")),
            ("sensitivity", reference("sensitivity", "How sensitive it is.")),
            ("tags", reference("tags", "Labels.")),
        ],
    );
    object(
        &["name", "features"],
        &[
            ("inputs", inputs),
            (
                "features",
                json!({ "description": "Its features.", "type": "array", "minItems": 1, "items": feature }),
            ),
        ],
    )
}

fn feature_service() -> Value {
    let keys = json!({
        "description": "Join key of the view to column of the entity rows, where they differ.",
        "type": "object",
        "additionalProperties": { "$ref": "#/$defs/name" },
    });
    let mut long = inner(
        &[],
        &[
            ("ref", reference("reference", "view:feature or view.")),
            ("view", reference("name", "The view.")),
            ("as", reference("name", "Role: columns are named ROLE__feature.")),
            ("keys", keys),
            ("features", list_of("name", "The features; all where absent.")),
            (
                "default",
                json!({ "description": "Fills values that are not found or expired." }),
            ),
            (
                "default_null",
                json!({ "description": "Whether the default also fills nulls.", "type": "boolean" }),
            ),
        ],
    );
    long["oneOf"] = json!([{ "required": ["ref"] }, { "required": ["view"] }]);
    let item = json!({ "oneOf": [{ "$ref": "#/$defs/reference" }, long] });
    object(
        &["name", "features"],
        &[(
            "features",
            json!({ "description": "What it serves, in order.", "type": "array", "minItems": 1, "items": item }),
        )],
    )
}
