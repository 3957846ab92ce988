//! What differs between two versions of an object, field by field, for people.

use serde_json::Value as Json;

/// Lines such as `ttl: 7d -> 14d` or `features[avg_basket].type: int64 -> float64`.
pub(crate) fn differences(old: &Json, new: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    walk(String::new(), Some(old), Some(new), &mut lines);
    lines
}

fn walk(path: String, old: Option<&Json>, new: Option<&Json>, lines: &mut Vec<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Json::Object(a)), Some(Json::Object(b))) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                walk(path, a.get(key), b.get(key), lines);
            }
        }
        (Some(Json::Array(a)), Some(Json::Array(b))) if named(a) && named(b) => {
            for item in a {
                let other = b.iter().find(|i| name(i) == name(item));
                walk(format!("{path}[{}]", name(item)), Some(item), other, lines);
            }
            for item in b.iter().filter(|item| !a.iter().any(|i| name(i) == name(item))) {
                walk(format!("{path}[{}]", name(item)), None, Some(item), lines);
            }
            let order = |items: &[Json], others: &[Json]| -> Vec<String> {
                let both = items
                    .iter()
                    .map(name)
                    .filter(|n| others.iter().any(|o| name(o) == *n));
                both.map(str::to_owned).collect()
            };
            if order(a, b) != order(b, a) {
                lines.push(format!("{path}: order changed"));
            }
        }
        _ => lines.push(format!("{path}: {} -> {}", shown(old), shown(new))),
    }
}

fn named(items: &[Json]) -> bool {
    items
        .iter()
        .all(|item| item.get("name").is_some_and(Json::is_string))
}

fn name(item: &Json) -> &str {
    item.get("name").and_then(Json::as_str).unwrap_or_default()
}

fn shown(value: Option<&Json>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(object @ Json::Object(fields)) => match (fields.get("name"), fields.get("type")) {
            (Some(Json::String(name)), Some(Json::String(of))) => format!("{name} {of}"),
            _ => object.to_string(),
        },
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn fields_lists_and_order() {
        let old = json!({ "ttl": "7d", "features": [{ "name": "a", "type": "int64" }, { "name": "b", "type": "int64" }] });
        let new = json!({ "ttl": "14d", "features": [{ "name": "b", "type": "float64" }, { "name": "c", "type": "bool" }], "owner": "x" });
        assert_eq!(
            differences(&old, &new),
            [
                "features[a]: a int64 -> (none)",
                "features[b].type: int64 -> float64",
                "features[c]: (none) -> c bool",
                "owner: (none) -> x",
                "ttl: 7d -> 14d",
            ]
        );
        let swapped = json!({ "ttl": "7d", "features": [{ "name": "b", "type": "int64" }, { "name": "a", "type": "int64" }] });
        assert_eq!(differences(&old, &swapped), ["features: order changed"]);
        assert!(differences(&old, &old).is_empty());
    }
}
