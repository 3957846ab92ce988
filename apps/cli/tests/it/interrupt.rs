//! What is left of a training set or a materialization that is interrupted or killed on the way?

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parquet::arrow::ArrowWriter;

use crate::training::{project, rows_of};
use crate::world::{LARDER, Ran};

/// Entity rows that take a while.
fn many_rows(dir: &Path) {
    let rows = rows_of(&dir.join("labels.parquet"));
    let file = fs::File::create(dir.join("many.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, rows[0].schema(), None).unwrap();
    for _ in 0..800 {
        rows.iter().for_each(|batch| writer.write(batch).unwrap());
    }
    writer.close().unwrap();
}

fn spilling(dir: &Path) -> Child {
    let args = [
        "historical",
        "--entities",
        "many.parquet",
        "--service",
        "purchase_v1",
        "--memory-limit",
        "1MiB",
        "--spill-dir",
        "spill",
        "--out",
        "t.parquet",
    ];
    Command::new(LARDER)
        .current_dir(dir)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Waits until a folder has an entry whose name begins like this.
fn wait_for(folder: &Path, prefix: &str) {
    let began = Instant::now();
    while !names(folder).iter().any(|name| name.starts_with(prefix)) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no {prefix}: {:?}",
            names(folder)
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(child: &Child, signal: &str) {
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let (_world, dir) = project();
    many_rows(&dir);
    let spill = dir.join("spill");
    // While the entity rows are written aside, and while the join spills.
    for (signal, moment) in [
        ("-INT", "larder-rows-"),
        ("-TERM", "larder-rows-"),
        ("-TERM", "larder-spill-"),
    ] {
        let child = spilling(&dir);
        wait_for(&spill, moment);
        send(&child, signal);
        let ran = Ran::from(child.wait_with_output().unwrap()).code(130);
        assert_eq!(ran.err.lines().count(), 1, "{ran:#?}");
        assert!(
            ran.err.contains("interrupted before the training set"),
            "{ran:#?}"
        );
        assert_eq!(names(&spill), Vec::<String>::new(), "{signal} at {moment}");
        let outputs: Vec<_> = names(&dir)
            .into_iter()
            .filter(|name| name.contains("t.parquet"))
            .collect();
        assert_eq!(outputs, Vec::<String>::new());
    }
}

#[test]
fn what_a_killed_run_leaves_goes_with_the_next() {
    let (_world, dir) = project();
    many_rows(&dir);
    let spill = dir.join("spill");
    let mut child = spilling(&dir);
    wait_for(&spill, "larder-spill-");
    // The lock is the last that is made of a folder.
    std::thread::sleep(Duration::from_millis(20));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(names(&spill).len() >= 2, "{:?}", names(&spill));
    fs::create_dir(spill.join("larder-spill-of-somebody-else")).unwrap();
    // This one has memory enough, and removes it all the same.
    let args = [
        "historical",
        "--entities",
        "labels.parquet",
        "--service",
        "purchase_v1",
        "--memory-limit",
        "1GiB",
        "--spill-dir",
        "spill",
        "--out",
        "t.parquet",
    ];
    crate::world::larder(&dir, &args).ok();
    assert_eq!(names(&spill), ["larder-spill-of-somebody-else"]);
}

/// Records of runs that are in the ledger below a folder.
fn records(folder: &Path) -> Vec<serde_json::Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(records(&path));
        } else if path.extension().is_some_and(|extension| extension == "json")
            && path.components().any(|part| part.as_os_str() == "ledger")
        {
            // A record that is being replaced is seen the next time.
            let text = fs::read_to_string(&path).unwrap_or_default();
            found.extend(serde_json::from_str(&text));
        }
    }
    found
}

#[test]
fn an_interrupted_materialization_ends_in_order_and_goes_on_later() {
    let (_world, dir) = project();
    // The history once more, many times over, so that reading it takes a while.
    let file = fs::read_dir(dir.join("data/user_daily"))
        .unwrap()
        .find_map(|entry| Some(entry.unwrap().path()).filter(|path| path.extension().is_some()))
        .unwrap();
    let rows = rows_of(&file);
    let made = fs::File::create(dir.join("data/user_daily/more.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(made, rows[0].schema(), None).unwrap();
    let batches: usize = rows.iter().map(|batch| batch.num_rows()).sum();
    for _ in 0..4_000_000 / batches.max(1) {
        rows.iter().for_each(|batch| writer.write(batch).unwrap());
    }
    writer.close().unwrap();

    let ledger = dir.join(".larder/registry");
    let of_users = |state: &str| {
        let mut found = records(&ledger).into_iter();
        found.find(|run| run["view"] == "user_stats" && run["state"] == state)
    };
    let child = Command::new(LARDER)
        .current_dir(&dir)
        .args(["materialize", "--views", "user_stats"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while of_users("running").is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(2));
    }
    send(&child, "-INT");
    let ran = Ran::from(child.wait_with_output().unwrap()).code(130);
    assert!(ran.err.contains("interrupted"), "{ran:#?}");
    assert!(ran.out.is_empty(), "{ran:#?}");
    // The record is closed: nobody has to wait until its heartbeat is too old.
    let record = of_users("failed").unwrap();
    assert!(
        record["error"].as_str().unwrap().contains("was stopped"),
        "{record:#}"
    );
    assert!(of_users("running").is_none());
    fs::remove_file(dir.join("data/user_daily/more.parquet")).unwrap();
    crate::world::larder(&dir, &["materialize"]).ok();
    crate::world::larder(&dir, &["status", "--check"]).ok();
}
