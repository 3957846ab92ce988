//! Are wrong commands answered with code 2, and failed ones with 1, on stderr?

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::world::{LARDER, World, larder};

#[test]
fn help_and_version_are_no_errors() {
    let world = World::new();
    let help = world.larder(&["--help"]).ok().out;
    for command in [
        "demo",
        "init",
        "historical",
        "preview",
        "why",
        "materialize",
        "get",
    ] {
        assert!(help.contains(command), "{help}");
    }
    for later in ["serve", "lineage", "import"] {
        assert!(
            !help.lines().any(|line| line.trim_start().starts_with(later)),
            "{help}"
        );
    }
    assert!(world.larder(&["--version"]).ok().out.starts_with("larder 0."));
    for command in [
        "historical",
        "preview",
        "why",
        "materialize",
        "get",
        "push",
        "plan",
        "apply",
        "infer",
        "status",
    ] {
        let help = world.larder(&[command, "--help"]).ok().out;
        assert!(
            help.contains("larder "),
            "{command} --help shows no example: {help}"
        );
    }
}

#[test]
fn wrong_usage_is_two() {
    let world = World::new();
    for args in [
        &["aply"][..],
        &[],
        &["get"],
        &["get", "--service", "a", "--features", "b:c", "--entity", "x=1"],
        &["get", "--service", "a", "--entity", "nonsense"],
        &["materialize", "--from", "2026-01-01T00:00:00Z"],
        &["materialize", "--until", "yesterday"],
        &["materialize", "--rebuild", "--repair", "2h"],
        &["historical", "--service", "a"],
        &["historical", "--entities", "a.csv"],
        &["historical", "--entities", "a.csv", "--latest", "--service", "a"],
        &[
            "historical",
            "--entities",
            "a.csv",
            "--service",
            "a",
            "--features",
            "b",
        ],
        &[
            "historical",
            "--entities",
            "a.csv",
            "--service",
            "a",
            "--at",
            "now",
        ],
        &["historical", "--from", "2026-01-01", "--service", "a"],
        &[
            "historical",
            "--entities",
            "a.csv",
            "--service",
            "a",
            "--split",
            "hash:x:1,1",
        ],
        &[
            "historical",
            "--entities",
            "a.csv",
            "--service",
            "a",
            "--memory-limit",
            "512",
        ],
        &[
            "historical",
            "--entities",
            "a.csv",
            "--service",
            "a",
            "--explain",
            "--out",
            "b.csv",
        ],
        &["historical", "--verify", "m.json", "--service", "a"],
        &["historical", "--verify", "m.json", "--known-until", "now"],
        &["historical", "--repeat", "m.json"],
        &[
            "historical",
            "--verify",
            "m.json",
            "--repeat",
            "m.json",
            "--out",
            "a.csv",
        ],
        &["why", "a", "--at", "yesterday"],
        &["push", "a", "--file", "b", "--to", "nowhere"],
        &["list", "things"],
        &["get", "--service", "a", "--entity", "x=1,x=2"],
        &["history", "--format", "xml"],
        &["history", "--format", "markdown"],
    ] {
        let ran = world.larder(args).code(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{ran:#?}");
    }
    assert!(world.larder(&["aply"]).err.contains("did you mean `apply`"));
    let json = world.larder(&["get", "--format", "json"]).code(2).error();
    assert_eq!(json["kind"], "input");
}

#[test]
fn later_commands_say_that_they_come_later() {
    let world = World::new();
    for command in ["serve", "search", "lineage", "import"] {
        let error = world
            .larder(&["--format", "json", command, "x", "--y"])
            .code(2)
            .error();
        assert_eq!(error["kind"], "unsupported", "{command}");
        assert!(
            error["message"].as_str().unwrap().contains("later part"),
            "{command}"
        );
    }
}

#[test]
fn a_failure_is_one_and_names_the_remedy() {
    let world = World::new();
    let error = world.larder(&["status", "--format", "json"]).code(1).error();
    assert_eq!(error["kind"], "config");
    assert!(error["help"].as_str().unwrap().contains("larder init"));
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    for (args, kind, part) in [
        (
            &["get", "--service", "purchase_v2", "--entity", "user_id=1"][..],
            "not_found",
            "purchase_v1",
        ),
        (
            &["get", "--service", "purchase_v1", "--entity", "user_id=1"],
            "input",
            "product_id",
        ),
        (
            &[
                "get",
                "--service",
                "purchase_v1",
                "--entity",
                "user_id=x,product_id=1",
            ],
            "input",
            "user_id",
        ),
        (
            &[
                "get",
                "--service",
                "purchase_v1",
                "--entity",
                "user=1,product_id=1",
            ],
            "input",
            "user_id",
        ),
        (
            &[
                "get",
                "--service",
                "purchase_v1",
                "--entity",
                "user_id=1,product_id=1",
                "--request",
                "a=1",
            ],
            "unsupported",
            "later",
        ),
        (
            &["historical", "--entities", "none.csv", "--service", "purchase_v1"],
            "not_found",
            "none.csv",
        ),
        (
            &[
                "historical",
                "--entity-sql",
                "select 1",
                "--service",
                "purchase_v1",
            ],
            "unsupported",
            "later",
        ),
        (
            &[
                "historical",
                "--entities",
                "labels.parquet",
                "--service",
                "purchase_v1",
                "--out",
                "x.xlsx",
            ],
            "input",
            ".parquet",
        ),
        (
            &["materialize", "--views", "user_stat"],
            "not_found",
            "user_stats",
        ),
        (&["materialize", "--until", "now+1d"], "input", "future"),
        (
            &["push", "user_dayly", "--file", "rows.csv"],
            "not_found",
            "user_daily",
        ),
        (&["delete", "user_stats", "--entity", "id=1"], "input", "user_id"),
        (&["describe", "view", "user_stat"], "not_found", "user_stats"),
        (&["show", "99"], "not_found", "99"),
        (&["rollback", "99"], "not_found", "99"),
        (&["apply", "none.json"], "input", "none.json"),
    ] {
        let error = larder(&dir, &[args, &["--format", "json"]].concat())
            .code(1)
            .error();
        assert_eq!(error["kind"], kind, "{args:?}: {error:#}");
        let text = format!("{} {}", error["message"], error["help"]);
        assert!(text.contains(part), "{args:?}: {error:#}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (_world, dir) = World::project();
    larder(&dir, &["apply"]).ok();
    let mut child = Command::new(LARDER)
        .current_dir(&dir)
        .args([
            "historical",
            "--entities",
            "labels.parquet",
            "--service",
            "purchase_v1",
            "--format",
            "csv",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_in_order_and_the_work_can_go_on() {
    let world = World::new();
    let mut child = Command::new(LARDER)
        .current_dir(world.path())
        .arg("demo")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reached = lines
        .map(Result::unwrap)
        .find(|line| line.contains("$ larder historical"));
    assert!(reached.is_some());
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(
        err.contains("interrupted") && err.contains("run the same command again"),
        "{err}"
    );
    let left: Vec<String> = std::fs::read_dir(world.path().join("larder-demo"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let again = world.larder(&["demo"]).ok().out;
    assert!(again.contains("50,000 of 50,000 cells equal"), "{again}");
}
