//! Whether a Redis can be used as it should be, and what will hurt later.

use std::time::Duration;

use larder_base::{Error, Health, Micros, Result, random};
use redis::{Cmd, Value};

use crate::connect::node::Node;
use crate::fault::{self, Fault};
use crate::script;
use crate::store::{Backend, Settings, send};

/// Clocks that differ by more than this are worth a word, in µs.
const SKEW: i64 = 2_000_000;

/// Asks every primary how it is, and tries what the store does.
pub(crate) async fn check(backend: &Backend, settings: &Settings, now: Micros) -> Result<Health> {
    probe(backend, settings).await?;
    match backend {
        Backend::One(one) => {
            let state = State::of(one.primary(), settings).await.map_err(Error::from)?;
            let health = state.tell(Health::new(state.version()), now);
            Ok(state.durability(state.room(health, settings.wait)))
        }
        Backend::Cluster(cluster) => {
            let map = cluster.map().await.map_err(Error::from)?;
            cluster.refresh(&map).await;
            let map = cluster.map().await.map_err(Error::from)?;
            let nodes = backend.primaries().await.map_err(Error::from)?;
            let mut health: Option<Health> = None;
            for (node, shard) in nodes.iter().zip(map.shards()) {
                let state = State::of(node, settings).await.map_err(Error::from)?;
                let first = health.is_none();
                let mut told = health.unwrap_or_else(|| {
                    Health::new(state.version()).detail("cluster nodes", map.shards().len())
                });
                if first {
                    told = state.durability(told);
                }
                if shard.replicas.is_empty() {
                    told = told.warning(format!(
                        "primary {} of the redis cluster has no replica: its rows are lost or unavailable when it fails; add one",
                        shard.primary
                    ));
                }
                health = Some(state.room(state.tell(told, now), settings.wait));
            }
            let health = health.ok_or_else(|| Error::from(fault::unserved()))?;
            Ok(match map.unserved() {
                0 => health,
                slots => health.warning(format!(
                    "{slots} slots of the redis cluster are served by nobody: their rows are unavailable; see `redis-cli --cluster check`"
                )),
            })
        }
    }
}

/// What a server says about itself.
struct State {
    info: String,
    /// Its clock, in µs.
    time: Option<i64>,
}

