//! Are the bytes exactly those that were published in `docs/spec`?
//!
//! The golden files were made by another program, from the text of the specification. They change only with a new
//! version byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use larder_base::keys::decode_key;
use larder_base::row::{PackedRows, version_bytes};
use larder_base::{
    Cell, ColumnName, EntityKeys, ErrorKind, FeatureBlock, FeatureName, JoinKey, Micros, RowRef, RowStatus,
    Slot, SlotCell, Value, ValueType, ViewLayout,
};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::golden_values::{hex, value};
use crate::support::{all_slots, layout_with, request, same};

const KEYS: &str = include_str!("../../../../docs/spec/golden/entity-keys.json");
const ROWS: &str = include_str!("../../../../docs/spec/golden/packed-rows.json");
const KEY_SPEC: &str = include_str!("../../../../docs/spec/entity-key.md");
const ROW_SPEC: &str = include_str!("../../../../docs/spec/packed-row.md");

#[derive(Deserialize)]
struct KeyFile {
    keys: Vec<KeyCase>,
    refused: Vec<KeyCase>,
}

#[derive(Deserialize)]
struct KeyCase {
    id: String,
    join_keys: Vec<JoinKey>,
    #[serde(default)]
    values: Vec<Json>,
    hex: Option<String>,
}

impl KeyCase {
    /// The first way in which this build does not agree with these bytes.
    fn problem(&self, bytes: Option<&[u8]>) -> Option<String> {
        let values = self.values.iter().zip(&self.join_keys);
        let values: Vec<Value> = values.map(|(json, key)| value(json, key.value_type)).collect();
        let mut keys = EntityKeys::new();
        keys.push_values(&self.join_keys, &values).expect("a golden key");
        if keys.get(0) != bytes {
            return Some("encodes to other bytes".to_owned());
        }
        self.decoding_problem(bytes?, &values)
    }

