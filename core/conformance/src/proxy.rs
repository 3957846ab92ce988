//! What a bad line does to a client: a TCP proxy that delays, throttles, falls silent, cuts and half-closes, and counts
//! how often both sides took turns.
//!
//! It knows no protocol: put it in front of any server.
//!
//! ```
//! # use std::time::Duration;
//! # use larder_conformance::FaultProxy;
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let proxy = FaultProxy::start(server.local_addr()?).await?;
//! // Point the client at `proxy.address()`, let it work, then make the line bad:
//! proxy.delay(Duration::from_millis(50));
//! proxy.cut();
//! // And good again:
//! proxy.pass();
//! assert_eq!(proxy.exchanges(), 0);
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Pieces on the line at once, per direction: a sender is held up beyond.
const ON_THE_LINE: usize = 64;

/// A TCP proxy in front of a server; dropped, it cuts all connections and takes no more.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    line: watch::Sender<Line>,
    tasks: Mutex<Vec<(Direction, AbortHandle)>>,
    exchanges: AtomicU64,
    bytes: [AtomicU64; 2],
    connections: AtomicU64,
}

/// How the line is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    delay: Duration,
    /// Per connection and direction; none is as fast as it goes.
    bytes_per_second: Option<u64>,
    /// Nothing goes through; connections stay.
    silent: bool,
    /// New connections are closed at once.
    refusing: bool,
    /// Each connection ends after so many bytes of answers.
    answer_bytes: Option<u64>,
}

const GOOD: Line = Line {
    delay: Duration::ZERO,
    bytes_per_second: None,
    silent: false,
    refusing: false,
    answer_bytes: None,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl FaultProxy {
    /// Listens on a free port of this machine and passes everything on to a server.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            line: watch::Sender::new(GOOD),
            tasks: Mutex::default(),
            exchanges: AtomicU64::new(0),
            bytes: Default::default(),
            connections: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets everything through again, at once and as fast as it goes.
    pub fn pass(&self) {
        self.shared.line.send_replace(GOOD);
    }

    /// Every byte takes so much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.shared.line.send_modify(|line| line.delay = delay);
    }

    /// At most so many bytes per second go through, per connection and direction.
    pub fn throttle(&self, bytes_per_second: u64) {
        let limit = Some(bytes_per_second.max(1));
        self.shared.line.send_modify(|line| line.bytes_per_second = limit);
    }

    /// Nothing goes through, in silence: connections stay, new ones are taken.
    pub fn silence(&self) {
        self.shared.line.send_modify(|line| line.silent = true);
    }

    /// New connections are closed at once.
    pub fn refuse(&self) {
        self.shared.line.send_modify(|line| line.refusing = true);
    }

    /// Each connection is cut after so many bytes of answers, in the middle of one.
    pub fn cut_after(&self, answer_bytes: u64) {
        self.shared
            .line
            .send_modify(|line| line.answer_bytes = Some(answer_bytes));
    }

    /// Cuts all connections now; new ones are taken.
    pub fn cut(&self) {
        self.shared
            .tasks
            .lock()
            .drain(..)
            .for_each(|(_, task)| task.abort());
    }

    /// Ends the answers of all connections now, and goes on listening to the clients.
    pub fn half_close(&self) {
        self.shared.tasks.lock().retain(|(direction, task)| {
            let answers = *direction == Direction::ToClient;
            if answers {
                task.abort();
            }
            !answers
        });
    }

    /// Passes new connections on to another server.
    pub fn point_at(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
    }

    /// How often clients spoke after the server had, or first: the round trips of a client that waits for answers.
    pub fn exchanges(&self) -> u64 {
        self.shared.exchanges.load(Ordering::SeqCst)
    }

    /// Bytes passed on to the server and to clients.
    pub fn bytes(&self) -> (u64, u64) {
        let [to_server, to_client] = &self.shared.bytes;
        (to_server.load(Ordering::SeqCst), to_client.load(Ordering::SeqCst))
    }

    /// Connections taken so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Too many open files, say: better later than never.
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        shared.connections.fetch_add(1, Ordering::SeqCst);
        if !shared.line.borrow().refusing {
            let task = tokio::spawn(connect(client, shared.clone())).abort_handle();
            shared.remember(Direction::ToServer, task);
        }
    }
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let target = *shared.target.lock();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let last = Arc::new(Mutex::new(Direction::ToClient));
    for (direction, from, to) in [
        (Direction::ToServer, from_client, to_server),
        (Direction::ToClient, from_server, to_client),
    ] {
        let pump = Pump {
            direction,
            shared: shared.clone(),
            last: last.clone(),
        };
        let task = tokio::spawn(pump.run(from, to)).abort_handle();
        shared.remember(direction, task);
    }
}

