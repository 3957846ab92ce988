//! How is AWS reached, or a server that speaks like it: region, credentials, TLS, and what is counted on the way?

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
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
use aws_types::service_config::ServiceConfigKey;
use larder_base::{BuildContext, Error, Micros, Result, Span};
use larder_remote::Meters;

use crate::config::DynamoDbConfig;

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
/// `Config` where there is no region, the endpoint is none to use, or a certificate cannot be read.
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
    let endpoint = config.endpoint.clone().or_else(|| endpoint_of(&found));
    if let Some(endpoint) = &endpoint {
        config.check_endpoint(endpoint)?;
    }
    let watch = Arc::new(Watch {
        meters,
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
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(Connection {
        client: Client::from_conf(builder.build()),
        region,
        watch,
    })
}

/// The endpoint that AWS's variables and files name, where the store's options name none.
fn endpoint_of(found: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("DynamoDB")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let of_service = found.service_config().and_then(|chain| chain.load_config(key));
    of_service.or_else(|| found.endpoint_url().map(str::to_owned))
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

/// Sees every request and answer.
#[derive(Debug)]
struct Watch {
    meters: Arc<Meters>,
    /// In µs; the smallest number before the first answer.
    server_time: AtomicI64,
}

#[derive(Debug)]
struct Shared(Arc<Watch>);

impl Watch {
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
        if let Some(bytes) = context.request().body().content_length() {
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
    use aws_types::service_config::LoadServiceConfig;

    use super::*;

    /// What AWS's variables, here of one service and of all, name is the same to us as the store's own option.
    #[test]
    fn endpoints_of_the_environment_are_found() {
        #[derive(Debug)]
        struct Chain;
        impl LoadServiceConfig for Chain {
            fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
                let right = (key.service_id(), key.env(), key.profile());
                assert_eq!(right, ("DynamoDB", "AWS_ENDPOINT_URL", "endpoint_url"));
                Some("http://of-service".to_owned())
            }
        }
        let of_all = || SdkConfig::builder().endpoint_url("http://of-all");
        let of_one = of_all().service_config(Chain).build();
        assert_eq!(endpoint_of(&of_one).as_deref(), Some("http://of-service"));
        assert_eq!(endpoint_of(&of_all().build()).as_deref(), Some("http://of-all"));
        assert_eq!(endpoint_of(&SdkConfig::builder().build()), None);
    }

    #[test]
    fn the_time_of_the_server_is_read() {
        let watch = Watch {
            meters: Arc::new(Meters::new("dynamodb", "test")),
            server_time: AtomicI64::new(i64::MIN),
        };
        watch.answered(Some("Thu, 01 Jan 1970 00:01:00 GMT"), Some("17"));
        assert_eq!(watch.server_time.load(Ordering::Relaxed), 60_000_000);
        watch.answered(Some("yesterday"), None);
        assert_eq!(watch.server_time.load(Ordering::Relaxed), 60_000_000);
    }
}
