//! Typed handles: names are looked up once, types are checked once.

use std::marker::PhantomData;

use larder_base::keys::KeyWriter;
use larder_base::{Cell, Micros, ScalarType, Value, ValueType};

/// A key column of a plan, typed.
pub struct KeyHandle<K: ?Sized> {
    pub(super) index: usize,
    of: PhantomData<fn() -> Box<K>>,
}

/// An output of a plan, typed.
pub struct FeatureHandle<T: ?Sized> {
    pub(super) index: usize,
    of: PhantomData<fn() -> Box<T>>,
}

/// A request field of a plan, typed. There are none until part 5.
pub struct RequestHandle<T: ?Sized> {
    never: std::convert::Infallible,
    of: PhantomData<fn() -> Box<T>>,
}

macro_rules! handles {
    ($($name:ident),*) => {$(
        impl<T: ?Sized> $name<T> {
            pub(super) fn new(index: usize) -> Self {
                Self { index, of: PhantomData }
            }
        }
        impl<T: ?Sized> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T: ?Sized> Copy for $name<T> {}
        impl<T: ?Sized> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.index)
            }
        }
    )*};
}

handles!(KeyHandle, FeatureHandle);

impl<T: ?Sized> std::fmt::Debug for RequestHandle<T> {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.never {}
    }
}

/// A Rust type that a join key may be given in.
pub trait KeyType: 'static {
    /// How it is called in messages.
    const NAME: &'static str;
    /// Whether keys of a declared type may be given in it.
    fn accepts(declared: ValueType) -> bool;
    /// Writes a key.
    fn write(&self, key: &mut KeyWriter<'_>);
}

/// A Rust type that a feature may be taken out in.
pub trait FeatureType: 'static {
    /// What comes out; text and bytes are borrowed from the answer.
    type Out<'a>;
    /// How it is called in messages.
    const NAME: &'static str;
    /// Whether features of a declared type come out in it.
    fn accepts(declared: ValueType) -> bool;
    /// From a packed value; `None` for what [`FeatureType::accepts`] excludes.
    fn from_cell(cell: Cell<'_>, declared: ValueType) -> Option<Self::Out<'_>>;
    /// From a default.
    fn from_value(value: &Value) -> Option<Self::Out<'_>>;
}

macro_rules! types {
    ($($type:ty, $name:literal, $declared:ident, $cell:ident, $value:ident, $write:ident;)*) => {$(
        impl FeatureType for $type {
            type Out<'a> = $type;
            const NAME: &'static str = $name;
            fn accepts(declared: ValueType) -> bool {
                declared == ValueType::$declared
            }
            #[inline]
            fn from_cell(cell: Cell<'_>, _: ValueType) -> Option<$type> {
                if let Cell::$cell(value) = cell { Some(value) } else { None }
            }
            fn from_value(value: &Value) -> Option<$type> {
                if let Value::$value(value) = value { Some(*value) } else { None }
            }
        }
        types!(@key $type, $name, $declared, $write);
    )*};
    (@key $type:ty, $name:literal, $declared:ident, none) => {};
    (@key $type:ty, $name:literal, $declared:ident, $write:ident) => {
        impl KeyType for $type {
            const NAME: &'static str = $name;
            fn accepts(declared: ValueType) -> bool {
                declared == ValueType::$declared
            }
            #[inline]
            fn write(&self, key: &mut KeyWriter<'_>) {
                key.$write(*self);
            }
        }
    };
}

types! {
    bool, "bool", BOOL, Bool, Bool, bool;
    i32, "int32", INT32, Int32, Int32, int32;
    i64, "int64", INT64, Int64, Int64, int64;
    f32, "float32", FLOAT32, Float32, Float32, none;
    f64, "float64", FLOAT64, Float64, Float64, none;
    Micros, "timestamp", TIMESTAMP, Timestamp, Timestamp, timestamp;
}

impl FeatureType for str {
    type Out<'a> = &'a str;
    const NAME: &'static str = "string";
    fn accepts(declared: ValueType) -> bool {
        declared == ValueType::STRING
    }
    fn from_cell(cell: Cell<'_>, _: ValueType) -> Option<&str> {
        if let Cell::Str(text) = cell {
            Some(text)
        } else {
            None
        }
    }
    fn from_value(value: &Value) -> Option<&str> {
        if let Value::String(text) = value {
            Some(text)
        } else {
            None
        }
    }
}

impl FeatureType for [u8] {
    type Out<'a> = &'a [u8];
    const NAME: &'static str = "bytes";
    fn accepts(declared: ValueType) -> bool {
        declared == ValueType::BYTES
    }
    fn from_cell(cell: Cell<'_>, _: ValueType) -> Option<&[u8]> {
        if let Cell::Bytes(bytes) = cell {
            Some(bytes)
        } else {
            None
        }
    }
    fn from_value(value: &Value) -> Option<&[u8]> {
        if let Value::Bytes(bytes) = value {
            Some(bytes)
        } else {
            None
        }
    }
}

impl FeatureType for Value {
    type Out<'a> = Value;
    const NAME: &'static str = "any type";
    fn accepts(_: ValueType) -> bool {
        true
    }
    fn from_cell(cell: Cell<'_>, declared: ValueType) -> Option<Value> {
        Some(cell.to_value(declared))
    }
    fn from_value(value: &Value) -> Option<Value> {
        Some(value.clone())
    }
}

impl KeyType for String {
    const NAME: &'static str = "string";
    fn accepts(declared: ValueType) -> bool {
        declared == ValueType::STRING
    }
    fn write(&self, key: &mut KeyWriter<'_>) {
        key.string(self);
    }
}

impl KeyType for &'static str {
    const NAME: &'static str = "string";
    fn accepts(declared: ValueType) -> bool {
        declared == ValueType::STRING
    }
    fn write(&self, key: &mut KeyWriter<'_>) {
        key.string(self);
    }
}

impl KeyType for Vec<u8> {
    const NAME: &'static str = "bytes";
    fn accepts(declared: ValueType) -> bool {
        declared == ValueType::BYTES
    }
    fn write(&self, key: &mut KeyWriter<'_>) {
        key.bytes(self);
    }
}

/// A date: days since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(pub i32);

impl KeyType for Date {
    const NAME: &'static str = "date";
    fn accepts(declared: ValueType) -> bool {
        declared == ValueType::Scalar(ScalarType::Date)
    }
    fn write(&self, key: &mut KeyWriter<'_>) {
        key.date(self.0);
    }
}