    fn decoding_problem(&self, bytes: &[u8], values: &[Value]) -> Option<String> {
        match decode_key(&self.join_keys, bytes) {
            Ok(decoded) if decoded == values => None,
            Ok(_) => Some("decodes to other values".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

#[derive(Deserialize)]
struct RowFile {
    rows: Vec<RowCase>,
    refused: Vec<RowCase>,
    ascending_versions: Vec<VersionCase>,
}

#[derive(Deserialize)]
struct RowCase {
    id: String,
    generation: u32,
    #[serde(default)]
    event: i64,
    created: Option<i64>,
    #[serde(default)]
    tombstone: bool,
    slots: Vec<SlotCase>,
    #[serde(default)]
    values: Vec<Json>,
    #[serde(default)]
    reads: Vec<ReadCase>,
    hex: String,
}

#[derive(Deserialize)]
struct SlotCase {
    #[serde(rename = "type")]
    of: ValueType,
    #[serde(default)]
    removed: bool,
}

#[derive(Deserialize)]
struct ReadCase {
    slots: Vec<ValueType>,
    values: Vec<Json>,
}

#[derive(Deserialize)]
struct VersionCase {
    event: i64,
    created: Option<i64>,
    hex: String,
}

fn slot((i, of): (usize, &ValueType)) -> Slot {
    Slot::new(FeatureName::new(format!("f{i}")).unwrap(), *of)
}

impl RowCase {
    fn types(&self) -> Vec<ValueType> {
        self.slots.iter().map(|slot| slot.of).collect()
    }

    fn layout(&self) -> ViewLayout {
        let mut slots: Vec<Slot> = self.types().iter().enumerate().map(slot).collect();
        for (slot, case) in slots.iter_mut().zip(&self.slots) {
            slot.removed = case.removed;
        }
        layout_with(self.generation, slots)
    }

    fn problem(&self, bytes: &[u8]) -> Option<String> {
        let layout = self.layout();
        let (event, created) = (Micros(self.event), self.created.map(Micros));
        let mut rows = PackedRows::new();
        if self.tombstone {
            rows.push_tombstone(&layout, event, created.expect("a tombstone has both times"));
        } else {
            let values = self.values.iter().zip(self.types());
            let values: Vec<Value> = values.map(|(json, of)| value(json, of)).collect();
            rows.push_values(&layout, event, created, &values)
                .expect("a golden row");
        }
        if rows.get(0) != bytes {
            return Some("encodes to other bytes".to_owned());
        }
        let row = match RowRef::parse(bytes) {
            Ok(row) => row,
            Err(error) => return Some(error.to_string()),
        };
        if (row.event(), row.created()) != (event, created) || row.is_tombstone() != self.tombstone {
            return Some("decodes to another header".to_owned());
        }
        if usize::from(row.slot_count()) != if self.tombstone { 0 } else { self.slots.len() } {
            return Some("decodes to another slot count".to_owned());
        }
        let reads = self.reads.iter().map(|read| (read.slots.clone(), &read.values));
        std::iter::once((self.types(), &self.values))
            .chain(reads)
            .find_map(|(types, values)| self.reading_problem(bytes, &types, values))
    }

    /// Reads by the row itself and through a block, as a reader with these slots does.
    fn reading_problem(&self, bytes: &[u8], types: &[ValueType], values: &[Json]) -> Option<String> {
        let layout = Arc::new(layout_with(
            self.generation,
            types.iter().enumerate().map(slot).collect(),
        ));
        let row = match RowRef::parse(bytes)
            .and_then(|row| row.check(&layout, &all_slots(&layout)).map(|()| row))
        {
            Ok(row) => row,
            Err(error) => return Some(error.to_string()),
        };
        let mut block = FeatureBlock::new();
        block.reset(&request(&layout, 1));
        if let Err(error) = block.put_row(0, 0, bytes) {
            return Some(error.to_string());
        }
        if (block.status(0, 0) == RowStatus::NotFound) != self.tombstone {
            return Some("another status in a block".to_owned());
        }
        assert_eq!(types.len(), values.len(), "{}: a value for each slot", self.id);
        for (number, (of, json)) in (0_u16..).zip(types.iter().zip(values)) {
            let missing = json.get("missing").is_some();
            for cell in [row.slot(&layout, number), block.cell(0, number, 0)] {
                let agrees = match cell {
                    SlotCell::Missing => missing,
                    SlotCell::Cell(cell) => !missing && same(*of, &cell.to_value(*of), &value(json, *of)),
                };
                if !agrees {
                    return Some(format!("slot {number} decodes to {cell:?}"));
                }
            }
        }
        None
    }
}

fn key_file() -> KeyFile {
    serde_json::from_str(KEYS).expect("the golden keys")
}

fn row_file() -> RowFile {
    serde_json::from_str(ROWS).expect("the golden rows")
}

#[test]
fn keys_encode_and_decode_as_published() {
    for case in key_file().keys {
        let bytes = case.hex.as_deref().map(hex);
        assert_eq!(case.problem(bytes.as_deref()), None, "{}", case.id);
    }
}

#[test]
fn published_refusals_of_keys_are_refused() {
    for case in key_file().refused {
        let bytes = hex(case.hex.as_deref().unwrap());
        let refused = decode_key(&case.join_keys, &bytes).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Corrupt), "{}", case.id);
    }
}

#[test]
fn no_bit_of_a_golden_key_can_change_unnoticed() {
    for case in key_file().keys {
        let Some(bytes) = case.hex.as_deref().map(hex) else {
            continue;
        };
        let values = case.values.iter().zip(&case.join_keys);
        let values: Vec<Value> = values.map(|(json, key)| value(json, key.value_type)).collect();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(case.problem(Some(&changed)).is_some(), "{} bit {bit}", case.id);
            // Decoding alone notices too: no two keys have the same values.
            assert!(
                case.decoding_problem(&changed, &values).is_some(),
                "{} bit {bit}",
                case.id
            );
        }
    }
}

#[test]
fn golden_keys_are_distinct() {
    let file = key_file();
    let keys: BTreeSet<_> = file.keys.iter().map(|case| &case.hex).collect();
    assert_eq!(keys.len(), file.keys.len());
}

#[test]
fn join_keys_of_the_golden_file_are_in_the_order_of_a_layout() {
    for case in key_file().keys {
        let mut sorted = case.join_keys.clone();
        sorted.reverse();
        let layout = ViewLayout::new(
            larder_base::ProjectName::new("shop").unwrap(),
            larder_base::ViewName::new("stats").unwrap(),
            larder_base::Generation(1),
            sorted,
            Vec::new(),
        );
        let names = |keys: &[JoinKey]| {
            keys.iter()
                .map(|key| key.name.clone())
                .collect::<Vec<ColumnName>>()
        };
        assert_eq!(names(layout.join_keys()), names(&case.join_keys), "{}", case.id);
    }
}

#[test]
fn rows_encode_and_decode_as_published() {
    for case in row_file().rows {
        assert_eq!(case.problem(&hex(&case.hex)), None, "{}", case.id);
    }
}

#[test]
fn published_refusals_of_rows_are_refused() {
    for case in row_file().refused {
        let (layout, bytes) = (Arc::new(case.layout()), hex(&case.hex));
        let refused = RowRef::parse(&bytes).and_then(|row| row.check(&layout, &all_slots(&layout)));
        assert_eq!(
            refused.map_err(|error| error.kind()),
            Err(ErrorKind::Corrupt),
            "{}",
            case.id
        );
        let mut block = FeatureBlock::new();
        block.reset(&request(&layout, 1));
        let refused = block.put_row(0, 0, &bytes).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Corrupt), "{} in a block", case.id);
    }
}

