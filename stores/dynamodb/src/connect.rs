//! How is AWS reached, or a server that speaks like it: region, credentials, TLS, and what is counted on the way?

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{
    Builder, ConfigBag, Credentials, Intercept, Region, RuntimeComponents, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use larder_base::{BuildContext, Error, Micros, Result, Span};
use larder_remote::{Meters, is_local};

use crate::config::{DynamoDbConfig, host};

/// How long finding region and credentials may take: a machine that is none of AWS asks nobody in vain for longer.
const FINDING: Duration = Duration::from_secs(10);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(50);

/// A client, and what it learns on the way.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) region: String,
    watch: Arc<Watch>,
}

impl Connection {
    /// What the server's clock was ahead of a clock, at its last answer.
    pub(crate) fn skew(&self, now: Micros) -> Option<Span> {
        match self.watch.server_time.load(Ordering::Relaxed) {
            i64::MIN => None,
            time => Some(Micros(time).since(now)),
        }
    }
}

/// Makes the client. Sends no request to DynamoDB.
///
/// # Errors
/// `Config` where there is no region, or a certificate cannot be read.
pub(crate) async fn connect(
    config: &DynamoDbConfig,
    cx: &BuildContext,
    meters: Arc<Meters>,
) -> Result<Connection> {
    let http = http(config, cx)?;
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    // A server of one's own has no region, but signatures have.
    let region = match (&config.region, &config.endpoint) {
        (Some(region), _) => Some(region.clone()),
        (None, Some(_)) => Some("us-east-1".to_owned()),
        (None, None) => None,
    };
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        let token = config.session_token.as_ref().map(|token| token.reveal().clone());
        loader =
            loader.credentials_provider(Credentials::new(id, secret.reveal(), token, None, "larder.yaml"));
    }
    let found = tokio::time::timeout(FINDING, loader.load()).await.map_err(|_| {
        Error::unavailable("the region and credentials for dynamodb were not found in time")
            .help("set `region` of the store, and `profile` or keys")
    })?;
    let Some(region) = found.region().map(ToString::to_string) else {
        return Err(
            Error::config("there is no region for dynamodb").help("set `region` of the store, or AWS_REGION")
        );
    };
    let watch = Arc::new(Watch {
        meters,
        allow_plaintext: config.allow_plaintext,
        server_time: AtomicI64::new(i64::MIN),
    });
    let mut builder = Builder::from(&found)
        // Whether to try again is decided in `call`, by who asks and until when.
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(config.connect_timeout.to_std())
                .build(),
        )
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .interceptor(Shared(watch.clone()));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(Connection {
        client: Client::from_conf(builder.build()),
        region,
        watch,
    })
}

fn http(config: &DynamoDbConfig, cx: &BuildContext) -> Result<SharedHttpClient> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        let file = config.ca.as_deref().map(|path| cx.resolve(path));
        Error::config("`ca` of a DynamoDB store cannot be used")
            .with("file", file.unwrap_or_default().display())
            .help("give a readable PEM file")
            .source(error)
    };
    let trust = match &config.ca {
        None => TrustStore::default(),
        Some(path) => {
            let pem = std::fs::read(cx.resolve(path)).map_err(|error| unusable(error.into()))?;
            // Who reads it would panic.
            if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(unusable("no certificate in it".into()));
            }
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| unusable(error.into()))?;
    let client = aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https();
    Ok(client)
}

/// A request would go over the network for everybody to read.
#[derive(Debug)]
pub(crate) struct Plaintext {
    pub(crate) host: String,
}

impl std::fmt::Display for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is another machine, and the endpoint has no TLS", self.host)
    }
}

impl std::error::Error for Plaintext {}

/// Sees every request and answer.
#[derive(Debug)]
struct Watch {
    meters: Arc<Meters>,
    allow_plaintext: bool,
    /// In µs; the smallest number before the first answer.
    server_time: AtomicI64,
}

#[derive(Debug)]
struct Shared(Arc<Watch>);

impl Watch {
    /// Refuses what would be readable on the way: the variables of AWS may name an endpoint, too.
    fn check(&self, uri: &str) -> Result<(), Plaintext> {
        let Some(rest) = uri.strip_prefix("http://") else {
            return Ok(());
        };
        let host = host(rest.split(['/', '?']).next().unwrap_or_default());
        match self.allow_plaintext || is_local(host) {
            true => Ok(()),
            false => Err(Plaintext {
                host: host.to_owned(),
            }),
        }
    }

    fn answered(&self, date: Option<&str>, bytes: Option<&str>) {
        let time = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        if let Some(time) = time {
            let micros = time.secs().saturating_mul(1_000_000);
            self.server_time.store(micros, Ordering::Relaxed);
        }
        if let Some(bytes) = bytes.and_then(|bytes| bytes.parse().ok()) {
            self.meters.received.increment(bytes);
        }
    }
}

impl Intercept for Shared {
    fn name(&self) -> &'static str {
        "larder"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        self.0.check(request.uri())?;
        if let Some(bytes) = request.body().content_length() {
            self.0.meters.sent.increment(bytes);
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        self.0
            .answered(headers.get("date"), headers.get("content-length"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(allow_plaintext: bool) -> Watch {
        Watch {
            meters: Arc::new(Meters::new("dynamodb", "test")),
            allow_plaintext,
            server_time: AtomicI64::new(i64::MIN),
        }
    }

    #[test]
    fn no_other_machine_is_asked_without_tls() {
        let watch = watch(false);
        for uri in [
            "https://dynamodb.eu-west-1.amazonaws.com/",
            "http://127.0.0.1:8000/",
            "http://[::1]:1/x",
        ] {
            watch.check(uri).expect(uri);
        }
        let refused = watch.check("http://10.0.0.1:8000/").expect_err("another machine");
        assert_eq!(refused.host, "10.0.0.1");
        super::tests::watch(true)
            .check("http://10.0.0.1/")
            .expect("allowed");
    }

    #[test]
    fn the_time_of_the_server_is_read() {
        let watch = watch(false);
        watch.answered(Some("Thu, 01 Jan 1970 00:01:00 GMT"), Some("17"));
        assert_eq!(watch.server_time.load(Ordering::Relaxed), 60_000_000);
        watch.answered(Some("yesterday"), None);
        assert_eq!(watch.server_time.load(Ordering::Relaxed), 60_000_000);
    }
}
