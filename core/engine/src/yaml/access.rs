//! How lists, maps, keys and choices are walked on the way to a value.

use serde::de::{self, DeserializeSeed, Visitor, value::BorrowedStrDeserializer};
use serde::forward_to_deserialize_any;

use super::de::{De, Trace};
use super::fault::Fault;
use super::node::{Entry, Node};

pub(super) struct Items<'de, 't> {
    pub(super) items: std::slice::Iter<'de, Node>,
    pub(super) trace: &'t Trace,
}

impl<'de> de::SeqAccess<'de> for Items<'de, '_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.items
            .next()
            .map(|node| {
                let de = De::root(node, self.trace);
                de.place(seed.deserialize(de))
            })
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

pub(super) struct Entries<'de, 't> {
    pub(super) entries: &'de [Entry],
    pub(super) first: Option<usize>,
    pub(super) step: usize,
    pub(super) value: Option<&'de Entry>,
    pub(super) fields: Option<&'static [&'static str]>,
    pub(super) trace: &'t Trace,
}

impl<'de> Entries<'de, '_> {
    fn next(&mut self) -> Option<&'de Entry> {
        // With a first entry, the others follow in order with a gap where it stood.
        let index = match self.first {
            Some(first) if self.step == 0 => first,
            Some(first) if self.step <= first => self.step - 1,
            _ => self.step,
        };
        self.step += 1;
        self.entries.get(index)
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.value = self.next();
        let Some(entry) = self.value else {
            return Ok(None);
        };
        let key = Key {
            entry,
            trace: self.trace,
        };
        seed.deserialize(key).map(Some).map_err(|fault| key.place(fault))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some(entry) = self.value.take() else {
            return Err(Fault::new("a value was asked for before its key"));
        };
        let de = De {
            node: &entry.value,
            trace: self.trace,
            under: Some((entry, self.entries, self.fields)),
        };
        de.place(seed.deserialize(de))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len().saturating_sub(self.step))
    }
}

/// A key on its way to a field or a newtype.
#[derive(Clone, Copy)]
struct Key<'de, 't> {
    entry: &'de Entry,
    trace: &'t Trace,
}

impl Key<'_, '_> {
    fn place(&self, fault: Fault) -> Fault {
        if fault.mark().is_some() {
            return fault;
        }
        let fault = fault.at_mark(self.entry.key_mark);
        self.trace.placed.borrow_mut().push(fault.clone());
        fault
    }
}

impl<'de> de::Deserializer<'de> for Key<'de, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor
            .visit_borrowed_str(&self.entry.key)
            .map_err(|fault: Fault| self.place(fault))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor
            .visit_enum(BorrowedStrDeserializer::new(&self.entry.key))
            .map_err(|fault: Fault| self.place(fault))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A choice: text, or a map with one key.
pub(super) struct Variant<'de, 't> {
    pub(super) key: &'de str,
    pub(super) key_node: Option<De<'de, 't>>,
    pub(super) value: Option<De<'de, 't>>,
}

impl<'de, 't> de::EnumAccess<'de> for Variant<'de, 't> {
    type Error = Fault;
    type Variant = Payload<'de, 't>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Fault> {
        let result = seed.deserialize(BorrowedStrDeserializer::new(self.key));
        let result = match self.key_node {
            Some(node) => node.place(result),
            None => result,
        };
        Ok((result?, Payload { value: self.value }))
    }
}

/// What a choice carries.
pub(super) struct Payload<'de, 't> {
    value: Option<De<'de, 't>>,
}

impl<'de, 't> Payload<'de, 't> {
    fn value(self) -> Result<De<'de, 't>, Fault> {
        self.value
            .ok_or_else(|| Fault::new("this choice needs a value: write it as `choice: value`"))
    }
}

impl<'de> de::VariantAccess<'de> for Payload<'de, '_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(value) if value.node.is_null() => Ok(()),
            Some(value) => value.place(Err(Fault::new("this choice takes no value"))),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let value = self.value()?;
        value.place(seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        de::Deserializer::deserialize_seq(self.value()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.value()?.map(visitor, Some(fields))
    }
}
