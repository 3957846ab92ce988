//! Can each rule about files fail, and does it leave good files alone?

use super::*;

fn file(path: &str, text: &str) -> Vec<File> {
    vec![File {
        path: path.to_owned(),
        text: text.to_owned(),
    }]
}

/// Every finding as one line, to compare with.
fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_module_without_its_question_is_found() {
    assert_eq!(module_docs(&file("a.rs", "\n//! Why?\nfn a() {}\n")), []);
    for text in [
        "",
        "fn a() {}\n//! Late.\n",
        "// A comment.\n",
        "/// Of an item.\nfn a() {}\n",
    ] {
        assert_eq!(module_docs(&file("a.rs", text)).len(), 1, "{text:?}");
    }
    assert_eq!(module_docs(&file("a.md", "# Title\n")), []);
}

#[test]
fn length_warns_then_fails_unless_excepted() {
    let of = |lines: usize| file("a.rs", &"//! x\n".repeat(lines));
    assert!(
        long_files(&of(600)).is_empty() && long_files(&of(601)).len() == 1 && long_files(&of(701)).is_empty()
    );
    assert_eq!(too_long(&of(700), &[]), []);
    assert_eq!(too_long(&of(701), &[]).len(), 1);
    let exception = [LongFile {
        path: "a.rs",
        lines: 800,
        reason: "a table",
    }];
    assert_eq!(too_long(&of(800), &exception), []);
    assert_eq!(too_long(&of(801), &exception).len(), 1);
    assert!(shown(&too_long(&of(10), &exception))[0].contains("no longer needs"));
    assert!(shown(&too_long(&[], &exception))[0].contains("does not exist"));
}

#[test]
fn core_that_names_a_backend_is_found() {
    let found = backend_names(&file("core/engine/src/a.rs", "//! x\n// as in Redis\n"));
    assert_eq!(
        shown(&found),
        ["core/engine/src/a.rs:2: names the backend \"redis\""]
    );
    for text in [
        "dynamodb",
        "PostgreSQL",
        "my_postgres_url",
        "\"redshift\"",
        "DynamoDB's",
    ] {
        assert_eq!(
            backend_names(&file("core/conformance/cases/a.toml", text)).len(),
            1,
            "{text}"
        );
    }
    assert_eq!(
        backend_names(&file("core/base/src/a.rs", "redistribute, rediscover")),
        []
    );
    for path in [
        "core/larder/Cargo.toml",
        "core/base/src/plugin/known.rs",
        "stores/redis/src/lib.rs",
        "core/core/README.md",
    ] {
        assert_eq!(backend_names(&file(path, "redis")), [], "{path}");
    }
}

#[test]
fn a_provider_that_reads_is_found() {
    assert_eq!(
        provider_io(&file("providers/aws/src/lib.rs", "use std::fs;\n")).len(),
        1
    );
    assert_eq!(
        provider_io(&file("providers/aws/src/lib.rs", "tokio::spawn(x);\n")).len(),
        1
    );
    assert_eq!(
        provider_io(&file("providers/aws/src/lib.rs", "// no std::fs here\n")),
        []
    );
    assert_eq!(
        provider_io(&file("stores/local/src/lib.rs", "use std::fs;\n")),
        []
    );
}

#[test]
fn a_library_that_prints_is_found() {
    let found = printing(&file("core/base/src/a.rs", "fn a() {\n    println!(\"x\");\n}\n"));
    assert_eq!(
        shown(&found),
        ["core/base/src/a.rs:2: println! in a library: only apps/cli prints"]
    );
    for text in ["eprint!(x)", "std::print!(x)", "{dbg!(x)}"] {
        assert_eq!(printing(&file("apps/server/src/a.rs", text)).len(), 1, "{text}");
    }
    let quiet = [
        "//! println!(x)\n",
        "let x = \"print!\";",
        "#[cfg(test)]\nmod tests { fn a() { println!(); } }",
        "my_print!(x)",
    ];
    for text in quiet {
        assert_eq!(printing(&file("core/base/src/a.rs", text)), [], "{text}");
    }
    for path in [
        "apps/cli/src/a.rs",
        "examples/x/src/main.rs",
        "core/base/tests/it/main.rs",
        "core/base/build.rs",
    ] {
        assert_eq!(printing(&file(path, "println!()")), [], "{path}");
    }
}

#[test]
fn a_second_wall_clock_is_found() {
    assert_eq!(
        wall_clock(&file("stores/local/src/a.rs", "let t = SystemTime::now();")).len(),
        1
    );
    assert_eq!(
        wall_clock(&file("core/engine/src/a.rs", "jiff::Timestamp::now()")).len(),
        1
    );
    assert_eq!(
        wall_clock(&file("core/base/src/clock.rs", "SystemTime::now()")),
        []
    );
    assert_eq!(wall_clock(&file("core/base/src/a.rs", "Instant::now()")), []);
}

#[test]
fn unfinished_work_is_found() {
    for text in [
        "todo!()",
        "unimplemented!(\"later\")",
        "#[ignore]\nfn a() {}",
        "#[ignore = \"slow\"]",
    ] {
        assert_eq!(
            unfinished(&file("core/base/tests/it/a.rs", text)).len(),
            1,
            "{text}"
        );
    }
    assert_eq!(
        unfinished(&file(
            "a.rs",
            "// todo!() is forbidden\nlet x = \"unimplemented!\";"
        )),
        []
    );
}

#[test]
fn paths_of_one_machine_are_found() {
    let folders = ["ro-ot", "wo-rk", "ho-me", "t-mp"].map(|folder| format!("/{}/", folder.replace('-', "")));
    for folder in &folders {
        for text in [
            format!("cd {folder}x"),
            format!("\"file://{folder}x\""),
            format!("{folder}x"),
        ] {
            assert_eq!(machine_paths(&file("docs/a.md", &text)).len(), 1, "{text}");
        }
        for text in [
            format!("my{folder}x"),
            format!("$HOME{folder}x"),
            format!("..{folder}x"),
            format!("${{X}}{folder}"),
        ] {
            assert_eq!(machine_paths(&file("docs/a.md", &text)), [], "{text}");
        }
    }
}

#[test]
fn trailing_whitespace_is_found() {
    let found = trailing_whitespace(&file("a.md", "good\nbad \n\nworse\t\nwindows\r\n"));
    let places: Vec<&str> = found.iter().map(|finding| finding.place.as_str()).collect();
    assert_eq!(places, ["a.md:2", "a.md:4", "a.md:5"]);
}
