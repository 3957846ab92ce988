//! How is a decoder of others run that panics on damaged input? With its panic as an error, and nothing on stderr.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder; where it panics, what it said is the error. What it worked on is not to be used afterwards.
pub fn caught<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    let outside = CATCHING.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    CATCHING.set(outside);
    decoded.map_err(|panic| message(&*panic))
}

/// Whether a panic of this thread becomes an error, so that the panic hook of a program need not tell it.
pub fn is_caught() -> bool {
    CATCHING.get()
}

/// What a panic said.
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_what_follows_is_none() {
        assert_eq!(caught(is_caught), Ok(true));
        assert!(!is_caught());
        let inner = caught(|| {
            assert_eq!(
                caught(|| -> u8 { panic!("byte {}", 7) }),
                Err("byte 7".to_owned())
            );
            is_caught()
        });
        assert_eq!((inner, is_caught()), (Ok(true), false));
    }
}
