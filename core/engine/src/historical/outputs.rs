//! Would a training set be written where it is read as data?

use std::path::{Path, PathBuf};

use larder_base::{Error, Result};

use crate::selection::Resolved;
use crate::store::FeatureStore;

/// Refuses files that are data of a source, or would be once they are there.
///
/// # Errors
/// `Input` that names the file and the source; what the offline stores say.
pub(super) async fn check(store: &FeatureStore, resolved: &Resolved, outputs: &[PathBuf]) -> Result<()> {
    if outputs.is_empty() {
        return Ok(());
    }
    let mut asked: Vec<&str> = Vec::new();
    for view in &resolved.views {
        if asked.contains(&view.source.name.as_str()) {
            continue;
        }
        asked.push(view.source.name.as_str());
        let offline = store.store_of(&view.source).await?;
        for output in outputs {
            let file = std::path::absolute(output).unwrap_or_else(|_| output.clone());
            if offline.takes_file(&view.source, &file).await? {
                return Err(refused(output, view.source.name.as_str()));
            }
        }
    }
    Ok(())
}

fn refused(output: &Path, source: &str) -> Error {
    let (file, replaced) = (output.display(), output.exists());
    match replaced {
        true => Error::input(format!(
            "`{file}` is a data file of source `{source}`, and would be replaced"
        ))
        .help("write the training set to another file, outside of what sources read"),
        false => Error::input(format!(
            "`{file}` would become a data file of source `{source}`, whose path takes it"
        ))
        .help("write the training set to a folder that no source reads"),
    }
}
