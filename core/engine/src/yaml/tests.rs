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
        &expect![[r#""#]],
    );
    check(
        "name: \"x\" # a comment\nchoice: { with: 3 }\nratio: ~",
        &expect![[r#""#]],
    );
}

#[test]
fn wrong_values_are_placed() {
    for (text, expected) in [
        ("count: 1", expect![[""]]),
        ("nam: x", expect![[""]]),
        ("name: x\ncoutn: 1\nzzz: 2", expect![[""]]),
        ("name: [1]", expect![[""]]),
        ("name:", expect![[""]]),
        ("name: x\ncount: many", expect![[""]]),
        ("name: x\ncount: \"7\"", expect![[""]]),
        ("name: x\ncount: 70000", expect![[""]]),
        ("name: x\ncount: 1.5", expect![[""]]),
        ("name: x\non: yes", expect![[""]]),
        ("name: x\nlist: 3", expect![[""]]),
        ("name: x\nlist:\n  - id: 1\n  - text", expect![[""]]),
        ("name: x\nlist:\n  - id: 1\n  - di: 2", expect![[""]]),
        ("name: x\nlist: [{ id: 1, of: int46 }]", expect![[""]]),
        ("name: x\nlabels: { a: [1] }", expect![[""]]),
        ("name: x\nchoice: plian", expect![[""]]),
        ("- a", expect![[""]]),
    ] {
        check(text, &expected);
    }
}

#[test]
fn mistakes_of_syntax_are_placed() {
    for (text, expected) in [
        ("name: x\nlist: [1, 2\nlabels: {}", expect![[""]]),
        ("name: {a: 1", expect![[""]]),
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
    expect![[""]].assert_eq(&found[0].to_string());
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
    expect![[""]].assert_eq(&found[0].to_string());
}
