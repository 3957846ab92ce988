//! How do I unit-test my own definitions? The tests of this crate answer: `tests/quickstart.rs`.
