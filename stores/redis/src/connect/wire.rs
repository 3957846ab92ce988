//! How a server is reached: TCP, TLS or a Unix socket, its bytes counted on their way.

use std::io;
use std::sync::Arc;

use larder_remote::{Meters, Pulse, Wire, dial};
use rustls::pki_types::ServerName;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

use super::address::Endpoint;

/// Connects; `pulse` is told of signs of life.
pub(crate) async fn open(
    endpoint: &Endpoint,
    tls: Option<&TlsConnector>,
    meters: Arc<Meters>,
    pulse: Arc<Pulse>,
) -> io::Result<Wire> {
    let wire = match endpoint {
        Endpoint::Tcp(host, port) => {
            let tcp = dial(host, *port).await?;
            match tls {
                None => Wire::new(tcp, meters, pulse),
                Some(tls) => {
                    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                    Wire::new(tls.connect(name, tcp).await?, meters, pulse)
                }
            }
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => Wire::new(UnixStream::connect(path).await?, meters, pulse),
        #[cfg(not(unix))]
        Endpoint::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(wire)
}
