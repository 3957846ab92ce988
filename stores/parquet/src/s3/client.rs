//! How the options of a store become a client of one bucket.

use std::net::IpAddr;
use std::time::Duration;

use larder_core::{Error, Result, Span};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::tries::Policy;
use crate::config::{ParquetConfig, Sse};

const CONNECT: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(30);
const TOTAL: Duration = Duration::from_secs(120);
const RETRIES: u32 = 8;

/// How patient a store's requests are.
pub(super) fn policy(config: &ParquetConfig) -> Policy {
    Policy {
        retries: config.retries.unwrap_or(RETRIES),
        attempt: time(config.request_timeout, ATTEMPT),
        total: time(config.retry_timeout, TOTAL),
    }
}

fn time(given: Option<Span>, default: Duration) -> Duration {
    given
        .and_then(|span| u64::try_from(span.0).ok())
        .map_or(default, Duration::from_micros)
}

/// A client. What the options leave open comes from the environment, as other programs of AWS have it.
pub(super) fn build(config: &ParquetConfig, bucket: &str) -> Result<AmazonS3> {
    with(AmazonS3Builder::from_env(), config, bucket)
}

/// A client of the options, and for the rest of what a builder has.
fn with(builder: AmazonS3Builder, config: &ParquetConfig, bucket: &str) -> Result<AmazonS3> {
    let mut builder = builder.with_bucket_name(bucket);
    let named = |key| builder.get_config_value(&key);
    let endpoint = config
        .endpoint
        .clone()
        .or_else(|| named(AmazonS3ConfigKey::S3Endpoint))
        .or_else(|| named(AmazonS3ConfigKey::Endpoint));
    let mut plain = false;
    if let Some(endpoint) = &endpoint {
        plain = check_endpoint(endpoint, config.allow_plaintext)?;
    }
    let in_path = config
        .path_style
        .unwrap_or(endpoint.is_some() || bucket.contains('.'));
    if let Some(endpoint) = endpoint {
        // Under the key that goes before all others, so that what was checked is what is asked.
        let endpoint = match in_path {
            true => endpoint,
            false => before_host(&endpoint, bucket),
        };
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(key)) = (&config.access_key_id, &config.secret_access_key) {
        builder = builder
            .with_access_key_id(id)
            .with_secret_access_key(key.reveal());
        // A token of the environment belongs to the keys of the environment.
        builder = match &config.session_token {
            Some(token) => builder.with_token(token.reveal()),
            None => builder.with_credentials(std::sync::Arc::new(
                object_store::StaticCredentialProvider::new(object_store::aws::AwsCredential {
                    key_id: id.clone(),
                    secret_key: key.reveal().clone(),
                    token: None,
                }),
            )),
        };
    }
    if config.anonymous {
        builder = builder.with_skip_signature(true);
    }
    builder = encrypted(builder, config.sse.as_ref());
    let options = ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(time(config.connect_timeout, CONNECT))
        .with_timeout(time(config.request_timeout, ATTEMPT))
        .with_user_agent(object_store::HeaderValue::from_static(concat!(
            "larder/",
            env!("CARGO_PKG_VERSION")
        )));
    builder
        .with_virtual_hosted_style_request(!in_path)
        .with_client_options(options)
        // Repeated by `tries`, which also knows of answers that break off.
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 0,
            retry_timeout: TOTAL,
        })
        .build()
        .map_err(|error| {
            Error::config("the options of the parquet store make no client for S3")
                .with("bucket", bucket)
                .source(error)
        })
}

fn encrypted(builder: AmazonS3Builder, sse: Option<&Sse>) -> AmazonS3Builder {
    match sse {
        None => builder,
        Some(Sse::Kms { key_id, bucket_key }) => {
            let builder = builder.with_sse_kms_encryption(key_id);
            match bucket_key {
                Some(enabled) => builder.with_bucket_key(*enabled),
                None => builder,
            }
        }
        Some(Sse::Dsse { key_id }) => builder.with_dsse_kms_encryption(key_id),
        Some(Sse::Customer { key }) => builder.with_ssec_encryption(key.reveal()),
    }
}

