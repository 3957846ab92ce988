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
        docs: "",
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
    assert_eq!(shop.online_names(), std::slice::from_ref(&default));
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
    expect!["there is no online store `c` in shop/larder.yaml; did you mean `a`?"]
        .assert_eq(&error.to_string());
    let error = shop.registry_config().expect_err("no block");
    expect!["shop/larder.yaml has no `registry:` block; add one, such as registry: { type: memory }"]
        .assert_eq(&error.to_string());
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
    expect!["there is no environment `tset` in shop/larder.yaml; did you mean `test`?"]
        .assert_eq(&error.to_string());
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
    expect!["shop/larder.yaml:2:11: the value of the provider's variables is not what is expected here"]
        .assert_eq(&error.to_string());
    #[cfg(feature = "offline")]
    {
        let error = shop
            .offline_config(&StoreName::default_store())
            .expect_err("none");
        expect!["shop/larder.yaml has no `offline:` block; add one; this build has no offline types"]
            .assert_eq(&error.to_string());
    }
    let unknown = project("project: shop\nprovider: { type: aws, region: x }", None).expect("a project");
    expect!["shop/larder.yaml:2:19: the provider type `aws` comes in a later part of larder; this build has: stack"].assert_eq(&lines(&unknown.registry_config().expect_err("a later part")));
}

