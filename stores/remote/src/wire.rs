//! How do bytes reach a server, and can somebody on the way listen?

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::{Meters, Pulse};

/// How long bytes may be on their way to a machine that does not confirm them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNCONFIRMED: Duration = Duration::from_secs(10);

/// A stream to a server that counts its bytes and notes its signs of life.
pub struct Wire {
    stream: Box<dyn Stream>,
    meters: Arc<Meters>,
    pulse: Arc<Pulse>,
    /// Whether there was no room for bytes when some were written last.
    full: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects over TCP: bytes go at once, and a machine that is gone without a word is noticed, on idle connections, too.
///
/// # Errors
/// What the operating system says.
pub async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    let socket = socket2::SockRef::from(&tcp);
    socket.set_tcp_keepalive(&keepalive)?;
    // Nothing is probed while bytes wait to be confirmed, and they are sent again for a quarter of an hour.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNCONFIRMED))?;
    Ok(tcp)
}

/// Whether a host is this machine by its form, so that nobody on the way can listen.
pub fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Wire {
    /// Counts a stream; `pulse` is told of its signs of life.
    pub fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        meters: Arc<Meters>,
        pulse: Arc<Pulse>,
    ) -> Self {
        Self {
            stream: Box::new(stream),
            meters,
            pulse,
            full: false,
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
            self.pulse.sign();
            self.meters.received.increment(count);
        }
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match &result {
            Poll::Ready(Ok(count)) => {
                self.meters.sent.increment(*count as u64);
                // The other side made room: it takes what is sent, if slowly.
                if std::mem::take(&mut self.full) {
                    self.pulse.sign();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.full = true,
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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_machine_that_is_gone_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tcp = dial("127.0.0.1", port).await.unwrap();
        let socket = socket2::SockRef::from(&tcp);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNCONFIRMED));
        assert!(socket.keepalive().unwrap());
    }

    #[tokio::test]
    async fn what_comes_is_a_sign_of_life_and_what_goes_only_after_there_was_no_room() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let pulse = Arc::new(Pulse::new());
        let mut wire = Wire::new(ours, Arc::new(Meters::new("thing", "online")), pulse.clone());
        wire.write_all(b"hello").await.unwrap();
        assert_eq!(pulse.signs(), 0);
        theirs.write_all(b"you").await.unwrap();
        let mut answer = [0; 3];
        wire.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, pulse.signs()), (b"you", 1));
        let mut taken = [0; 105];
        let (sent, read) = tokio::join!(wire.write_all(&[7; 100]), theirs.read_exact(&mut taken));
        assert!(sent.is_ok() && read.is_ok());
        assert_eq!(pulse.signs(), 2);
    }
}