/// Whether an endpoint is plain HTTP, which only this machine may be without being asked for.
///
/// # Errors
/// `Config`, which shows nothing of it: requests that fail tell their URL, so that there must be no secret in it.
pub(super) fn check_endpoint(endpoint: &str, allow_plaintext: bool) -> Result<bool> {
    // A password may hold what ends an authority.
    if endpoint.contains('@') {
        return Err(Error::config("the S3 endpoint has a user or password in it").help(
            "credentials belong in `access_key_id` and `secret_access_key` of the store, or in AWS's usual chain",
        ));
    }
    if endpoint.contains(['?', '#']) {
        return Err(
            Error::config("the S3 endpoint has more than a scheme, a host, a port and a path")
                .help("remove what follows `?` or `#`"),
        );
    }
    match endpoint.split_once("://") {
        Some(("https", host)) if !host.is_empty() => Ok(false),
        Some(("http", rest)) if !rest.is_empty() => {
            if allow_plaintext || is_loopback(rest) {
                return Ok(true);
            }
            Err(
                Error::config("the S3 endpoint has no TLS and is not on this machine").help(
                    "use https://, or say `allow_plaintext: true` if everybody on the way may read data and change it",
                ),
            )
        }
        _ => {
            Err(Error::config("the S3 endpoint is not an URL")
                .help("write https://host or https://host:port"))
        }
    }
}

/// Whether `host:port/path` is this machine.
fn is_loopback(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `https://host` as `https://bucket.host`.
fn before_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_in_the_clear_only_where_that_was_said() {
        for endpoint in [
            "http://127.0.0.1:9000",
            "http://localhost:9000/",
            "http://[::1]:9000",
            "http://LOCALHOST",
        ] {
            assert!(check_endpoint(endpoint, false).unwrap(), "{endpoint}");
        }
        for endpoint in [
            "http://minio:9000",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1/localhost",
        ] {
            let error = check_endpoint(endpoint, false).unwrap_err().to_string();
            assert!(error.contains("allow_plaintext"), "{error}");
            assert!(check_endpoint(endpoint, true).unwrap(), "{endpoint}");
        }
        for (endpoint, part) in [
            ("https://me:hunter2@minio", "credentials belong in"),
            ("http://localhost@minio:9000", "credentials belong in"),
            ("https://minio/?token=hunter2", "follows `?`"),
        ] {
            let error = check_endpoint(endpoint, true).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
        assert!(!check_endpoint("https://s3.example.com", false).unwrap());
        assert!(check_endpoint("s3.example.com", true).is_err());
        assert!(check_endpoint("https://", true).is_err());
    }

    #[test]
    fn options_make_a_client() {
        let mut config = ParquetConfig::new("s3://bucket/x");
        config.endpoint = Some("http://127.0.0.1:9".to_owned());
        config.access_key_id = Some("id".to_owned());
        config.secret_access_key = Some(larder_core::Secret::new("key".to_owned()));
        config.sse = Some(Sse::Kms {
            key_id: "alias/x".to_owned(),
            bucket_key: Some(true),
        });
        assert!(build(&config, "bucket").is_ok());
        config.sse = Some(Sse::Customer {
            key: larder_core::Secret::new("not base64!".to_owned()),
        });
        let error = build(&config, "bucket").unwrap_err();
        assert!(!format!("{error:?}").contains("not base64!"), "{error:?}");
        assert_eq!(
            before_host("https://s3.example.com", "b"),
            "https://b.s3.example.com"
        );
    }

    #[test]
    fn endpoints_of_the_environment_are_checked_and_give_way() {
        let variable =
            |key, endpoint: &str| AmazonS3Builder::new().with_region("r").with_config(key, endpoint);
        let mut config = ParquetConfig::new("s3://bucket/x");
        for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
            let secret = variable(key, "https://me:hunter2@minio");
            let error = with(secret, &config, "bucket").unwrap_err().chain();
            assert!(
                error.contains("credentials belong in") && !error.contains("hunter2"),
                "{error}"
            );
            let plain = with(variable(key, "http://minio"), &config, "bucket").unwrap_err();
            assert!(plain.to_string().contains("allow_plaintext"), "{plain}");
            assert!(with(variable(key, "https://minio"), &config, "bucket").is_ok());
        }
        config.endpoint = Some("http://127.0.0.1:9".to_owned());
        let client = with(
            variable(AmazonS3ConfigKey::S3Endpoint, "http://minio"),
            &config,
            "bucket",
        );
        let client = format!("{:?}", client.unwrap());
        assert!(
            client.contains("127.0.0.1:9") && !client.contains("minio"),
            "{client}"
        );
    }

    #[test]
    fn patience_is_configured() {
        let mut config = ParquetConfig::new("s3://bucket/x");
        assert_eq!(policy(&config).retries, 8);
        config.retries = Some(1);
        config.retry_timeout = Some(Span::seconds(3));
        config.request_timeout = Some(Span(500_000));
        let policy = policy(&config);
        assert_eq!(
            (policy.retries, policy.total, policy.attempt),
            (1, Duration::from_secs(3), Duration::from_millis(500))
        );
    }
}
