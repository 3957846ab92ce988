//! What story does `larder demo` tell?
//!
//! Reads top to bottom: make or find the project, then one step after the other. A step runs the
//! very command line it prints, so that each works when it is typed again; what it claims is
//! computed from data and checked, and a claim that does not hold ends the demo as an error.

mod leaks;
mod project;
mod same;
mod story;

use std::path::Path;

use larder::{Clock, Error, Result, Span, SystemClock};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::output::{Report, count, elapsed, plural, size};
use project::DemoProject;
use story::Story;

/// The service of the demo: all 50 features.
const SERVICE: &str = "purchase_v1";
/// The feature that is shown before and after a push.
const SHOWN: &str = "orders_7d";

/// Runs the demo in a folder.
///
/// # Errors
/// What a step says, or that something claimed does not hold.
pub(crate) async fn run(cx: &Context, dir: &Path) -> Result<Report> {
    let (project, made) = DemoProject::find_or_make(dir)?;
    let before =
        std::env::current_dir().map_err(|e| Error::unavailable("there is no working folder").source(e))?;
    let enter = |dir: &Path| {
        std::env::set_current_dir(dir)
            .map_err(|e| Error::unavailable(format!("`{}` cannot be entered", dir.display())).source(e))
    };
    // The printed commands name files as seen from the project's folder.
    enter(dir)?;
    let mut story = Story::new(cx, dir);
    story.introduce(&project, made.as_ref());
    let told = tell(&mut story, &project).await;
    enter(&before)?;
    told.map_err(|error| match made {
        Some(_) => error,
        None => error.with("folder", dir.display()).help(format!(
            "if the folder was changed: rm -r {} and run `larder demo` again",
            dir.display()
        )),
    })?;
    Ok(story.end(&project))
}

async fn tell(story: &mut Story<'_>, project: &DemoProject) -> Result<()> {
    definitions(story).await?;
    training(story, project).await?;
    serving(story, project).await?;
    pushing(story, project).await?;
    proof(story, project).await
}

async fn definitions(story: &mut Story<'_>) -> Result<()> {
    let found = story.run("check the definitions", "larder validate").await?;
    story.point(format!(
        "{} views, {} entities and a service, in YAML; a mistake is shown with file, line and column",
        found["objects"]["feature_views"], found["objects"]["entities"]
    ));
    let plan = story.run("see what would change", "larder plan").await?;
    let backfills = plan["backfills"].as_array().map_or(0, Vec::len);
    story.point(match plan["empty"].as_bool() {
        Some(true) => "nothing: the registry has these definitions already".to_owned(),
        _ => format!(
            "{}; {backfills} views will have to be materialized. Sources were compared with their data",
            plan["summary"].as_str().unwrap_or_default()
        ),
    });
    let applied = story
        .run("make it a version", "larder apply -m 'first features'")
        .await?;
    story.point(match applied["changed"].as_bool() {
        Some(true) => format!(
            "committed as version {}, all of it or nothing",
            applied["version"]
        ),
        _ => format!("unchanged: version {} stays", applied["version"]),
    });
    Ok(())
}

async fn training(story: &mut Story<'_>, project: &DemoProject) -> Result<()> {
    let made = story
        .run(
            "make a training set",
            &format!("larder historical --entities labels.parquet --service {SERVICE} --event-times --out training.parquet"),
        )
        .await?;
    let rows = made["rows"].as_u64().unwrap_or(0);
    if rows != project.label_rows {
        return Err(broken(format!(
            "{} entity rows went in, {rows} came out",
            project.label_rows
        )));
    }
    let took = story.last_seconds();
    story.point(format!(
        "{} rows in, {} rows out, in order, with 50 features: {} rows/s, {} read",
        count(project.label_rows),
        count(rows),
        count((rows as f64 / took.max(1e-9)) as u64),
        size(made["report"]["read"]["bytes"].as_u64().unwrap_or(0)),
    ));
    let leaks = leaks::count(story.context(), project).await?;
    if leaks.with_larder != 0 {
        return Err(broken(format!(
            "{} cells of the training set come from the future",
            leaks.with_larder
        )));
    }
    if leaks.with_latest == 0 {
        return Err(broken(
            "a latest-value join would leak nothing here: the data proves nothing",
        ));
    }
    story.point(format!(
        "a latest-value join would leak the future into {} of {} cells; larder: {}, checked in training.parquet",
        count(leaks.with_latest),
        count(leaks.cells),
        leaks.with_larder
    ));
    let modes = array(&made["knowledge"]).iter();
    let later: u64 = array(&made["report"]["views"])
        .iter()
        .zip(modes)
        .filter(|(_, mode)| *mode != "as_of")
        .filter_map(|(view, _)| view["known_later"].as_u64())
        .sum();
    story.point(format!(
        "{} answers rest on rows written late, after the moment they describe; --knowledge as-of leaves them out",
        count(later)
    ));
    story.record("leaked_by_latest_join", json!(leaks.with_latest));
    story.record("leaked_by_larder", json!(leaks.with_larder));
    Ok(())
}

