//! How bytes reach a server: TCP, TLS or a Unix socket, counted on their way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use larder_base::{Error, Result};
use redis::io::tcp::socket2;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use super::address::Endpoint;
use crate::config::TlsConfig;
use crate::meters::Meters;

/// A stream to a server that counts its bytes.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    meters: Arc<Meters>,
    moved: Arc<AtomicU64>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Wire {
    /// Connects. `moved` counts bytes in both directions, by which life is told from silence.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&TlsConnector>,
        meters: Arc<Meters>,
        moved: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match endpoint {
            Endpoint::Tcp(host, port) => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                // A peer that is gone without a word is noticed on idle connections, too.
                let keepalive = socket2::TcpKeepalive::new()
                    .with_time(Duration::from_secs(15))
                    .with_interval(Duration::from_secs(5));
                socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
                match tls {
                    None => Box::new(tcp),
                    Some(tls) => {
                        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                        Box::new(tls.connect(name, tcp).await?)
                    }
                }
            }
            #[cfg(unix)]
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            #[cfg(not(unix))]
            Endpoint::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self {
            stream,
            meters,
            moved,
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let count = (buffer.filled().len() - before) as u64;
        if count > 0 {
            self.moved.fetch_add(count, Ordering::Relaxed);
            self.meters.received.increment(count);
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &result {
            self.moved.fetch_add(*count as u64, Ordering::Relaxed);
            self.meters.sent.increment(*count as u64);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connector that verifies servers, built once per store.
///
/// The application's crypto provider is used where it installed one; none is installed here.
///
/// # Errors
/// `Config` where a file cannot be read or holds no certificate.
pub(crate) fn connector(
    tls: &TlsConfig,
    resolve: impl Fn(&std::path::Path) -> std::path::PathBuf,
) -> Result<TlsConnector> {
    let provider = rustls::crypto::CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let refused = |error: rustls::Error| {
        Error::config("the TLS options of the Redis store do not work")
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
            return Err(
                Error::config("`tls` of a Redis store has one of `cert` and `key`")
                    .help("give both for a client certificate, or none"),
            );
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(
    tls: &TlsConfig,
    resolve: &impl Fn(&std::path::Path) -> std::path::PathBuf,
) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            let ca = resolve(ca);
            for certificate in certificates("ca", &ca)? {
                roots
                    .add(certificate)
                    .map_err(|error| unreadable("ca", &ca, error))?;
            }
        }
        None => {
            // Single certificates that cannot be read are no reason to trust none.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::config("this machine trusts no certificate authority")
                    .help("install ca-certificates, or name the authority with `tls: { ca: FILE }`"));
            }
        }
    }
    Ok(roots)
}

fn certificates(key: &'static str, path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(key, path, error))?;
    if chain.is_empty() {
        return Err(unreadable(key, path, "no certificate in it"));
    }
    Ok(chain)
}

fn unreadable(
    key: &'static str,
    path: &std::path::Path,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::config(format!("`tls.{key}` of the Redis store cannot be used"))
        .with("file", path.display())
        .help("give a readable PEM file")
        .source(cause)
}
