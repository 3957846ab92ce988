//! `larder historical --verify` and `--repeat`: is a training set what its manifest says, and can it be made again?

use std::io::Read;
use std::path::Path;

use futures::StreamExt;
use larder::historical::{
    Changed, Content, Difference, EntityFile, Manifest, ManifestOutput, definition_differences,
};
use larder::{Error, ErrorKind, FeatureStore, Micros, Progress, Result};
use serde_json::json;

use super::files::{folder, from_project, manifest_path};
use super::old::{Compared, Old, State};
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
    let mut differences = now
        .as_ref()
        .map(|now| manifest.differences(now))
        .unwrap_or_default();
    let changed = compared.iter().filter(|file| file.state == State::Changed);
    differences.extend(changed.map(|file| {
        let name = file.path.display().to_string();
        Difference::new(Changed::Output, name, "the file was changed since it was written")
    }));
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
    for warning in &made.report.warnings {
        report = report.text(format!("warning: {warning}"));
    }
    let others = definition_differences(&manifest.inputs.definitions, &made.manifest.inputs.definitions);
    for other in &others {
        report = report.text(format!(
            "warning: version {} of this registry is not the manifest's: {}: {}",
            manifest.inputs.version, other.name, other.how
        ));
    }
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
    let manifest = Manifest::from_json(&text_of(path)?).map_err(|error| match error.kind() {
        ErrorKind::Input => no_manifest(path, "it is text of another kind").source(error),
        _ => error.with("file", path.display()),
    })?;
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

/// The text of a manifest; what cannot be one is not read to its end.
fn text_of(path: &Path) -> Result<String> {
    let failed = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("there is no manifest `{}`", path.display()))
        }
        _ => Error::unavailable(format!("`{}` cannot be read", path.display())).source(cause),
    };
    if path.is_dir() {
        return Err(no_manifest(path, "it is a folder"));
    }
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut head = Vec::new();
    (&mut file).take(6).read_to_end(&mut head).map_err(failed)?;
    match head.as_slice() {
        [b'P', b'A', b'R', b'1', ..] => return Err(no_manifest(path, "it is a Parquet file")),
        b"ARROW1" => return Err(no_manifest(path, "it is an Arrow file")),
        [] => return Err(no_manifest(path, "it is empty")),
        _ => {}
    }
    file.read_to_end(&mut head).map_err(failed)?;
    String::from_utf8(head).map_err(|_| no_manifest(path, "it is not even text"))
}

fn no_manifest(path: &Path, what: &str) -> Error {
    let error = Error::input(format!(
        "`{}` is no manifest of a training set: {what}",
        path.display()
    ));
    let beside = manifest_path(path);
    match beside.is_file() {
        true => error.help(format!("its manifest is `{}`", beside.display())),
        false => error.help(
            "a manifest is the JSON that `larder historical --out FILE` writes to FILE.manifest.json beside it",
        ),
    }
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

async fn run(
    cx: &Context,
    store: &FeatureStore,
    manifest: &Manifest,
    request: &Request,
    path: &Path,
    machine: &Machine,
) -> Result<(Manifest, Vec<Compared>)> {
    let progress = Progress::default();
    let bar = cx.bars.rows("verify");
    let following = bar.follow(progress.clone());
    let created = store.clock().now();
    let begun = Begun::new(store, request, machine, progress).await?;
    let mut training = begun.historical.run().await?;
    let mut parts = training.parts()?;
    let open = |output: &ManifestOutput| {
        let file = path.with_file_name(output.path.as_ref()?);
        Some(Old::open(file, output, manifest))
    };
    let mut olds: Vec<Option<Old>> = manifest.outputs.iter().map(open).collect();
    while let Some(batch) = training.next().await {
        let cut = parts.cut(batch?)?;
        for (old, rows) in olds.iter_mut().zip(&cut) {
            if let Some(old) = old {
                old.compare(rows)?;
            }
        }
        // Comparing never waits, and an interrupt must get its turn.
        tokio::task::yield_now().await;
    }
    drop(following);
    bar.clear();
    let report = training.report();
    let mut now = Manifest::new(&training.inputs(), &training.schema(), &report, &parts, created);
    from_project(&mut now, &cx.dir);
    Ok((now, olds.into_iter().flatten().map(Old::finish).collect()))
}

fn told(
    manifest: &Manifest,
    path: &Path,
    now: Option<&Manifest>,
    differences: &[Difference],
    compared: &[Compared],
) -> Report {
    let again = now.is_some_and(|now| manifest.same_content(now));
    let same = again && compared.iter().all(|file| file.state != State::Changed);
    let outputs = |of: &Manifest| -> Vec<_> {
        let outputs = of.outputs.iter();
        outputs
            .map(|output| {
                let content = &output.content;
                json!({ "part": output.part, "rows": content.rows, "digest": digest(content) })
            })
            .collect()
    };
    let mut report = Report::new(json!({
        "manifest": path.display().to_string(),
        "same": same,
        "made_again_equal": again,
        "rows": now.map(|now| now.rows),
        "was": outputs(manifest),
        "now": now.map(outputs),
        "differences": differences,
        "files": compared,
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
    for file in compared {
        if let Some(line) = file_line(file, again) {
            report = report.text(line);
        }
    }
    match (again, same, now) {
        (true, true, Some(now)) => {
            let digests: Vec<&str> = now.outputs.iter().map(|output| digest(&output.content)).collect();
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
        (true, ..) => report
            .text("different: the rows can be made again, but a file does not hold them any more")
            .exit(DIFFERENT),
        _ => report
            .text("different: the same request makes another training set now")
            .exit(DIFFERENT),
    }
}

/// The digest that decides.
fn digest(content: &Content) -> &str {
    content.any_order.as_ref().unwrap_or(&content.digest)
}

/// What there is to say of an earlier output.
fn file_line(file: &Compared, again: bool) -> Option<String> {
    let path = file.path.display();
    let first: Vec<String> = file.first.iter().map(u64::to_string).collect();
    let first = first.join(", ");
    match (file.state, file.different_rows) {
        (State::Gone, _) => Some(format!("{path}: is not there to compare rows with")),
        // What a CSV cannot tell apart is no difference where the digests are equal.
        (State::Unchanged, _) if again => None,
        (_, None | Some(0)) => None,
        (_, Some(rows)) => Some(format!(
            "{path}: {} rows differ, the first: row {first}, counted from 0",
            count(rows)
        )),
    }
}
