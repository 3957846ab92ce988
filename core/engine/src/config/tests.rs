//! Project files, right and wrong; no secret in any message.

use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use larder_base::plugin::{ProviderConfig, ProviderStack, RegistryConfig};
use larder_base::{
    BuildContext, Error, ErrorKind, Plugin, Registry, Result, Role, StoreName, async_trait, memory, typetag,
};
use serde::Deserialize;

use super::{Plugins, Project, Variables};

const SECRET: &str = "redis://user:hunter2@host:6379";

/// A registry with options of every kind, to see what messages say about them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Picky {
    url: Address,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    nodes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Address(#[allow(dead_code)] String);

impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> std::result::Result<Self, String> {
        match text.contains("bad") {
            false => Ok(Self(text)),
            true => Err(format!("`{text}` is no address")),
        }
    }
}

#[typetag::deserialize(name = "picky")]
#[async_trait::async_trait]
impl RegistryConfig for Picky {
    async fn build(&self, _cx: &BuildContext) -> Result<std::sync::Arc<dyn Registry>> {
        Err(Error::unsupported("only for tests"))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stack {
    #[serde(default)]
    url: String,
    #[serde(default)]
    broken: bool,
}

#[typetag::deserialize(name = "stack")]
impl ProviderConfig for Stack {
    fn expand(&self) -> ProviderStack {
        ProviderStack {
            registry: serde_json::json!({ "type": "picky", "url": self.url, "port": if self.broken { "many" } else { "7" }.parse::<u16>().ok() }),
            online: serde_json::json!({ "type": "memory" }),
            offline: serde_json::Value::Null,
        }
    }
}

const fn plugin(role: Role, name: &'static str) -> Plugin {
    Plugin {
        role,
        name,
        summary: "For tests.",
        example: "registry: { type: picky, url: x }",
        capabilities: &[],
        package: "tests",
        version: "0.0.0",
        feature: "",
        sources: &[],
    }
}

static PICKY: Plugin = plugin(Role::Registry, "picky");
static STACK: Plugin = plugin(Role::Provider, "stack");

fn plugins() -> Plugins {
    Plugins::new(&[
        &memory::ONLINE_PLUGIN,
        &memory::REGISTRY_PLUGIN,
        &PICKY,
        &STACK,
        &PICKY,
    ])
    .expect("plugins of different names")
}

fn variables() -> Variables {
    Variables::from_fn(|name| match name {
        "URL" => Some(SECRET.to_owned()),
        "BAD" => Some("bad-hunter2".to_owned()),
        "PORT" => Some("6379".to_owned()),
        "YES" => Some("true".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

fn project(text: &str, env: Option<&str>) -> Result<Project> {
    Project::parse(Path::new("shop/larder.yaml"), text, env, &plugins(), variables())
}

fn lines(error: &Error) -> String {
    if error.diagnostics().is_empty() {
        return error.to_string();
    }
    let lines: Vec<String> = error.diagnostics().iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What is wrong with a file that does not load.
fn refused(text: &str, expected: &Expect) {
    let error = project(text, None).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Config);
    expected.assert_eq(&lines(&error));
}

/// What is wrong with a registry block that is used.
fn registry(block: &str, expected: &Expect) {
    let project = project(&format!("project: shop\nregistry: {block}\n"), None).expect("a file that loads");
    let said = match project.registry_config() {
        Ok(config) => format!("{config:?}"),
        Err(error) => {
            let text = format!("{error:?} {}", lines(&error));
            assert!(!text.contains("hunter2"), "{text}");
            lines(&error)
        }
    };
    expected.assert_eq(&said);
}

#[test]
fn short_and_long_forms() {
    let text = "project: shop\nonline: { type: memory }\nregistry: { type: memory }\n";
    let shop = project(text, None).expect("a project");
    assert_eq!((shop.name.as_str(), &*shop.dir), ("shop", Path::new("shop")));
    assert_eq!(shop.definitions.path, PathBuf::from("shop/features/"));
    assert_eq!(shop.definitions.set.as_str(), "shop");
    let default = StoreName::default_store();
    assert_eq!(shop.online_names(), [default.clone()]);
    shop.online_config(&default).expect("the online store");
    shop.registry_config().expect("the registry");
    assert!(shop.offline_names().is_empty());
    let text = "project: shop\ndefinitions: { path: defs, set: team-risk }\n\
        online: { default: b, stores: { a: { type: redis }, b: { type: memory } } }\n";
    let shop = project(text, None).expect("a project");
    assert_eq!(shop.definitions.path, PathBuf::from("shop/defs"));
    assert_eq!(shop.definitions.set.as_str(), "team-risk");
    let names: Vec<String> = shop.online_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["b", "a"], "the default one first");
    shop.online_config(&default).expect("b");
    assert_eq!(shop.online_name(&default).as_str(), "b");
    assert_eq!(shop.type_of(Role::Online, &default).as_deref(), Some("memory"));
    let error = shop
        .online_config(&StoreName::new("a").expect("a name"))
        .expect_err("not compiled in");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = shop
        .online_config(&StoreName::new("c").expect("a name"))
        .expect_err("no such store");
    expect![[""]].assert_eq(&error.to_string());
    let error = shop.registry_config().expect_err("no block");
    expect![[""]].assert_eq(&error.to_string());
}

#[test]
fn environments_replace_whole_blocks() {
    let text = "project: shop\nregistry: { type: picky, url: here, port: 1 }\nonline: { type: redis }\n\
        environments:\n  test: { registry: { type: picky, url: there } }\n  local: { provider: { type: stack } }\n";
    let registry = |env| {
        let project = project(text, env).expect("a project");
        format!("{:?}", project.registry_config().expect("a registry"))
    };
    assert_eq!(
        registry(None),
        r#"Picky { url: Address("here"), port: 1, tls: false, nodes: [] }"#
    );
    assert_eq!(
        registry(Some("test")),
        r#"Picky { url: Address("there"), port: 0, tls: false, nodes: [] }"#
    );
    let local = project(text, Some("local")).expect("a project");
    local
        .online_config(&StoreName::default_store())
        .expect("the provider replaces the stores");
    let error = project(text, Some("tset")).expect_err("unknown");
    expect![[""]].assert_eq(&error.to_string());
}

#[test]
fn providers_stand_for_blocks() {
    let shop = project(
        "project: shop\nprovider: { type: stack, url: \"${URL}\" }\nonline: { type: memory }",
        None,
    )
    .expect("a project");
    let registry = shop.registry_config().expect("a registry");
    assert!(format!("{registry:?}").contains("7"), "{registry:?}");
    assert_eq!(shop.online_names().len(), 1);
    let broken =
        project("project: shop\nprovider: { type: stack, url: \"${BAD}\" }", None).expect("a project");
    let error = broken.registry_config().expect_err("a bad address");
    expect![[""]].assert_eq(&error.to_string());
    #[cfg(feature = "offline")]
    {
        let error = shop
            .offline_config(&StoreName::default_store())
            .expect_err("none");
        expect![[""]].assert_eq(&error.to_string());
    }
    let unknown = project("project: shop\nprovider: { type: aws, region: x }", None).expect("a project");
    expect![[""]].assert_eq(&lines(&unknown.registry_config().expect_err("a later part")));
}

#[test]
fn files_that_do_not_load() {
    for (text, expected) in [
        ("", expect![[""]]),
        ("- a", expect![[""]]),
        ("project: a\n---\nproject: b", expect![[""]]),
        ("online: { type: memory }", expect![[""]]),
        ("project: my shop", expect![[""]]),
        ("project: x\nonlin: { type: memory }\nregistri: 1", expect![[""]]),
        ("project: x\nonline: memory", expect![[""]]),
        ("project: x\nonline: { path: x }", expect![[""]]),
        ("project: x\nonline: { type: [a] }", expect![[""]]),
        (
            "project: x\nregistry: { stores: { a: { type: memory } } }",
            expect![[""]],
        ),
        ("project: x\nonline: { stores: {} }", expect![[""]]),
        (
            "project: x\nonline: { stores: { a: { type: m }, b: { type: m } } }",
            expect![[""]],
        ),
        (
            "project: x\nonline: { default: c, stores: { a: { type: m } } }",
            expect![[""]],
        ),
        (
            "project: x\nonline: { defalt: a, stores: { a: { tpe: m } } }",
            expect![[""]],
        ),
        ("project: x\nenvironments: [prod]", expect![[""]]),
        (
            "project: x\nenvironments: { prod: { onlin: { type: m } } }",
            expect![[""]],
        ),
        ("project: x\ndefinitions: { paths: x }", expect![[""]]),
        ("project: x\ndefinitions: [a]", expect![[""]]),
        ("project: x\ndefinitions: ${NOWHERE}/features", expect![[""]]),
        ("project: x\ncompat: { expired: return }", expect![[""]]),
        (
            "project: x\nregistry: { type: picky, url: ${URL} }",
            expect![[""]],
        ),
    ] {
        refused(text, &expected);
    }
}

#[test]
fn blocks_that_cannot_be_used() {
    for (block, expected) in [
        (
            "{ type: picky, url: x, port: 7, tls: true, nodes: [a, 1] }",
            expect![[""]],
        ),
        ("{ port: 7, url: x, type: picky }", expect![[""]]),
        ("{ type: picky }", expect![[""]]),
        ("{ type: picky, ulr: x }", expect![[""]]),
        ("{ type: picky, url: x, port: many }", expect![[""]]),
        ("{ type: picky, url: x, tls: yes }", expect![[""]]),
        ("{ type: picky, url: x, nodes: a }", expect![[""]]),
        ("{ type: picky, url: x, nodes: [a, [b]] }", expect![[""]]),
        ("{ type: picky, url: bad }", expect![[""]]),
        ("{ type: pikcy, url: x }", expect![[""]]),
        ("{ type: file }", expect![[""]]),
        ("{ type: postgres }", expect![[""]]),
    ] {
        registry(block, &expected);
    }
}

#[test]
fn variables_expand_and_are_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "from-a-file\n").expect("a file");
    registry(
        &format!("{{ type: picky, url: \"${{file:{}}}\" }}", path.display()),
        &expect![[""]],
    );
    for (block, expected) in [
        (
            "{ type: picky, url: \"x${PORT}y${NONE:-z}\", port: \"${PORT}\", tls: \"${YES}\" }",
            expect![[""]],
        ),
        ("{ type: picky, url: \"$${PORT} costs $5\" }", expect![[""]]),
        ("{ type: picky, url: \"${EMPTY:-full}${EMPTY}\" }", expect![[""]]),
        ("{ type: picky, url: \"${NOWHERE}\" }", expect![[""]]),
        ("{ type: picky, url: \"${no way}\" }", expect![[""]]),
        ("{ type: picky, url: \"${PORT\" }", expect![[""]]),
        ("{ type: picky, url: \"${file:/no/such/file}\" }", expect![[""]]),
        ("{ type: picky, url: \"${BAD}\" }", expect![[""]]),
        ("{ type: picky, url: \"really ${BAD}\" }", expect![[""]]),
        ("{ type: picky, url: x, port: \"${BAD}\" }", expect![[""]]),
        ("{ type: picky, url: x, tls: \"${BAD}\" }", expect![[""]]),
        ("{ type: picky, url: x, nodes: \"${BAD}\" }", expect![[""]]),
        ("{ type: \"${BAD}\" }", expect![[""]]),
    ] {
        registry(block, &expected);
    }
    let text = format!("project: shop\nregistry: {{ type: picky, url: \"{SECRET}\" }}\n");
    let shop = project(&text, None).expect("a project");
    assert!(!format!("{shop:?}").contains("hunter2"), "{shop:?}");
}

#[test]
fn files_that_are_not_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = |path: &Path| {
        let error = Project::load(path, None, &plugins()).expect_err("nothing there");
        error
            .to_string()
            .replace(&folder.path().display().to_string(), "FOLDER")
    };
    expect![[""]].assert_eq(&said(folder.path()));
    expect![[""]].assert_eq(&said(&folder.path().join("gone")));
    expect![[""]].assert_eq(&said(&folder.path().join("gone/larder.yaml")));
    std::fs::write(folder.path().join("larder.yaml"), "project: shop").expect("a file");
    let shop = Project::load(folder.path(), None, &plugins()).expect("a project");
    assert_eq!(shop.file, folder.path().join("larder.yaml"));
}

#[test]
fn one_type_from_two_crates_is_refused() {
    static OTHER: Plugin = Plugin {
        package: "others",
        ..plugin(Role::Registry, "picky")
    };
    let error = Plugins::new(&[&PICKY, &OTHER]).expect_err("a conflict");
    expect![[""]].assert_eq(&error.to_string());
    assert_eq!(plugins().iter().count(), 4);
    assert!(plugins().get(Role::Online, "memory").is_some());
}
