//! May every package be used and shipped, once, and from where does it come?
//!
//! The lists are those of `deny.toml`, so that cargo-deny and this check never disagree on them.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Package;
use super::{Finding, spdx};

const PLACE: &str = "deny.toml";

pub(crate) fn licences(packages: &[Package], deny: &str) -> Vec<Finding> {
    let allowed = strings(deny, "licenses", "allow");
    if allowed.is_empty() {
        return vec![Finding::new(PLACE, "[licenses] allow is missing or empty")];
    }
    let mut findings = Vec::new();
    for package in packages {
        let place = format!("{} {}", package.name, package.version);
        match package
            .license
            .as_deref()
            .map(|license| (license, spdx::satisfied(license, &allowed)))
        {
            Some((_, Ok(true))) => {}
            Some((license, Ok(false))) => {
                findings.push(Finding::new(place, format!("licence {license} is not allowed")))
            }
            Some((_, Err(reason))) => findings.push(Finding::new(place, reason)),
            None => findings.push(Finding::new(place, "states no licence")),
        }
    }
    findings
}

/// Two versions of one package cost build time and can tear types apart; each pair is listed with its reason.
pub(crate) fn duplicates(packages: &[Package], deny: &str) -> Vec<Finding> {
    let skips: Vec<String> = strings(deny, "bans", "skip")
        .into_iter()
        .filter(|entry| entry.contains('@'))
        .collect();
    let skipped = |package: &Package| skips.iter().position(|skip| matches(skip, package));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for package in packages {
        match skipped(package) {
            Some(skip) => drop(used.insert(skip)),
            None => drop(
                versions
                    .entry(&package.name)
                    .or_default()
                    .insert(&package.version),
            ),
        }
    }
    let mut findings = Vec::new();
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let versions: Vec<&str> = versions.into_iter().collect();
        findings.push(Finding::new(
            name,
            format!(
                "has versions {}: unite them, or skip one with a reason",
                versions.join(", ")
            ),
        ));
    }
    for (at, skip) in skips.iter().enumerate().filter(|(at, _)| !used.contains(at)) {
        findings.push(Finding::new(
            PLACE,
            format!("skip {skip} (entry {}) matches no package: remove it", at + 1),
        ));
    }
    findings
}

/// `name@2` means every 2.x, `name@0.8` every 0.8.x.
fn matches(skip: &str, package: &Package) -> bool {
    let Some((name, version)) = skip.split_once('@') else {
        return false;
    };
    let tail = package.version.strip_prefix(version);
    name == package.name && tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('.'))
}

pub(crate) fn sources(packages: &[Package]) -> Vec<Finding> {
    const CRATES_IO: [&str; 2] = [
        "registry+https://github.com/rust-lang/crates.io-index",
        "sparse+https://index.crates.io/",
    ];
    let foreign = packages.iter().filter(|package| {
        package
            .source
            .as_deref()
            .is_some_and(|source| !CRATES_IO.contains(&source))
    });
    foreign
        .map(|package| {
            let source = package.source.as_deref().unwrap_or_default();
            Finding::new(
                &package.name,
                format!("comes from {source}; published crates may only use crates.io"),
            )
        })
        .collect()
}

/// The strings of `key = [ … ]` in `[section]`, comments left out. For a table entry only its `crate` counts.
fn strings(toml: &str, section: &str, key: &str) -> Vec<String> {
    let header = format!("[{section}]");
    let lines = toml.lines().skip_while(|line| line.trim() != header).skip(1);
    let body = lines
        .take_while(|line| !line.starts_with('['))
        .map(without_comment)
        .collect::<Vec<_>>()
        .join("\n");
    let start = body.lines().scan(0, |at, line| {
        let here = *at;
        *at += line.len() + 1;
        Some((here, line))
    });
    let opens = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    let Some(start) = start.filter(|(_, line)| opens(line)).map(|(at, _)| at).next() else {
        return Vec::new();
    };
    let array = &body[start..];
    let array = &array[..array.find(']').unwrap_or(array.len())];
    let quoted = array.split('"').collect::<Vec<_>>();
    // The pieces alternate: outside, inside, outside …; what stands before a string tells its key.
    let inside = quoted.windows(2).step_by(2);
    inside
        .filter(|pair| !pair[0].contains("reason"))
        .map(|pair| pair[1].to_owned())
        .collect()
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = r#"
[licenses]
version = 2
allow = [
    "MIT", # and "Not-This"
    "Apache-2.0",
]

[bans]
multiple-versions = "deny"
skip = [
    { crate = "syn@2", reason = "half of the macros use rand@9" },
    { crate = "rand@0.8", reason = "r#" },
]
"#;

    fn package(name: &str, version: &str, license: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            license: license.map(str::to_owned),
            source: Some("registry+https://github.com/rust-lang/crates.io-index".to_owned()),
        }
    }

    #[test]
    fn the_lists_are_read_from_the_file() {
        assert_eq!(strings(DENY, "licenses", "allow"), ["MIT", "Apache-2.0"]);
        assert_eq!(strings(DENY, "bans", "skip"), ["syn@2", "rand@0.8"]);
        assert!(strings(DENY, "bans", "allow").is_empty());
    }

    #[test]
    fn a_foreign_or_missing_licence_is_found() {
        assert_eq!(
            licences(&[package("good", "1.0.0", Some("MIT OR GPL-3.0"))], DENY),
            []
        );
        for license in [Some("GPL-3.0"), Some("Not-This"), Some("MIT OR"), None] {
            assert_eq!(
                licences(&[package("bad", "1.0.0", license)], DENY).len(),
                1,
                "{license:?}"
            );
        }
        assert_eq!(licences(&[], "[bans]\n").len(), 1);
    }

    #[test]
    fn an_unlisted_duplicate_and_an_idle_skip_are_found() {
        let listed = [
            package("syn", "2.0.1", None),
            package("syn", "3.0.0", None),
            package("rand", "0.8.5", None),
        ];
        assert_eq!(duplicates(&listed, DENY), []);
        let mut third = listed.to_vec();
        third.push(package("syn", "1.0.0", None));
        assert_eq!(duplicates(&third, DENY).len(), 1);
        assert_eq!(duplicates(&listed[1..], DENY).len(), 1, "syn@2 is idle");
        let near = [
            package("syn", "2.0.1", None),
            package("rand", "0.8.5", None),
            package("a", "20.0.0", None),
            package("a", "2.0.0", None),
        ];
        assert_eq!(duplicates(&near, DENY).len(), 1);
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        let ours = Package {
            source: None,
            ..package("larder", "0.1.0", None)
        };
        let git = Package {
            source: Some("git+https://example.org/x".to_owned()),
            ..ours.clone()
        };
        assert_eq!(sources(&[ours, package("serde", "1.0.0", None)]), []);
        assert_eq!(sources(&[git]).len(), 1);
    }
}
