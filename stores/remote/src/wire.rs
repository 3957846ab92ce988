//! How do bytes reach a server, and can somebody on the way listen?

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::Meters;

/// A stream to a server that counts its bytes.
pub struct Wire {
    stream: Box<dyn Stream>,
    meters: Arc<Meters>,
    moved: Arc<AtomicU64>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects over TCP: bytes go at once, and a peer that is gone without a word is noticed on idle connections, too.
///
/// # Errors
/// What the operating system says.
pub async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

/// Whether a host is this machine by its form, so that nobody on the way can listen.
pub fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Wire {
    /// Counts a stream. `moved` counts bytes in both directions, by which life is told from silence.
    pub fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        meters: Arc<Meters>,
        moved: Arc<AtomicU64>,
    ) -> Self {
        Self {
            stream: Box::new(stream),
            meters,
            moved,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn this_machine_is_known_by_its_names() {
        for local in ["localhost", "LOCALHOST", "127.0.0.1", "127.3.2.1", "::1"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["localhost.example", "10.0.0.1", "::", "0.0.0.0", "db"] {
            assert!(!is_local(remote), "{remote}");
        }
    }

    #[tokio::test]
    async fn bytes_of_both_directions_are_counted() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let moved = Arc::new(AtomicU64::new(0));
        let mut wire = Wire::new(ours, Arc::new(Meters::new("thing", "online")), moved.clone());
        wire.write_all(b"hello").await.unwrap();
        theirs.write_all(b"you").await.unwrap();
        let mut answer = [0; 3];
        wire.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, moved.load(Ordering::Relaxed)), (b"you", 8));
    }
}
