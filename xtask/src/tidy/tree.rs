//! What do the smallest builds really contain, once features are resolved for them alone?

use std::collections::BTreeSet;

use super::Finding;
use super::arrows::{is_arrow, is_http_client, is_sdk};
use crate::shell::{self, Result};

/// An inference server that only reads online must stay small.
const ONLINE_LIMIT: usize = 120;
/// The client of Postgres signs in with hashes of its own and binds that to the server's certificate, which it parses.
const POSTGRES_LIMIT: usize = 125;
/// AWS's client signs, finds credentials in six ways, and speaks HTTP; with its own TLS it would be more.
const DYNAMODB_LIMIT: usize = 185;

/// Names and versions of the packages in each build.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    base: BTreeSet<String>,
    core: BTreeSet<String>,
    online: BTreeSet<String>,
    redis: BTreeSet<String>,
    postgres: BTreeSet<String>,
    dynamodb: BTreeSet<String>,
    default: BTreeSet<String>,
}

impl Trees {
    pub(crate) fn read() -> Result<Self> {
        Ok(Self {
            base: tree(&["larder-base"])?,
            core: tree(&["larder-core"])?,
            online: tree(&["larder", "--no-default-features", "--features", "local"])?,
            redis: tree(&["larder", "--no-default-features", "--features", "redis"])?,
            postgres: tree(&["larder", "--no-default-features", "--features", "postgres"])?,
            dynamodb: tree(&["larder", "--no-default-features", "--features", "dynamodb"])?,
            default: tree(&["larder"])?,
        })
    }

    pub(crate) fn numbers(&self) -> Vec<String> {
        let line = |what: &str, tree: &BTreeSet<String>| format!("{:>4} packages in {what}", tree.len());
        vec![
            line("larder-base", &self.base),
            line("larder-core", &self.core),
            format!(
                "{} (limit {ONLINE_LIMIT})",
                line("larder with only `local`, the online build", &self.online)
            ),
            format!(
                "{} (limit {ONLINE_LIMIT})",
                line("larder with only `redis`", &self.redis)
            ),
            format!(
                "{} (limit {POSTGRES_LIMIT})",
                line("larder with only `postgres`", &self.postgres)
            ),
            format!(
                "{} (limit {DYNAMODB_LIMIT})",
                line("larder with only `dynamodb`", &self.dynamodb)
            ),
            line("larder with default features", &self.default),
        ]
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut refuse = |place: &str, tree: &BTreeSet<String>, hit: &dyn Fn(&str) -> bool| {
            let names = tree
                .iter()
                .map(|package| package.split(' ').next().unwrap_or(package));
            for name in names.filter(|name| hit(name)) {
                findings.push(Finding::new(
                    place,
                    format!("contains {name}, directly or through others"),
                ));
            }
        };
        let heavy = |name: &str| {
            is_http_client(name) || is_sdk(name) || matches!(name, "parquet" | "object_store" | "arrow")
        };
        refuse("larder-base", &self.base, &|name| heavy(name) || is_arrow(name));
        refuse("larder-core", &self.core, &heavy);
        let builds = [
            ("larder with only `local`", &self.online, ONLINE_LIMIT),
            ("larder with only `redis`", &self.redis, ONLINE_LIMIT),
            ("larder with only `postgres`", &self.postgres, POSTGRES_LIMIT),
            ("larder with only `dynamodb`", &self.dynamodb, DYNAMODB_LIMIT),
        ];
        for (place, tree, _) in builds {
            // The client of the backend itself is what the build is for.
            let own = |name: &str| {
                let client = name.strip_prefix("tokio-").unwrap_or(name);
                let backend = match client.strip_suffix("-rustls").unwrap_or(client) {
                    // DynamoDB is asked over HTTP.
                    client if client.starts_with("aws-") || client.starts_with("hyper") || client == "h2" => {
                        "dynamodb"
                    }
                    client => client,
                };
                place.contains(&format!("`{backend}`"))
            };
            refuse(place, tree, &|name| (heavy(name) && !own(name)) || is_arrow(name));
        }
        for (place, tree, limit) in builds.into_iter().filter(|(_, tree, limit)| tree.len() > *limit) {
            let count = tree.len();
            findings.push(Finding::new(
                place,
                format!("{count} packages, more than {limit}"),
            ));
        }
        findings
    }
}

fn tree(package: &[&str]) -> Result<BTreeSet<String>> {
    let mut command = shell::cargo(["tree", "--edges", "normal", "--prefix", "none", "--package"]);
    Ok(parse(&shell::read(command.args(package))?))
}

/// `name v1.2.3 (path) (*)` per line; name and version make a package.
fn parse(output: &str) -> BTreeSet<String> {
    let package = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    output
        .lines()
        .map(package)
        .filter(|package| !package.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| format!("{name} v1.0.0")).collect()
    }

    #[test]
    fn repeated_lines_are_one_package() {
        let tree =
            parse("larder v0.1.0 (/somewhere)\nserde v1.0.0\nserde v1.0.0 (*)\nrand v0.8.0\nrand v0.9.0\n\n");
        assert_eq!(tree.len(), 4, "{tree:?}");
    }

    #[test]
    fn what_creeps_into_a_small_build_is_found() {
        assert_eq!(
            Trees {
                core: packages(&["arrow-array"]),
                ..Trees::default()
            }
            .findings(),
            []
        );
        let default = packages(&["arrow-array", "parquet", "object_store"]);
        assert_eq!(
            Trees {
                default,
                ..Trees::default()
            }
            .findings(),
            []
        );
        for name in ["arrow", "arrow-schema", "hyper", "aws-config", "parquet"] {
            assert_eq!(
                Trees {
                    base: packages(&[name]),
                    ..Trees::default()
                }
                .findings()
                .len(),
                1,
                "{name}"
            );
            assert_eq!(
                Trees {
                    online: packages(&[name]),
                    ..Trees::default()
                }
                .findings()
                .len(),
                1,
                "{name}"
            );
        }
        for name in ["arrow", "reqwest", "object_store", "redis"] {
            assert_eq!(
                Trees {
                    core: packages(&[name]),
                    ..Trees::default()
                }
                .findings()
                .len(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn an_online_build_that_grew_is_found() {
        let online = |count: usize| {
            (0..count)
                .map(|index| format!("package-{index} v1.0.0"))
                .collect()
        };
        assert_eq!(
            Trees {
                online: online(ONLINE_LIMIT),
                ..Trees::default()
            }
            .findings(),
            []
        );
        assert_eq!(
            Trees {
                online: online(ONLINE_LIMIT + 1),
                ..Trees::default()
            }
            .findings()
            .len(),
            1
        );
    }
}
