//! What can go wrong between a client and an S3 server: a proxy that does it on purpose.
//!
//! Plain HTTP/1.1, one request per connection, threads of the standard library.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// What happens to a request or to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Pass,
    /// `503 SlowDown`, as S3 says it.
    SlowDown,
    /// Another status, with an error code.
    Status(u16, &'static str),
    /// The connection is reset before any answer.
    ResetBefore,
    /// The connection is reset after so many bytes of the body.
    ResetIn(usize),
    /// The connection is closed in order after so many bytes of the body, fewer than were announced.
    CloseIn(usize),
    /// An answer that is whole as HTTP, with the first bytes of the body only.
    Truncate(usize),
    /// The request does its work, and its answer is lost.
    Lost,
    /// Nothing comes for so long, and then the connection is closed.
    Stall(Duration),
}

/// A request as the proxy sees it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// First and last byte that are asked for.
    pub(crate) range: Option<(u64, u64)>,
    /// Bytes of the answer's body that were passed on.
    pub(crate) bytes: u64,
}

impl Seen {
    /// Whether bytes of a data file are asked for.
    pub(crate) fn is_data(&self) -> bool {
        self.method == "GET" && self.target.contains(".parquet")
    }

    pub(crate) fn is_list(&self) -> bool {
        self.target.contains("list-type=2")
    }
}

type Rule = Box<dyn FnMut(&Seen) -> Fault + Send>;

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    latency: Duration,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
    stop: AtomicBool,
}

impl Proxy {
    /// A proxy before `http://host:port`.
    pub(crate) fn new(
        upstream: &str,
        latency: Duration,
        rule: impl FnMut(&Seen) -> Fault + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream
                .trim_start_matches("http://")
                .trim_end_matches('/')
                .to_owned(),
            latency,
            rule: Mutex::new(Box::new(rule)),
            seen: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let served = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if served.stop.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(client) = client else { continue };
                let served = served.clone();
                // Clients come and go; what one of them did not hear is its own affair.
                thread::spawn(move || drop(serve(&served, client)));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(shared: &Shared, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    // Bytes that are peeked at and never read make the system reset the connection when it is dropped.
    let Some(head) = peek_head(&client)? else {
        return Ok(());
    };
    let mut seen = parse(&head);
    thread::sleep(shared.latency);
    let fault = (shared.rule.lock())(&seen);
    let at = {
        let mut all = shared.seen.lock();
        all.push(seen.clone());
        all.len() - 1
    };
    if fault == Fault::ResetBefore {
        return Ok(());
    }
    if let Fault::Stall(time) = fault {
        thread::sleep(time);
        return Ok(());
    }
    let resets = matches!(fault, Fault::ResetIn(_));
    let mut request = head.clone();
    let body = header(&head, "content-length")
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(0);
    if !resets {
        request.resize(head.len() + body, 0);
        client.read_exact(&mut request)?;
    }
    let answer = match fault {
        Fault::SlowDown => error(503, "Service Unavailable", "SlowDown"),
        Fault::Lost => {
            forward(shared, &request)?;
            return Ok(());
        }
        Fault::Status(status, code) => error(status, "Refused", code),
        _ => forward(shared, &request)?,
    };
    let end = find_head(&answer).unwrap_or(answer.len());
    let (head, body) = answer.split_at(end);
    let (head, body) = match fault {
        // The length of an answer without a body is that of the object.
        Fault::Truncate(bytes) if seen.method != "HEAD" => {
            let body = &body[..bytes.min(body.len())];
            (with_header(head, "content-length", &body.len().to_string()), body)
        }
        Fault::ResetIn(bytes) | Fault::CloseIn(bytes) => (head.to_vec(), &body[..bytes.min(body.len())]),
        _ => (head.to_vec(), body),
    };
    client.write_all(&with_header(&head, "connection", "close"))?;
    client.write_all(body)?;
    client.flush()?;
    seen.bytes = body.len() as u64;
    shared.seen.lock()[at] = seen;
    if resets {
        // What was sent shall arrive first.
        thread::sleep(Duration::from_millis(20));
        return Ok(());
    }
    client.shutdown(Shutdown::Write)?;
    // Until the client closes as well, so that the system does not reset what is still on its way.
    let mut rest = [0; 1024];
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    while client.read(&mut rest).is_ok_and(|n| n > 0) {}
    Ok(())
}

fn forward(shared: &Shared, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(&shared.upstream)?;
    let end = find_head(request).unwrap_or(request.len());
    upstream.write_all(&with_header(&request[..end], "connection", "close"))?;
    upstream.write_all(&request[end..])?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The head of the request, left in the socket.
fn peek_head(client: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = client.peek(&mut buffer)?;
        if n == 0 {
            return Ok(None);
        }
        if let Some(end) = find_head(&buffer[..n]) {
            buffer.truncate(end);
            return Ok(Some(buffer));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn find_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn lines(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).into_owned();
    text.split("\r\n")
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn header(head: &[u8], name: &str) -> Option<String> {
    lines(head).into_iter().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// The head with one header set.
fn with_header(head: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut lines = lines(head);
    lines.retain(|line| {
        !line
            .split(':')
            .next()
            .is_some_and(|key| key.eq_ignore_ascii_case(name))
    });
    lines.push(format!("{name}: {value}"));
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

fn parse(head: &[u8]) -> Seen {
    let first = lines(head).into_iter().next().unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let range = header(head, "range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    Seen {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        range,
        bytes: 0,
    }
}

fn error(status: u16, reason: &str, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>"
    );
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
