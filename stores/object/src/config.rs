//! Which options a registry of files or objects has in `larder.yaml`.

use std::path::PathBuf;
use std::sync::Arc;

use larder_base::async_trait::async_trait;
use larder_base::plugin::RegistryConfig;
use larder_base::{BuildContext, Error, Plugin, Registry, Result, Role, typetag};
use serde::Deserialize;

use crate::store::ObjectRegistry;

/// `registry: { type: file }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileConfig {
    /// The folder, absolute or relative to the project folder; made by the first commit.
    #[serde(default = "default_path")]
    pub path: PathBuf,
}

impl FileConfig {
    /// A registry in a folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

fn default_path() -> PathBuf {
    PathBuf::from(".larder/registry")
}

/// `registry: { type: object }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ObjectConfig {
    /// Where it is: `file:///absolute/folder`.
    pub url: String,
}

impl ObjectConfig {
    /// A registry at a URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }
}

/// Descriptor of `type: file`.
pub static FILE_PLUGIN: Plugin = Plugin {
    role: Role::Registry,
    name: "file",
    summary: "Definitions, their history and the ledger in a folder; many processes may share it.",
    example: "registry: { type: file, path: .larder/registry }",
    capabilities: &["history", "ledger", "wait"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "object",
    docs: include_str!("../docs.md"),
    sources: &[],
};

/// Descriptor of `type: object`.
pub static OBJECT_PLUGIN: Plugin = Plugin {
    role: Role::Registry,
    name: "object",
    summary: "Definitions, their history and the ledger as objects under a URL.",
    example: "registry: { type: object, url: \"file:///srv/larder/registry\" }",
    capabilities: &["history", "ledger", "wait"],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "object",
    docs: include_str!("../docs.md"),
    sources: &[],
};

#[typetag::deserialize(name = "file")]
#[async_trait]
impl RegistryConfig for FileConfig {
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn Registry>> {
        if self.path.as_os_str().is_empty() {
            return Err(
                Error::config("the registry's `path` is empty").help("such as `path: .larder/registry`")
            );
        }
        Ok(Arc::new(ObjectRegistry::in_folder(cx.resolve(&self.path))?))
    }
}

#[typetag::deserialize(name = "object")]
#[async_trait]
impl RegistryConfig for ObjectConfig {
    async fn build(&self, _cx: &BuildContext) -> Result<Arc<dyn Registry>> {
        Ok(Arc::new(ObjectRegistry::in_folder(folder_of(&self.url)?)?))
    }
}

/// The folder that a `file://` URL names.
fn folder_of(url: &str) -> Result<PathBuf> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        Error::config("the registry's `url` is not a URL")
            .help("such as `file:///srv/larder/registry`, or use `type: file` with a `path`")
    })?;
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {}
        "s3" | "s3a" => {
            return Err(Error::unsupported("a registry on s3:// is not in this build, it comes with part 4").help(
                "use `type: file` with a `path`, or `url: \"file:///…\"` on a disk that the machines share",
            ));
        }
        other => {
            return Err(Error::config(format!(
                "the registry's `url` has the scheme `{other}`, which is not known"
            ))
            .help("known: file"));
        }
    }
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let decoded = path.starts_with('/').then(|| percent_decode(path)).flatten();
    decoded.map(PathBuf::from).ok_or_else(|| {
        Error::config("the registry's `url` does not name an absolute folder").help(
            "write three slashes, such as `file:///srv/larder/registry`; for a relative one use `type: file` with a `path`",
        )
    })
}

/// Text with `%20` and the like replaced; `None` when that is not text, or a `%` stands alone.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use larder_base::ErrorKind;

    use super::*;

    #[test]
    fn urls_name_absolute_folders() {
        for (url, folder) in [
            ("file:///srv/larder", "/srv/larder"),
            ("FILE://localhost/srv/larder", "/srv/larder"),
            ("file:///srv/my%20registry%2f1", "/srv/my registry/1"),
        ] {
            assert_eq!(folder_of(url).unwrap(), PathBuf::from(folder), "{url}");
        }
        for wrong in [
            "",
            "/srv",
            "file://srv/x",
            "file://./x",
            "file:///a%",
            "file:///a%zz",
            "file:///a%00",
            "http://x/y",
        ] {
            assert_eq!(folder_of(wrong).unwrap_err().kind(), ErrorKind::Config, "{wrong}");
        }
    }

    #[test]
    fn s3_says_what_to_use_instead() {
        let error = folder_of("s3://bucket/registry").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("part 4"), "{error}");
        assert!(error.to_string().contains("type: file"), "{error}");
    }

    #[test]
    fn options_are_parsed_by_type_and_unknown_ones_refused() {
        fn parse(text: &str) -> serde_json::Result<Box<dyn RegistryConfig>> {
            serde_json::from_str(text)
        }
        assert!(format!("{:?}", parse(r#"{"type": "file"}"#).unwrap()).contains(".larder/registry"));
        assert!(parse(r#"{"type": "file", "path": "x"}"#).is_ok());
        assert!(parse(r#"{"type": "object", "url": "file:///x"}"#).is_ok());
        for wrong in [
            r#"{"type": "file", "pth": "x"}"#,
            r#"{"type": "object"}"#,
            r#"{"type": "object", "url": "file:///x", "path": "x"}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
