//! Which files does a training set become, and how do they and their manifest get their names together?

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use larder::historical::{EntityFile, Manifest, ManifestOutput};
use larder::{Error, Result, SourceFiles, Split};

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
    /// that one that is there describes the files beside it. Parts of the training set that is replaced go last.
    pub(super) fn finish(
        self,
        out: &Path,
        manifest: &mut Manifest,
        sources: &[SourceFiles],
    ) -> Result<Finished> {
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
        let earlier = std::fs::read_to_string(&path).ok();
        let earlier = earlier.and_then(|text| Manifest::from_json(&text).ok());
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
        let mut finished = Finished {
            manifest: path,
            removed: Vec::new(),
            warnings: Vec::new(),
        };
        if let Some(earlier) = earlier {
            finished.remove_parts(out, &earlier, manifest, sources);
        }
        Ok(finished)
    }
}

/// A training set whose files have their names.
pub(super) struct Finished {
    /// Its manifest.
    pub(super) manifest: PathBuf,
    /// Files of the training set that it replaces which it does not have any more.
    pub(super) removed: Vec<PathBuf>,
    /// What is left of that one, and why.
    pub(super) warnings: Vec<String>,
}

impl Finished {
    /// Removes what an earlier manifest names and this one does not, as long as it is what was written then.
    fn remove_parts(&mut self, out: &Path, earlier: &Manifest, now: &Manifest, sources: &[SourceFiles]) {
        let names = |manifest: &Manifest| -> Vec<String> {
            let outputs = manifest.outputs.iter();
            outputs.filter_map(|output| output.path.clone()).collect()
        };
        let kept = names(now);
        for output in &earlier.outputs {
            let Some(name) = output.path.as_ref().filter(|name| !kept.contains(name)) else {
                continue;
            };
            // Outputs stand beside their manifest; what says otherwise was not written by us.
            if Path::new(name).file_name() != Some(name.as_ref()) {
                continue;
            }
            let file = out.with_file_name(name);
            if !std::fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
                continue;
            }
            let why_not = match is_input(&file, out, now, sources) {
                true => Some("this one is made from it".to_owned()),
                false if !is_as_written(&file, output) => Some("it was changed since".to_owned()),
                false => std::fs::remove_file(&file).err().map(|cause| cause.to_string()),
            };
            match why_not {
                None => self.removed.push(file),
                Some(why) => self.warnings.push(format!(
                    "`{}` is of the training set that was replaced, and was left because {why}",
                    file.display()
                )),
            }
        }
    }
}

/// Whether a file is what its manifest says.
fn is_as_written(file: &Path, output: &ManifestOutput) -> bool {
    let size = std::fs::metadata(file).map(|found| found.len()).ok();
    if size.is_none() || size != output.bytes {
        return false;
    }
    let found = std::fs::File::open(file).and_then(EntityFile::digest_of);
    found.is_ok_and(|(_, digest)| output.digest.as_ref() == Some(&digest))
}

/// Whether a training set is made from a file that lies beside it.
fn is_input(file: &Path, out: &Path, manifest: &Manifest, sources: &[SourceFiles]) -> bool {
    let same = |path: &Path| {
        path.file_name() == file.file_name()
            && matches!((path.canonicalize(), file.canonicalize()), (Ok(a), Ok(b)) if a == b)
    };
    let mut data = sources.iter().flat_map(|source| &source.files);
    let entities = manifest.entities.as_ref();
    entities.is_some_and(|entities| same(&folder(out).join(&entities.path)))
        || data.any(|found| same(Path::new(&found.path)))
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
