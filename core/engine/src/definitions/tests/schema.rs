//! The schemas know every key that the structs know, and accept what the loader accepts.

use serde_json::{Value, json};

use super::{EXAMPLE, set};
use crate::definitions::{DefinitionSet, json_schema, project_schema};
use crate::yaml::{self, Content, Node};

fn json_of(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Bool(b) => json!(b),
        Content::Int(n) => json!(n),
        Content::Uint(n) => json!(n),
        Content::Float(x) => json!(x),
        Content::Str => json!(node.text),
        Content::List(items) => items.iter().map(json_of).collect(),
        Content::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|e| (e.key.to_string(), json_of(&e.value)))
                .collect(),
        ),
    }
}

/// Checks the parts of JSON Schema that ours use, without patterns.
fn validate(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(to) = schema["$ref"].as_str() {
        let target = root
            .pointer(to.trim_start_matches('#'))
            .ok_or(format!("{to} leads nowhere"))?;
        return validate(root, target, value, path);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices
            .iter()
            .filter(|choice| validate(root, choice, value, path).is_ok());
        let fits = fits.count();
        if fits != 1 {
            return Err(format!("{path}: fits {fits} of the forms"));
        }
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        return Err(format!("{path}: not one of the choices"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let number = kind == "integer" && types.contains(&"number");
    if !types.is_empty() && !types.contains(&kind) && !number {
        return Err(format!("{path}: {kind} is not {types:?}"));
    }
    for key in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if value.get(key).is_none() {
            return Err(format!("{path}: {key} is missing"));
        }
    }
    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
        validate(root, &schema["items"], item, &format!("{path}/{i}"))?;
    }
    for (key, item) in value.as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(known), _) => validate(root, known, item, &path)?,
            (None, Value::Bool(false)) => return Err(format!("{path}: unknown key")),
            (None, more) => validate(root, more, item, &path)?,
        }
    }
    Ok(())
}

fn document(text: &str) -> Value {
    json_of(&yaml::parse("f.yaml", text).expect("YAML")[0])
}

#[test]
fn the_example_fits_and_so_does_what_it_becomes() {
    let schema = json_schema();
    assert_eq!(validate(&schema, &schema, &document(EXAMPLE), ""), Ok(()));
    // The structs write every key they know, so a key that the schema lacks shows here.
    let all = DefinitionSet::from_yaml("f.yaml", EXAMPLE, set())
        .expect("the example")
        .definitions;
    let written = json!({
        "entities": all.entities, "sources": all.sources, "feature_views": all.feature_views,
        "on_demand_views": all.on_demand_views, "feature_services": all.feature_services, "models": all.models,
    });
    assert_eq!(validate(&schema, &schema, &written, ""), Ok(()));
}

#[test]
fn the_example_has_every_key_of_the_schema() {
    fn missing(root: &Value, schema: &Value, values: &[&Value], path: &str, found: &mut Vec<String>) {
        if let Some(to) = schema["$ref"].as_str() {
            return missing(
                root,
                &root[&"$defs"][to.trim_start_matches("#/$defs/")],
                values,
                path,
                found,
            );
        }
        for form in schema["oneOf"].as_array().into_iter().flatten() {
            missing(root, form, values, path, found);
        }
        let items: Vec<&Value> = values.iter().filter_map(|v| v.as_array()).flatten().collect();
        if !items.is_empty() {
            missing(root, &schema["items"], &items, path, found);
        }
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let below: Vec<&Value> = values.iter().filter_map(|v| v.get(key)).collect();
            if below.is_empty() {
                found.push(format!("{path}/{key}"));
            }
            missing(root, inner, &below, &format!("{path}/{key}"), found);
        }
    }
    let schema = json_schema();
    let mut found = Vec::new();
    missing(&schema, &schema, &[&document(EXAMPLE)], "", &mut found);
    // The long form of `online:`, which the example gives as `true`.
    assert_eq!(found, ["/feature_views/online/store"]);
}

#[test]
fn mistakes_do_not_fit() {
    let schema = json_schema();
    for wrong in [
        "entitys: []",
        "entities: [{ name: x }]",
        "entities: [{ name: x, join_keys: [{ name: a, type: int64, sensitivity: secret }] }]",
        "feature_views: [{ name: v, source: s, features: [], ttll: 7d }]",
        "feature_services: [{ name: s, features: [{ as: x }] }]",
        "feature_services: [{ name: s, features: [{ ref: a, view: a }] }]",
    ] {
        assert!(
            validate(&schema, &schema, &document(wrong), "").is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn project_files() {
    let schema = project_schema();
    let fits = |text: &str| validate(&schema, &schema, &document(text), "");
    let full = r#"
project: fraud
definitions: { path: features/, set: team-risk }
registry: { type: file, path: .larder/registry }
online: { type: local, path: .larder/online }
offline: { type: parquet, root: data/ }
provider: { type: local }
environments:
  prod:
    definitions: features/
    registry: { type: postgres, url: "${PG_URL}" }
    online: { type: redis, url: "${REDIS_URL}" }
    provider: { type: aws }
    offline:
      default: lake
      stores:
        lake: { type: parquet, root: "s3://bucket/features/" }
"#;
    assert_eq!(fits(full), Ok(()));
    for wrong in [
        "online: { type: local }",
        "project: x\nonlin: { type: local }",
        "project: x\nonline: { path: x }",
        "project: x\nenvironments: { prod: { project: y } }",
    ] {
        assert!(fits(wrong).is_err(), "{wrong}");
    }
}
