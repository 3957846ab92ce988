//! `larder init`: how does a project begin?

use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use larder::{Clock, Error, Micros, Result, Span, SystemClock};
use serde_json::json;

use crate::output::{Report, count};
use crate::sample::{self, Scale};

/// Options of `larder init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The project runs at once: it has definitions with comments and a little generated data.

  larder init shop && cd shop && larder apply && larder materialize")]
pub(crate) struct Args {
    /// The folder of the new project
    dir: PathBuf,
    /// What it runs on
    #[arg(long, value_enum, default_value_t)]
    template: Template,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Everything on this machine
    #[default]
    Local,
    /// S3, DynamoDB, Redshift (comes in a later part)
    Aws,
    /// Postgres, Redis (comes in a later part)
    Onprem,
    /// A crate with a store of your own (comes in a later part)
    Store,
}

const GITIGNORE: &str = "\
# What larder keeps on this machine: registry and online values.
.larder/
# What `larder historical` makes.
training.*
";

/// Runs the command.
pub(crate) fn run(args: Args) -> Result<Report> {
    if args.template != Template::Local {
        return Err(Error::unsupported("this template comes in a later part")
            .help("`--template local` runs on this machine; environments: in larder.yaml change it later"));
    }
    let dir = &args.dir;
    let name = project_name(dir);
    let views = sample::starter_views();
    let mut files: Vec<(PathBuf, String)> = vec![
        ("larder.yaml".into(), project_yaml(&name)),
        ("features/entities.yaml".into(), sample::entities_yaml()),
        (
            "features/services.yaml".into(),
            sample::service_yaml("purchase_v1", "purchase_model", &views),
        ),
        (".gitignore".into(), GITIGNORE.to_owned()),
        ("README.md".into(), readme(&name)),
    ];
    for view in &views {
        files.push((
            format!("features/{}.yaml", view.name).into(),
            sample::view_yaml(view),
        ));
    }
    let now = SystemClock.now();
    let scale = Scale::starter(Micros(now.0 - now.0.rem_euclid(Span::hours(1).0)));
    let user_stats = &views[0];
    files.push((
        "rows.csv".into(),
        sample::single_row_csv(user_stats, (7, None), now, now)?,
    ));
    let data = dir.join("data");
    let planned = files
        .iter()
        .map(|(file, _)| dir.join(file))
        .chain([data.clone(), dir.join("labels.parquet")]);
    refuse_existing(planned)?;

    for (file, text) in &files {
        write(&dir.join(file), text)?;
    }
    let written = sample::write_views(&data, &views, &scale)?;
    let labels = sample::write_labels(&dir.join("labels.parquet"), &scale, 500)?;

    let next = [
        format!("cd {}", dir.display()),
        "larder apply -m 'first features'".to_owned(),
        "larder historical --entities labels.parquet --service purchase_v1 --out training.parquet".to_owned(),
        "larder materialize && larder get --service purchase_v1 --entity user_id=7,product_id=3".to_owned(),
    ];
    let names: Vec<String> = files.iter().map(|(file, _)| file.display().to_string()).collect();
    let text = format!(
        "made project `{name}` in {}: {} rows of generated data, {} entity rows in labels.parquet\nnext:\n  {}\n",
        dir.display(),
        count(written.rows as u64),
        labels.rows,
        next.join("\n  ")
    );
    let document = json!({
        "project": name,
        "dir": dir.display().to_string(),
        "files": names,
        "data_rows": written.rows,
        "next": next,
    });
    Ok(Report::new(document).product(text))
}

/// All or nothing: nobody's file is overwritten.
fn refuse_existing(planned: impl Iterator<Item = PathBuf>) -> Result<()> {
    // A link that leads nowhere would be written through, so links are not followed.
    let there: Vec<String> = planned
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| format!("`{}`", path.display()))
        .collect();
    match there.as_slice() {
        [] => Ok(()),
        [one] => Err(
            Error::conflict(format!("{one} is there already; nothing was written"))
                .help("name a new folder, or remove it first"),
        ),
        many => Err(Error::conflict(format!(
            "{} are there already; nothing was written",
            many.join(", ")
        ))
        .help("name a new folder, or remove them first")),
    }
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let cannot = |cause| Error::unavailable(format!("`{}` cannot be written", path.display())).source(cause);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(cannot)?;
    }
    fs::write(path, text).map_err(cannot)
}

/// The folder's name as a project may be called.
fn project_name(dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let legal: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    match larder::ProjectName::new(&legal) {
        Ok(name) => name.to_string(),
        Err(_) => "shop".to_owned(),
    }
}

/// `larder.yaml` on embedded stores.
pub(crate) fn project_yaml(name: &str) -> String {
    format!(
        "\
# A project: where its definitions are, and where registry, online values and history live.
project: {name}
definitions: features/

registry: {{ type: file, path: .larder/registry }}    # versions of the definitions
online:   {{ type: local, path: .larder/online }}     # the newest values, read in microseconds
offline:  {{ type: parquet, root: data/ }}            # history, for training

# `larder --env prod …` or LARDER_ENV=prod replaces whole blocks; ${{NAME}} comes from the environment.
# environments:
#   prod:
#     online: {{ type: redis, url: \"${{REDIS_URL}}\" }}
"
    )
}

fn readme(name: &str) -> String {
    format!(
        "\
# {name}

A feature store on this machine. Definitions are in `features/`, generated history in `data/`.

```sh
larder apply -m 'first features'        # check the definitions, make them version 1
larder historical --entities labels.parquet --service purchase_v1 --out training.parquet
larder materialize                      # bring the newest values online
```

Then read and write online:

```sh
larder get --service purchase_v1 --entity user_id=7,product_id=3
larder push user_daily --file rows.csv --to both
larder status
```

Replace `data/` by your own files: `larder infer PATH --entity user_id:int64 --time event_timestamp`
writes the definitions.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_folder_gives_a_legal_project_name() {
        assert_eq!(project_name(Path::new("some/my shop")), "my_shop");
        assert_eq!(project_name(Path::new("some/team-risk")), "team-risk");
        assert_eq!(project_name(Path::new("some/9")), "shop");
    }
}
