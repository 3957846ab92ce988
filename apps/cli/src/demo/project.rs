//! What is in the demo's folder, and is it there already?

use std::path::Path;
use std::time::{Duration, Instant};

use larder::{Clock, Error, Micros, Result, Span, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::SHOWN;
use crate::commands::init::{project_yaml, write};
use crate::output::batch_json;
use crate::sample::{self, Scale, Written, demo_views};

/// Written first: only a folder that has it belongs to the demo, and may be written to.
const BEGUN: &str = ".larder-demo";
/// Written last, so that a folder that has it is whole.
const MARK: &str = ".larder-demo.json";
/// Format of the folder; another one is made anew by hand.
const FORMAT: u32 = 1;
const LABEL_ROWS: u64 = 100_000;
/// The user that is read and pushed.
const USER: i64 = 4_711;

/// The demo's project.
#[derive(Debug)]
pub(super) struct DemoProject {
    /// The last instant of the generated data.
    pub(super) end: Micros,
    /// Entity rows in labels.parquet.
    pub(super) label_rows: u64,
}

/// What was made.
#[derive(Debug)]
pub(super) struct Made {
    /// The data of the views.
    pub(super) data: Written,
    /// How long it took.
    pub(super) took: Duration,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
    end: Micros,
}

impl DemoProject {
    /// The project in a folder; made where there is none.
    pub(super) fn find_or_make(dir: &Path) -> Result<(Self, Option<Made>)> {
        let mark = dir.join(MARK);
        let begun = dir.join(BEGUN).is_file();
        if begun && mark.is_file() {
            return Ok((Self::found(dir, &mark)?, None));
        }
        let empty = match std::fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => true,
            Err(cause) => {
                return Err(Error::unavailable(format!("`{}` cannot be read", dir.display())).source(cause));
            }
        };
        // A demo that was killed while it made its folder had begun it, and is made again.
        if !empty && !begun {
            return Err(Error::conflict(format!(
                "`{}` is there and is no demo; nothing was written",
                dir.display()
            ))
            .help("choose another --dir"));
        }
        let (project, made) = Self::make(dir)?;
        Ok((project, Some(made)))
    }

    fn found(dir: &Path, mark: &Path) -> Result<Self> {
        let unknown = || {
            Error::conflict(format!(
                "`{}` was made by another version of the demo",
                dir.display()
            ))
            .help(format!("rm -r {} and run it again", dir.display()))
        };
        let text = std::fs::read_to_string(mark).map_err(|e| unknown().source(e))?;
        let mark: Mark = serde_json::from_str(&text).map_err(|e| unknown().source(e))?;
        if mark.format != FORMAT {
            return Err(unknown());
        }
        Ok(Self {
            end: mark.end,
            label_rows: LABEL_ROWS,
        })
    }

    fn make(dir: &Path) -> Result<(Self, Made)> {
        let begin = Instant::now();
        let now = SystemClock.now();
        let end = Micros(now.0 - now.0.rem_euclid(Span::hours(1).0));
        let scale = Scale::demo(end);
        let views = demo_views();
        write(&dir.join(BEGUN), &format!("larder demo, format {FORMAT}\n"))?;
        write(&dir.join("larder.yaml"), &project_yaml("larder-demo"))?;
        write(&dir.join(".gitignore"), "*\n")?;
        write(&dir.join("features/entities.yaml"), &sample::entities_yaml())?;
        for view in &views {
            write(
                &dir.join(format!("features/{}.yaml", view.name)),
                &sample::view_yaml(view),
            )?;
        }
        let service = sample::service_yaml(super::SERVICE, "purchase_model", &views);
        write(&dir.join("features/services.yaml"), &service)?;
        let data = sample::write_views(&dir.join("data"), &views, &scale)?;
        sample::write_labels(&dir.join("labels.parquet"), &scale, LABEL_ROWS)?;
        let mark = serde_json::to_string(&Mark { format: FORMAT, end })
            .map_err(|e| Error::internal("the mark of the demo cannot be written").source(e))?;
        write(&dir.join(MARK), &mark)?;
        let project = Self {
            end,
            label_rows: LABEL_ROWS,
        };
        let made = Made {
            data,
            took: begin.elapsed(),
        };
        Ok((project, made))
    }

    /// The pair that is read online.
    pub(super) fn pair(&self) -> (i64, i64) {
        (USER, sample::bought_by(USER))
    }

    /// The command that reads it.
    pub(super) fn get_command(&self) -> String {
        self.get_command_of(USER)
    }

    /// A user that nothing is pushed for.
    pub(super) fn other_user(&self) -> i64 {
        USER + 1
    }

    /// The command that reads a user and the product.
    pub(super) fn get_command_of(&self, user: i64) -> String {
        let (_, product) = self.pair();
        format!(
            "larder get --service {} --entity user_id={user},product_id={product}",
            super::SERVICE
        )
    }

    /// Writes a file with one row of the user, seen from the project's folder; answers with the
    /// value of the feature that is shown.
    pub(super) fn write_push(&self, name: &str, event: Micros) -> Result<Json> {
        let views = demo_views();
        let user_stats = &views[0];
        write(
            Path::new(name),
            &sample::single_row_csv(user_stats, (USER, None), event, event)?,
        )?;
        let row = batch_json(&sample::single_row(user_stats, (USER, None), event, event)?)?;
        Ok(row[0][SHOWN].clone())
    }
}
