//! Does every crate depend only on what its place in the architecture allows?
//!
//! The arrows are those of ARCHITECTURE.md; a new kind of crate needs a new line in [`allowed`].

use super::Finding;
use super::model::{Kind, Member};

/// Helpers that stores may share; each store at most one.
const SHARED_HELPERS: [&str; 2] = ["larder-remote", "larder-warehouse-sql"];
/// Arrow's small crates: all that `larder-core` adds to the contract.
const SMALL_ARROW: [&str; 10] = [
    "arrow-array",
    "arrow-buffer",
    "arrow-cast",
    "arrow-data",
    // The format of entity rows in files.
    "arrow-ipc",
    "arrow-ord",
    "arrow-row",
    "arrow-schema",
    "arrow-select",
    "arrow-arith",
];

/// Dependencies between crates of the workspace.
pub(crate) fn between_members(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let mut helpers = 0;
        for dependency in &member.dependencies {
            let Some(target) = members.iter().find(|other| other.name == dependency.name) else {
                continue;
            };
            if !allowed(member, target, dependency.kind) {
                let kind = if dependency.kind == Kind::Dev {
                    "use in its tests"
                } else {
                    "depend on"
                };
                findings.push(Finding::new(
                    &member.folder,
                    format!("{} must not {kind} {}", member.name, target.name),
                ));
            }
            helpers += usize::from(is_helper(target) && dependency.kind != Kind::Dev);
        }
        if is_store(member) && helpers > 1 {
            findings.push(Finding::new(
                &member.folder,
                format!("{} uses {helpers} shared helpers", member.name),
            ));
        }
    }
    findings
}

fn allowed(from: &Member, to: &Member, kind: Kind) -> bool {
    // The suite tests memory stores that live in core, and nobody else's crates know of tests.
    if kind == Kind::Dev && to.folder == "core/conformance" {
        return is_store(from)
            || is_app(from)
            || matches!(from.folder.as_str(), "core/engine" | "core/larder" | "benches")
            || is_example(from);
    }
    let target = to.folder.as_str();
    match from.folder.as_str() {
        "core/base" | "xtask" => false,
        "core/core" => target == "core/base",
        "core/engine" | "core/conformance" => matches!(target, "core/base" | "core/core"),
        "core/larder" => {
            matches!(target, "core/base" | "core/core" | "core/engine") || is_store(to) || is_provider(to)
        }
        _ if is_provider(from) => target == "core/base",
        _ if is_store(from) => {
            matches!(target, "core/base" | "core/core") || (is_helper(to) && !is_helper(from))
        }
        "apps/server" => {
            matches!(target, "core/base" | "core/core" | "core/engine")
                || (kind == Kind::Dev && target == "core/larder")
        }
        _ if is_app(from) => matches!(
            target,
            "core/base" | "core/core" | "core/engine" | "core/larder" | "apps/server"
        ),
        // Examples and benches are users: whatever users may add, and nothing may add them.
        _ => !is_example(to) && !matches!(target, "benches" | "xtask"),
    }
}

/// Dependencies on crates of others.
pub(crate) fn to_outside(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        for dependency in member
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != Kind::Dev)
        {
            if let Some(reason) = refused(member, &dependency.name) {
                findings.push(Finding::new(
                    &member.folder,
                    format!("{} depends on {}: {reason}", member.name, dependency.name),
                ));
            }
        }
    }
    findings
}

fn refused(member: &Member, dependency: &str) -> Option<&'static str> {
    let contract = member.folder.starts_with("core/");
    if contract && (is_http_client(dependency) || is_sdk(dependency)) {
        return Some("core/ knows no HTTP client and no backend's SDK");
    }
    if contract && matches!(dependency, "object_store" | "parquet") {
        return Some("core/ reads no storage itself; that is a store's work");
    }
    if is_arrow(dependency) && member.folder == "core/base" {
        return Some("larder-base is free of Arrow");
    }
    if is_arrow(dependency) && contract && !SMALL_ARROW.contains(&dependency) {
        return Some("core/ adds only Arrow's small crates");
    }
    if is_provider(member) && (is_http_client(dependency) || is_sdk(dependency) || is_io(dependency)) {
        return Some("providers do no I/O");
    }
    if is_http_server(dependency) && member.folder != "apps/server" && !is_example(member) {
        return Some("only apps/server knows HTTP and protobuf");
    }
    None
}

