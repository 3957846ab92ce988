//! Which of two rows wins inside Redis: the script, and the same rule in Rust.
//!
//! The 16 version bytes of a row compare like its `(event, created)`. Lua has no such comparison: a number above 2^53
//! loses digits, and `<` on strings follows the server's locale. So the bytes are read as four unsigned 32-bit numbers,
//! each of which a Lua number holds exactly.
//!
//! What is stored and no row of this view generation loses against any row, so that damage goes when a row is written
//! again: what is too short, has no format, or names another generation. A row of a newer format, which only a newer larder
//! writes, is compared like any other.

use std::sync::OnceLock;

use redis::Cmd;

/// Writes rows that are not older than what is stored.
///
/// A row that is there already, byte for byte, is not written again: only its life may have changed. That saves a third of
/// the time of a small row; of a large one only what decides is fetched, since to copy it costs more than that.
///
/// `KEYS` are the rows' keys; `ARGV` are, per key, the row and its life in milliseconds (empty for ever). Answers how
/// many were refused as stale and how many had no row before.
pub(crate) const NEWEST_WINS: &str = r#"
local stale, fresh = 0, 0
local unpack = struct.unpack
for i = 1, #KEYS do
  local key, row, life = KEYS[i], ARGV[2 * i - 1], ARGV[2 * i]
  local old
  if #row <= 512 then
    old = redis.call('GET', key) or ''
  else
    old = redis.call('GETRANGE', key, 0, 23)
  end
  local wins, same = true, old == row
  if #old == 0 then
    fresh = fresh + 1
  elseif #old >= 24 and not same then
    -- Format and generation, then the version bytes.
    local m, n, a, b, c, d = unpack('>I4I4I4I4I4I4', old)
    local _, o, e, f, g, h = unpack('>I4I4I4I4I4I4', row)
    if m < 16777216 or n ~= o then wins = true
    elseif a ~= e then wins = a < e
    elseif b ~= f then wins = b < f
    elseif c ~= g then wins = c < g
    else wins = d <= h end
  end
  if not wins then
    stale = stale + 1
  elseif same and life == '' then
    redis.call('PERSIST', key)
  elseif same then
    redis.call('PEXPIRE', key, life)
  elseif life == '' then
    redis.call('SET', key, row)
  else
    redis.call('SET', key, row, 'PX', life)
  end
end
return {stale, fresh}
"#;

/// Sets an identity mark if it still holds what the caller saw.
///
/// `KEYS[1]` is the mark, `ARGV` what was seen and what shall be.
pub(crate) const SWAP_MARK: &str = r#"
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])
"#;

/// The name of [`NEWEST_WINS`] in the server's cache.
pub(crate) fn newest_wins_sha() -> &'static str {
    static SCRIPT: OnceLock<redis::Script> = OnceLock::new();
    SCRIPT.get_or_init(|| redis::Script::new(NEWEST_WINS)).get_hash()
}

/// The command that puts the script into the server's cache.
pub(crate) fn load() -> Cmd {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(NEWEST_WINS);
    command
}

/// The rule of the script in Rust: whether a row replaces what is stored.
#[cfg(test)]
pub(crate) fn wins(stored: &[u8], row: &[u8]) -> bool {
    if stored.len() < 24 || stored[0] == 0 || stored[4..8] != row[4..8] {
        return true;
    }
    let words = |bytes: &[u8]| -> [u32; 4] {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        [word(8), word(12), word(16), word(20)]
    };
    words(stored) <= words(row)
}

#[cfg(test)]
mod tests {
    use larder_base::Micros;
    use larder_base::row::version_bytes;
    use proptest::prelude::*;

    use super::*;

    fn row(event: i64, created: Option<i64>) -> Vec<u8> {
        let mut row = vec![1, 0, 0, 0, 0, 0, 0, 7];
        row.extend_from_slice(&version_bytes(Micros(event), created.map(Micros)));
        row
    }

    fn instant() -> impl Strategy<Value = i64> {
        let edges = [
            i64::MIN,
            i64::MIN + 1,
            -(1 << 53) - 1,
            -(1 << 53),
            -(1 << 32),
            -1,
            0,
            1,
            1 << 31,
            1 << 32,
            1 << 53,
            (1 << 53) + 1,
            i64::MAX - 1,
            i64::MAX,
        ];
        prop_oneof![any::<i64>(), prop::sample::select(edges.to_vec()), -3_i64..3]
    }

    proptest! {
        #[test]
        fn words_compare_like_times(a in instant(), b in instant(), c in prop::option::of(instant()), d in prop::option::of(instant())) {
            let newer = (b, d.unwrap_or(i64::MIN)) >= (a, c.unwrap_or(i64::MIN));
            prop_assert_eq!(wins(&row(a, c), &row(b, d)), newer);
        }
    }

    #[test]
    fn what_is_no_row_is_replaced() {
        assert!(wins(b"", &row(i64::MIN, None)));
        assert!(wins(b"garbage", &row(i64::MIN, None)));
        assert!(wins(&[0xff; 40], &row(i64::MIN, None)));
        let mut other = row(9, None);
        other[7] = 8;
        assert!(wins(&other, &row(1, None)) && !wins(&row(9, None), &row(1, None)));
        // A newer format keeps its header, and its place among other rows.
        let mut newer = row(9, None);
        newer[0] = 2;
        assert!(!wins(&newer, &row(1, None)) && wins(&newer, &row(10, None)));
    }
}
