//! What DynamoDB does to a client and a local server never does: refuses requests, leaves keys and items over, fails, and
//! loses answers. An HTTP server of a hundred lines in front of the real one.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What is done to requests about items.
#[derive(Debug, Clone, Default)]
pub(crate) enum Trick {
    /// Everything goes through.
    #[default]
    Pass,
    /// Every so many requests are answered with a status and the code of an exception.
    Refuse {
        every: usize,
        status: u16,
        code: &'static str,
        message: &'static str,
    },
    /// One operation is not allowed.
    Deny(&'static str),
    /// Of each request a half is done, of every so many nothing.
    LeaveOver { nothing: usize },
    /// Keys with an odd sum of bytes are never answered, the others are.
    Starve,
    /// Every so many requests are done, and the line is cut instead of an answer.
    LoseAnswers { every: usize },
}

/// A refusal by throttling.
pub(crate) fn throttled(every: usize) -> Trick {
    refused(every, 400, "ProvisionedThroughputExceededException", "slow down")
}

pub(crate) fn refused(every: usize, status: u16, code: &'static str, message: &'static str) -> Trick {
    Trick::Refuse {
        every,
        status,
        code,
        message,
    }
}

/// The server in front of the server.
#[derive(Debug)]
pub(crate) struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    target: Option<SocketAddr>,
    trick: Mutex<Trick>,
    /// How much longer each request takes.
    delay: Mutex<Duration>,
    seen: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    operations: Mutex<BTreeMap<String, Vec<usize>>>,
}

impl Stub {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target: Some(target),
            ..Shared::default()
        });
        let state = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move {
                    // The client goes away when it likes.
                    let _ = serve(client, &state).await;
                });
            }
        });
        Self {
            address,
            shared,
            accepting: accepting.abort_handle(),
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn play(&self, trick: Trick) {
        *self.shared.trick.lock() = trick;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self.shared.delay.lock() = delay;
    }

    /// How many keys or items each request of an operation had, since the last time somebody asked.
    pub(crate) fn requests(&self, operation: &str) -> Vec<usize> {
        self.shared
            .operations
            .lock()
            .remove(operation)
            .unwrap_or_default()
    }

    /// Most requests under way at once so far.
    pub(crate) fn most_under_way(&self) -> usize {
        self.shared.most_under_way.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One message: its first line, its headers in lower case, its body.
struct Message {
    first: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Message {
    async fn read(from: &mut BufReader<TcpStream>) -> std::io::Result<Option<Self>> {
        let mut first = String::new();
        if from.read_line(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            from.read_line(&mut line).await?;
            match line.trim().split_once(':') {
                Some((name, value)) => {
                    headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
                }
                None => break,
            }
        }
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap_or(0));
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        Ok(Some(Self {
            first: first.trim().to_owned(),
            headers,
            body,
        }))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            if name != "content-length" {
                text += &format!("{name}: {value}\r\n");
            }
        }
        text += &format!("content-length: {}\r\n\r\n", self.body.len());
        [text.as_bytes(), &self.body].concat()
    }
}

async fn serve(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let target = shared.target.expect("a server");
    let mut server = BufReader::new(TcpStream::connect(target).await?);
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    while let Some(request) = Message::read(&mut client).await? {
        let now = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_under_way.fetch_max(now, Ordering::SeqCst);
        let delay = *shared.delay.lock();
        tokio::time::sleep(delay).await;
        let answer = answer(request, &mut server, shared).await;
        shared.under_way.fetch_sub(1, Ordering::SeqCst);
        match answer? {
            Some(answer) => client.write_all(&answer.bytes()).await?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The answer to a request; none where the line is to be cut.
async fn answer(
    mut request: Message,
    server: &mut BufReader<TcpStream>,
    shared: &Shared,
) -> std::io::Result<Option<Message>> {
    let target = request.headers.get("x-amz-target").cloned().unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let batch = match operation.as_str() {
        "BatchGetItem" => Some(("Keys", "UnprocessedKeys")),
        "BatchWriteItem" => Some(("", "UnprocessedItems")),
        _ => None,
    };
    let count = batch.map_or(1, |(inner, _)| {
        items(&mut body, inner).map_or(0, |items| items.len())
    });
    shared
        .operations
        .lock()
        .entry(operation.clone())
        .or_default()
        .push(count);
    let trick = match batch.is_some() || operation == "PutItem" {
        true => shared.trick.lock().clone(),
        false => Trick::Pass,
    };
    let number = shared.seen.fetch_add(1, Ordering::SeqCst) + 1;
    let mut left = Vec::new();
    if let Trick::Deny(denied) = trick
        && denied == operation
    {
        return Ok(Some(refusal(
            400,
            "AccessDeniedException",
            "User: x is not authorized",
        )));
    }
    match (&trick, batch) {
        (
            Trick::Refuse {
                every,
                status,
                code,
                message,
            },
            _,
        ) if number.is_multiple_of(*every) => {
            return Ok(Some(refusal(*status, code, message)));
        }
        (Trick::LeaveOver { nothing }, Some((inner, _))) => {
            let items = items(&mut body, inner).expect("items");
            let done = match number.is_multiple_of(*nothing) {
                true => 0,
                false => items.len().div_ceil(2),
            };
            left = items.split_off(done);
        }
        (Trick::Starve, Some((inner, _))) => {
            let items = items(&mut body, inner).expect("items");
            let odd = |item: &Value| item.to_string().bytes().map(u32::from).sum::<u32>() % 2 == 1;
            left = items.iter().filter(|item| odd(item)).cloned().collect();
            items.retain(|item| !odd(item));
        }
        _ => {}
    }
    let nothing =
        batch.is_some_and(|(inner, _)| items(&mut body, inner).is_some_and(|items| items.is_empty()));
    let mut answer = match nothing {
        true => Message {
            first: "HTTP/1.1 200 OK".to_owned(),
            headers: HashMap::new(),
            body: b"{}".to_vec(),
        },
        false => {
            if !left.is_empty() {
                request.body = body.to_string().into_bytes();
            }
            server.get_mut().write_all(&request.bytes()).await?;
            match Message::read(server).await? {
                Some(answer) => answer,
                None => return Ok(None),
            }
        }
    };
    if let (false, Some((inner, name))) = (left.is_empty(), batch) {
        let table = body["RequestItems"]
            .as_object()
            .and_then(|tables| tables.keys().next().cloned())
            .expect("a table");
        let mut told: Value = serde_json::from_slice(&answer.body).expect("an answer");
        told[name] = match inner {
            "" => json!({ table: left }),
            inner => json!({ table: { inner: left } }),
        };
        answer.body = told.to_string().into_bytes();
        // It was of the body before.
        answer.headers.remove("x-amz-crc32");
    }
    match trick {
        Trick::LoseAnswers { every } if number.is_multiple_of(every) => Ok(None),
        _ => Ok(Some(answer)),
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Message {
    let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message });
    let kind = "application/x-amz-json-1.0".to_owned();
    Message {
        first: format!("HTTP/1.1 {status} no"),
        headers: HashMap::from([("content-type".to_owned(), kind)]),
        body: body.to_string().into_bytes(),
    }
}

/// What a batch is about, whichever its table.
fn items<'a>(body: &'a mut Value, inner: &str) -> Option<&'a mut Vec<Value>> {
    let table = body
        .get_mut("RequestItems")?
        .as_object_mut()?
        .values_mut()
        .next()?;
    match inner {
        "" => table.as_array_mut(),
        inner => table.get_mut(inner)?.as_array_mut(),
    }
}
