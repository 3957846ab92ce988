//! Whether the store keeps its contract on real servers, and on ones that fail.

mod redis;