impl Shared {
    fn remember(&self, direction: Direction, task: AbortHandle) {
        let mut tasks = self.tasks.lock();
        tasks.retain(|(_, task)| !task.is_finished());
        tasks.push((direction, task));
    }
}

/// One direction of one connection.
struct Pump {
    direction: Direction,
    shared: Arc<Shared>,
    /// Who spoke last on this connection.
    last: Arc<Mutex<Direction>>,
}

impl Pump {
    async fn run(self, mut from: OwnedReadHalf, to: OwnedWriteHalf) {
        let (send, receive) = mpsc::channel(ON_THE_LINE);
        let reading = async move {
            let mut buffer = vec![0; PIECE];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                if send
                    .send((Instant::now(), buffer[..count].to_vec()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        };
        // Together in one task, so that aborting it closes both ends.
        tokio::join!(reading, self.write(receive, to));
    }

    async fn write(self, mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
        let mut line = self.shared.line.subscribe();
        let mut passed = 0;
        while let Some((read, piece)) = pieces.recv().await {
            if line.wait_for(|line| !line.silent).await.is_err() {
                return;
            }
            let now = *line.borrow();
            if !now.delay.is_zero() {
                sleep_until(read + now.delay).await;
            }
            if let Some(limit) = now.bytes_per_second {
                sleep(Duration::from_secs_f64(piece.len() as f64 / limit as f64)).await;
            }
            let mut piece = piece.as_slice();
            let limit = now.answer_bytes.filter(|_| self.direction == Direction::ToClient);
            if let Some(left) = limit.map(|limit| limit.saturating_sub(passed)) {
                piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            }
            self.count(piece.len());
            passed += piece.len() as u64;
            let cut = limit.is_some_and(|limit| passed >= limit);
            if to.write_all(piece).await.is_err() || cut {
                return;
            }
        }
    }

    fn count(&self, bytes: usize) {
        self.shared.bytes[self.direction as usize].fetch_add(bytes as u64, Ordering::SeqCst);
        let mut last = self.last.lock();
        if self.direction == Direction::ToServer && *last == Direction::ToClient {
            self.shared.exchanges.fetch_add(1, Ordering::SeqCst);
        }
        *last = self.direction;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every byte with ten, and a client's line to it.
    async fn echo() -> (FaultProxy, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let target = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok()
                        && stream.write_all(&[byte[0]; 10]).await.is_ok()
                    {}
                });
            }
        });
        let proxy = FaultProxy::start(target).await.expect("a proxy");
        let client = TcpStream::connect(proxy.address()).await.expect("a connection");
        (proxy, client)
    }

    async fn ask(client: &mut TcpStream) -> io::Result<Duration> {
        let start = Instant::now();
        client.write_all(b"x").await?;
        let mut answer = [0; 10];
        client.read_exact(&mut answer).await?;
        assert_eq!(answer, [b'x'; 10]);
        Ok(start.elapsed())
    }

    #[tokio::test]
    async fn turns_and_bytes_are_counted() {
        let (proxy, mut client) = echo().await;
        for _ in 0..3 {
            ask(&mut client).await.expect("an answer");
        }
        assert_eq!(
            (proxy.exchanges(), proxy.bytes(), proxy.connections()),
            (3, (3, 30), 1)
        );
    }

    #[tokio::test]
    async fn a_line_is_slow_and_fast_again() {
        let (proxy, mut client) = echo().await;
        proxy.delay(Duration::from_millis(30));
        assert!(ask(&mut client).await.expect("an answer") >= Duration::from_millis(60));
        proxy.pass();
        proxy.throttle(100);
        assert!(ask(&mut client).await.expect("an answer") >= Duration::from_millis(100));
        proxy.pass();
        ask(&mut client).await.expect("an answer");
    }

    #[tokio::test]
    async fn a_line_falls_silent_and_speaks_again() {
        let (proxy, mut client) = echo().await;
        proxy.silence();
        let silent = tokio::time::timeout(Duration::from_millis(50), ask(&mut client)).await;
        assert!(silent.is_err());
        proxy.pass();
        let mut answer = [0; 10];
        client.read_exact(&mut answer).await.expect("the answer, late");
    }

    #[tokio::test]
    async fn a_line_is_cut_half_closed_and_refused() {
        let (proxy, mut client) = echo().await;
        ask(&mut client).await.expect("an answer");
        proxy.cut();
        ask(&mut client).await.expect_err("a cut line");
        let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
        ask(&mut client).await.expect("an answer");
        proxy.half_close();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the end");
        client.write_all(b"x").await.expect("nobody closed this half");
        let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
        proxy.cut_after(14);
        ask(&mut client).await.expect("a whole answer");
        ask(&mut client).await.expect_err("four bytes of an answer");
        proxy.refuse();
        let mut client = TcpStream::connect(proxy.address()).await.expect("a connection");
        ask(&mut client).await.expect_err("refused");
    }
}
