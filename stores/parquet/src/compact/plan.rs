//! Which small files become one? Pure: names, sizes and schemas in, groups out.

use larder_core::random;

use crate::live::{EXTENSION, MARK, is_compacted};
use crate::sink::CREATED_BY;

/// A file that counts, as it stands in the source's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Whether this store wrote it, and it lies directly in the source's folder.
    pub(super) own: bool,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Bytes of its rows in memory.
    pub(super) memory: u64,
    /// Files with the same number have the same columns.
    pub(super) schema: usize,
}

/// Consecutive small files that become one: more than one each, within both limits together.
///
/// Only neighbours are merged, since of equal rows the last in the source's order wins, and that must stay so. Files of
/// half the target and more are left alone, or each run would write them again for the sake of a few rows.
pub(super) fn groups(files: &[Candidate], target: u64, memory: u64) -> Vec<std::ops::Range<usize>> {
    let mut groups = Vec::new();
    let mut open: Option<Group> = None;
    for (at, file) in files.iter().enumerate() {
        if !file.own || file.bytes >= target.div_ceil(2) || file.memory >= memory {
            groups.extend(open.take());
            continue;
        }
        match &mut open {
            Some(group)
                if group.schema == file.schema
                    && group.bytes + file.bytes <= target
                    && group.memory + file.memory <= memory =>
            {
                group.end = at + 1;
                group.bytes += file.bytes;
                group.memory += file.memory;
            }
            _ => {
                let next = Group {
                    start: at,
                    end: at + 1,
                    bytes: file.bytes,
                    memory: file.memory,
                    schema: file.schema,
                };
                groups.extend(open.replace(next));
            }
        }
    }
    groups.extend(open);
    let ranges = groups.into_iter().map(|group| group.start..group.end);
    ranges.filter(|range| range.len() > 1).collect()
}

struct Group {
    start: usize,
    end: usize,
    bytes: u64,
    memory: u64,
    schema: usize,
}

/// Whether a file is one that appends of this store left, by its name and what its footer says.
pub(super) fn is_appended(name: &str, created_by: Option<&str>) -> bool {
    let digits =
        |text: &str, n: usize, good: fn(&u8) -> bool| text.len() == n && text.bytes().all(|c| good(&c));
    let named = name
        .strip_suffix(EXTENSION)
        .and_then(|stem| stem.rsplit_once("part-"))
        .and_then(|(_, rest)| rest.split_once('-'))
        .is_some_and(|(time, random)| {
            digits(time, 20, u8::is_ascii_digit) && digits(random, 16, u8::is_ascii_hexdigit)
        });
    named && created_by.is_some_and(|by| by.starts_with(CREATED_BY))
}

/// A new name that stands where the first of the merged files stands: after all before it, and before the next file.
pub(super) fn name_after(first: &str) -> String {
    let stem = first.strip_suffix(EXTENSION).unwrap_or(first);
    let stem = match is_compacted(first) {
        true => stem.rsplit_once(MARK).map_or(stem, |(stem, _)| stem),
        false => stem,
    };
    format!("{stem}{MARK}{:016x}{EXTENSION}", random::u64())
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges are what is tested"
)]
mod tests {
    use super::*;

    fn file(bytes: u64) -> Candidate {
        Candidate {
            own: true,
            bytes,
            memory: bytes * 2,
            schema: 0,
        }
    }

    #[test]
    fn neighbours_are_merged_up_to_the_limits() {
        let files = vec![file(40); 5];
        assert_eq!(groups(&files, 100, 10_000), [0..2, 2..4]);
        assert_eq!(groups(&files, 1_000, 10_000), [0..5]);
        // Memory bounds, too, and a file alone stays.
        assert_eq!(groups(&files, 1_000, 170), [0..2, 2..4]);
        assert_eq!(groups(&files[..1], 1_000, 10_000), []);
        assert_eq!(groups(&[], 1_000, 10_000), []);
    }

    #[test]
    fn others_part_them() {
        let others = [
            Candidate {
                own: false,
                ..file(1)
            },
            file(500),
            Candidate {
                memory: 10_000,
                ..file(1)
            },
        ];
        for other in others {
            let files = [file(1), file(1), other, file(1), file(1), file(1)];
            assert_eq!(groups(&files, 1_000, 10_000), [0..2, 3..6]);
        }
        let mut files = vec![file(1); 4];
        files[2].schema = 1;
        files[3].schema = 1;
        assert_eq!(groups(&files, 1_000, 10_000), [0..2, 2..4]);
    }

    #[test]
    fn a_second_run_finds_nothing() {
        // Whatever the sizes, what was made has no neighbours that fit with it, or shrinks until it has none.
        let mut files: Vec<Candidate> = (0..200).map(|n| file(1 + n * 7 % 45)).collect();
        for run in 0.. {
            let found = groups(&files, 100, 10_000);
            if found.is_empty() {
                break;
            }
            assert!(run < 5, "it ends");
            let mut next = Vec::new();
            let mut done = 0;
            for range in found {
                next.extend(files[done..range.start].iter().cloned());
                next.push(file(files[range.clone()].iter().map(|f| f.bytes).sum()));
                done = range.end;
            }
            next.extend(files[done..].iter().cloned());
            files = next;
        }
        assert!(files.len() < 80, "{}", files.len());
    }

    #[test]
    fn own_files_are_known_by_name_and_writer() {
        let name = "part-01700000000000000000-0123456789abcdef.parquet";
        let ours = Some("larder-parquet 0.1.0");
        assert!(is_appended(name, ours));
        assert!(is_appended(&format!("zzz~{name}"), ours));
        assert!(!is_appended(name, Some("parquet-mr version 1.12")));
        assert!(!is_appended(name, None));
        for other in [
            "part-00000-abc.parquet",
            "part-1-0123456789abcdef.parquet",
            "orders.parquet",
        ] {
            assert!(!is_appended(other, ours), "{other}");
        }
    }

    #[test]
    fn new_names_keep_the_place() {
        let names = [
            "a.parquet",
            "part-00000000000000000005-00000000000000aa.parquet",
            "part-00000000000000000005-00000000000000ab.parquet",
            "part-00000000000000000007-00000000000000aa.parquet",
            "zzz~part-00000000000000000008-00000000000000aa.parquet",
        ];
        for at in 1..names.len() {
            let mut name = name_after(names[at]);
            for _ in 0..3 {
                assert!(names[at - 1] < name.as_str(), "{name}");
                assert!(
                    names.get(at + 1).is_none_or(|next| name.as_str() < *next),
                    "{name}"
                );
                assert!(is_compacted(&name));
                name = name_after(&name);
            }
            assert_eq!(name.len(), names[at].len() + 18, "names do not grow");
        }
    }
}
