//! Which hash slot a key has, and which node serves which slot.

use std::collections::HashMap;

use redis::Value;

use crate::connect::address::Endpoint;

/// Hash slots of a cluster.
pub(crate) const SLOTS: usize = 16_384;

/// The hash slot of the bytes that count, which are those between the braces of a key.
#[inline]
pub(crate) fn slot_of(tag: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in tag {
        crc = (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc % SLOTS as u16
}

/// The hash slot of a whole key, as the server computes it.
pub(crate) fn slot_of_key(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    slot_of(tag.unwrap_or(key))
}

/// One shard of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    /// The node that takes writes.
    pub(crate) primary: Endpoint,
    /// Its copies.
    pub(crate) replicas: Vec<Endpoint>,
}

/// Which shard serves which slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotMap {
    shards: Vec<Shard>,
    /// Index of the shard per slot; [`NOBODY`] where the slot is not served.
    owner: Vec<u16>,
}

const NOBODY: u16 = u16::MAX;

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS`; `asked` is the host that answered, which stands for an unknown one.
    ///
    /// `None` when the answer is not of that form.
    pub(crate) fn parse(value: &Value, asked: &Endpoint) -> Option<Self> {
        let Value::Array(ranges) = value else { return None };
        let mut map = Self {
            shards: Vec::new(),
            owner: vec![NOBODY; SLOTS],
        };
        let mut known: HashMap<Endpoint, u16> = HashMap::new();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), primary, replicas @ ..] = parts.as_slice() else {
                return None;
            };
            let primary = endpoint(primary, asked)?;
            let shard = match known.get(&primary) {
                Some(shard) => *shard,
                None => {
                    let shard = u16::try_from(map.shards.len())
                        .ok()
                        .filter(|shard| *shard < NOBODY)?;
                    let replicas = replicas.iter().filter_map(|node| endpoint(node, asked)).collect();
                    map.shards.push(Shard {
                        primary: primary.clone(),
                        replicas,
                    });
                    known.insert(primary, shard);
                    shard
                }
            };
            let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
            map.owner.get_mut(first..=last)?.fill(shard);
        }
        Some(map)
    }

    /// The index of the shard that serves a slot.
    #[inline]
    pub(crate) fn shard_of(&self, slot: u16) -> Option<usize> {
        let owner = self.owner[usize::from(slot) % SLOTS];
        (owner != NOBODY).then_some(usize::from(owner))
    }

    /// All shards.
    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// How many slots nobody serves.
    pub(crate) fn unserved(&self) -> usize {
        self.owner.iter().filter(|owner| **owner == NOBODY).count()
    }

    /// Notes where a slot went, as a `MOVED` told, until the map is asked for anew.
    pub(crate) fn moved(&mut self, slot: u16, to: &Endpoint) {
        let found = self.shards.iter().position(|shard| shard.primary == *to);
        let shard = found.unwrap_or_else(|| {
            self.shards.push(Shard {
                primary: to.clone(),
                replicas: Vec::new(),
            });
            self.shards.len() - 1
        });
        if let Ok(shard) = u16::try_from(shard) {
            self.owner[usize::from(slot) % SLOTS] = shard;
        }
    }
}

fn endpoint(node: &Value, asked: &Endpoint) -> Option<Endpoint> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Int(port), ..] = parts.as_slice() else {
        return None;
    };
    let port = u16::try_from(*port).ok()?;
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host.as_str(),
        Value::Nil => "",
        _ => return None,
    };
    Some(asked.sibling(host, port))
}

const TABLE: [u16; 256] = table();

/// CRC-16/XMODEM, which the cluster specification names.
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // The specification's own check value, and keys whose slots `CLUSTER KEYSLOT` told.
        let mut crc = 0_u16;
        for byte in b"123456789" {
            crc = (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)];
        }
        assert_eq!(crc, 0x31C3);
        assert_eq!(slot_of_key(b"somekey"), 11_058);
        assert_eq!(slot_of_key(b"foo{hash_tag}"), 2_515);
        assert_eq!(slot_of_key(b"bar{hash_tag}"), 2_515);
        // No tag where nothing stands in the braces, or none closes.
        assert_eq!(slot_of_key(b"{}x"), slot_of(b"{}x"));
        assert_eq!(slot_of_key(b"a{bc"), slot_of(b"a{bc"));
    }

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![
            Value::BulkString(host.as_bytes().to_vec()),
            Value::Int(port),
            Value::BulkString(b"id".to_vec()),
        ])
    }

    #[test]
    fn a_map_is_read_and_corrected() {
        let asked = Endpoint::tcp("seed", 7000);
        let answer = Value::Array(vec![
            Value::Array(vec![Value::Int(0), Value::Int(99), node("a", 1), node("b", 2)]),
            Value::Array(vec![Value::Int(100), Value::Int(100), node("", 3)]),
            Value::Array(vec![
                Value::Int(200),
                Value::Int(16_383),
                node("a", 1),
                node("b", 2),
            ]),
        ]);
        let mut map = SlotMap::parse(&answer, &asked).expect("a map");
        assert_eq!(map.shards().len(), 2);
        assert_eq!(map.shards()[0].replicas, [Endpoint::tcp("b", 2)]);
        assert_eq!(map.shards()[1].primary, Endpoint::tcp("seed", 3));
        assert_eq!(
            (map.shard_of(99), map.shard_of(100), map.shard_of(101)),
            (Some(0), Some(1), None)
        );
        assert_eq!(map.unserved(), 99);
        map.moved(101, &Endpoint::tcp("c", 9));
        assert_eq!(map.shard_of(101), Some(2));
        map.moved(101, &Endpoint::tcp("a", 1));
        assert_eq!(map.shard_of(101), Some(0));
    }

    #[test]
    fn an_answer_of_another_form_is_no_map() {
        let asked = Endpoint::tcp("seed", 7000);
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(16_384),
                node("a", 1),
            ])]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(5),
                Value::Int(-1),
                node("a", 1),
            ])]),
            Value::Array(vec![Value::Array(vec![
                Value::Int(0),
                Value::Int(1),
                node("a", 70_000),
            ])]),
        ] {
            assert_eq!(SlotMap::parse(&answer, &asked), None, "{answer:?}");
        }
    }
}
