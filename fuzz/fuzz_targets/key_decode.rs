//! Is an entity key either refused or the one encoding of its values, whatever the bytes?

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

#[allow(dead_code, reason = "the other target uses the rest")]
#[path = "../../core/base/tests/it/bodies.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| -> Corpus {
    bodies::key_decode(data);
    Corpus::Keep
});