impl State {
    async fn of(node: &Node, settings: &Settings) -> Result<Self, Fault> {
        let commands = [redis::cmd("INFO"), redis::cmd("TIME")];
        let answers = send(node, settings, commands.iter()).await?;
        let info = match answers.first() {
            Some(Value::BulkString(info)) => String::from_utf8_lossy(info).into_owned(),
            _ => return Err(fault::odd("redis answered something else than its state")),
        };
        Ok(Self {
            info,
            time: answers.get(1).and_then(micros),
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        let value = |line: &'_ str| {
            line.strip_prefix(name)?
                .strip_prefix(':')
                .map(str::trim)
                .map(str::len)
        };
        let line = self.info.lines().find(|line| value(line).is_some())?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    fn version(&self) -> String {
        match self.field("valkey_version") {
            Some(version) => format!("valkey {version}"),
            None => format!(
                "redis {}",
                self.field("redis_version").unwrap_or("of an unknown version")
            ),
        }
    }

    /// What is worth showing, and what will hurt.
    fn tell(&self, mut health: Health, now: Micros) -> Health {
        for (name, field) in [
            ("role", "role"),
            ("memory", "used_memory_human"),
            ("maxmemory", "maxmemory_human"),
            ("eviction", "maxmemory_policy"),
            ("clients", "connected_clients"),
            ("replicas", "connected_slaves"),
        ] {
            if let Some(value) = self.field(field) {
                health = health.detail(name, value);
            }
        }
        let policy = self.field("maxmemory_policy").unwrap_or("noeviction");
        if policy != "noeviction" {
            health = health.warning(format!(
                "maxmemory-policy is `{policy}`: redis removes rows and tombstones when memory is short, so that features vanish and \
                 older values may come back; set it to noeviction"
            ));
        }
        let major = self
            .field("redis_version")
            .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major < 6) {
            health =
                health.warning("this redis is older than 6 and is not tested; use 6 or newer, or Valkey");
        }
        if let Some(skew) = self
            .time
            .map(|time| time.saturating_sub(now.0))
            .filter(|skew| skew.abs() > SKEW)
        {
            health = health.warning(format!(
                "the clock of redis differs from this machine's by {} s; keep both in time (NTP)",
                skew / 1_000_000
            ));
        }
        health
    }

    /// Whether there is room for more rows, and as many replicas as each write waits for.
    fn room(&self, health: Health, wait: Option<(u16, Duration)>) -> Health {
        let number = |name| self.field(name).and_then(|text| text.parse::<u64>().ok());
        let (used, most) = (
            number("used_memory"),
            number("maxmemory").filter(|most| *most > 0),
        );
        let health = match used.zip(most) {
            Some((used, most)) if used >= most / 10 * 9 => health.warning(format!(
                "redis uses {} % of its `maxmemory`: soon nothing can be written; raise it, or free rows with `larder gc` and \
                 `retention:`",
                u128::from(used) * 100 / u128::from(most)
            )),
            _ => health,
        };
        match (wait, number("connected_slaves")) {
            (Some((wanted, _)), Some(have)) if have < u64::from(wanted) => health.warning(format!(
                "`wait.replicas` is {wanted}, and a primary has {have}: no write to it is acknowledged; add replicas, or lower it"
            )),
            _ => health,
        }
    }

    /// Whether what is acknowledged survives a restart of the server.
    fn durability(&self, health: Health) -> Health {
        let (aof, saves) = (self.field("aof_enabled"), self.field("rdb_last_bgsave_status"));
        let health = match aof {
            Some("1") => health.detail("persistence", "append-only file"),
            _ => health.warning(
                "redis keeps no append-only file: writes since its last snapshot are lost when it dies; turn `appendonly` on, \
                 or materialize again after a crash (`larder materialize --repair`)",
            ),
        };
        match saves {
            Some("err") => health.warning("redis could not write its last snapshot; see its log"),
            _ => health,
        }
    }
}

fn micros(time: &Value) -> Option<i64> {
    let Value::Array(parts) = time else { return None };
    let number = |value: &Value| match value {
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse::<i64>().ok(),
        Value::Int(number) => Some(*number),
        _ => None,
    };
    let [seconds, micros] = parts.as_slice() else {
        return None;
    };
    number(seconds)?
        .checked_mul(1_000_000)?
        .checked_add(number(micros)?)
}

/// Does once what the store does all the time, so that a missing right shows now.
async fn probe(backend: &Backend, settings: &Settings) -> Result<()> {
    let key = settings.layout.probe(&format!("{:016x}", random::u64()));
    let command = |words: &[&[u8]]| {
        let mut command = Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        command
    };
    let (row, large) = ([0_u8; 24], [0_u8; 1_000]);
    // A row that is there, with a life and without, and one of which only the header is fetched.
    let eval = {
        let mut eval = redis::cmd("EVAL");
        eval.arg(script::NEWEST_WINS).arg(3);
        eval.arg(vec![key.as_slice(); 3]);
        eval.arg(&row[..]).arg(10_000);
        eval.arg(&row[..]).arg("");
        eval.arg(&large[..]).arg(10_000);
        eval
    };
    let commands = [
        command(&[b"SET", &key, &row, b"PX", b"10000", b"NX"]),
        command(&[b"MGET", &key]),
        script::load(),
        eval,
        command(&[b"UNLINK", &key]),
        command(&[b"SCAN", b"0", b"COUNT", b"1"]),
    ];
    // All of one key, so that one node of a cluster does all of it.
    let commands = commands.into_iter().map(|command| (key.clone(), command));
    backend.commands(settings, commands.collect()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(info: &str, time: Option<i64>) -> State {
        State {
            info: info.replace('\n', "\r\n"),
            time,
        }
    }

    #[test]
    fn what_will_hurt_is_told() {
        let fine = state(
            "redis_version:7.0.15\nmaxmemory_policy:noeviction\naof_enabled:1\n",
            Some(5),
        );
        let health = fine.durability(fine.tell(Health::new(fine.version()), Micros(5)));
        assert_eq!(
            (health.backend.as_str(), health.warnings.len()),
            ("redis 7.0.15", 0)
        );
        let bad = state(
            "redis_version:5.0.1\nmaxmemory_policy:allkeys-lru\naof_enabled:0\nrdb_last_bgsave_status:err\n",
            Some(-9_000_000),
        );
        let health = bad.durability(bad.tell(Health::new(bad.version()), Micros(0)));
        let told = health.warnings.join("\n");
        for part in [
            "allkeys-lru",
            "older than 6",
            "differs",
            "append-only",
            "snapshot; see",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let tight = state("used_memory:95\nmaxmemory:100\nconnected_slaves:1\n", None);
        let told = tight.room(Health::default(), Some((3, Duration::ZERO))).warnings;
        assert!(
            told[0].contains("95 %") && told[1].contains("`wait.replicas` is 3"),
            "{told:?}"
        );
        let roomy = state("used_memory:95\nmaxmemory:0\nconnected_slaves:1\n", None);
        assert!(
            roomy
                .room(Health::default(), Some((1, Duration::ZERO)))
                .warnings
                .is_empty()
        );
        assert_eq!(
            state("redis_version:7.2.4\nvalkey_version:8.0.1\n", None).version(),
            "valkey 8.0.1"
        );
    }

    #[test]
    fn the_time_is_read() {
        let part = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        assert_eq!(
            micros(&Value::Array(vec![part("2"), part("30")])),
            Some(2_000_030)
        );
        assert_eq!(micros(&Value::Nil), None);
    }
}
