//! Whether the store keeps its contract on a real server, and on one that fails.

mod dynamodb;
