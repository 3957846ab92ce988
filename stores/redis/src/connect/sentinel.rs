//! Who is the primary now, by what the sentinels say and the server itself admits.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use larder_base::{ErrorKind, random};
use redis::{Cmd, Value};

use super::address::Endpoint;
use super::{Access, Conn};
use crate::fault::{Fault, Turn};

/// The sentinels of one primary.
pub(crate) struct Sentinels {
    master: String,
    /// How to reach the sentinels, which have users of their own.
    access: Arc<Access>,
    nodes: Vec<Endpoint>,
}

impl Sentinels {
    pub(crate) fn new(master: String, access: Arc<Access>, nodes: Vec<Endpoint>) -> Self {
        Self {
            master,
            access,
            nodes,
        }
    }

    /// Connects to the primary. A server that does not say it is one is none, whatever a sentinel says.
    pub(crate) async fn connect_primary(&self, access: &Access) -> Result<Conn, Fault> {
        let mut last = None;
        for (sentinel, nodes) in self.asked("GET-MASTER-ADDR-BY-NAME").await? {
            if let Some(node) = address(&nodes, &sentinel) {
                match self.connect_as(access, &node, b"master").await {
                    Ok(conn) => return Ok(conn),
                    Err(fault) => last = Some(fault),
                }
            }
        }
        Err(last.unwrap_or_else(|| self.unknown()))
    }

    /// Connects to a replica that is up, or to the primary where there is none.
    pub(crate) async fn connect_replica(&self, access: &Access) -> Result<Conn, Fault> {
        for (sentinel, answer) in self.asked("REPLICAS").await? {
            let mut nodes = replicas(&answer, &sentinel);
            if nodes.is_empty() {
                continue;
            }
            let first = random::u64() as usize % nodes.len();
            nodes.rotate_left(first);
            for node in nodes {
                if let Ok(conn) = self.connect_as(access, &node, b"slave").await {
                    return Ok(conn);
                }
            }
        }
        self.connect_primary(access).await
    }

    async fn connect_as(&self, access: &Access, node: &Endpoint, role: &[u8]) -> Result<Conn, Fault> {
        let conn = access.connect(node).await?;
        let answer = conn.command(&redis::cmd("ROLE"), access.connect_timeout).await?;
        match &answer {
            Value::Array(parts) if matches!(parts.first(), Some(Value::BulkString(is)) if is == role) => {
                Ok(conn)
            }
            _ => Err(Fault::unreachable("the server that the sentinels name has another role now").at(node)),
        }
    }

    /// What two sentinels answer about the primary, or one where only one can be reached.
    async fn asked(&self, what: &str) -> Result<Vec<(Endpoint, Value)>, Fault> {
        let mut command: Cmd = redis::cmd("SENTINEL");
        command.arg(what).arg(&self.master);
        // All at once: one that is gone must not hold up the others.
        let mut asked: FuturesUnordered<_> = self.nodes.iter().map(|node| self.ask(node, &command)).collect();
        let (mut answers, mut last) = (Vec::new(), None);
        while let Some((node, answer)) = asked.next().await {
            match answer {
                Ok(Value::Nil) => last = Some(self.unknown()),
                Ok(answer) => answers.push((node.clone(), answer)),
                Err(fault) => last = Some(fault),
            }
            // One more opinion is enough where the first one is outdated.
            if answers.len() == 2 {
                break;
            }
        }
        if answers.is_empty() {
            return Err(last.unwrap_or_else(|| self.unknown()));
        }
        Ok(answers)
    }

    async fn ask<'a>(&self, node: &'a Endpoint, command: &Cmd) -> (&'a Endpoint, Result<Value, Fault>) {
        let answer = async {
            let conn = self.access.connect(node).await?;
            conn.command(command, self.access.connect_timeout).await
        };
        (node, answer.await)
    }

    fn unknown(&self) -> Fault {
        Fault::new(
            Turn::Reconnect,
            ErrorKind::Unavailable,
            "the sentinels know no such primary",
            "check `sentinel.master` and `redis-cli -p 26379 sentinel masters`",
        )
    }
}

impl std::fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sentinels")
            .field("master", &self.master)
            .finish_non_exhaustive()
    }
}

/// The one endpoint of `[host, port]`.
fn address(answer: &Value, asked: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = answer else { return None };
    let [host, port] = parts.as_slice() else {
        return None;
    };
    Some(asked.sibling(&text(host)?, text(port)?.parse().ok()?))
}

/// The replicas that are up, of a list of lists of names and values.
fn replicas(answer: &Value, asked: &Endpoint) -> Vec<Endpoint> {
    let Value::Array(list) = answer else {
        return Vec::new();
    };
    let field = |parts: &[Value], name: &str| {
        parts
            .chunks_exact(2)
            .find(|pair| text(&pair[0]).as_deref() == Some(name))
            .and_then(|pair| text(&pair[1]))
    };
    list.iter()
        .filter_map(|replica| {
            let Value::Array(parts) = replica else { return None };
            let down = ["s_down", "o_down", "disconnected"];
            let flags = field(parts, "flags").unwrap_or_default();
            if flags.split(',').any(|flag| down.contains(&flag)) {
                return None;
            }
            Some(asked.sibling(&field(parts, "ip")?, field(parts, "port")?.parse().ok()?))
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn answers_of_sentinels_are_read() {
        let asked = Endpoint::tcp("s", 1);
        let answer = Value::Array(vec![bulk("10.0.0.1"), bulk("6379")]);
        assert_eq!(address(&answer, &asked), Some(Endpoint::tcp("10.0.0.1", 6379)));
        assert_eq!(address(&Value::Array(vec![bulk("x")]), &asked), None);
        let replica = |ip: &str, flags: &str| {
            Value::Array(vec![
                bulk("name"),
                bulk("n"),
                bulk("ip"),
                bulk(ip),
                bulk("port"),
                bulk("7"),
                bulk("flags"),
                bulk(flags),
            ])
        };
        let list = Value::Array(vec![
            replica("a", "slave"),
            replica("b", "s_down,slave"),
            replica("c", "slave,disconnected"),
            Value::Nil,
        ]);
        assert_eq!(replicas(&list, &asked), [Endpoint::tcp("a", 7)]);
    }
}