async fn serving(story: &mut Story<'_>, project: &DemoProject) -> Result<()> {
    let done = story
        .run("bring the newest values online", "larder materialize")
        .await?;
    let (mut read, mut written, mut slices) = (0, 0, 0);
    for view in array(&done["views"]) {
        read += view["read"].as_u64().unwrap_or(0);
        written += view["written"].as_u64().unwrap_or(0);
        slices += view["slices"].as_u64().unwrap_or(0);
    }
    story.point(match read {
        0 => "everything was online already; nothing was read twice".to_owned(),
        _ => format!(
            "{} read, newest per key, {} written in {}; a killed run goes on where it was: {} rows/s",
            plural(read as usize, "row", "rows"),
            count(written),
            plural(slices as usize, "slice", "slices"),
            count((read as f64 / story.last_seconds().max(1e-9)) as u64)
        ),
    });
    let got = story.run("read online", &project.get_command()).await?;
    let found = statuses(&got)
        .filter(|status| *status == "PRESENT" || *status == "NULL_VALUE")
        .count();
    let speed = same::read_speed(story.context(), project).await?;
    story.point(format!(
        "{} values of one user and one product; 50 features in {} (median of {} reads in a session)",
        found,
        elapsed(speed.median),
        count(speed.reads as u64)
    ));
    story.record("online_read_micros", json!(speed.median.as_secs_f64() * 1e6));
    Ok(())
}

async fn pushing(story: &mut Story<'_>, project: &DemoProject) -> Result<()> {
    let now = SystemClock.now();
    let newer = project.write_push("newer.csv", now)?;
    let older = now.minus(Span::days(2));
    project.write_push("older.csv", older)?;
    let pushed = story
        .run(
            "push a newer value",
            "larder push user_daily --file newer.csv --to both",
        )
        .await?;
    let written = pushed["views"][0]["written"].as_u64().unwrap_or(0);
    let appended = pushed["appended"].as_u64().unwrap_or(0);
    if (written, appended) != (1, 1) {
        return Err(broken("a newer row was not taken"));
    }
    story.point("1 row to the history for training, then 1 row online: both sides learn it".to_owned());
    let pushed = story
        .run(
            "push an older one",
            "larder push user_daily --file older.csv --to online",
        )
        .await?;
    let stale = pushed["views"][0]["stale"].as_u64().unwrap_or(0);
    if stale != 1 {
        return Err(broken("an older row was not refused"));
    }
    story.point(
        "older push refused as stale: 0 rows written, 1 counted; the newest event wins, whoever writes last"
            .to_owned(),
    );
    let got = story.run("read again", &project.get_command()).await?;
    let shown = value_of(&got, SHOWN);
    if shown != newer {
        return Err(broken(format!("{SHOWN} reads {shown} after a push of {newer}")));
    }
    story.point(format!("{SHOWN} is {shown}, as the newer push said"));
    Ok(())
}

async fn proof(story: &mut Story<'_>, project: &DemoProject) -> Result<()> {
    story.say("training = serving");
    let same = same::compare(story.context(), project).await?;
    if same.equal != same.cells {
        return Err(broken(format!(
            "only {} of {} cells are equal in training and serving; the first difference is in `{}`",
            same.equal,
            same.cells,
            same.first_difference.as_deref().unwrap_or("?")
        )));
    }
    story.point(format!(
        "the same {} entities joined from history at one instant and read online at that instant: {} of {} cells equal",
        count(same.entities as u64),
        count(same.equal),
        count(same.cells)
    ));
    story.record("cells_compared", json!(same.cells));
    story.record("cells_equal", json!(same.equal));
    story.run("see how fresh it is", "larder status").await?;
    story.point(format!(
        "{} with their watermarks; `larder status --check` is for your monitoring",
        plural(3, "view", "views")
    ));
    Ok(())
}

fn broken(what: impl Into<String>) -> Error {
    Error::internal(format!("the demo's claim does not hold: {}", what.into()))
}

fn array(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// The statuses of all features in the answer of `larder get`, without the entity columns.
fn statuses(got: &Json) -> impl Iterator<Item = &str> {
    array(&got["results"])
        .iter()
        .skip(2)
        .filter_map(|column| column["statuses"][0].as_str())
}

/// The value of a feature in the answer of `larder get`.
fn value_of(got: &Json, feature: &str) -> Json {
    let names = array(&got["metadata"]["feature_names"]);
    match names.iter().position(|name| name == feature) {
        Some(index) => got["results"][index]["values"][0].clone(),
        None => Json::Null,
    }
}
