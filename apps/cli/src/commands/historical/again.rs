//! `larder historical --verify` and `--repeat`: is a training set what its manifest says, and can it be made again?

use std::path::{Path, PathBuf};

use futures::StreamExt;
use larder::historical::{Changed, Difference, EntityFile, Manifest, definition_differences};
use larder::{Error, ErrorKind, FeatureStore, Micros, Progress, Result};
use serde_json::json;

use super::files::folder;
use super::old::{Compared, Old};
use super::{Begun, Machine, Request, entity_file, make};
use crate::context::Context;
use crate::output::{Report, Table, count, plural};

/// Exit code for a training set that is another one now.
const DIFFERENT: u8 = 3;
/// Differences shown to people; JSON has all.
const SHOWN: usize = 30;

/// Makes a training set again, without writing it, and compares.
pub(super) async fn verify(
    cx: &Context,
    store: &FeatureStore,
    path: &Path,
    machine: &Machine,
) -> Result<Report> {
    let manifest = open(store, path)?;
    let request = request(&manifest, path);
    let entities = entities_now(&manifest, &request, path)?;
    let run = run(cx, store, &manifest, &request, path, machine).await;
    let (now, compared) = match run {
        Ok((now, compared)) => (Some(now.with_entities(entities.clone())), compared),
        Err(error) if is_finding(&error) => {
            let mut differences = causes(store, &manifest, entities.as_ref()).await?;
            differences.push(Difference::new(
                Changed::Run,
                "cannot be made again",
                error.message(),
            ));
            return Ok(told(&manifest, path, None, &differences, &[]));
        }
        Err(error) => return Err(error),
    };
    let differences = now
        .as_ref()
        .map(|now| manifest.differences(now))
        .unwrap_or_default();
    Ok(told(&manifest, path, now.as_ref(), &differences, &compared))
}

/// Makes a training set again with the definitions of its time, into a file of its own.
pub(super) async fn repeat(
    cx: &Context,
    store: &FeatureStore,
    path: &Path,
    out: &Path,
    known_until: Option<Micros>,
    machine: &Machine,
) -> Result<Report> {
    let manifest = open(store, path)?;
    let mut request = request(&manifest, path);
    let parameters = &mut request.parameters;
    parameters.at_version = Some(manifest.inputs.version);
    parameters.known_until = known_until.or(parameters.known_until);
    let open_ended = parameters.known_until.is_none();
    let made = make::write(cx, store, &request, out, machine).await?;
    let same = manifest.same_content(&made.manifest);
    let mut document = made.document(out);
    document["same"] = json!(same);
    let mut report = made.lines(out, Report::new(document));
    report = match same {
        true => report.text(format!("equal to the training set of {}", path.display())),
        false => report.text(format!(
            "another one than the training set of {}: larder historical --verify tells why",
            path.display()
        )),
    };
    if !same && open_ended {
        report = report.text(format!(
            "rows that were written since count, too; --known-until {} leaves them out where the sources have a created time",
            manifest.created
        ));
    }
    Ok(report)
}

fn open(store: &FeatureStore, path: &Path) -> Result<Manifest> {
    let text = std::fs::read_to_string(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("there is no manifest `{}`", path.display()))
        }
        _ => Error::unavailable(format!("`{}` cannot be read", path.display())).source(cause),
    })?;
    let manifest = Manifest::from_json(&text).map_err(|error| error.with("file", path.display()))?;
    if manifest.inputs.project != *store.project() {
        return Err(Error::input(format!(
            "the manifest is of project `{}`, this is `{}`",
            manifest.inputs.project,
            store.project()
        ))
        .help("--project-dir names the folder of the project"));
    }
    Ok(manifest)
}

fn request(manifest: &Manifest, path: &Path) -> Request {
    let entities = manifest.entities.as_ref();
    Request {
        selection: manifest.inputs.selection.clone(),
        parameters: manifest.inputs.parameters.clone(),
        // An absolute path stays what it is.
        entities: entities.map(|file| folder(path).join(&file.path)),
    }
}

/// The file of the entity rows as it is now; none where it is gone.
fn entities_now(manifest: &Manifest, request: &Request, path: &Path) -> Result<Option<EntityFile>> {
    match (&request.entities, &manifest.entities) {
        (Some(file), Some(was)) if file.is_file() => {
            let mut now = entity_file(file, &folder(path))?;
            now.path.clone_from(&was.path);
            Ok(Some(now))
        }
        _ => Ok(None),
    }
}

/// Whether an error tells of the training set rather than of the machine.
fn is_finding(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Definition | ErrorKind::Input | ErrorKind::NotFound | ErrorKind::Unsupported
    )
}