#[test]
fn files_that_do_not_load() {
    for (text, expected) in [
        (
            "",
            expect!["shop/larder.yaml:1:1: the file is empty; begin with project: NAME"],
        ),
        (
            "- a",
            expect!["shop/larder.yaml:1:1: expected keys such as `project:`, found a list"],
        ),
        (
            "project: a\n---\nproject: b",
            expect![
                "shop/larder.yaml:3:1: the file holds more than one document; remove the `---` between them"
            ],
        ),
        (
            "online: { type: memory }",
            expect!["shop/larder.yaml:1:1: the key `project` is missing; name the project: project: fraud"],
        ),
        (
            "project: my shop",
            expect![
                "shop/larder.yaml:1:10: `my shop` is not a project name; use a letter or `_`, then letters, digits, `_`, `-`; at most 128 characters"
            ],
        ),
        (
            "project: x\nonlin: { type: memory }\nregistri: 1",
            expect![[r#"
            shop/larder.yaml:2:1: unknown key `onlin`; did you mean `online`?
            shop/larder.yaml:3:1: unknown key `registri`; did you mean `registry`?"#]],
        ),
        (
            "project: x\nonline: memory",
            expect![
                "shop/larder.yaml:2:9: expected a block with `type:`, found a string; write online: { type: …, … }"
            ],
        ),
        (
            "project: x\nonline: { path: x }",
            expect![
                "shop/larder.yaml:2:9: the online block has no `type:`; write { type: …, … }; `larder stores` lists the types"
            ],
        ),
        (
            "project: x\nonline: { type: [a] }",
            expect![
                "shop/larder.yaml:2:17: expected the name of a type, found a list; write { type: …, … }; `larder stores` lists the types"
            ],
        ),
        (
            "project: x\nregistry: { stores: { a: { type: memory } } }",
            expect!["shop/larder.yaml:2:21: there is only one registry, it has no `stores:`"],
        ),
        (
            "project: x\nonline: { stores: {} }",
            expect![
                "shop/larder.yaml:2:19: expected a map of stores by name; write stores: { lake: { type: … } }"
            ],
        ),
        (
            "project: x\nonline: { stores: { a: { type: m }, b: { type: m } } }",
            expect![
                "shop/larder.yaml:2:9: which of the online stores is the default is not said; add default: a"
            ],
        ),
        (
            "project: x\nonline: { default: c, stores: { a: { type: m } } }",
            expect!["shop/larder.yaml:2:20: there is no online store `c`; did you mean `a`?"],
        ),
        (
            "project: x\nonline: { defalt: a, stores: { a: { tpe: m } } }",
            expect![[r#"
                shop/larder.yaml:2:11: unknown key `defalt`; did you mean `default`?
                shop/larder.yaml:2:35: the online block has no `type:`; write { type: …, … }; `larder stores` lists the types"#]],
        ),
        (
            "project: x\nenvironments: [prod]",
            expect![
                "shop/larder.yaml:2:15: expected environments by name, found a list; write environments: { prod: { online: … } }"
            ],
        ),
        (
            "project: x\nenvironments: { prod: { onlin: { type: m } } }",
            expect!["shop/larder.yaml:2:25: unknown key `onlin`; did you mean `online`?"],
        ),
        (
            "project: x\ndefinitions: { paths: x }",
            expect!["shop/larder.yaml:2:16: unknown key `paths`; did you mean `path`?"],
        ),
        (
            "project: x\ndefinitions: [a]",
            expect!["shop/larder.yaml:2:14: expected a map with keys such as path, set, found a list"],
        ),
        (
            "project: x\ndefinitions: ${NOWHERE}/features",
            expect![
                "shop/larder.yaml:2:14: the variable `NOWHERE` is not set; set it, or give a default: ${NOWHERE:-default}"
            ],
        ),
        (
            "project: x\ncompat: { expired: return }",
            expect![
                "shop/larder.yaml:2:9: `compat` comes with the feature server in a later part of larder; remove it"
            ],
        ),
        (
            "project: x\nregistry: { type: picky, url: ${URL} }",
            expect![[
                r#"shop/larder.yaml:2:32: `,` or `}` is expected here; inside of { } and [ ] a value with `${…}` needs quotes: "${NAME}""#
            ]],
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
            expect![[r#"Picky { url: Address("x"), port: 7, tls: true, nodes: ["a", "1"] }"#]],
        ),
        (
            "{ port: 7, url: x, type: picky }",
            expect![[r#"Picky { url: Address("x"), port: 7, tls: false, nodes: [] }"#]],
        ),
        (
            "{ type: picky }",
            expect!["shop/larder.yaml:2:11: the key `url` is missing"],
        ),
        (
            "{ type: picky, ulr: x }",
            expect!["shop/larder.yaml:2:26: unknown key `ulr`; did you mean `url`?"],
        ),
        (
            "{ type: picky, url: x, port: many }",
            expect!["shop/larder.yaml:2:40: expected an integer from 0 to 65535, found a string"],
        ),
        (
            "{ type: picky, url: x, tls: yes }",
            expect!["shop/larder.yaml:2:39: expected true or false, found a string; YAML 1.2 wants `true`"],
        ),
        (
            "{ type: picky, url: x, nodes: a }",
            expect!["shop/larder.yaml:2:41: expected a list, found a string; write [a]"],
        ),
        (
            "{ type: picky, url: x, nodes: [a, [b]] }",
            expect!["shop/larder.yaml:2:45: expected a string, found a list"],
        ),
        (
            "{ type: picky, url: bad }",
            expect!["shop/larder.yaml:2:31: `bad` is no address"],
        ),
        (
            "{ type: pikcy, url: x }",
            expect![
                "shop/larder.yaml:2:19: there is no registry type `pikcy`; did you mean `picky`? this build has: memory, picky; a crate of your own joins by `use acme_store as _;`"
            ],
        ),
        (
            "{ type: file }",
            expect![
                "shop/larder.yaml:2:19: the registry type `file` is not in this build; build larder with the cargo feature `object`; this build has: memory, picky"
            ],
        ),
        (
            "{ type: postgres }",
            expect![
                "shop/larder.yaml:2:19: the registry type `postgres` comes in a later part of larder; this build has: memory, picky"
            ],
        ),
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
        &expect![[r#"Picky { url: Address("from-a-file"), port: 0, tls: false, nodes: [] }"#]],
    );
    for (block, expected) in [
        (
            "{ type: picky, url: \"x${PORT}y${NONE:-z}\", port: \"${PORT}\", tls: \"${YES}\" }",
            expect![[r#"Picky { url: Address("x6379yz"), port: 6379, tls: true, nodes: [] }"#]],
        ),
        (
            "{ type: picky, url: \"$${PORT} costs $5\" }",
            expect![[r#"Picky { url: Address("${PORT} costs $5"), port: 0, tls: false, nodes: [] }"#]],
        ),
        (
            "{ type: picky, url: \"${EMPTY:-full}${EMPTY}\" }",
            expect![[r#"Picky { url: Address("full"), port: 0, tls: false, nodes: [] }"#]],
        ),
        (
            "{ type: picky, url: \"${NOWHERE}\" }",
            expect![
                "shop/larder.yaml:2:31: the variable `NOWHERE` is not set; set it, or give a default: ${NOWHERE:-default}"
            ],
        ),
        (
            "{ type: picky, url: \"${no way}\" }",
            expect![
                "shop/larder.yaml:2:31: `${no way}` is not a variable; write ${NAME}, ${NAME:-default} or ${file:/path}"
            ],
        ),
        (
            "{ type: picky, url: \"${PORT\" }",
            expect!["shop/larder.yaml:2:31: `${` is never closed; write ${NAME}, or $${ for the text itself"],
        ),
        (
            "{ type: picky, url: \"${file:/no/such/file}\" }",
            expect![
                "shop/larder.yaml:2:31: cannot read `/no/such/file` of `${file:/no/such/file}`: No such file or directory (os error 2)"
            ],
        ),
        (
            "{ type: picky, url: \"${BAD}\" }",
            expect!["shop/larder.yaml:2:31: the value of `${BAD}` is not what is expected here"],
        ),
        (
            "{ type: picky, url: \"really ${BAD}\" }",
            expect!["shop/larder.yaml:2:31: the value of `${BAD}` is not what is expected here"],
        ),
        (
            "{ type: picky, url: x, port: \"${BAD}\" }",
            expect![
                "shop/larder.yaml:2:40: expected an integer from 0 to 65535, found a string (the value of `${BAD}`)"
            ],
        ),
        (
            "{ type: picky, url: x, tls: \"${BAD}\" }",
            expect!["shop/larder.yaml:2:39: expected true or false, found a string (the value of `${BAD}`)"],
        ),
        (
            "{ type: picky, url: x, nodes: \"${BAD}\" }",
            expect!["shop/larder.yaml:2:41: expected a list, found a string (the value of `${BAD}`)"],
        ),
        (
            "{ type: \"${BAD}\" }",
            expect![
                "shop/larder.yaml:2:19: there is no registry type `${BAD}`; this build has: memory, picky; a crate of your own joins by `use acme_store as _;`"
            ],
        ),
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
    expect!["there is no larder.yaml in FOLDER; `larder init FOLDER` makes a project there"]
        .assert_eq(&said(folder.path()));
    expect!["there is no folder FOLDER/gone; `larder init FOLDER/gone` makes a project there"]
        .assert_eq(&said(&folder.path().join("gone")));
    expect!["there is no folder FOLDER/gone; `larder init FOLDER/gone` makes a project there"]
        .assert_eq(&said(&folder.path().join("gone/larder.yaml")));
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
    expect!["tests 0.0.0 and others 0.0.0 both bring the registry type `picky`; link only one of them"]
        .assert_eq(&error.to_string());
    assert_eq!(plugins().iter().count(), 4);
    assert!(plugins().get(Role::Online, "memory").is_some());
}
