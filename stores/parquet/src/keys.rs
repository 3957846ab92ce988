//! Which keys do the entity rows have: between which, and, where they are few, exactly which?

use std::collections::BTreeSet;

use larder_core::arrow::array::{Array, ArrayRef};

use crate::bounds::{byte_rows, integers};

/// Distinct keys up to which each is looked for by itself.
const FEW: usize = 256;

/// A key that is compared with what files say about themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Int(i64),
    Bytes(Vec<u8>),
}

/// The values of one key column of the entity rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    /// Whether anything is known of them; it is not for types that are not compared.
    pub(crate) known: bool,
    /// Smallest and largest; none when there is no key.
    pub(crate) range: Option<(Key, Key)>,
    /// All of them, where they are few.
    pub(crate) few: Option<BTreeSet<Key>>,
}

impl Keys {
    /// No key at all.
    pub(crate) fn none() -> Self {
        Self {
            known: true,
            range: None,
            few: Some(BTreeSet::new()),
        }
    }

    /// Of a column of the entity rows.
    pub(crate) fn of(column: &ArrayRef) -> Self {
        if column.null_count() == column.len() {
            return Self::none();
        }
        if let Some(keys) = integers(column) {
            return Self::collect(keys.iter().flatten(), Key::Int);
        }
        match byte_rows(column) {
            Some(keys) => Self::collect(keys, |key| Key::Bytes(key.to_vec())),
            None => Self {
                known: false,
                range: None,
                few: None,
            },
        }
    }

    fn collect<T: Copy + Ord>(mut keys: impl Iterator<Item = T>, key: impl Fn(T) -> Key) -> Self {
        let Some(first) = keys.next() else {
            return Self::none();
        };
        let mut few = Some(BTreeSet::from([first]));
        let (mut min, mut max) = (first, first);
        for key in keys {
            (min, max) = (min.min(key), max.max(key));
            if let Some(some) = &mut few {
                some.insert(key);
                if some.len() > FEW {
                    few = None;
                }
            }
        }
        Self {
            known: true,
            range: Some((key(min), key(max))),
            few: few.map(|few| few.into_iter().map(key).collect()),
        }
    }

    /// The keys of both.
    pub(crate) fn or(self, other: Self) -> Self {
        let few = self.few.zip(other.few).map(|(mut few, more)| {
            few.extend(more);
            few
        });
        Self {
            known: self.known && other.known,
            range: match (self.range, other.range) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (a, b) => a.or(b),
            },
            few: few.filter(|few| few.len() <= FEW),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use larder_core::arrow::array::{BooleanArray, Int32Array, StringArray};

    use super::*;

    #[test]
    fn few_keys_are_all_known_and_many_are_bounded() {
        let some: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(-3), Some(7)]));
        let some = Keys::of(&some);
        assert_eq!(some.range, Some((Key::Int(-3), Key::Int(7))));
        assert_eq!(some.few, Some([Key::Int(-3), Key::Int(7)].into()));
        let many: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1000));
        let many = Keys::of(&many);
        assert_eq!(
            (many.range.clone(), many.few.clone()),
            (Some((Key::Int(0), Key::Int(999))), None)
        );
        let both = some.or(many);
        assert_eq!(
            (both.range, both.few),
            (Some((Key::Int(-3), Key::Int(999))), None)
        );

        let texts: ArrayRef = Arc::new(StringArray::from(vec!["b", "a"]));
        let key = |text: &str| Key::Bytes(text.as_bytes().to_vec());
        assert_eq!(Keys::of(&texts).range, Some((key("a"), key("b"))));
        let nulls: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        assert_eq!(Keys::of(&nulls), Keys::none());
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        assert!(!Keys::of(&flags).known);
        assert!(!Keys::of(&flags).or(Keys::none()).known);
    }
}
