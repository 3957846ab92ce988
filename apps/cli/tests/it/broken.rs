//! Is every mistake in YAML told with file, line and column, and is nothing applied of it?

use std::fs;

use crate::world::{World, larder};

/// A text that is replaced, what by, and where and how the mistake must be told.
struct Mistake {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The line that must be named is the one that holds this afterwards.
    at: &'static str,
    says: &'static str,
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        file: "features/user_stats.yaml",
        from: "type: bool",
        to: "type: boolean",
        at: "type: boolean",
        says: "bool",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "ttl: 14d",
        to: "ttl: 14 days",
        at: "ttl: 14 days",
        says: "duration",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "entities: [user]",
        to: "entities: [usr]",
        at: "[usr]",
        says: "user",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "    source: user_daily",
        to: "    source: user_dayly",
        at: "    source: user_dayly",
        says: "user_daily",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "    owner:",
        to: "    ownr:",
        at: "ownr",
        says: "owner",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "name: orders_30d",
        to: "name: orders_7d",
        at: "description: Orders in the last 30",
        says: "orders_7d",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "name: country",
        to: "name: coun try",
        at: "coun try",
        says: "coun try",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "event_time: event_timestamp",
        to: "event_tim: event_timestamp",
        at: "",
        says: "event_time",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "type: parquet",
        to: "type: parket",
        at: "parket",
        says: "parquet",
    },
    Mistake {
        file: "features/user_stats.yaml",
        from: "features:\n",
        to: "features:\n      - {{\n",
        at: "",
        says: "",
    },
    Mistake {
        file: "features/entities.yaml",
        from: "name: user_id, type: int64",
        to: "name: user_id, type: float64",
        at: "float64",
        says: "float64",
    },
    Mistake {
        file: "features/entities.yaml",
        from: "name: product\n",
        to: "name: user\n",
        at: "",
        says: "user",
    },
    Mistake {
        file: "features/services.yaml",
        from: "- user_stats",
        to: "- user_stat",
        at: "- user_stat",
        says: "user_stats",
    },
    Mistake {
        file: "features/services.yaml",
        from: "service: purchase_v1",
        to: "service: purchase_v2",
        at: "purchase_v2",
        says: "purchase_v1",
    },
    Mistake {
        file: "larder.yaml",
        from: "definitions: features/",
        to: "definitons: features/",
        at: "definitons",
        says: "definitions",
    },
];

#[test]
fn each_mistake_is_told_at_its_place() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    for mistake in MISTAKES {
        let file = dir.join(mistake.file);
        let text = fs::read_to_string(&file).unwrap();
        let wrong = text.replacen(mistake.from, mistake.to, 1);
        assert_ne!(wrong, text, "{} holds no `{}`", mistake.file, mistake.from);
        fs::write(&file, &wrong).unwrap();
        for command in ["validate", "apply"] {
            let error = larder(&dir, &[command, "--format", "json"]).code(1).error();
            let found = &error["diagnostics"][0];
            let told = format!("`{}` -> `{}`: {error:#}", mistake.from, mistake.to);
            assert!(
                found["file"].as_str().unwrap_or_default().ends_with(mistake.file),
                "{told}"
            );
            let line = found["line"].as_u64().unwrap_or(0) as usize;
            assert!(line > 0 && found["column"].as_u64().unwrap_or(0) > 0, "{told}");
            let there = wrong.lines().nth(line - 1).unwrap_or_default();
            assert!(there.contains(mistake.at), "line {line} is `{there}`: {told}");
            let all = error.to_string();
            assert!(all.contains(mistake.says), "{told}");
        }
        let people = larder(&dir, &["validate"]).code(1).err;
        assert!(people.contains("-->") && people.contains('^'), "{people}");
        fs::write(&file, text).unwrap();
    }
    let history = larder(&dir, &["history", "--format", "json"]).ok().json();
    assert_eq!(history.as_array().unwrap().len(), 1, "something was applied");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let (_world, dir) = World::project();
    for file in [
        "features/user_stats.yaml",
        "features/product_stats.yaml",
        "features/entities.yaml",
    ] {
        let file = dir.join(file);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("type: int64", "type: int46", 1)).unwrap();
    }
    let error = larder(&dir, &["validate", "--format", "json"]).code(1).error();
    let files: Vec<&str> = error["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["file"].as_str().unwrap())
        .collect();
    assert_eq!(
        files,
        [
            "features/entities.yaml",
            "features/product_stats.yaml",
            "features/user_stats.yaml"
        ]
    );
    let people = larder(&dir, &["validate"]).code(1).err;
    assert_eq!(people.matches("-->").count(), 3, "{people}");
}

#[test]
fn data_that_does_not_fit_is_found_by_plan() {
    let (_world, dir) = World::project();
    let file = dir.join("features/user_stats.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("name: country, type: string", "name: country, type: int64"),
    )
    .unwrap();
    larder(&dir, &["validate"]).ok();
    let error = larder(&dir, &["plan"]).code(1).err;
    assert!(error.contains("country"), "{error}");
    larder(&dir, &["apply"]).code(1);
    larder(&dir, &["plan", "--offline"]).ok();
}