#[test]
fn no_bit_of_a_golden_row_can_change_unnoticed() {
    for case in row_file().rows {
        let bytes = hex(&case.hex);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(case.problem(&changed).is_some(), "{} bit {bit}", case.id);
        }
        assert!(case.problem(&bytes[..bytes.len() - 1]).is_some(), "{}", case.id);
    }
}

#[test]
fn versions_ascend_as_published() {
    let versions = row_file().ascending_versions;
    let bytes: Vec<Vec<u8>> = versions.iter().map(|case| hex(&case.hex)).collect();
    assert!(bytes.is_sorted_by(|a, b| a < b));
    for (case, bytes) in versions.iter().zip(&bytes) {
        assert_eq!(
            version_bytes(Micros(case.event), case.created.map(Micros)),
            bytes[..]
        );
    }
}

#[test]
fn golden_rows_hold_every_type_with_a_value_and_with_a_null() {
    let (mut with_value, mut with_null) = (BTreeSet::new(), BTreeSet::new());
    let kind = |of: ValueType| of.to_string().split('(').next().unwrap().to_owned();
    for case in row_file().rows {
        for (of, json) in case.types().into_iter().zip(&case.values) {
            let null = json.is_null()
                || json
                    .as_array()
                    .is_some_and(|items| items.iter().any(Json::is_null));
            if null { &mut with_null } else { &mut with_value }.insert(kind(of));
            with_value.insert(kind(of));
        }
    }
    for of in [
        "bool",
        "int32",
        "int64",
        "float32",
        "float64",
        "string",
        "bytes",
        "timestamp",
        "date",
        "decimal",
    ] {
        assert!(with_value.contains(of) && with_null.contains(of), "{of}");
        assert!(
            with_value
                .iter()
                .any(|have| have.starts_with(&format!("list<{of}"))),
            "list<{of}>"
        );
    }
    assert!(with_value.contains("vector") && with_null.contains("vector"));
}

#[test]
fn the_specification_names_every_case_and_no_other() {
    let named = |spec: &str, letter: char| -> BTreeSet<String> {
        let words = spec.split(|c: char| !c.is_ascii_alphanumeric());
        let is_id = |word: &&str| {
            word.len() == 3 && word.starts_with(letter) && word[1..].bytes().all(|b| b.is_ascii_digit())
        };
        words.filter(is_id).map(str::to_owned).collect()
    };
    let (keys, rows) = (key_file(), row_file());
    let ids = |cases: &[&[KeyCase]]| {
        cases
            .iter()
            .flat_map(|c| c.iter())
            .map(|c| c.id.clone())
            .collect()
    };
    assert_eq!(named(KEY_SPEC, 'K'), ids(&[&keys.keys, &keys.refused]));
    let ids = rows.rows.iter().chain(&rows.refused).map(|case| case.id.clone());
    assert_eq!(named(ROW_SPEC, 'R'), ids.collect());
}

#[test]
fn a_row_is_read_without_a_copy() {
    let case = row_file().rows.into_iter().find(|case| case.id == "R11").unwrap();
    let (layout, bytes) = (case.layout(), hex(&case.hex));
    let row = RowRef::parse(&bytes).unwrap();
    let SlotCell::Cell(Cell::Str(text)) = row.slot(&layout, 1) else {
        panic!("slot 1 of R11 is a string");
    };
    assert!(bytes.as_ptr_range().contains(&text.as_ptr()));
}
