//! How bytes reach a server: TCP or a Unix socket, counted on their way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_postgres::config::Host;

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
        host: &Host,
        port: u16,
        meters: Arc<Meters>,
        moved: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match host {
            Host::Tcp(host) => {
                let tcp = TcpStream::connect((host.as_str(), port)).await?;
                tcp.set_nodelay(true)?;
                // A peer that is gone without a word is noticed on idle connections, too.
                let keepalive = socket2::TcpKeepalive::new()
                    .with_time(Duration::from_secs(15))
                    .with_interval(Duration::from_secs(5));
                socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
                Box::new(tcp)
            }
            #[cfg(unix)]
            Host::Unix(folder) => {
                Box::new(UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?)
            }
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
