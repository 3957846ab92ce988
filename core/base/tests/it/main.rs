//! Do the byte formats of larder-base hold, for every value and for any bytes?

mod block;
mod bodies;
mod fuzz_smoke;
mod golden;
mod golden_values;
mod hostile;
mod rows;
mod support;
