//! Which files does a training set become, and how do they and their manifest get their names together?

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use larder::historical::{EntityFile, Manifest, ManifestOutput};
use larder::{Error, Result, Split};

use crate::rows::{RowsFile, Sealed, WholeFile};

/// Metadata of Parquet and Arrow files that tells which training set they belong to, as JSON.
const NOTE: &str = "larder.training_set";

/// The files of a training set: `training.parquet`, or `training.train.parquet` and so on.
pub(super) fn paths(out: &Path, split: Option<&Split>) -> Vec<PathBuf> {
    let Some(split) = split else {
        return vec![out.to_owned()];
    };
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let extension = out.extension().unwrap_or_default().to_string_lossy();
    let name = |part: &&str| out.with_file_name(format!("{stem}.{part}.{extension}"));
    split.names().iter().map(name).collect()
}

/// The manifest of a training set: `training.parquet.manifest.json`.
pub(super) fn manifest_path(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{name}.manifest.json"))
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Names local files of sources from the project's folder on, where they are below it: so a
/// manifest means the same files from whatever folder a command is run.
pub(super) fn from_project(manifest: &mut Manifest, project: &Path) {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let project = absolute(project);
    let files = manifest.sources.iter_mut().flat_map(|source| &mut source.files);
    for file in files.filter(|file| !file.path.contains("://")) {
        let path = absolute(Path::new(&file.path));
        file.path = path.strip_prefix(&project).unwrap_or(&path).display().to_string();
    }
}

/// Files being written under temporary names.
pub(super) struct Files(Vec<RowsFile>);

impl Files {
    pub(super) fn create(paths: &[PathBuf], schema: &SchemaRef, limit: Option<u64>) -> Result<Self> {
        // A quarter of the memory is for writing; the rest is for what is written.
        let each = limit.map(|limit| limit / 4 / paths.len().max(1) as u64);
        let create = |path: &PathBuf| RowsFile::create_within(path, schema, each);
        paths.iter().map(create).collect::<Result<_>>().map(Self)
    }

    /// Adds rows, cut by part.
    pub(super) fn write(&mut self, cut: &[RecordBatch]) -> Result<()> {
        let written = self.0.iter_mut().zip(cut);
        written
            .filter(|(_, rows)| rows.num_rows() > 0)
            .try_for_each(|(file, rows)| file.write(rows))
    }

    /// Makes everything durable, then gives data and manifest their names: the manifest last, so
    /// that one that is there describes the files beside it.
    pub(super) fn finish(self, out: &Path, manifest: &mut Manifest) -> Result<PathBuf> {
        let mut sealed: Vec<Sealed> = Vec::with_capacity(self.0.len());
        let notes: Vec<String> = manifest
            .outputs
            .iter()
            .map(|output| note(manifest, output))
            .collect();
        for (mut file, note) in self.0.into_iter().zip(notes) {
            file.note(NOTE, &note);
            sealed.push(file.seal()?);
        }
        for (output, file) in manifest.outputs.iter_mut().zip(&sealed) {
            let name = file.path().file_name().unwrap_or_default().to_string_lossy();
            let (bytes, digest) = EntityFile::digest_of(file.open()?).map_err(|cause| {
                Error::unavailable(format!("`{}` cannot be read back", file.path().display())).source(cause)
            })?;
            output.written(name, bytes, digest);
        }
        let path = manifest_path(out);
        let document = WholeFile::write(&path, &format!("{}\n", manifest.to_json()))?;
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(
                    Error::unavailable(format!("`{}` cannot be replaced", path.display())).source(cause),
                );
            }
            _ => {}
        }
        sealed.into_iter().try_for_each(Sealed::place)?;
        document.place()?;
        Ok(path)
    }
}

/// What a file says of itself, should it lose its manifest.
fn note(manifest: &Manifest, output: &ManifestOutput) -> String {
    let inputs = &manifest.inputs;
    serde_json::json!({
        "larder": manifest.larder,
        "created": manifest.created,
        "project": inputs.project,
        "version": inputs.version,
        "selection": inputs.selection,
        "parameters": inputs.parameters,
        "part": output.part,
        "rows": output.content.rows,
        "digest": output.content.digest,
    })
    .to_string()
}
