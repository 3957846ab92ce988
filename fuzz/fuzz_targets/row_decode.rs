//! Is a packed row either refused or readable in every slot, whatever the bytes?

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

#[allow(dead_code, reason = "the other target uses the rest")]
#[path = "../../core/base/tests/it/bodies.rs"]
mod bodies;

fuzz_target!(|data: &[u8]| -> Corpus {
    bodies::row_decode(data);
    Corpus::Keep
});
