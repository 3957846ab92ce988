//! In which order and in which pieces rows travel: each key once, in key order, so that writers never wait in a circle.

use larder_remote::Sent;

/// Rows of one statement.
const ROWS: usize = 2_000;
/// Bytes of keys and rows in one statement, unless a single row is longer.
const BYTES: usize = 4 << 20;

/// Rows on their way, as columns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns<'a> {
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) rows: Vec<&'a [u8]>,
    pub(crate) expires: Vec<Option<i64>>,
}

/// Cuts rows into pieces that one statement takes.
pub(crate) fn pieces<'a>(items: &[Sent<'a>]) -> Vec<Columns<'a>> {
    let mut pieces: Vec<Columns<'a>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let length = item.key.len() + item.row.len();
        let full = |piece: &Columns<'_>| piece.keys.len() >= ROWS || bytes + length > BYTES;
        if pieces.last().is_none_or(full) {
            pieces.push(Columns::default());
            bytes = 0;
        }
        bytes += length;
        if let Some(piece) = pieces.last_mut() {
            piece.keys.push(item.key);
            piece.rows.push(item.row);
            piece.expires.push(item.expires);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_bounded_and_lose_nothing() {
        let keys: Vec<[u8; 4]> = (0..5_000_u32).map(u32::to_be_bytes).collect();
        let items: Vec<Sent<'_>> = keys
            .iter()
            .map(|key| Sent {
                key,
                row: b"r",
                expires: Some(1),
            })
            .collect();
        let sizes: Vec<usize> = pieces(&items).iter().map(|piece| piece.keys.len()).collect();
        assert_eq!(sizes, [2_000, 2_000, 1_000]);
        let heavy = vec![0; 3 << 20];
        let items: Vec<Sent<'_>> = keys[..3]
            .iter()
            .map(|key| Sent {
                key,
                row: &heavy,
                expires: None,
            })
            .collect();
        assert_eq!(pieces(&items).len(), 3);
        assert!(pieces(&[]).is_empty());
    }
}
