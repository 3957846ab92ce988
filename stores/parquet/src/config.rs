//! Which options a parquet store has in `larder.yaml`.

use std::sync::Arc;

use async_trait::async_trait;
// Named for the code that the macro below writes.
use larder_core::typetag;
use larder_core::{
    BuildContext, Error, OfflineStore, OfflineStoreConfig, Plugin, Result, Role, Secret, Span,
    plugin::SourceKind,
};
use serde::Deserialize;

use crate::root::Root;
use crate::store::ParquetStore;

/// Descriptor of the store.
pub static PLUGIN: Plugin = Plugin {
    role: Role::Offline,
    name: "parquet",
    summary: "Parquet files in folders or on S3: point-in-time joins in two passes, without a database.",
    example: "offline: { type: parquet, root: data/ }",
    capabilities: &[
        "ordered_source",
        "append",
        "compact",
        "range",
        "explain",
        "entity_files",
    ],
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    feature: "parquet",
    docs: include_str!("../docs.md"),
    sources: &[SourceKind {
        name: "parquet",
        options: &["path"],
    }],
};

/// `offline: { type: parquet }`
///
/// All but `root` matters for `s3://` only, be it the root or an absolute path of a source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ParquetConfig {
    /// Where relative paths of sources start: a folder, relative to the project folder, `file:///…`, or
    /// `s3://bucket/prefix/`.
    pub root: String,
    /// Region of the buckets; `AWS_REGION` or `us-east-1` where absent.
    pub region: Option<String>,
    /// URL of a server that speaks S3; AWS itself, or `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, where absent.
    pub endpoint: Option<String>,
    /// Lets data and signatures go without TLS to an `http://` endpoint that is not on this machine.
    pub allow_plaintext: bool,
    /// Sends no signature, for public buckets.
    pub anonymous: bool,
    /// Whether the bucket stands in the path of URLs or, with `false`, before the host. In the path where absent,
    /// unless AWS itself is asked for a bucket without dots.
    pub path_style: Option<bool>,
    /// Key id; the usual chain of AWS where absent: environment, web identity, container, instance.
    pub access_key_id: Option<String>,
    /// The key that belongs to it.
    pub secret_access_key: Option<Secret<String>>,
    /// Token of temporary credentials.
    pub session_token: Option<Secret<String>>,
    /// How appended objects are encrypted at rest; the bucket's own setting where absent.
    pub sse: Option<Sse>,
    /// Requests in flight at a time; 16 where absent.
    pub concurrency: Option<usize>,
    /// Time to connect; 5 s where absent.
    pub connect_timeout: Option<Span>,
    /// Time of one request with its answer, at most 16 MiB; 30 s where absent.
    pub request_timeout: Option<Span>,
    /// Time of a request with all its repetitions; 2 min where absent.
    pub retry_timeout: Option<Span>,
    /// How often a request that failed is repeated without progress; 8 where absent.
    pub retries: Option<u32>,
}

/// How the server encrypts appended objects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Sse {
    /// With the bucket's KMS key, or another.
    Kms {
        /// Id or ARN of the key.
        key_id: String,
        /// Whether a key per bucket saves calls of KMS.
        #[serde(default)]
        bucket_key: Option<bool>,
    },
    /// Twice, with a KMS key.
    Dsse {
        /// Id or ARN of the key.
        key_id: String,
    },
    /// With a key that comes with every request, reads included.
    Customer {
        /// 256 bits in base64.
        key: Secret<String>,
    },
}

impl Default for ParquetConfig {
    fn default() -> Self {
        Self {
            root: ".".to_owned(),
            region: None,
            endpoint: None,
            allow_plaintext: false,
            anonymous: false,
            path_style: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            sse: None,
            concurrency: None,
            connect_timeout: None,
            request_timeout: None,
            retry_timeout: None,
            retries: None,
        }
    }
}

impl ParquetConfig {
    /// A store below a folder, or below `s3://bucket/prefix/`.
    pub fn new(root: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            ..Self::default()
        }
    }

    /// Checks what can be checked without a connection.
    fn check(&self) -> Result<()> {
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return Err(Error::config(
                "`access_key_id` and `secret_access_key` of the parquet store belong together",
            )
            .help("give both, or neither to use the usual chain of AWS"));
        }
        if self.session_token.is_some() && self.access_key_id.is_none() {
            return Err(
                Error::config("`session_token` of the parquet store needs the keys it belongs to")
                    .help("give `access_key_id` and `secret_access_key` too"),
            );
        }
        if self.anonymous && self.access_key_id.is_some() {
            return Err(
                Error::config("the parquet store cannot be anonymous and have keys")
                    .help("remove one of them"),
            );
        }
        if self.concurrency == Some(0) {
            return Err(Error::config("`concurrency` of the parquet store is 0")
                .help("1 is the least, 16 the default"));
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("retry_timeout", self.retry_timeout),
        ];
        match times
            .iter()
            .find(|(_, time)| time.is_some_and(|time| time.0 <= 0))
        {
            Some((name, _)) => Err(Error::config(format!("`{name}` of the parquet store is no time"))
                .help("write a duration such as 30s")),
            None => Ok(()),
        }
    }
}

#[typetag::deserialize(name = "parquet")]
#[async_trait]
impl OfflineStoreConfig for ParquetConfig {
    async fn build(&self, cx: &BuildContext) -> Result<Arc<dyn OfflineStore>> {
        self.check()?;
        Ok(Arc::new(ParquetStore::at(
            Root::new(self, |folder| cx.resolve(folder))?,
            cx.clock.clone(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> serde_json::Result<ParquetConfig> {
        serde_json::from_str(text)
    }

    #[test]
    fn the_descriptor_says_what_the_store_says() {
        assert_eq!(PLUGIN.capabilities, crate::store::capabilities().names());
    }

    #[test]
    fn options() {
        let parse = |text: &str| serde_json::from_str::<Box<dyn OfflineStoreConfig>>(text);
        assert!(parse(r#"{ "type": "parquet" }"#).is_ok());
        assert!(parse(r#"{ "type": "parquet", "root": "data/" }"#).is_ok());
        assert!(parse(r#"{ "type": "parquet", "roots": "data/" }"#).is_err());
        let all = r#"{ "type": "parquet", "root": "s3://bucket/features/", "region": "eu-north-1",
            "endpoint": "https://s3.example.com", "allow_plaintext": false, "path_style": true,
            "access_key_id": "id", "secret_access_key": "key", "session_token": "token",
            "sse": { "type": "kms", "key_id": "alias/x", "bucket_key": true }, "concurrency": 8,
            "connect_timeout": "1s", "request_timeout": "20s", "retry_timeout": "1m", "retries": 3 }"#;
        parse(all).unwrap();
        assert!(parse(r#"{ "type": "parquet", "sse": { "type": "kms", "id": "x" } }"#).is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = parse(
            r#"{ "access_key_id": "id", "secret_access_key": "hush", "session_token": "hush",
                 "sse": { "type": "customer", "key": "hush" } }"#,
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (text, word) in [
            (r#"{ "access_key_id": "id" }"#, "belong together"),
            (r#"{ "session_token": "t" }"#, "session_token"),
            (
                r#"{ "anonymous": true, "access_key_id": "id", "secret_access_key": "k" }"#,
                "anonymous",
            ),
            (r#"{ "concurrency": 0 }"#, "concurrency"),
            (r#"{ "retry_timeout": "0s" }"#, "retry_timeout"),
        ] {
            let error = parse(text).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(ParquetConfig::new("data").check().is_ok());
    }
}
