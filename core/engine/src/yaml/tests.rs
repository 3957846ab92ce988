//! Places, strictness and messages of the YAML reader.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[allow(dead_code)]
struct Outer {
    name: String,
    #[serde(default)]
    count: u16,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    ratio: Option<f64>,
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    choice: Option<Choice>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Inner {
    id: i64,
    #[serde(default)]
    of: Option<larder_base::ValueType>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Plain,
    With(u8),
}

fn outcome(text: &str) -> String {
    let documents = match parse("f.yaml", text) {
        Ok(documents) => documents,
        Err(diagnostic) => return diagnostic.to_string(),
    };
    let mut lines = Vec::new();
    for document in &documents {
        match read::<Outer>("f.yaml", document) {
            Ok(outer) => lines.push(format!("{outer:?}")),
            Err(found) => lines.extend(found.iter().map(ToString::to_string)),
        }
    }
    lines.join("\n")
}

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&outcome(text));
}

#[test]
fn values() {
    check(
        "name: 123\ncount: 7\non: true\nratio: 2\nlist: [{ id: -1, of: list<int64> }]\nlabels: { tier: 1, b: yes }\nchoice: plain",
        &expect![[
            r#"Outer { name: "123", count: 7, on: true, ratio: Some(2.0), list: [Inner { id: -1, of: Some(List(Int64)) }], labels: {"b": "yes", "tier": "1"}, choice: Some(Plain) }"#
        ]],
    );
    check(
        "name: \"x\" # a comment\nchoice: { with: 3 }\nratio: ~",
        &expect![[
            r#"Outer { name: "x", count: 0, on: false, ratio: None, list: [], labels: {}, choice: Some(With(3)) }"#
        ]],
    );
}

