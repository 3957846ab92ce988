//! How a case says what it expects.

use std::any::Any;
use std::fmt::Debug;

use larder_core::{Error, ErrorKind, Value};

use crate::case::{Stop, Verdict};

/// Ends the case as failed unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(crate::case::Stop::Failed(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;

/// Fails unless both are equal.
pub(crate) fn same<T: PartialEq + Debug>(got: T, want: T, what: &str) -> Verdict {
    if got == want {
        return Ok(());
    }
    Err(Stop::Failed(format!(
        "{what}: expected {}, got {}",
        short(&want),
        short(&got)
    )))
}

/// Fails unless the result is an error of one of the kinds; returns it.
pub(crate) fn refused<T: Debug>(result: Result<T, Error>, kinds: &[ErrorKind], what: &str) -> Verdict<Error> {
    match result {
        Err(error) if kinds.contains(&error.kind()) => Ok(error),
        Err(error) => Err(Stop::Failed(format!(
            "{what}: expected an error of kind {kinds:?}, got {} error: {}",
            error.kind(),
            error.chain()
        ))),
        Ok(answer) => Err(Stop::Failed(format!(
            "{what}: expected an error of kind {kinds:?}, got {}",
            short(&answer)
        ))),
    }
}

/// Skips the case unless the ability is declared.
pub(crate) fn need(declared: bool, name: &str) -> Verdict {
    if declared {
        Ok(())
    } else {
        Err(Stop::Skipped(format!("`{name}` is not declared")))
    }
}

/// Skips the case where the ability is declared: it is about doing without.
pub(crate) fn need_not(declared: bool, name: &str) -> Verdict {
    if declared {
        Err(Stop::Skipped(format!("`{name}` is declared")))
    } else {
        Ok(())
    }
}

/// Whether two values are the same to the bit: NaN is NaN, and -0.0 is not 0.0.
pub(crate) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float32(a), Value::Float32(b)) => a.to_bits() == b.to_bits(),
        (Value::Float64(a), Value::Float64(b)) => a.to_bits() == b.to_bits(),
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Vector(a), Value::Vector(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.to_bits() == b.to_bits())
        }
        _ => a == b,
    }
}

/// A debug text of bearable length.
pub(crate) fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// The answer of a task; its panic is a failure of the case.
pub(crate) async fn joined<T>(task: tokio::task::JoinHandle<T>) -> Verdict<T> {
    task.await
        .map_err(|error| Stop::Failed(format!("a task of the case did not end well: {error}")))
}
