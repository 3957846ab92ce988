//! Places, strictness and messages of the YAML reader.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;
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
        (
            "name: x\nlist: [1, 2\nlabels: {}",
            expect!["f.yaml:2:7: `[` is not closed; a `]` is missing before line 3"],
        ),
        (
            "name: {a: 1",
            expect!["f.yaml:1:7: `{` is never closed; close it, or check the line before"],
        ),
        (
            "name: { a: 1\non: true",
            expect!["f.yaml:1:7: `{` is not closed; a `}` is missing before line 2"],
        ),
        ("name: [a}", expect!["f.yaml:1:7: `[` is closed by `}`"]),
        (
            "name:\n\tx: 1",
            expect!["f.yaml:2:2: a tab stands where YAML wants spaces; indent with spaces"],
        ),
        (
            "name: x\n  count: 1",
            expect![
                "f.yaml:2:8: a key cannot stand here; check the indentation, and put text that contains `: ` in quotes"
            ],
        ),
        (
            "name: x\n count: 1",
            expect![
                "f.yaml:2:7: a key cannot stand here; check the indentation, and put text that contains `: ` in quotes"
            ],
        ),
        (
            "name: a: b",
            expect![
                "f.yaml:1:8: a key cannot stand here; check the indentation, and put text that contains `: ` in quotes"
            ],
        ),
        ("name: \"x", expect!["f.yaml:1:7: a quote is never closed"]),
        (
            "name: 'it's'",
            expect![
                "f.yaml:1:11: text follows a closing quote; put the whole value in quotes; inside of single quotes write '' for one"
            ],
        ),
        (
            "name: \"a\\qb\"",
            expect![[
                r#"f.yaml:1:7: a backslash in double quotes begins an escape that does not exist; use single quotes, or write \\"#
            ]],
        ),
        (
            "name: *x",
            expect![
                "f.yaml:1:7: an alias `*name` without its anchor `&name`; text that begins with `*` needs quotes"
            ],
        ),
        (
            "name: @x",
            expect!["f.yaml:1:7: `@` cannot begin a value; put the value in quotes"],
        ),
        (
            "name: !x y",
            expect!["f.yaml:1:7: the tag `!x` means nothing here; text that begins with `!` needs quotes"],
        ),
        (
            "name: x\nname: y",
            expect!["f.yaml:2:1: the key `name` stands twice; the first is in line 1"],
        ),
        (
            "list:\n  - a\n - b",
            expect!["f.yaml:3:2: a key is expected here; check the indentation of this line"],
        ),
        (
            "name: x\nlist:\n- a\nb",
            expect![
                "f.yaml:4:1: a key cannot stand here; check the indentation, and put text that contains `: ` in quotes"
            ],
        ),
        (
            "name: { type: decimal(10,2) }",
            expect![[
                r#"f.yaml:1:15: `decimal(10` ends at the comma; inside of { } it needs quotes: "decimal(10,2)""#
            ]],
        ),
        (
            "a: { url: ${X} }",
            expect![[
                r#"f.yaml:1:12: `,` or `}` is expected here; inside of { } and [ ] a value with `${…}` needs quotes: "${NAME}""#
            ]],
        ),
        (
            "[a]: b",
            expect![
                "f.yaml:1:1: a list or map stands where a key is expected; text that begins with `{` or `[` needs quotes"
            ],
        ),
        (": b", expect!["f.yaml:1:1: a key is empty"]),
        (
            "name: x\n]",
            expect!["f.yaml:2:1: a closing bracket without an opening one"],
        ),
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

/// Values that JSON and YAML can both hold: YAML forbids some control characters.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        (-1e9..1e9).prop_map(|x: f64| x.into()),
        "[ -~äé日]{0,12}".prop_map(Into::into),
        "[0-9tfn~.:#'\"{}\\[\\], -]{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            proptest::collection::btree_map("[a-z_]{1,6}|[ -~ä]{1,4}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Pieces of definitions, right and wrong, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "feature_views:\n",
        "entities:\n",
        "sources: ",
        "  - ",
        "    ",
        "name: ",
        "x\n",
        "type: ",
        "int64",
        "[",
        "]",
        "{ ",
        " }",
        ", ",
        ": ",
        "\n",
        "&a ",
        "*a",
        "<<: ",
        "'",
        "\"",
        "\t",
        "#",
        "|\n",
        "---\n",
        "!x ",
        "${A}",
        "features: ",
        "ttl: 7d\n",
        "- ",
        "ä",
        "? ",
    ]);
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn json_is_read_as_what_it_is(value in json()) {
        let text = serde_json::to_string(&value).expect("JSON");
        let node = parse("f", &text).expect("JSON is YAML").remove(0);
        prop_assert_eq!(read::<serde_json::Value>("f", &node).expect("any value"), value.clone());
        let made = Node::from_json(&value, Mark::default());
        prop_assert_eq!(read::<serde_json::Value>("f", &made).expect("any value"), value);
    }

    #[test]
    fn nothing_makes_it_panic(text in prop_oneof![pieces(), ".{0,200}"]) {
        let set = larder_base::SetName::new("s").expect("a name");
        match crate::definitions::DefinitionSet::from_yaml("f", &text, set) {
            Ok(_) => {}
            Err(error) => {
                // YAML also ends lines by a lone carriage return.
                let lines = text.matches(['\n', '\r']).count() as u32 + 1;
                for found in error.diagnostics() {
                    let place = found.place.as_ref().expect("a place");
                    prop_assert!(place.line >= 1 && place.line <= lines && place.column >= 1, "{}", found);
                    prop_assert!(!found.to_string().contains('\n'), "{}", found);
                }
            }
        }
    }
}
