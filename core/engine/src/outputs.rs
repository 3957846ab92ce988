//! Would what is written stand where it is read as data?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_base::model::Source;
use larder_base::{Error, Result};

use crate::store::FeatureStore;

/// Refuses files that are data of a source, or would be once they are there; `what` they are to hold.
///
/// # Errors
/// `Input` that names the file and the source; what the offline stores say.
pub(crate) async fn check<'a>(
    store: &FeatureStore,
    sources: impl IntoIterator<Item = &'a Arc<Source>>,
    outputs: &[PathBuf],
    what: &str,
) -> Result<()> {
    if outputs.is_empty() {
        return Ok(());
    }
    let mut asked: Vec<&str> = Vec::new();
    for source in sources {
        if asked.contains(&source.name.as_str()) {
            continue;
        }
        asked.push(source.name.as_str());
        let offline = store.store_of(source).await?;
        for output in outputs {
            let file = std::path::absolute(output).unwrap_or_else(|_| output.clone());
            if offline.takes_file(source, &file).await? {
                return Err(refused(output, source.name.as_str(), what));
            }
        }
    }
    Ok(())
}

fn refused(output: &Path, source: &str, what: &str) -> Error {
    let (file, replaced) = (output.display(), output.exists());
    match replaced {
        true => Error::input(format!(
            "`{file}` is a data file of source `{source}`, and would be replaced"
        ))
        .help(format!(
            "write {what} to another file, outside of what sources read"
        )),
        false => Error::input(format!(
            "`{file}` would become a data file of source `{source}`, whose path takes it"
        ))
        .help(format!("write {what} to a folder that no source reads")),
    }
}