#[test]
fn wrong_values_are_placed() {
    for (text, expected) in [
        ("count: 1", expect!["f.yaml:1:1: the key `name` is missing"]),
        (
            "nam: x",
            expect!["f.yaml:1:1: unknown key `nam`; did you mean `name`?"],
        ),
        (
            "name: x\ncoutn: 1\nzzz: 2",
            expect![[r#"
            f.yaml:2:1: unknown key `coutn`; did you mean `count`?
            f.yaml:3:1: unknown key `zzz`; known: choice, count, labels, list, name, on, ratio"#]],
        ),
        (
            "name: [1]",
            expect!["f.yaml:1:7: expected a string, found a list"],
        ),
        ("name:", expect!["f.yaml:1:5: expected a string, found nothing"]),
        (
            "name: x\ncount: many",
            expect!["f.yaml:2:8: expected an integer from 0 to 65535, found a string"],
        ),
        (
            "name: x\ncount: \"7\"",
            expect!["f.yaml:2:8: expected a number, found a string; drop the quotes"],
        ),
        (
            "name: x\ncount: 70000",
            expect!["f.yaml:2:8: expected an integer from 0 to 65535, found 70000"],
        ),
        (
            "name: x\ncount: 1.5",
            expect!["f.yaml:2:8: expected an integer from 0 to 65535, found a number"],
        ),
        (
            "name: x\non: yes",
            expect!["f.yaml:2:5: expected true or false, found a string; YAML 1.2 wants `true`"],
        ),
        (
            "name: x\nlist: 3",
            expect!["f.yaml:2:7: expected a list, found an integer; write [3]"],
        ),
        (
            "name: x\nlist:\n  - id: 1\n  - text",
            expect!["f.yaml:4:5: expected a map with keys such as id, of, found a string"],
        ),
        (
            "name: x\nlist:\n  - id: 1\n  - di: 2",
            expect!["f.yaml:4:5: unknown key `di`; did you mean `id`?"],
        ),
        (
            "name: x\nlist: [{ id: 1, of: int46 }]",
            expect!["f.yaml:2:21: `int46` is not a type; did you mean `int64`?"],
        ),
        (
            "name: x\nlabels: { a: [1] }",
            expect!["f.yaml:2:14: expected a string, found a list"],
        ),
        (
            "name: x\nchoice: plian",
            expect!["f.yaml:2:9: `plian` is not one of the choices here; did you mean `plain`?"],
        ),
        (
            "- a",
            expect!["f.yaml:1:1: expected a map with keys such as name, count, on, found a list"],
        ),
    ] {
        check(text, &expected);
    }
}

#[test]
fn mistakes_of_syntax_are_placed() {
    for (text, expected) in [
        ("name: x\nlist: [1, 2\nlabels: {}", expect![[""]]),
        ("name: {a: 1", expect![[""]]),
        ("name: { a: 1\non: true", expect![[""]]),
        ("name: [a}", expect![[""]]),
        ("name:\n\tx: 1", expect![[""]]),
        ("name: x\n  count: 1", expect![[""]]),
        ("name: x\n count: 1", expect![[""]]),
        ("name: a: b", expect![[""]]),
        ("name: \"x", expect![[""]]),
        ("name: 'it's'", expect![[""]]),
        ("name: \"a\\qb\"", expect![[""]]),
        ("name: *x", expect![[""]]),
        ("name: @x", expect![[""]]),
        ("name: !x y", expect![[""]]),
        ("name: x\nname: y", expect![[""]]),
        ("list:\n  - a\n - b", expect![[""]]),
        ("name: x\nlist:\n- a\nb", expect![[""]]),
        ("name: { type: decimal(10,2) }", expect![[""]]),
        ("a: { url: ${X} }", expect![[""]]),
        ("[a]: b", expect![[""]]),
        (": b", expect![[""]]),
        ("name: x\n]", expect![[""]]),
    ] {
        check(text, &expected);
    }
}

#[test]
fn anchors_aliases_and_merges() {
    check(
        "name: x\nlist:\n  - &a { id: 1, of: int64 }\n  - *a\n  - { <<: *a, id: 2 }",
        &expect![[
            r#"Outer { name: "x", count: 0, on: false, ratio: None, list: [Inner { id: 1, of: Some(Scalar(Int64)) }, Inner { id: 1, of: Some(Scalar(Int64)) }, Inner { id: 2, of: Some(Scalar(Int64)) }], labels: {}, choice: None }"#
        ]],
    );
    let laughs = (0..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, i| {
        format!("{text}a{}: &a{} [*a{i}, *a{i}]\n", i + 1, i + 1)
    });
    check(
        &laughs,
        &expect!["f.yaml:19:18: aliases expand to more than 2000000 values"],
    );
    check(
        "a: &a [*a]",
        &expect!["f.yaml:1:8: an alias stands inside of what it refers to"],
    );
}

#[test]
fn documents() {
    assert_eq!(parse("f", "").expect("empty").len(), 0);
    assert_eq!(parse("f", "# only a comment\n").expect("a comment").len(), 0);
    assert_eq!(parse("f", "---\na: 1\n---\nb: 2\n").expect("two").len(), 2);
}

#[test]
fn values_of_variables_are_not_shown() {
    let mut documents = parse("f.yaml", "name: x\ncount: V\nlist: [{ id: 1, of: V }]").expect("YAML");
    let secret = |node: &mut Node| {
        node.secret = Some("`V`".into());
        node.text = "hunter2".into();
    };
    let Content::Map(entries) = &mut documents[0].content else {
        panic!("a map");
    };
    secret(&mut entries[1].value);
    let found = read::<Outer>("f.yaml", &documents[0]).expect_err("not a number");
    expect!["f.yaml:2:8: expected an integer from 0 to 65535, found a string (the value of `V`)"]
        .assert_eq(&found[0].to_string());
    assert!(!format!("{:?}", documents[0]).contains("hunter2"));
    let Content::Map(entries) = &mut documents[0].content else {
        panic!("a map");
    };
    entries.remove(1);
    let Content::List(items) = &mut entries[1].value.content else {
        panic!("a list");
    };
    let Content::Map(entries) = &mut items[0].content else {
        panic!("a map");
    };
    secret(&mut entries[1].value);
    let found = read::<Outer>("f.yaml", &documents[0]).expect_err("not a type");
    expect!["f.yaml:3:21: the value of `V` is not what is expected here"].assert_eq(&found[0].to_string());
}