/// Two versions of the contract in one build must be refused by cargo, not lose half of the plugins.
pub(crate) fn links(members: &[Member]) -> Vec<Finding> {
    let base = members.iter().find(|member| member.folder == "core/base");
    match base {
        Some(base) if base.links.as_deref() == Some("larder_base") => Vec::new(),
        Some(base) => vec![Finding::new(
            &base.folder,
            "the manifest must say links = \"larder_base\"",
        )],
        None => vec![Finding::new("core/base", "there is no such crate")],
    }
}

pub(super) fn is_arrow(name: &str) -> bool {
    name == "arrow" || name.starts_with("arrow-")
}

pub(super) fn is_http_client(name: &str) -> bool {
    matches!(
        name,
        "reqwest"
            | "hyper"
            | "hyper-util"
            | "hyper-rustls"
            | "h2"
            | "ureq"
            | "isahc"
            | "curl"
            | "surf"
            | "attohttpc"
    )
}

pub(super) fn is_sdk(name: &str) -> bool {
    const PREFIXES: [&str; 8] = [
        "aws-",
        "azure_",
        "google-cloud",
        "tokio-postgres",
        "deadpool",
        "sqlx",
        "datafusion",
        "deltalake",
    ];
    const NAMES: [&str; 6] = ["redis", "fred", "rustis", "postgres", "rdkafka", "diesel"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

fn is_http_server(name: &str) -> bool {
    const PREFIXES: [&str; 5] = ["axum", "tonic", "prost", "tower-http", "utoipa"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || matches!(name, "actix-web" | "warp" | "rocket" | "poem")
}

fn is_io(name: &str) -> bool {
    name.starts_with("tokio")
        || name.starts_with("async-std")
        || matches!(
            name,
            "object_store" | "smol" | "heed" | "parquet" | "mio" | "socket2"
        )
}

fn is_store(member: &Member) -> bool {
    member.folder.starts_with("stores/")
}

fn is_provider(member: &Member) -> bool {
    member.folder.starts_with("providers/")
}

fn is_app(member: &Member) -> bool {
    member.folder.starts_with("apps/")
}

fn is_example(member: &Member) -> bool {
    member.folder.starts_with("examples/")
}

fn is_helper(member: &Member) -> bool {
    SHARED_HELPERS.contains(&member.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::model::sample;
    use super::*;

    use Kind::{Build, Dev, Normal};

    fn workspace(broken: &[Member]) -> Vec<Member> {
        let mut members = vec![
            sample("core/base", "larder-base", &[]),
            sample("core/core", "larder-core", &[("larder-base", Normal)]),
            sample(
                "core/conformance",
                "larder-conformance",
                &[("larder-core", Normal)],
            ),
            sample(
                "core/engine",
                "larder-engine",
                &[("larder-core", Normal), ("larder-conformance", Dev)],
            ),
            sample(
                "core/larder",
                "larder",
                &[("larder-engine", Normal), ("larder-local", Normal)],
            ),
            sample(
                "stores/local",
                "larder-local",
                &[("larder-base", Normal), ("larder-conformance", Dev)],
            ),
            sample(
                "stores/postgres",
                "larder-postgres",
                &[("larder-core", Normal), ("larder-warehouse-sql", Normal)],
            ),
            sample(
                "stores/warehouse-sql",
                "larder-warehouse-sql",
                &[("larder-core", Normal)],
            ),
            sample(
                "providers/local",
                "larder-provider-local",
                &[("larder-base", Normal)],
            ),
            sample("apps/server", "larder-server", &[("larder-engine", Normal)]),
            sample(
                "apps/cli",
                "larder-cli",
                &[("larder", Normal), ("larder-server", Normal)],
            ),
            sample(
                "examples/quickstart",
                "larder-example-quickstart",
                &[("larder", Normal)],
            ),
            sample("xtask", "xtask", &[("serde_json", Normal)]),
        ];
        members.retain(|member| broken.iter().all(|other| other.folder != member.folder));
        members.extend_from_slice(broken);
        members
    }

    #[track_caller]
    fn refuses(member: Member, offender: &str) {
        let findings = between_members(&workspace(&[member]));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.ends_with(offender), "{findings:?}");
    }

    #[test]
    fn the_design_itself_is_allowed() {
        assert_eq!(between_members(&workspace(&[])), []);
    }

    #[test]
    fn each_wrong_arrow_is_found() {
        refuses(
            sample("core/base", "larder-base", &[("larder-core", Normal)]),
            "larder-core",
        );
        refuses(
            sample("core/base", "larder-base", &[("larder-core", Build)]),
            "larder-core",
        );
        refuses(
            sample("core/core", "larder-core", &[("larder-conformance", Dev)]),
            "larder-conformance",
        );
        refuses(
            sample("core/engine", "larder-engine", &[("larder-local", Normal)]),
            "larder-local",
        );
        refuses(
            sample("core/engine", "larder-engine", &[("larder-local", Dev)]),
            "larder-local",
        );
        refuses(
            sample("core/engine", "larder-engine", &[("larder-conformance", Normal)]),
            "larder-conformance",
        );
        refuses(
            sample(
                "core/conformance",
                "larder-conformance",
                &[("larder-engine", Normal)],
            ),
            "larder-engine",
        );
        refuses(
            sample("stores/redis", "larder-redis", &[("larder-local", Normal)]),
            "larder-local",
        );
        refuses(
            sample("stores/redis", "larder-redis", &[("larder-local", Dev)]),
            "larder-local",
        );
        refuses(
            sample("stores/redis", "larder-redis", &[("larder-engine", Normal)]),
            "larder-engine",
        );
        refuses(
            sample("stores/redis", "larder-redis", &[("larder-conformance", Normal)]),
            "larder-conformance",
        );
        refuses(
            sample(
                "providers/aws",
                "larder-provider-aws",
                &[("larder-local", Normal)],
            ),
            "larder-local",
        );
        refuses(
            sample("apps/server", "larder-server", &[("larder-local", Normal)]),
            "larder-local",
        );
        refuses(
            sample("apps/cli", "larder-cli", &[("larder-local", Normal)]),
            "larder-local",
        );
        refuses(sample("benches", "larder-benches", &[("xtask", Normal)]), "xtask");
        refuses(
            sample("xtask", "xtask", &[("larder-base", Normal)]),
            "larder-base",
        );
    }

    #[test]
    fn crates_of_others_are_refused_by_place() {
        let refused = |folder: &str, dependency: &str, kind| {
            !to_outside(&[sample(folder, "x", &[(dependency, kind)])]).is_empty()
        };
        for dependency in [
            "arrow-array",
            "reqwest",
            "hyper",
            "aws-sdk-dynamodb",
            "redis",
            "object_store",
            "parquet",
        ] {
            assert!(refused("core/base", dependency, Normal), "{dependency}");
        }
        assert!(refused("core/core", "arrow", Normal) && refused("core/core", "arrow-flight", Normal));
        assert!(refused("core/engine", "tokio-postgres", Normal));
        assert!(
            refused("providers/aws", "tokio", Normal) && refused("providers/aws", "object_store", Normal)
        );
        assert!(refused("stores/redis", "axum", Normal) && refused("apps/cli", "prost-types", Normal));
        assert!(refused("core/base", "reqwest", Build));

        assert!(!refused("core/core", "arrow-array", Normal) && !refused("core/base", "tokio", Normal));
        assert!(!refused("stores/redis", "redis", Normal) && !refused("stores/parquet", "arrow-ipc", Normal));
        assert!(!refused("apps/server", "axum", Normal) && !refused("providers/local", "tokio", Dev));
    }

    #[test]
    fn a_base_without_links_is_found() {
        let mut base = sample("core/base", "larder-base", &[]);
        assert_eq!(links(std::slice::from_ref(&base)).len(), 1);
        base.links = Some("larder_base".to_owned());
        assert_eq!(links(&[base]), []);
        assert_eq!(links(&[]).len(), 1);
    }

    #[test]
    fn a_store_shares_one_helper_at_most() {
        let helpers = [("larder-warehouse-sql", Normal), ("larder-warehouse-sql", Build)];
        let findings = between_members(&workspace(&[sample(
            "stores/redshift",
            "larder-redshift",
            &helpers,
        )]));
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}
