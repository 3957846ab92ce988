//! Does no error and no log show a secret, wherever it was written?

use std::fs;

use crate::training::project;
use crate::world::shell;

const SECRET: &str = "hunter2";

#[test]
fn secrets_in_places_of_data() {
    let (_world, dir) = project();
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    for root in ["https://h/x?sig=hunter2", "s3://k:hunter2@b/x"] {
        let changed = yaml.replace("root: data/", &format!("root: \"{root}\""));
        assert_ne!(yaml, changed);
        fs::write(dir.join("larder.yaml"), changed).unwrap();
        for args in [
            "validate",
            "doctor",
            "plan -v",
            "materialize",
            "push user_daily --file rows.csv",
        ] {
            let ran = shell(&dir, &format!("larder {args}"));
            assert!(
                !ran.err.contains(SECRET) && !ran.out.contains(SECRET),
                "{args}: {ran:#?}"
            );
        }
    }
}

/// Without anybody to ask: what is refused is refused before.
#[cfg(feature = "dynamodb")]
#[test]
fn secrets_in_endpoints_of_dynamodb() {
    let (_world, dir) = project();
    let yaml = fs::read_to_string(dir.join("larder.yaml")).unwrap();
    let (before, after) = yaml.split_once("online:").unwrap();
    let (_, after) = after.split_once('\n').unwrap();
    let store = |more: &str| {
        let store = format!("type: dynamodb, region: r, access_key_id: a, secret_access_key: s{more}");
        fs::write(
            dir.join("larder.yaml"),
            format!("{before}online: {{ {store} }}\n{after}"),
        )
        .unwrap();
    };
    let refused = |line: &str| {
        let ran = shell(&dir, line);
        let all = format!("{}{}", ran.out, ran.err);
        assert!(ran.code != 0 && !all.contains(SECRET), "{line}: {ran:#?}");
        all
    };
    let get = "larder get --features user_stats:orders_7d --entity user_id=1";
    for (endpoint, told) in [
        ("http://user:hunter2@10.1.2.3:99", "credentials belong in"),
        ("http://127.0.0.1:9/x?token=hunter2", "follows `?`"),
        ("http://10.1.2.3:99", "without TLS"),
    ] {
        store(&format!(", endpoint: \"{endpoint}\""));
        for line in [get, "larder doctor --check", "larder validate"] {
            assert!(refused(line).contains(told), "{line} {endpoint}");
        }
        store("");
        for variable in ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"] {
            for line in [get, "larder doctor --check"] {
                let line = format!("{variable}='{endpoint}' {line}");
                assert!(refused(&line).contains(told), "{line}");
            }
        }
    }
}
