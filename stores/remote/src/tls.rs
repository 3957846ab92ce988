//! How are servers verified? By the machine's authorities or named ones, and perhaps with a certificate of our own.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use larder_base::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, Error as TlsError};
use serde::Deserialize;

/// `tls:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsConfig {
    /// Certificates of authorities to trust (PEM) instead of the machine's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The client's own certificate chain (PEM).
    #[serde(default)]
    pub cert: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// A client that verifies servers, built once per store. `resolve` gives the place of a file that is named relative
/// to the project.
///
/// The application's crypto provider is used where it installed one; none is installed here.
///
/// # Errors
/// `Config` where a file cannot be read or holds no certificate.
pub fn tls_client(tls: &TlsConfig, resolve: impl Fn(&Path) -> PathBuf) -> Result<Arc<rustls::ClientConfig>> {
    let provider = rustls::crypto::CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let refused = |error: rustls::Error| {
        Error::config("the TLS options of the store do not work")
            .help("check `tls: { ca, cert, key }`")
            .source(error)
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_root_certificates(roots(tls, &resolve)?);
    let config = match (&tls.cert, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let key = resolve(key);
            let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| unreadable("key", &key, error))?;
            let chain = certificates("cert", &resolve(cert))?;
            builder.with_client_auth_cert(chain, key).map_err(refused)?
        }
        _ => {
            return Err(Error::config("`tls` has one of `cert` and `key`")
                .help("give both for a client certificate, or none"));
        }
    };
    Ok(Arc::new(config))
}

/// Why one of both sides refuses the other for good, where that is what an error means, in whatever it is wrapped.
///
/// A connection that broke during the handshake, and one that was damaged later, are none of that.
pub fn tls_refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    use AlertDescription as Alert;
    let found = tls_error(error)?;
    let for_good = match found {
        TlsError::InvalidCertificate(_)
        | TlsError::InvalidMessage(_)
        | TlsError::NoCertificatesPresented
        | TlsError::PeerIncompatible(_)
        | TlsError::UnsupportedNameType => true,
        TlsError::AlertReceived(alert) => matches!(
            alert,
            Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::HandshakeFailure
                | Alert::InsufficientSecurity
                | Alert::NoCertificate
                | Alert::ProtocolVersion
                | Alert::UnknownCA
                | Alert::UnrecognisedName
                | Alert::UnsupportedCertificate
        ),
        _ => false,
    };
    for_good.then(|| found.to_string())
}

fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a TlsError> {
    if let Some(found) = error.downcast_ref::<TlsError>() {
        return Some(found);
    }
    // Both keep what they wrap from `source`.
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return tls_error(inner);
    }
    if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
        return tls_error(&**shared);
    }
    error.source().and_then(tls_error)
}

fn roots(tls: &TlsConfig, resolve: &impl Fn(&Path) -> PathBuf) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    let Some(ca) = &tls.ca else {
        // Single certificates that cannot be read are no reason to trust none.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return match roots.is_empty() {
            true => Err(Error::config("this machine trusts no certificate authority")
                .help("install ca-certificates, or name the authority with `tls: { ca: FILE }`")),
            false => Ok(roots),
        };
    };
    let ca = resolve(ca);
    for certificate in certificates("ca", &ca)? {
        roots
            .add(certificate)
            .map_err(|error| unreadable("ca", &ca, error))?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(key, path, error))?;
    match chain.is_empty() {
        true => Err(unreadable(key, path, "no certificate in it")),
        false => Ok(chain),
    }
}

fn unreadable(
    key: &'static str,
    path: &Path,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::config(format!("`tls.{key}` cannot be used"))
        .with("file", path.display())
        .help("give a readable PEM file")
        .source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(tls: &TlsConfig) -> String {
        tls_client(tls, Path::to_path_buf)
            .expect_err("no such options work")
            .chain()
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let ca = TlsConfig {
            ca: Some("/nowhere/ca.pem".into()),
            ..TlsConfig::default()
        };
        let told = refused(&ca);
        assert!(
            told.starts_with("`tls.ca` cannot be used (file=/nowhere/ca.pem)"),
            "{told}"
        );
        let ours = TlsConfig {
            ca: Some("Cargo.toml".into()),
            ..TlsConfig::default()
        };
        assert!(refused(&ours).contains("no certificate in it"));
    }

    #[test]
    fn refusals_are_told_from_broken_lines() {
        let refused = |error: TlsError| {
            let wrapped: Arc<dyn StdError + Send + Sync> = Arc::new(io::Error::other(error));
            tls_refusal(&io::Error::other(wrapped))
        };
        let unknown = rustls::CertificateError::UnknownIssuer;
        assert!(refused(unknown.into()).is_some_and(|told| told.contains("UnknownIssuer")));
        assert!(refused(TlsError::AlertReceived(AlertDescription::CertificateRequired)).is_some());
        assert!(refused(TlsError::AlertReceived(AlertDescription::InternalError)).is_none());
        assert!(refused(TlsError::DecryptError).is_none());
        assert!(tls_refusal(&io::Error::from(io::ErrorKind::ConnectionReset)).is_none());
    }

    #[test]
    fn unknown_options_are_refused() {
        let with = |key: &str| {
            let fields = [(key, "x")];
            TlsConfig::deserialize(
                serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(fields.into_iter()),
            )
        };
        assert!(with("insecure").is_err());
    }
}