/// What can be told to have changed without making the training set.
async fn causes(
    store: &FeatureStore,
    manifest: &Manifest,
    entities: Option<&EntityFile>,
) -> Result<Vec<Difference>> {
    let snapshot = store.snapshot_at(manifest.inputs.parameters.at_version).await?;
    let now = manifest.inputs.definitions_at(&snapshot);
    let mut found = definition_differences(&manifest.inputs.definitions, &now);
    match (&manifest.entities, entities) {
        (Some(was), None) => found.push(Difference::new(Changed::EntityRows, &was.path, "is gone")),
        (Some(was), Some(now)) if was.digest != now.digest => {
            found.push(Difference::new(
                Changed::EntityRows,
                &was.path,
                "the file changed",
            ));
        }
        _ => {}
    }
    Ok(found)
}

/// An output and how it compares.
type Outputs = Vec<(PathBuf, Compared)>;

async fn run(
    cx: &Context,
    store: &FeatureStore,
    manifest: &Manifest,
    request: &Request,
    path: &Path,
    machine: &Machine,
) -> Result<(Manifest, Outputs)> {
    let progress = Progress::default();
    let bar = cx.bars.rows("verify");
    let following = bar.follow(progress.clone());
    let created = store.clock().now();
    let begun = Begun::new(store, request, machine, progress).await?;
    let mut training = begun.historical.run().await?;
    let mut parts = training.parts()?;
    let mut olds: Vec<Option<(PathBuf, Old)>> = manifest
        .outputs
        .iter()
        .map(|output| {
            let file = path.with_file_name(output.path.as_ref()?);
            Some((file.clone(), Old::open(&file, &manifest.schema)))
        })
        .collect();
    while let Some(batch) = training.next().await {
        let cut = parts.cut(batch?)?;
        for (old, rows) in olds.iter_mut().zip(&cut) {
            if let Some((_, old)) = old {
                old.compare(rows)?;
            }
        }
    }
    drop(following);
    bar.clear();
    let report = training.report();
    let now = Manifest::new(&training.inputs(), &training.schema(), &report, &parts, created);
    let compared = olds.into_iter().flatten();
    Ok((now, compared.map(|(path, old)| (path, old.finish())).collect()))
}

fn told(
    manifest: &Manifest,
    path: &Path,
    now: Option<&Manifest>,
    differences: &[Difference],
    compared: &[(PathBuf, Compared)],
) -> Report {
    let same = now.is_some_and(|now| manifest.same_content(now));
    let outputs = |of: &Manifest| -> Vec<_> {
        let outputs = of.outputs.iter();
        outputs
            .map(|output| json!({ "part": output.part, "rows": output.content.rows, "digest": output.content.digest }))
            .collect()
    };
    let files: Vec<_> = compared
        .iter()
        .map(|(path, compared)| {
            json!({
                "path": path.display().to_string(),
                "found": compared.found,
                "different_rows": compared.rows,
                "first": compared.first,
            })
        })
        .collect();
    let mut report = Report::new(json!({
        "manifest": path.display().to_string(),
        "same": same,
        "rows": now.map(|now| now.rows),
        "was": outputs(manifest),
        "now": now.map(outputs),
        "differences": differences,
        "files": files,
    }));
    if !differences.is_empty() {
        let mut table = Table::new(["what", "which", "how"]);
        for difference in differences.iter().take(SHOWN) {
            table.row([difference.what.as_str(), &difference.name, &difference.how]);
        }
        report = report.table(table);
    }
    if differences.len() > SHOWN {
        let more = differences.len() - SHOWN;
        report = report.text(format!(
            "… and {more} differences more; --format json has them all"
        ));
    }
    for (path, compared) in compared {
        report = report.text(file_line(path, compared, same));
    }
    match (same, now) {
        (true, Some(now)) => {
            let digests: Vec<&str> = now.outputs.iter().map(|o| o.content.digest.as_str()).collect();
            let although = match differences.is_empty() {
                true => "",
                false => ", although what it is made from is not the same",
            };
            report.text(format!(
                "equal{although}: {} made again, digest {}",
                plural(now.rows as usize, "row", "rows"),
                digests.join(" ")
            ))
        }
        _ => report
            .text("different: the same request makes another training set now")
            .exit(DIFFERENT),
    }
}

fn file_line(path: &Path, compared: &Compared, same: bool) -> String {
    let first: Vec<String> = compared.first.iter().map(u64::to_string).collect();
    let first = first.join(", ");
    match (compared.found, compared.rows) {
        (false, _) => format!("{}: is not there to compare rows with", path.display()),
        (true, 0) => format!("{}: holds these rows", path.display()),
        (true, rows) if same => format!(
            "{}: the file was changed since it was written, {} rows differ, the first: row {first}",
            path.display(),
            count(rows)
        ),
        (true, rows) => format!(
            "{}: {} rows differ, the first: row {first}, counted from 0",
            path.display(),
            count(rows)
        ),
    }
}
