//! Does each crate say in its manifest what a registry and a reader need?

use super::Finding;
use super::model::Member;

/// The folder decides the crate's name, without exception.
pub(crate) fn names(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        match expected_name(&member.folder) {
            Some(expected) if expected == member.name => {}
            Some(expected) => findings.push(Finding::new(
                &member.folder,
                format!("the crate is called {}, not {expected}", member.name),
            )),
            None => findings.push(Finding::new(
                &member.folder,
                "crates live in the folders of ARCHITECTURE.md only",
            )),
        }
    }
    findings
}

fn expected_name(folder: &str) -> Option<String> {
    match folder.split('/').collect::<Vec<_>>().as_slice() {
        ["core", "larder"] => Some("larder".to_owned()),
        ["core" | "stores" | "apps", name] => Some(format!("larder-{name}")),
        ["providers", name] => Some(format!("larder-provider-{name}")),
        ["examples", name] => Some(format!("larder-example-{name}")),
        ["benches"] => Some("larder-benches".to_owned()),
        ["xtask"] => Some("xtask".to_owned()),
        _ => None,
    }
}

/// What a crate needs before it may be published; examples, benches and xtask must say that they are not.
pub(crate) fn publishable(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let mut missing = |what: &str| findings.push(Finding::new(&member.folder, what.to_owned()));
        let published = ["core/", "stores/", "providers/", "apps/"]
            .iter()
            .any(|place| member.folder.starts_with(place));
        if published != member.publishable {
            missing(if published {
                "publish = false hides a crate that users add"
            } else {
                "must say publish = false"
            });
        }
        if !member.publishable {
            continue;
        }
        if member.version.is_empty() || member.version == "0.0.0" {
            missing("needs a version");
        }
        if member.description.is_empty() {
            missing("needs a description");
        }
        if member.license != "Apache-2.0" {
            missing("needs license.workspace = true");
        }
        if !member.has_readme {
            missing("needs a README.md");
        }
        if !member.has_docs_rs {
            missing("needs [package.metadata.docs.rs]");
        }
    }
    findings
}

pub(crate) fn lints(members: &[Member]) -> Vec<Finding> {
    let without = members.iter().filter(|member| !member.inherits_lints);
    without
        .map(|member| Finding::new(&member.folder, "needs [lints] workspace = true"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::sample;
    use super::*;

    fn good() -> Member {
        Member {
            version: "0.1.0".to_owned(),
            description: "A store".to_owned(),
            license: "Apache-2.0".to_owned(),
            publishable: true,
            has_readme: true,
            has_docs_rs: true,
            inherits_lints: true,
            ..sample("stores/redis", "larder-redis", &[])
        }
    }

    #[test]
    fn names_follow_folders() {
        let right = [
            ("core/larder", "larder"),
            ("core/base", "larder-base"),
            ("stores/redis", "larder-redis"),
            ("providers/aws", "larder-provider-aws"),
            ("apps/cli", "larder-cli"),
            ("xtask", "xtask"),
            ("examples/flights", "larder-example-flights"),
            ("benches", "larder-benches"),
        ];
        for (folder, name) in right {
            assert_eq!(names(&[sample(folder, name, &[])]), [], "{folder}");
        }
        for (folder, name) in [
            ("stores/redis", "redis-larder"),
            ("providers/aws", "larder-aws"),
            ("lib/odd", "larder-odd"),
        ] {
            assert_eq!(names(&[sample(folder, name, &[])]).len(), 1, "{folder}");
        }
    }

    #[test]
    fn each_missing_part_of_a_published_crate_is_found() {
        assert_eq!(publishable(&[good()]), []);
        let breaks: [fn(&mut Member); 6] = [
            |member| member.version.clear(),
            |member| member.description.clear(),
            |member| member.license = "GPL-3.0".to_owned(),
            |member| member.has_readme = false,
            |member| member.has_docs_rs = false,
            |member| member.publishable = false,
        ];
        for broken in breaks {
            let mut member = good();
            broken(&mut member);
            assert_eq!(publishable(&[member]).len(), 1);
        }
        let example = Member {
            folder: "examples/x".to_owned(),
            ..good()
        };
        assert_eq!(
            publishable(&[example]),
            [Finding::new("examples/x", "must say publish = false")]
        );
    }

    #[test]
    fn a_crate_with_its_own_lints_is_found() {
        assert_eq!(lints(&[good()]), []);
        assert_eq!(
            lints(&[Member {
                inherits_lints: false,
                ..good()
            }])
            .len(),
            1
        );
    }
}
